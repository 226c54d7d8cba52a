"""Archives: what is proper comes out whole; what is hostile or broken ends in one line and leaves nothing."""

import bz2
import errno
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile

import pytest
from misbehaving_server import everything

from datamodules.fetching.archive import ArchiveError, extract
from overtone.errors import OvertoneError

CONTENTS = {"a/one.wav": b"one" * 1000, "a/b/two.wav": b"", "three.txt": bytes(range(256)), "ü/é.wav": b"accent"}
SMALL = 100_000


def tar_bytes(members, mode="w"):
    """A tar of (name or TarInfo, contents) pairs."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        for member, contents in members:
            info = member if isinstance(member, tarfile.TarInfo) else tarfile.TarInfo(member)
            if not isinstance(member, tarfile.TarInfo) or info.isreg():
                info.size = len(contents)
            tar.addfile(info, io.BytesIO(contents))
    return file.getvalue()


def zip_bytes(members, method=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as packed:
        for member, contents in members:
            packed.writestr(member, contents)
    return file.getvalue()


def special(name, kind, target="", mode=0o644, contents=b""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info, contents


def zip_special(name, mode, contents=b"/etc/passwd"):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info, contents


PACKERS = {
    "zip": lambda: zip_bytes(CONTENTS.items()),
    "zip without compression": lambda: zip_bytes(CONTENTS.items(), zipfile.ZIP_STORED),
    "zip with bzip2": lambda: zip_bytes(CONTENTS.items(), zipfile.ZIP_BZIP2),
    "zip with lzma": lambda: zip_bytes(CONTENTS.items(), zipfile.ZIP_LZMA),
    "tar": lambda: tar_bytes(CONTENTS.items()),
    "tar.gz": lambda: tar_bytes(CONTENTS.items(), "w:gz"),
    "tar.bz2": lambda: tar_bytes(CONTENTS.items(), "w:bz2"),
    "tar.xz": lambda: tar_bytes(CONTENTS.items(), "w:xz"),
    "tar.gz in two parts": lambda: (
        gzip.compress(tar_bytes(CONTENTS.items())[:2000]) + gzip.compress(tar_bytes(CONTENTS.items())[2000:])
    ),
}


@pytest.fixture
def place(tmp_path):
    """A folder with a neighbour that hostile archives aim at."""
    (tmp_path / "neighbour").mkdir()
    (tmp_path / "neighbour" / "precious.txt").write_bytes(b"precious")
    return tmp_path


def unpack(place, contents, name="corpus.bin", most_bytes=SMALL):
    path = place / name
    path.write_bytes(contents)
    return extract(path, place / "out" / "corpus", most_bytes=most_bytes)


def refused(place, contents, most_bytes=SMALL):
    """Unpack what must be refused: one line that names the archive, and no file anywhere."""
    with pytest.raises(ArchiveError) as caught:
        unpack(place, contents, most_bytes=most_bytes)
    message = str(caught.value)
    assert message.startswith(f"{place / 'corpus.bin'}: ")
    assert "\n" not in message and len(message.replace(str(place), "")) < 300, message
    assert everything(place) == {"neighbour/precious.txt": b"precious", "corpus.bin": contents}
    assert not (place / "out" / "corpus").exists()
    assert list((place / "out").iterdir()) == []
    return message


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("name", ["corpus.zip", "corpus.tar.gz"])
def test_every_format_comes_out_whole_whatever_its_name(place, kind, name):
    seen = []
    path = place / name
    path.write_bytes(PACKERS[kind]())
    count = extract(path, place / "out", report=lambda done, total: seen.append((done, total)))
    assert count == len(CONTENTS)
    assert everything(place / "out") == CONTENTS
    assert all(0 <= done <= total == path.stat().st_size for done, total in seen)


def test_empty_folders_and_a_leading_dot_are_fine(place):
    folder, _ = special("./empty", tarfile.DIRTYPE)
    assert unpack(place, tar_bytes([special("./", tarfile.DIRTYPE), (folder, b""), ("./a.wav", b"x")])) == 1
    assert (place / "out" / "corpus" / "empty").is_dir()
    assert everything(place / "out" / "corpus") == {"a.wav": b"x"}


@pytest.mark.parametrize("mode", [0o4777, 0o2777, 0o6755, 0o000], ids=["setuid", "setgid", "both", "none"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_modes_of_the_archive_are_not_taken_over(place, kind, mode):
    if kind == "tar":
        contents = tar_bytes([special("a.wav", tarfile.REGTYPE, mode=mode, contents=b"x")])
    else:
        contents = zip_bytes([zip_special("a.wav", stat.S_IFREG | mode, b"x")])
    unpack(place, contents)
    assert (place / "out" / "corpus" / "a.wav").stat().st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH) == 0


NAMES = {
    "an absolute path": "/tmp/evil.wav",
    "two slashes": "//tmp/evil.wav",
    "a path to the parent": "../evil.wav",
    "a path to the parent, further in": "a/b/../../../evil.wav",
    "a path to the parent that comes back": "a/../evil.wav",
    "a path to the parent at the end": "a/..",
    "a backslash": "..\\evil.wav",
    "a drive letter": "C:/evil.wav",
    "a drive letter without a slash": "C:evil.wav",
    "a line break": "a\nb.wav",
    "an escape character": "a\x1b[31m.wav",
    "an overlong part": f"{'x' * 256}.wav",
    "an overlong path": "/".join(["x" * 100] * 12),
    "a part too long in bytes only": f"{'é' * 130}.wav",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("pack", [tar_bytes, zip_bytes], ids=["tar", "zip"])
def test_a_name_is_refused_with(place, pack, name):
    assert "holds a" in refused(place, pack([("fine.wav", b"x"), (name, b"evil")]))
    assert not os.path.exists("/tmp/evil.wav")


def test_a_nul_in_a_zip_name_is_refused(place):
    contents = zip_bytes([("a.wav_.exe", b"x")]).replace(b"a.wav_", b"a.wav\0")
    assert "control character" in refused(place, contents)


def test_a_tar_name_that_is_no_text_is_refused(place):
    assert "control character" in refused(place, tar_bytes([("a\udcff.wav", b"x")]))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("a/one.wav", "a/ONE.wav"), "differ only in case"),
        (("a/one.wav", "A/one.wav"), "differ only in case"),
        (("one.wav", "one.wav"), "twice"),
        (("one.wav", "./one.wav"), "twice"),
        (("é.wav", "e\u0301.wav"), "twice"),
        (("straße.wav", "STRASSE.wav"), "differ only in case"),
        (("a", "a/one.wav"), "broken"),
        (("a/one.wav", "A"), "twice"),
    ],
    ids=[
        "case of a file",
        "case of a folder",
        "the same",
        "the same with a dot",
        "two forms of an accent",
        "a sharp s",
        "a file, then a folder",
        "a folder, then a file",
    ],
)
@pytest.mark.parametrize("pack", [tar_bytes, zip_bytes], ids=["tar", "zip"])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_names_that_are_one_are_refused(place, pack, names, words):
    assert words in refused(place, pack([(name, b"x") for name in names]))


SPECIAL = {
    "a symbolic link out": [special("a", tarfile.SYMTYPE, "/etc/passwd")],
    "a symbolic link to the parent": [special("a", tarfile.SYMTYPE, "../../neighbour/precious.txt")],
    "a symbolic link inside": [("x", b""), special("a", tarfile.SYMTYPE, "x")],
    "a file through a link": [special("a", tarfile.SYMTYPE, "../../neighbour"), ("a/precious.txt", b"evil")],
    "a hard link out": [special("a", tarfile.LNKTYPE, "../../neighbour/precious.txt")],
    "a hard link inside": [("x", b"x"), special("a", tarfile.LNKTYPE, "x")],
    "a pipe": [special("a", tarfile.FIFOTYPE)],
    "a character device": [special("a", tarfile.CHRTYPE)],
    "a block device": [special("a", tarfile.BLKTYPE)],
    "a sparse file": [special("a", tarfile.GNUTYPE_SPARSE)],
}


@pytest.mark.parametrize("members", SPECIAL.values(), ids=SPECIAL)
def test_tar_refuses(place, members):
    refused(place, tar_bytes([("fine.wav", b"x"), *members]))


@pytest.mark.parametrize(
    "mode",
    [stat.S_IFLNK | 0o777, stat.S_IFIFO | 0o644, stat.S_IFCHR | 0o644, stat.S_IFSOCK | 0o644],
    ids=["a symbolic link", "a pipe", "a device", "a socket"],
)
def test_zip_refuses(place, mode):
    assert "a link or a device" in refused(place, zip_bytes([("fine.wav", b"x"), zip_special("a", mode)]))


def lie_about_size(contents, true, told, *, local=True):
    """Change the unpacked size that a zip's headers state."""
    told_bytes, true_bytes = struct.pack("<L", told), struct.pack("<L", true)
    start = contents.index(b"PK\x01\x02")
    head, directory = contents[:start], contents[start:]
    return (head.replace(true_bytes, told_bytes) if local else head) + directory.replace(true_bytes, told_bytes)


ZEROS = bytes(300_000)
BOMBS = {
    "a tar.gz of zeros": lambda: tar_bytes([("zeros.wav", ZEROS)], "w:gz"),
    "a tar.xz of zeros": lambda: tar_bytes([("zeros.wav", ZEROS)], "w:xz"),
    "a tar.bz2 of zeros": lambda: tar_bytes([("zeros.wav", ZEROS)], "w:bz2"),
    "a zip of zeros": lambda: zip_bytes([("zeros.wav", ZEROS)]),
    "many small files that add up": lambda: zip_bytes([(f"{n}.wav", bytes(5000)) for n in range(40)]),
    "many small files in a tar that add up": lambda: tar_bytes([(f"{n}.wav", bytes(5000)) for n in range(40)], "w:gz"),
    "a tar whose header is huge": lambda: gzip.compress(
        tar_bytes([special("x", tarfile.XHDTYPE, contents=b"")])[:124] + b"00001000000\0" + ZEROS
    ),
    "a tar that states a huge file": lambda: huge_tar(),
    "a zip that understates its size": lambda: lie_about_size(zip_bytes([("z.wav", ZEROS)]), len(ZEROS), 1000),
    "a zip that overstates its size": lambda: lie_about_size(zip_bytes([("z.wav", b"x" * 777)]), 777, 2_000_000_000),
}


def huge_tar():
    info = tarfile.TarInfo("huge.wav")
    info.size = 1 << 40
    return gzip.compress(info.tobuf() + bytes(10240))


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_refused(place, bomb):
    refused(place, bomb())


def test_a_zip_whose_members_share_their_bytes_is_bounded(place):
    """Fifield's bomb: many entries of the directory point at the same packed bytes."""
    contents = zip_bytes([("a.wav", bytes(90_000))])
    start, end = contents.index(b"PK\x01\x02"), contents.index(b"PK\x05\x06")
    entry = contents[start:end]
    entries = entry * 20
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 20, 20, len(entries), start, 0)
    refused(place, contents[:start] + entries + tail)


def test_an_encrypted_zip_is_refused(place):
    contents = bytearray(zip_bytes([("secret.wav", b"x" * 100)]))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        contents[contents.index(signature) + offset] |= 1
    assert "encrypted" in refused(place, bytes(contents))


def flipped(contents, position):
    broken = bytearray(contents)
    broken[position] ^= 0xFF
    return bytes(broken)


LONG = [(f"{number}.wav", os.urandom(3000)) for number in range(5)]
BROKEN = {
    "an empty file": lambda: b"",
    "a web page": lambda: b"\n <!DOCTYPE html><html><body>404</body></html>",
    "a web page with a byte order mark": lambda: b"\xef\xbb\xbf<html></html>",
    "a text": lambda: b"Sorry, try again later.",
    "random bytes": lambda: b"\x00" + os.urandom(5000),
    "a wav file": lambda: b"RIFF\x00\x00\x00\x00WAVEfmt ",
    "a gzip of a text": lambda: gzip.compress(b"hello" * 500),
    "a gzip of nothing": lambda: gzip.compress(b""),
    "a gzip of a gzip": lambda: gzip.compress(tar_bytes(LONG, "w:gz")),
    "half a zip": lambda: (whole := zip_bytes(LONG))[: len(whole) // 2],
    "a zip without its last byte": lambda: zip_bytes(LONG)[:-1],
    "the beginning of a zip": lambda: zip_bytes(LONG)[:10],
    "half a tar.gz": lambda: (whole := tar_bytes(LONG, "w:gz"))[: len(whole) // 2],
    "a tar.gz without its last byte": lambda: tar_bytes(LONG, "w:gz")[:-1],
    "half a tar.bz2": lambda: (whole := tar_bytes(LONG, "w:bz2"))[: len(whole) // 2],
    "half a tar.xz": lambda: (whole := tar_bytes(LONG, "w:xz"))[: len(whole) // 2],
    "a tar cut within a file": lambda: tar_bytes(LONG)[:5000],
    "a zip with a flipped byte": lambda: flipped(zip_bytes(LONG), 1000),
    "a stored zip with a flipped byte": lambda: flipped(zip_bytes(LONG, zipfile.ZIP_STORED), 1000),
    "a tar.gz with a flipped byte": lambda: flipped(tar_bytes(LONG, "w:gz"), 5000),
    "a tar.gz with a flipped checksum": lambda: flipped(tar_bytes(LONG, "w:gz"), -6),
    "a tar.bz2 with a flipped byte": lambda: flipped(tar_bytes(LONG, "w:bz2"), 5000),
    "a tar.xz with a flipped byte": lambda: flipped(tar_bytes(LONG, "w:xz"), 5000),
    "a zip with another name inside than in its list": lambda: zip_bytes([("a.wav", b"x")]).replace(
        b"a.wav", b"b.wav", 1
    ),
    "a zip of an unknown method": lambda: unknown_method(),
}


def unknown_method():
    contents = bytearray(zip_bytes([("a.wav", b"x")]))
    for signature, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        contents[contents.index(signature) + offset] = 77
    return bytes(contents)


@pytest.mark.parametrize("contents", BROKEN.values(), ids=BROKEN)
def test_what_is_broken_is_refused(place, contents):
    refused(place, contents())


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("pack", [tar_bytes, lambda m: tar_bytes(m, "w:gz"), zip_bytes], ids=["tar", "tar.gz", "zip"])
def test_damage_anywhere_ends_in_a_line_or_does_no_harm(place, pack, seed):
    contents = pack(list(CONTENTS.items()))
    position = (seed * 7919) % len(contents)
    try:
        unpack(place, flipped(contents, position))
    except ArchiveError as error:
        assert "\n" not in str(error)
        assert not (place / "out" / "corpus").exists()
    assert set(everything(place)) - {"corpus.bin", "neighbour/precious.txt"} == {
        f"out/corpus/{name}" for name in everything(place / "out" / "corpus")
    }


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a.wav")])
def test_a_stop_or_a_full_disk_leaves_nothing(place, stop):
    path = place / "corpus.tar"
    path.write_bytes(tar_bytes(CONTENTS.items()))

    def report(done, total):
        raise stop

    with pytest.raises((KeyboardInterrupt, OvertoneError)) as caught:
        extract(path, place / "out" / "corpus", report=report)
    if isinstance(stop, OSError):
        assert str(caught.value).startswith("a.wav: No space left on device.")
        assert not isinstance(caught.value, ArchiveError)
    assert list((place / "out").iterdir()) == []


def test_what_a_killed_program_left_is_removed(place):
    left = place / "out" / ".corpus.unpacking"
    left.mkdir(parents=True)
    (left / "old.wav").write_bytes(b"old")
    unpack(place, PACKERS["tar.gz"]())
    assert everything(place / "out" / "corpus") == CONTENTS
    assert not left.exists()


def test_a_folder_with_contents_is_not_replaced(place):
    (place / "out" / "corpus").mkdir(parents=True)
    (place / "out" / "corpus" / "mine.wav").write_bytes(b"mine")
    with pytest.raises(OvertoneError) as caught:
        unpack(place, PACKERS["zip"]())
    assert "\n" not in str(caught.value)
    assert everything(place / "out") == {"corpus/mine.wav": b"mine"}


def test_no_archive_at_all_is_one_line(place):
    with pytest.raises(OvertoneError, match="No such file"):
        extract(place / "nothing.zip", place / "out" / "corpus")
    assert list((place / "out").iterdir()) == []


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_a_packed_file_that_is_no_tar_is_refused(place, pack):
    refused(place, pack(os.urandom(2000)))


def test_a_leftover_that_is_a_link_is_not_followed(place):
    (place / "out").mkdir()
    (place / "out" / ".corpus.unpacking").symlink_to(place / "neighbour")
    unpack(place, PACKERS["zip"]())
    assert (place / "neighbour" / "precious.txt").read_bytes() == b"precious"
    assert len(list((place / "neighbour").iterdir())) == 1
