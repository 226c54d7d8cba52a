"""Archives of corpora, unpacked whole or not at all, and never outside their folder."""

import errno
import shutil
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from lzma import LZMAError
from pathlib import Path, PurePosixPath

from overtone.errors import OvertoneError, in_words

EXPANSION, FLOOR_BYTES = 20.0, 8 << 20
"""Unpacked bytes per packed byte that an archive of audio never exceeds (audio shrinks to a half, seldom to a fifth),
and bytes that any archive may have."""

_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, EOFError, ValueError, RuntimeError, KeyError)

# What the system says where a file is a folder too; None is what gzip and bz2 say of broken contents.
_UNFIT = {None, errno.EINVAL, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}

Report = Callable[[int, int], None]


class ArchiveError(OvertoneError):
    """An archive that is broken, hostile or none at all; the message names it."""


def extract(archive: Path, folder: Path, *, most_bytes: int | None = None, report: Report | None = None) -> int:
    """Unpack a zip or tar archive (also tar.gz, tar.bz2 and tar.xz), told by its contents, into a new folder.

    The members go into a temporary folder beside ``folder``, which gets its name when all of them are there. What an
    interrupted call left behind is removed by the next.

    Args:
        archive: the file to unpack.
        folder: the folder to make; it must not exist or be empty.
        most_bytes: that it may unpack to; None for `EXPANSION` times its size, and at least `FLOOR_BYTES`.
        report: called with (bytes of the archive that are read, bytes of the archive).

    Returns:
        The number of files.

    Raises:
        ArchiveError: the archive is broken, encrypted or none; it holds a link, a device, a path that leads out of
            the folder, two names that differ only in case, or more bytes than allowed. Nothing stays behind.
        OvertoneError: the folder cannot be written.
    """
    unfinished = folder.with_name(f".{folder.name}.unpacking")
    try:
        if unfinished.is_symlink():
            unfinished.unlink()
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        size = archive.stat().st_size
        bound = _Bound(archive, most_bytes or round(max(EXPANSION * size, FLOOR_BYTES)))
        unpack = _unpack_zip if zipfile.is_zipfile(archive) else _unpack_tar
        unpack(archive, unfinished, bound, lambda done: report(min(done, size), size) if report else None)
        unfinished.rename(folder)
    except OvertoneError:
        raise
    except _BROKEN as error:
        words = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise ArchiveError(
            f"{archive}: broken or cut short, or no zip or tar archive ({words}). Nothing was unpacked."
        ) from None
    except OSError as error:
        if error.errno in _UNFIT and unfinished.is_dir():
            raise ArchiveError(
                f"{archive}: broken or cut short ({error.strerror or error}). Nothing was unpacked."
            ) from None
        raise OvertoneError(in_words(error)) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return bound.files


class _Bound:
    """What the members of an archive may not do.

    Attributes:
        files: how many have been allowed.
    """

    def __init__(self, archive: Path, most_bytes: int) -> None:
        self.files = 0
        self._archive, self._left, self._most = archive, most_bytes, most_bytes
        self._names: set[str] = set()
        self._folders: set[str] = set()

    def check(self, name: str, size: int, *, is_plain: bool, is_folder: bool) -> None:
        """Raise an `ArchiveError` unless a member may be unpacked.

        Args:
            name: its path inside the archive.
            size: its bytes as the archive declares them; the libraries unpack no more than that.
            is_plain: whether it is a file or a folder; links and devices are not.
            is_folder: whether it is a folder.
        """
        shown = repr(name if len(name) <= 80 else f"{name[:77]}...")
        if not is_plain:
            self._refuse(f"holds a link or a device ({shown}), which no corpus needs")
        parts = PurePosixPath(name).parts
        if any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
            self._refuse(f"holds a name with a control character ({shown})")
        if name.startswith("/") or "\\" in name or name[1:2] == ":" or ".." in parts:
            self._refuse(f"holds a path that leads out of its folder ({shown})")
        if len(name.encode()) > 1024 or any(len(part.encode()) > 255 for part in parts):
            self._refuse(f"holds a name that is too long ({shown})")
        self._left -= size
        if self._left < 0:
            self._refuse(f"unpacks to more than {self._most} bytes, as a decompression bomb does")
        path = PurePosixPath(unicodedata.normalize("NFC", name).casefold())
        self._folders |= {*map(str, path.parents), str(path)} if is_folder else set(map(str, path.parents))
        if is_folder:
            return
        folded = str(path)
        if folded in self._names or folded in self._folders:
            self._refuse(f"holds {shown} twice, or under names that differ only in case")
        self._names.add(folded)
        self.files += 1

    def _refuse(self, reason: str) -> None:
        raise ArchiveError(f"{self._archive}: {reason}. Nothing was unpacked.")


def _unpack_zip(archive: Path, folder: Path, bound: _Bound, report: Callable[[int], None]) -> None:
    with zipfile.ZipFile(archive) as packed:
        members = packed.infolist()
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            plain = kind in {0, stat.S_IFREG, stat.S_IFDIR}
            # The name as it stands in the archive: zipfile cuts `filename` at a NUL.
            bound.check(member.orig_filename, member.file_size, is_plain=plain, is_folder=member.is_dir())
        done = 0
        for member in members:
            packed.extract(member, folder)
            done += member.compress_size
            report(done)


def _unpack_tar(archive: Path, folder: Path, bound: _Bound, report: Callable[[int], None]) -> None:
    with archive.open("rb") as raw, tarfile.open(fileobj=raw) as packed:

        def checked() -> Iterator[tarfile.TarInfo]:
            while (member := packed.next()) is not None:
                # Otherwise the headers of all files stay in memory: several hundred MB for a large corpus.
                packed.members = []  # type: ignore[attr-defined]
                plain = (member.isfile() or member.isdir()) and not member.issparse()
                bound.check(member.name, member.size, is_plain=plain, is_folder=member.isdir())
                report(raw.tell())
                yield member

        packed.extractall(folder, members=checked(), filter="data")
        while packed.fileobj is not None and packed.fileobj.read(1 << 20):
            pass  # gzip, bzip2 and xz keep their checksums at the end
