"""Scoring folders of audio: any system's output against a reference, with the controls beside it."""

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from evaluation.harness import check_measures
from experiments.keys import digest, statements_reached_from
from experiments.scoring.alignment import find_delay
from experiments.scoring.folder_job import NONE, Source, Task, condition
from experiments.scoring.folder_summary import print_summary
from experiments.scoring.folder_table import ScoreTable, write_table
from experiments.scoring.folders import (
    Counterparts,
    Files,
    counterparts,
    inspect,
    named_folders,
    reference_files,
    some,
    speakers_of,
)
from experiments.scoring.journal import Entry, ScoreJournal
from experiments.scoring.rows import score
from models.baselines import build_controls
from overtone.errors import OvertoneError
from overtone.progress import Board, board, console
from overtone.worker_pool import WorkerPool

DELAY_FILES = 8  # of each folder that are listened to for a constant delay
MEASURING_PACKAGES = ("numpy", "scipy", "soundfile", "soxr", "visqol-python", "pesq", "pystoi")


@dataclass(frozen=True)
class EvaluateOptions:
    """How folders are scored.

    Attributes:
        narrowband: folder of input files, for the controls. Without it, the low-passed reference stands in.
        cutoff_hz: where the input's own content ends; without it, measures of the missing band do not apply.
        measures: keys; None for all.
        workers: processes to score in.
        align: whether a constant delay of each system is measured and removed.
        length_tolerance_ms: by how much lengths may differ; both are cut to the shorter.
        missing: whether a reference without a counterpart is a mistake, or left out for that system.
        speaker_pattern: finds the speaker in a reference's path, see `datamodules.corpora.manifest.speaker_pattern`.
    """

    narrowband: Path | None = None
    cutoff_hz: float | None = None
    measures: Sequence[str] | None = None
    workers: int = 1
    align: bool = False
    length_tolerance_ms: float = 50.0
    missing: Literal["refuse", "skip"] = "refuse"
    speaker_pattern: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """The files of an evaluation: references, systems' outputs, and the input of the controls.

    Attributes:
        references: paths by name.
        speakers: by name.
        systems: a folder each.
        narrowband: the controls' input, None where there is none.
        controls: names.
        measures: keys.
        options: how it is scored.
    """

    references: Files
    speakers: dict[str, str]
    systems: Sequence[Counterparts]
    narrowband: Counterparts | None
    controls: tuple[str, ...]
    measures: tuple[str, ...]
    options: EvaluateOptions

    @property
    def condition(self) -> str:
        """The name of the controls' input."""
        return condition(self.narrowband is not None, self.options.cutoff_hz)

    @property
    def names(self) -> tuple[str, ...]:
        """Systems, then controls."""
        return (*(system.name for system in self.systems), *self.controls)

    def items(self, system: str) -> Iterator[str]:
        """Yield the names of the references that a system or control is scored against."""
        files = {folder.name: folder.files for folder in self.systems}.get(system)
        if files is None and self.narrowband is not None:
            files = self.narrowband.files
        return (name for name in self.references if files is None or name in files)

    def task(self, name: str) -> Task:
        """Return everything that is scored against a reference."""
        inputs = None if self.narrowband is None else _source(self.narrowband, name)
        heard = self.narrowband is None or inputs is not None
        sources = {system.name: source for system in self.systems if (source := _source(system, name)) is not None}
        return Task(
            name=name,
            reference=self.references[name],
            estimates=sources,
            controls=self.controls if heard else (),
            narrowband=inputs,
            cutoff_hz=self.options.cutoff_hz,
            tolerance_seconds=self.options.length_tolerance_ms / 1000,
        )


def evaluate(reference: Path, estimates: Sequence[str], out: Path, options: EvaluateOptions) -> None:
    """Score systems' files against a reference, write the table and print its means.

    Scores are kept beside the table as they come: the same command continues where it was interrupted, and later
    scores only what is new or has changed.

    Args:
        reference: folder of target files.
        estimates: ``NAME=DIR`` for each system; files belong to the reference of the same stem.
        out: the table, .csv or .parquet; one row per system and file: ``system, file, condition``, a column per
            measure key, ``failures, not_applicable, notes``. Controls that need no training are rows too.
        options: how.

    Raises:
        OvertoneError: a folder, file, name or number is not usable; nothing is written then.
    """
    _check(out, options)
    with board() as progress:
        evaluation = _open(reference, estimates, options, progress)
        _say_what_controls_hear(evaluation, progress)
        _check_writable(out.parent)
        with ScoreJournal(out.parent / f".{out.name}.scores") as journal:
            _score(evaluation, journal, progress)
            uses = journal.count_use(*_identity(evaluation))
            speakers = evaluation.speakers if options.speaker_pattern else None
            table = ScoreTable(journal, evaluation.condition, evaluation.measures, speakers)
            write_table(table, {name: list(evaluation.items(name)) for name in evaluation.names}, out)
            common = [name for name in evaluation.references if all(name in one.files for one in evaluation.systems)]
            systems = [system.name for system in evaluation.systems]
            print_summary(table, systems, evaluation.controls, common, len(evaluation.references))
    if uses > 1:
        console.print(
            f"This reference has now scored {uses} different sets of estimates beside this table: the more choices "
            "are made by these scores, the more the best of them flatters.",
            highlight=False,
        )
    console.print(f"Table: {out}", soft_wrap=True, highlight=False, markup=False)


def _check(out: Path, options: EvaluateOptions) -> None:
    if out.suffix.lower() not in (".csv", ".parquet") or out.is_dir():
        raise OvertoneError(f"--out {out}: expected the name of a .csv file or a .parquet file.")
    if options.workers < 1:
        raise OvertoneError(f"--workers: expected at least 1, got {options.workers}.")
    if not options.length_tolerance_ms >= 0:
        raise OvertoneError(f"--length-tolerance: expected 0 ms or more, got {options.length_tolerance_ms:g}.")
    if options.measures is not None:
        check_measures(options.measures)


def _check_writable(folder: Path) -> None:
    probe = folder / f".{os.getpid()}.probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OvertoneError(f"{folder}: cannot write there ({error.strerror}). Name another file with --out.") from None


def _open(reference: Path, estimates: Sequence[str], options: EvaluateOptions, progress: Board) -> Evaluation:
    """List, pair and inspect the files."""
    named = named_folders(estimates)
    if options.narrowband is not None:
        named["--narrowband"] = options.narrowband
    apart = [folder.resolve() for folder in named.values()]
    references = reference_files(reference, apart)
    speakers = speakers_of(references, reference, options.speaker_pattern)
    folders = [counterparts(name, folder, reference, references, apart) for name, folder in named.items()]
    for folder in folders:
        _refuse_missing(folder, references, options.missing)
    for number, folder in enumerate(folders, start=1):
        folder.delay = find_delay(_spread(folder, references))
        folder.removed = options.align and folder.delay is not None and folder.delay.constant
        progress.update("compare delays", number, len(folders), folder.name)
    lines = inspect(
        references,
        folders,
        options.cutoff_hz,
        options.length_tolerance_ms / 1000,
        lambda done, total: progress.update("check files", done, total),
    )
    for line in lines:
        progress.say(line)
    narrowband = folders.pop() if options.narrowband is not None else None
    heard = condition(narrowband is not None, options.cutoff_hz) != NONE
    return Evaluation(
        references,
        speakers,
        folders,
        narrowband,
        tuple(control.name for control in build_controls()) if heard else (),
        tuple(check_measures(options.measures)),
        options,
    )


def _refuse_missing(folder: Counterparts, references: Files, missing: str) -> None:
    if not folder.files:
        raise OvertoneError(
            f"{folder.name}: none of the files in {folder.folder} has the stem of a reference, such as "
            f"{next(iter(references))!r}."
        )
    if folder.missing and missing == "refuse":
        first = folder.missing[0]
        others = f" ({some(folder.missing)})" if len(folder.missing) > 1 else ""
        raise OvertoneError(
            f"{folder.name}: {folder.folder} has no file {first!r} for {references[first]}; {len(folder.missing)} of "
            f"{len(references)} references have no counterpart{others}. --missing skip scores the others."
        )


def _spread(folder: Counterparts, references: Files) -> list[tuple[Path, Path]]:
    """Some of a folder's files, evenly spread over it, each with its reference."""
    names = list(folder.files)
    count = min(len(names), DELAY_FILES)
    chosen = (names[index * len(names) // count] for index in range(count))
    return [(Path(folder.files[name]), Path(references[name])) for name in chosen]


def _say_what_controls_hear(evaluation: Evaluation, progress: Board) -> None:
    cutoff_hz = evaluation.options.cutoff_hz
    if not evaluation.controls:
        progress.say("No controls: they need --narrowband, or --cutoff-hz to low-pass the reference at.")
    elif evaluation.narrowband is None:
        progress.say(f"Controls hear the reference low-passed at {cutoff_hz:g} Hz, because --narrowband is not given.")
    elif cutoff_hz is None:
        progress.say("Without --cutoff-hz no band counts as missing: neither its measures apply nor controls fill it.")


def _score(evaluation: Evaluation, journal: ScoreJournal, progress: Board) -> None:
    """Score what the journal does not hold yet."""
    shared = _shared_key(evaluation)
    total = sum(1 for system in evaluation.names for _ in evaluation.items(system))
    pending = sum(len(task.systems) for task in _pending(evaluation, journal, shared))
    done = total - pending
    if done:
        progress.say(f"{done} of {total} rows were scored before and are kept.")
    progress.update("score", done, total)
    with WorkerPool(min(evaluation.options.workers, max(pending, 1))) as pool:
        for found in score(_pending(evaluation, journal, shared), pool, evaluation.measures):
            name, keys = found.job.name, _keys(found.job, shared)
            journal.add(
                Entry(system, name, keys[system] if found.lasting else "", row) for system, row in found.rows.items()
            )
            done += len(found.rows)
            progress.update("score", done, total, name)


def _pending(evaluation: Evaluation, journal: ScoreJournal, shared: str) -> Iterator[Task]:
    """Yield the tasks that are left, each without what is scored already."""
    for name in evaluation.references:
        task = evaluation.task(name)
        keys = _keys(task, shared)
        left = {system for system in task.systems if not journal.holds(system, name, keys[system])}
        if left:
            yield replace(
                task,
                estimates={system: source for system, source in task.estimates.items() if system in left},
                controls=tuple(control for control in task.controls if control in left),
            )


def _source(folder: Counterparts, name: str) -> Source | None:
    path = folder.files.get(name)
    return None if path is None else Source(path, folder.delay_seconds)


def _keys(task: Task, shared: str) -> dict[str, str]:
    """Digest of all that each system's scores against a reference depend on."""
    reference = _stamp(task.reference)
    inputs = None if task.narrowband is None else (_stamp(task.narrowband.path), task.narrowband.delay_seconds)
    estimates = {
        system: digest(shared, reference, _stamp(source.path), source.delay_seconds)
        for system, source in task.estimates.items()
    }
    return estimates | dict.fromkeys(task.controls, digest(shared, reference, inputs))


def _stamp(path: str) -> list[object]:
    """Return path, size and time of the last change of a file."""
    status = os.stat(path)
    return [os.path.abspath(path), status.st_size, status.st_mtime_ns]


def _shared_key(evaluation: Evaluation) -> str:
    """Digest of what all scores depend on: settings, the sources of measures and controls, and their packages."""
    code = statements_reached_from(
        "evaluation.harness", "models.baselines", "experiments.scoring.alignment", "experiments.scoring.folder_job"
    )
    return digest(
        evaluation.condition,
        evaluation.options.cutoff_hz,
        evaluation.options.length_tolerance_ms,
        evaluation.measures,
        code,
        [_version(package) for package in MEASURING_PACKAGES],
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _identity(evaluation: Evaluation) -> tuple[str, str]:
    """Digests of the references and of the estimates, to count how often the former were used."""
    used = hashlib.sha256()
    for path in evaluation.references.values():
        used.update(repr(_stamp(path)).encode())
    scored = hashlib.sha256()
    for system in evaluation.systems:
        for path in system.files.values():
            scored.update(repr((system.name, _stamp(path))).encode())
    return used.hexdigest(), scored.hexdigest()
