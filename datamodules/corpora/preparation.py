"""Preparation: any folder or manifest becomes an indexed corpus, of which each file is measured once."""

import csv
import os
import re
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import log10
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from datamodules.corpora.journal import JOURNAL, Entry, Job, Journal, Measured, Result
from datamodules.corpora.manifest import (
    KINDS,
    MANIFEST,
    SPLITS,
    Listed,
    find_manifest,
    read_manifest,
    scan,
    speaker_pattern,
    split_by_speaker,
)
from datamodules.corpora.recording import measure_recording, shortest_seconds
from overtone.audio import AudioError
from overtone.audio_files.sources import SUFFIXES, THROUGH_FFMPEG
from overtone.errors import OvertoneError
from overtone.files import written_whole

REJECTED = "rejected.csv"
COLUMNS = (
    "path",
    "kind",
    "split",
    "speaker",
    "seconds",
    "sample_rate",
    "channels",
    "encoding",
    "effective_bandwidth_hz",
    "loudness_lufs",
    "peak_dbfs",
    "clipped_share",
    "licence",
    "sha256",
    "bytes",
    "modified",
)
Progress = Callable[[int, int], None]
SpeakerOf = Callable[[str], str | None]
_BATCHES_PER_PROCESS = 3
_SAME_AUDIO = "is the same audio as"
_NUMBER = re.compile(r"(?<![\w.])\d+(\.\d+)?(e[+-]?\d+)?(?!\w)")  # not the 4 of .m4a


@dataclass
class Preparation:
    """What came of it.

    Attributes:
        manifest: the table of usable files.
        measured: files measured this time.
        known: files that had been measured before, and have not changed since.
        clips: usable files.
        seconds: their duration.
        rejected: how many files were rejected for each kind of reason.
    """

    manifest: Path
    measured: int
    known: int
    clips: int = 0
    seconds: float = 0.0
    rejected: Counter[str] = field(default_factory=Counter)


def prepare(
    source: Path,
    out: Path,
    *,
    pattern: str | None = None,
    licence: str = "",
    kind: str = "speech",
    jobs: int = 1,
    progress: Progress | None = None,
) -> Preparation:
    """Measure the files of a folder or manifest and write ``manifest.csv`` and ``rejected.csv``.

    Audio is not copied: the manifest names it, relative to itself where it lies below ``out``, else with its absolute
    path. What was measured is kept in a journal in ``out``: a run that was killed goes on where it was, and the next
    one measures only files that are new or changed (another size or time of modification).

    Splits go by speaker: what the input says, else what ``out/manifest.csv`` said before, else a hash of the name
    (see `split_by_speaker`). Of files with the same audio the first by path stays, the others are rejected.

    Args:
        source: a folder, or a manifest as CSV or Parquet with the column ``path`` and, if it likes, ``kind``,
            ``speaker``, ``split``, ``licence``; further columns are kept. A folder's ``manifest.csv`` wins over its
            contents, unless the folder is ``out`` and the manifest came from here.
        out: the folder to write to.
        pattern: finds the speaker in a path, see `datamodules.corpora.manifest.speaker_pattern`; without it the
            manifest's column and the name of the folder do.
        licence: of files for which the manifest says none.
        kind: of files for which the manifest says none.
        jobs: processes; 1 measures in this one.
        progress: told how many files of how many have been measured.

    Returns:
        The manifest's place and what it holds.

    Raises:
        OvertoneError: there is no such source, no file is usable, the manifest has a mistake or lists one file twice,
            one speaker is in two splits, or another preparation is at work in ``out``.
    """
    if kind not in KINDS:
        raise OvertoneError(f"--kind {kind}: expected one of {', '.join(KINDS)}.")
    speaker_of = speaker_pattern(pattern) if pattern else None
    manifest = _manifest_of(source, out)
    with Journal(out) as journal:
        journal.forget_passing_faults()
        journal.enlist(_entries(source, manifest, out, speaker_of, licence, kind))
        for speaker, splits in journal.speakers_in_two_splits(SPLITS):
            raise OvertoneError(
                f"{source}: speaker {speaker!r} is in the splits {splits.replace(',', ', ')}; scores would flatter. "
                "Give each speaker one split."
            )
        known = journal.known()
        measured = _measure(journal, jobs, progress)
        journal.find_duplicates()
        preparation = Preparation(out / MANIFEST, measured, known)
        _write_rejected(journal, out / REJECTED, preparation)
        if next(journal.usable(), None) is None:
            raise OvertoneError(f"{source}: expected audio, found {_none_of(preparation)}")
        _write_manifest(journal, preparation)
    return preparation


def _manifest_of(source: Path, out: Path) -> Path | None:
    """Return the manifest to read, None to look into the folder."""
    manifest = find_manifest(source)
    if manifest and manifest.resolve() == (out / MANIFEST).resolve():
        if not source.is_dir() or not (out / JOURNAL).exists():
            raise OvertoneError(f"{manifest}: would be overwritten. Name another folder with --out.")
        return None
    return manifest


def _entries(
    source: Path, manifest: Path | None, out: Path, speaker_of: SpeakerOf | None, licence: str, kind: str
) -> Iterator[Entry]:
    listing = read_manifest(manifest) if manifest else scan(source, SUFFIXES)
    root, absolute_out = (
        os.path.abspath(manifest.parent if manifest else source),
        os.path.join(os.path.abspath(out), ""),
    )
    for listed in listing:
        path = os.path.abspath(listed.path)
        inside = Path(os.path.relpath(path, root)).as_posix()
        speaker = speaker_of(inside) if speaker_of else listed.speaker or _folder_name(inside)
        name = Path(path[len(absolute_out) :] if path.startswith(absolute_out) else path).as_posix()
        yield _entry(listed, name, path, speaker, licence, kind)


def _folder_name(inside: str) -> str:
    path = Path(inside)
    return path.parent.name if len(path.parts) > 1 else path.stem


def _entry(listed: Listed, name: str, path: str, speaker: str | None, licence: str, kind: str) -> Entry:
    own_kind = listed.row.get("kind") or kind
    row = dict(listed.row) | {"licence": listed.row.get("licence") or licence}
    size, modified, fault = -1, -1, None
    try:
        status = os.stat(path)
        size, modified = status.st_size, status.st_mtime_ns
    except OSError as error:
        fault = f"cannot be read ({error.strerror})"
    if speaker is None:
        fault = "does not match the speaker pattern"
    if Path(path).suffix.lower() in THROUGH_FFMPEG:
        fault = f"is {Path(path).suffix} audio, which is not read here. Convert it to FLAC or WAV."
    try:
        (name + (speaker or "")).encode()
    except UnicodeEncodeError:
        fault = "has a name that is not UTF-8. Rename it."
        name, path, speaker = (_printable(text) for text in (name, path, speaker or ""))
    return Entry(name, path, own_kind, speaker or "", listed.split, row, fault, size, modified)


def _printable(text: str) -> str:
    return os.fsencode(text).decode(errors="backslashreplace")


def _measure(journal: Journal, jobs: int, progress: Progress | None) -> int:
    total, done = journal.pending(), 0
    if progress:
        progress(0, total)
    for results in _measured(journal.batches(), min(jobs, max(total // 16, 1))):
        journal.add(results)
        done += len(results)
        if progress:
            progress(done, total)
    return total


def _measured(batches: Iterator[list[Job]], jobs: int) -> Iterator[list[Result]]:
    if jobs == 1:
        _keep_freed_memory()
        yield from map(measure_batch, batches)
        return
    unfinished: dict[Future[list[Result]], list[Job]] = {}
    while True:
        with _pool(jobs) as pool:
            try:
                yield from _in_processes(pool, batches, unfinished, jobs)
                return
            except BrokenProcessPool:
                suspects = [job for batch in unfinished.values() for job in batch]
                unfinished.clear()
        yield from _measured_one_by_one(suspects)


def _in_processes(
    pool: ProcessPoolExecutor,
    batches: Iterator[list[Job]],
    unfinished: dict[Future[list[Result]], list[Job]],
    jobs: int,
) -> Iterator[list[Result]]:
    for batch in batches:
        try:
            unfinished[pool.submit(measure_batch, batch)] = batch
        except BrokenProcessPool:
            unfinished[Future()] = batch
            raise
        if len(unfinished) >= _BATCHES_PER_PROCESS * jobs:
            yield from _finished(unfinished)
    while unfinished:
        yield from _finished(unfinished)


def _finished(unfinished: dict[Future[list[Result]], list[Job]]) -> Iterator[list[Result]]:
    for future in wait(unfinished, return_when=FIRST_COMPLETED).done:
        results = future.result()
        del unfinished[future]
        yield results


def _measured_one_by_one(suspects: Sequence[Job]) -> Iterator[list[Result]]:
    """Measure files of which one has just ended the process that read it, so that it shows which."""
    waiting = deque(suspects)
    while waiting:
        with _pool(1) as pool:
            while waiting:
                job = waiting.popleft()
                try:
                    yield pool.submit(measure_batch, [job]).result()
                except BrokenProcessPool:
                    yield [Result(job, None, "ends the program that decodes it. Write it again from its source.")]
                    break


def _pool(jobs: int) -> ProcessPoolExecutor:
    # A fresh interpreter each: a forked copy could inherit locks that the progress display's thread holds.
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_start_process)


def _start_process() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it silently; the parent prints the message
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where decoders write warnings of their own
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Free a large block once: glibc then keeps smaller ones instead of asking the system again for each array.

    Measuring short files was twice as fast for it.
    """
    np.empty(2**24, dtype=np.uint8)


def measure_batch(batch: Sequence[Job]) -> list[Result]:
    """Measure files, each of which may turn out to be anything."""
    return [_measure_one(job) for job in batch]


def _measure_one(job: Job) -> Result:
    path = Path(job.path)
    try:
        return Result(job, measure_recording(path, shortest_seconds(job.kind)))
    except AudioError as error:
        return Result(job, None, str(error).removeprefix(f"{path}: "))
    except OSError as error:
        return Result(job, None, f"cannot be read ({error.strerror or error})", lasting=False)
    except Exception as error:  # one odd file among ten thousand must not end the run
        return Result(job, None, f"cannot be measured ({type(error).__name__}: {error})", lasting=False)


def _write_rejected(journal: Journal, path: Path, preparation: Preparation) -> None:
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "reason"))
        for name, reason in journal.rejected():
            writer.writerow((name, reason))
            preparation.rejected[kind_of_reason(reason)] += 1


def kind_of_reason(reason: str) -> str:
    """Return a reason without its numbers and names, so that the same ones can be counted."""
    same_audio = reason.startswith(_SAME_AUDIO)
    return f"{_SAME_AUDIO} another file" if same_audio else _NUMBER.sub("...", reason)


def _none_of(preparation: Preparation) -> str:
    rejected = preparation.rejected
    if not rejected:
        return "none."
    return f"none usable: {rejected.total()} rejected, the first: {next(iter(rejected))} (see {REJECTED} in --out)"


def _write_manifest(journal: Journal, preparation: Preparation) -> None:
    splits = _splits(journal, preparation.manifest)
    further = _further_columns(journal)
    columns = [*COLUMNS[:3], *(name for name in further if name == "corpus"), *COLUMNS[3:]]
    columns += [name for name in further if name != "corpus"]
    with written_whole(preparation.manifest) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n", extrasaction="ignore", restval="")
        writer.writeheader()
        for measured in journal.usable():
            split = measured.split or splits[measured.kind, measured.speaker]
            writer.writerow(measured.row | _cells(measured) | {"split": split})
            preparation.clips += 1
            preparation.seconds += measured.recording.seconds


def _further_columns(journal: Journal) -> list[str]:
    """Return the input's own columns: every row of a manifest has the same."""
    first = next(journal.usable(), None)
    return [name for name in first.row if name not in COLUMNS] if first else []


def _cells(measured: Measured) -> dict[str, object]:
    recording = measured.recording
    loudness = recording.loudness_lufs
    return {
        "path": measured.name,
        "kind": measured.kind,
        "speaker": measured.speaker,
        "seconds": round(recording.seconds, 4),
        "sample_rate": recording.sample_rate,
        "channels": recording.channels,
        "encoding": recording.encoding,
        "effective_bandwidth_hz": round(recording.band_hz),
        "loudness_lufs": "" if loudness is None else f"{loudness:.2f}",
        "peak_dbfs": f"{20 * log10(recording.peak):.3f}",
        "clipped_share": f"{recording.clipped_share:.3g}",
        "sha256": recording.sha256,
        "bytes": measured.bytes,
        "modified": datetime.fromtimestamp(measured.modified / 1e9, UTC).isoformat(timespec="seconds"),
    }


def _splits(journal: Journal, manifest: Path) -> dict[tuple[str, str], str]:
    """Return the split of each speaker of each kind: given, kept from the manifest that stands there, or by hash."""
    speakers: dict[str, set[str]] = {kind: set() for kind in KINDS}
    given: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}
    for listed in read_manifest(manifest) if manifest.is_file() else ():
        if listed.kind in KINDS and listed.speaker and listed.split in SPLITS:
            given[listed.kind][listed.speaker] = listed.split
    for kind, speaker, split in journal.speakers():
        speakers.setdefault(kind, set()).add(speaker)
        if split in SPLITS:
            given.setdefault(kind, {})[speaker] = split
    splits: dict[tuple[str, str], str] = {}
    for kind, names in speakers.items():
        kept = {speaker: split for speaker, split in given.get(kind, {}).items() if speaker in names}
        splits |= {(kind, speaker): split for speaker, split in split_by_speaker(names, kept).items()}
    return splits
