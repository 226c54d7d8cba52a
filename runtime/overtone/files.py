"""Writing files so that an interrupted program never leaves half of one under its final name."""

import glob
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from overtone.errors import OvertoneError

LONGEST_STEM = 200  # bytes


def refuse_overwriting(path: Path, *, own: bool = False, overwrite: bool = False) -> None:
    """Raise unless a file may be written: it is not there, this program has made it, or the user permits it.

    Args:
        path: the file.
        own: whether this program can show that it has made what is there.
        overwrite: whether the user permits to replace it.

    Raises:
        OvertoneError: it would replace what somebody else has made.
    """
    if path.exists() and not own and not overwrite:
        raise OvertoneError(f"{path}: exists. Replace it with --overwrite, or choose another --out.")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` and rename it to ``path`` when the block ends without error.

    The suffix is kept, since many writers choose their format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{_short_stem(path)}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_parts(path: Path) -> None:
    """Remove what a process that was killed inside `written_whole` has left of ``path``."""
    for part in path.parent.glob(f".{glob.escape(_short_stem(path))}.*.part{glob.escape(path.suffix)}"):
        part.unlink(missing_ok=True)


def _short_stem(path: Path) -> str:
    """Return a name's stem, where it is too long for additions (255 bytes in all) its begin and its digest."""
    stem = os.fsencode(path.stem)
    if len(stem) <= LONGEST_STEM:
        return path.stem
    return os.fsencode(path.stem)[: LONGEST_STEM - 20].decode(errors="ignore") + hashlib.sha256(stem).hexdigest()[:20]
