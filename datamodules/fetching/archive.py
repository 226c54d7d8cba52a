"""Archives unpacked by their members' bytes alone: whole or not at all, and never outside their folder.

Nothing is left to ``extractall``: each member is read and written here, so that owners, modes (setuid), links and
devices cannot come out of an archive at all, on any Python; tarfile's own filters (3.11.4 and later) are not needed.
"""

import bz2
import errno
import gzip
import io
import lzma
import shutil
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self, cast

from overtone.errors import OvertoneError, in_words

_CHUNK_BYTES = 1 << 20
_BLOCK_BYTES = 512
_MAGIC = {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz"}
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    ValueError,
    LookupError,
    ArithmeticError,
    RuntimeError,
)

Report = Callable[[int, int], None]


class ArchiveError(OvertoneError):
    """An archive that is broken, hostile or none at all; the message names it."""


@dataclass(frozen=True)
class Limits:
    """What an archive of audio never exceeds.

    Attributes:
        expansion: unpacked bytes per packed byte; audio shrinks to a half, seldom to a fifth.
        floor_bytes: unpacked bytes that any archive may have, however small it is.
        members: files and folders.
        depth: folders within folders.
        name_bytes: of one part of a path.
        path_bytes: of a whole path.
    """

    expansion: float = 20.0
    floor_bytes: int = 8 << 20
    members: int = 2_000_000
    depth: int = 32
    name_bytes: int = 255
    path_bytes: int = 1024


class _Refused(Exception):
    """A member that no corpus has a use for."""


def extract(archive: Path, folder: Path, *, limits: Limits | None = None, report: Report | None = None) -> int:
    """Unpack an archive (zip, tar, tar.gz, tar.bz2, tar.xz; told by its contents, not its name) into a new folder.

    The members go into a temporary folder beside ``folder``, which gets its name when all of them are there. What an
    interrupted call left behind is removed by the next.

    Args:
        archive: the file to unpack.
        folder: the folder to make; it must not exist or be empty.
        limits: what the archive must not exceed.
        report: called with (packed bytes that are done, packed bytes in all).

    Returns:
        The number of files.

    Raises:
        ArchiveError: the archive is broken, encrypted or something else than an archive; it holds links, devices,
            absolute paths, ``..``, two names that are one on some systems, names that some systems cannot hold, or
            more than ``limits`` allows. Nothing stays behind.
        OvertoneError: the folder cannot be written.
    """
    unfinished = folder.with_name(f".{folder.name}.unpacking")
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        size = archive.stat().st_size
        tree = _Tree(unfinished, limits or Limits(), size)
        unpack = _unpack_zip if _kind_of(archive) == "zip" else _unpack_tar
        unpack(archive, tree, lambda done: report(done, size) if report is not None else None)
        unfinished.rename(folder)
    except _Refused as reason:
        raise ArchiveError(f"{archive}: {reason}. Nothing was unpacked.") from None
    except OSError as error:
        if error.errno in {None, errno.EINVAL}:  # so gzip, bz2 and zipfile speak of broken contents
            raise _broken(archive, error) from None
        raise OvertoneError(in_words(error)) from None
    except _BROKEN as error:
        raise _broken(archive, error) from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return tree.files


def _broken(archive: Path, error: Exception) -> ArchiveError:
    words = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
    return ArchiveError(f"{archive}: broken or cut short ({words}). Nothing was unpacked.")


def _kind_of(archive: Path) -> str:
    with archive.open("rb") as file:
        start = file.read(_BLOCK_BYTES)
    for magic, kind in _MAGIC.items():
        if start.startswith(magic):
            return kind
    if start[257:262] == b"ustar":
        return "tar"
    if not start:
        raise _Refused("is empty; expected an archive")
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise _Refused("is a web page; expected an archive")
    raise _Refused(f"begins with {start[:8]!r}; expected a zip or tar archive")


class _Tree:
    """The folder that members are written into, with all that is refused.

    Attributes:
        files: how many were written.
    """

    def __init__(self, root: Path, limits: Limits, packed_bytes: int) -> None:
        self.files = 0
        self.most_bytes = round(max(limits.expansion * packed_bytes, limits.floor_bytes))
        self._root, self._limits = root, limits
        self._written, self._members = 0, 0
        self._names: set[str] = set()
        self._folders: set[str] = set()

    def count(self, members: int) -> None:
        """Refuse more members than an archive may have."""
        self._members += members
        if self._members > self._limits.members:
            raise _Refused(f"holds more than {self._limits.members} files and folders")

    def check_size(self, unpacked_bytes: int) -> None:
        """Refuse more bytes than an archive of this size may hold."""
        if unpacked_bytes > self.most_bytes:
            raise _Refused(f"unpacks to more than {self.most_bytes} bytes, as a decompression bomb does")

    def add_folder(self, name: str) -> None:
        """Make a folder."""
        parts = self._parts_of(name)
        self._claim(parts, is_folder=True)
        self._root.joinpath(*parts).mkdir(parents=True, exist_ok=True)

    def add_file(self, name: str, size: int, source: IO[bytes]) -> None:
        """Write a file of ``size`` bytes."""
        parts = self._parts_of(name)
        if not parts:
            raise _Refused(f"holds a file without a name ({name!r})")
        self._claim(parts, is_folder=False)
        self.check_size(self._written + size)
        path = self._root.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with path.open("xb") as target:
            while chunk := source.read(_CHUNK_BYTES):
                written += len(chunk)
                self.check_size(self._written + written)
                target.write(chunk)
        if written != size:
            raise _Refused(f"says that {_short(name)} has {size} bytes, but it has {written}")
        self._written += written
        self.files += 1

    def _parts_of(self, name: str) -> list[str]:
        """Return the parts of a member's name if every system can hold it below a folder."""
        shown = _short(name)
        if "\\" in name or any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
            raise _Refused(f"holds a name with a backslash or a control character ({shown})")
        if name.startswith("/") or name[1:2] == ":":
            raise _Refused(f"holds an absolute path ({shown})")
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if ".." in parts:
            raise _Refused(f"holds a path that leads out of its folder ({shown})")
        if len(parts) > self._limits.depth or len(name.encode()) > self._limits.path_bytes:
            raise _Refused(f"holds a path that is too long or too deep ({shown})")
        if any(len(part.encode()) > self._limits.name_bytes for part in parts):
            raise _Refused(f"holds a name that is too long ({shown})")
        return parts

    def _claim(self, parts: list[str], *, is_folder: bool) -> None:
        """Refuse two members that are one file where upper and lower case, or forms of accents, are the same."""
        folded = unicodedata.normalize("NFC", "/".join(parts)).casefold()
        parents = [folded[:index] for index, character in enumerate(folded) if character == "/"]
        if not is_folder and (folded in self._names or folded in self._folders):
            raise _Refused(f"holds {_short('/'.join(parts))} twice, or under names that differ only in case")
        for folder in [*parents, folded] if is_folder else parents:
            if folder in self._names:
                raise _Refused(f"holds {_short('/'.join(parts))}, a file and a folder of the same name")
            self._folders.add(folder)
        if not is_folder:
            self._names.add(folded)


def _short(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:77]}...")


def _unpack_zip(archive: Path, tree: _Tree, report: Callable[[int], None]) -> None:
    with zipfile.ZipFile(archive) as packed:
        members = packed.infolist()
        tree.count(len(members))
        tree.check_size(sum(member.file_size for member in members))
        done = 0
        for member in members:
            _refuse_special(member)
            # The name as it stands in the archive: zipfile cuts `filename` at a NUL.
            if member.orig_filename.endswith("/"):
                tree.add_folder(member.orig_filename)
            else:
                with packed.open(member) as source:
                    tree.add_file(member.orig_filename, member.file_size, source)
            done += member.compress_size
            report(done)


def _refuse_special(member: zipfile.ZipInfo) -> None:
    if member.flag_bits & 0x1:
        raise _Refused(f"is encrypted ({_short(member.orig_filename)})")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise _Refused(f"holds a link or a device ({_short(member.orig_filename)}), which no corpus needs")


class _StrictHeader(tarfile.TarInfo):
    """A header of which only a block of zeros ends the archive; tarfile takes a damaged or missing one for the end."""

    @classmethod
    def fromtarfile(cls, packed: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(packed)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} before the archive's end") from None


class _Bounded(io.RawIOBase):
    """A decompressed stream that is refused where it grows beyond the tree's bound."""

    def __init__(self, source: IO[bytes], tree: _Tree) -> None:
        self._source, self._tree = source, tree
        self._read = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        chunk = self._source.read(_CHUNK_BYTES if size < 0 else min(size, _CHUNK_BYTES))
        self._read += len(chunk)
        self._tree.check_size(self._read - tarfile.RECORDSIZE)
        return chunk

    def drain(self) -> None:
        """Read to the end, where gzip, bzip2 and xz keep their checksums."""
        while self.read():
            pass


def _unpack_tar(archive: Path, tree: _Tree, report: Callable[[int], None]) -> None:
    kind = _kind_of(archive)
    with archive.open("rb") as raw, _decompressed(raw, kind) as plain:
        stream = _Bounded(plain, tree)
        # "r|": one pass from front to back, without seeking.
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictHeader) as packed:
            while (member := packed.next()) is not None:
                # Otherwise the headers of all files stay in memory: several hundred MB for a large corpus.
                packed.members = []  # type: ignore[attr-defined]
                tree.count(1)
                _add_member(packed, member, tree)
                report(raw.tell())
        stream.drain()


def _decompressed(raw: IO[bytes], kind: str) -> IO[bytes]:
    if kind == "gz":
        return cast(IO[bytes], gzip.open(raw))
    if kind == "bz2":
        return bz2.BZ2File(raw)
    return lzma.LZMAFile(raw) if kind == "xz" else raw


def _add_member(packed: tarfile.TarFile, member: tarfile.TarInfo, tree: _Tree) -> None:
    if member.isdir():
        tree.add_folder(member.name)
        return
    if not member.isfile() or member.issparse():
        raise _Refused(f"holds a link, a device or a sparse file ({_short(member.name)}), which no corpus needs")
    source = packed.extractfile(member)
    assert source is not None  # only links and devices have no contents
    with source:
        tree.add_file(member.name, member.size, source)
