"""Lists of audio files: what a folder holds, or the rows of a manifest."""

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from overtone.audio_files.sources import SUFFIXES, THROUGH_FFMPEG
from overtone.errors import OvertoneError

SPLITS = ("train", "val", "test")
KINDS = ("speech", "noise", "music", "impulse_response")
MANIFEST = "manifest.csv"
VAL_SHARE, TEST_SHARE = 0.1, 0.2
READABLE_SUFFIXES = SUFFIXES - THROUGH_FFMPEG


@dataclass(frozen=True)
class Listed:
    """A file that a folder or a manifest names, not looked at yet.

    Attributes:
        path: where it should lie.
        kind: one of `KINDS`, or whatever a manifest says.
        speaker: whom it belongs to; None where that is not known.
        split: as a manifest says, None where it does not.
        row: the manifest's row; empty for a file of a folder.
    """

    path: Path
    kind: str
    speaker: str | None
    split: str | None
    row: Mapping[str, str] = field(default_factory=dict)


def find_manifest(source: Path) -> Path | None:
    """Return the manifest that a source is or holds, None for a folder without one.

    Raises:
        OvertoneError: there is no such source, or it is a file of another kind.
    """
    if source.is_dir():
        inside = source / MANIFEST
        return inside if inside.is_file() else None
    if not source.exists():
        raise OvertoneError(f"{source}: no such folder or manifest.")
    if source.suffix.lower() not in {".csv", ".parquet"}:
        raise OvertoneError(f"{source}: expected a folder or a manifest (.csv, .parquet), got a {source.suffix} file.")
    return source


def scan(folder: Path, suffixes: Iterable[str] = READABLE_SUFFIXES) -> Iterator[Listed]:
    """List the audio files below a folder as speech, each spoken by the folder that it lies in.

    A file in ``folder`` itself is a speaker of its own. Links to folders are followed, each folder is visited once;
    hidden files and folders are left out.

    Args:
        folder: to search.
        suffixes: of audio files, in lower case, with the dot.
    """
    wanted = frozenset(suffixes)
    visited: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if os.path.splitext(name)[1].lower() in wanted and not name.startswith("."):
                path = Path(place, name)
                yield Listed(path, "speech", path.stem if path.parent == folder else path.parent.name, None)


def read_manifest(manifest: Path) -> Iterator[Listed]:
    """List the rows of a manifest: CSV or Parquet with the column ``path``, relative to the manifest.

    Raises:
        OvertoneError: it cannot be read, lacks the column ``path``, or a row has no path.
    """
    for number, row in enumerate(_rows(manifest), start=1):
        if not row["path"]:
            raise OvertoneError(f"{manifest}: row {number} has no path.")
        yield Listed(
            path=manifest.parent / row["path"],
            kind=row.get("kind") or "speech",
            speaker=row.get("speaker") or None,
            split=row.get("split") or None,
            row=row,
        )


def _rows(manifest: Path) -> Iterator[dict[str, str]]:
    reader = _parquet_rows if manifest.suffix.lower() == ".parquet" else _csv_rows
    first = True
    try:
        for row in reader(manifest):
            if first and "path" not in row:
                raise OvertoneError(f"{manifest}: expected the columns path and speaker, got {', '.join(row)}.")
            first = False
            yield row
    except OvertoneError:
        raise
    except (ValueError, OSError, ImportError, csv.Error) as error:
        raise OvertoneError(f"{manifest}: not readable as a manifest ({error}).") from None


def _csv_rows(manifest: Path) -> Iterator[dict[str, str]]:
    with manifest.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, restval="")
        for row in reader:
            if None in row:
                raise ValueError(f"line {reader.line_num} has more cells than the header")
            yield row


def _parquet_rows(manifest: Path) -> Iterator[dict[str, str]]:
    from pyarrow.parquet import ParquetFile

    with ParquetFile(manifest) as file:
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                # A missing number is NaN where pandas wrote the table.
                yield {name: "" if value is None or value != value else str(value) for name, value in row.items()}


def speaker_pattern(pattern: str) -> Callable[[str], str | None]:
    """Return a function that finds the speaker in a path relative to the corpus, with forward slashes.

    Args:
        pattern: a regular expression with a group named ``speaker``, searched for anywhere in the path, or a template
            of the whole path such as ``{corpus}/{speaker}/*.wav``: a name in braces or ``*`` stands for anything
            within one folder's or file's name, ``**`` for any number of folders.

    Returns:
        The function; it returns None where the pattern does not match.

    Raises:
        OvertoneError: the pattern names no speaker, or is no regular expression.

    Examples:
        >>> speaker_pattern("{speaker}/*.wav")("ann/1.wav")
        'ann'
    """
    if "(?P<" not in pattern and "{speaker}" in pattern:
        parts = re.split(r"(\{\w+\}|\*\*/?|\*)", pattern)
        expression = "^" + "".join(map(_template_part, parts)) + "$"
    else:
        expression = pattern
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise OvertoneError(f"--speaker-pattern {pattern!r}: not a regular expression ({error}).") from None
    if "speaker" not in compiled.groupindex:
        raise OvertoneError(
            f"--speaker-pattern {pattern!r}: expected a group (?P<speaker>...) or a template with {{speaker}}."
        )

    def find(path: str) -> str | None:
        found = compiled.search(path)
        return found["speaker"] or None if found else None

    return find


def _template_part(part: str) -> str:
    if part == "{speaker}":
        return "(?P<speaker>[^/]+)"
    if part.startswith("**"):
        return "(?:.*/)?" if part.endswith("/") else ".*"
    if part == "*":
        return "[^/]*"
    return "[^/]+" if part.startswith("{") else re.escape(part)


def split_by_speaker(speakers: Iterable[str], given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Distribute speakers over train, val and test, 70 : 10 : 20, by a hash of each one's name.

    A speaker's split does not depend on the others, so it stays when speakers are added, with one exception: where
    three speakers or more leave a split empty, the speaker nearest to it by hash, among those of splits that can
    spare one, moves there.

    Args:
        speakers: names.
        given: speakers whose split is decided already; they stay.

    Returns:
        The split of every speaker, those given included.
    """
    decided = dict(given or {})
    place = {speaker: _hash_share(speaker) for speaker in speakers if speaker not in decided}
    splits = decided | {speaker: _split_at(share) for speaker, share in place.items()}
    if len(splits) < len(SPLITS):
        return _filled_in_order(splits, place)
    middle = {"train": 0.0, "val": 1 - TEST_SHARE - VAL_SHARE / 2, "test": 1.0}
    for name in SPLITS:
        if name in splits.values():
            continue
        sizes = {other: list(splits.values()).count(other) for other in SPLITS}
        spare = [speaker for speaker in place if sizes[splits[speaker]] > 1]
        if spare:
            splits[min(spare, key=lambda speaker: (abs(place[speaker] - middle[name]), speaker))] = name
    return splits


def _filled_in_order(splits: dict[str, str], place: Mapping[str, float]) -> dict[str, str]:
    """Put one or two speakers without a given split into train: they are too few for three splits."""
    return {speaker: "train" if speaker in place else split for speaker, split in splits.items()}


def _hash_share(speaker: str) -> float:
    return int.from_bytes(sha256(speaker.encode()).digest()[:8]) / 2**64


def _split_at(share: float) -> str:
    if share < 1 - VAL_SHARE - TEST_SHARE:
        return "train"
    return "val" if share < 1 - TEST_SHARE else "test"
