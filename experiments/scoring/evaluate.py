"""Scoring folders of audio: any system's output against a reference, with the controls beside it."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from evaluation.harness import STATE_COLUMNS, check_measures
from evaluation.measures.catalogue import MEASURES
from evaluation.measures.declaration import Measure
from evaluation.measures.stft import NotApplicable
from experiments.keys import digest, digest_with_own_measures
from experiments.runs import check_writable
from experiments.scoring.alignment import find_delay
from experiments.scoring.folder_job import NONE, Evaluation, Source, Task, condition
from experiments.scoring.folder_summary import print_summary
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
from experiments.scoring.rows import NOTES, score
from models.baselines import build_controls
from overtone.errors import OvertoneError
from overtone.files import refuse_overwriting, written_whole
from overtone.progress import Board, board, console
from overtone.worker_pool import WorkerPool

DELAY_FILES = 8  # of each folder that are listened to for a constant delay
MEASURING_PACKAGES = ("numpy", "scipy", "soundfile", "soxr", "visqol-python", "pesq", "pystoi")
TABLE = "table"  # the journal's entry with the digest of the table


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
        overwrite: whether a table that was not written here is replaced.
    """

    narrowband: Path | None = None
    cutoff_hz: float | None = None
    measures: Sequence[str] | None = None
    workers: int = 1
    align: bool = False
    length_tolerance_ms: float = 50.0
    missing: Literal["refuse", "skip"] = "refuse"
    speaker_pattern: str | None = None
    overwrite: bool = False


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
    kept = out.parent / f".{out.name}.scores"
    refuse_overwriting(out, own=kept.exists(), overwrite=options.overwrite)
    with board() as progress:
        evaluation = _open(reference, estimates, options, progress)
        _say_what_controls_hear(evaluation, options, progress)
        check_writable(out.parent, "Name another file with --out.")
        with ScoreJournal(kept) as journal:
            own = out.is_file() and journal.holds("", TABLE, _digest_of(out))
            refuse_overwriting(out, own=own, overwrite=options.overwrite)
            _score(evaluation, options, journal, progress)
            uses = _count_use(evaluation, journal)
            table = _table(evaluation, journal)
            _write(table, out, journal)
        print_summary(table, evaluation)
    if uses > 1:
        console.print(
            f"This reference has now scored {uses} different sets of estimates beside this table: the more choices "
            "are made by these scores, the more the best of them flatters.",
            highlight=False,
        )
    console.print(f"Table: {out}", soft_wrap=True, highlight=False, markup=False)


def _check(out: Path, options: EvaluateOptions) -> None:
    """Raise unless all is well that can be told before a file is opened."""
    if out.suffix.lower() not in (".csv", ".parquet") or out.is_dir():
        raise OvertoneError(f"--out {out}: expected the name of a .csv file or a .parquet file.")
    if out.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise OvertoneError("--out: Parquet needs pyarrow. Install it, or name a .csv file.")
    if options.workers < 1:
        raise OvertoneError(f"--workers: expected at least 1, got {options.workers}.")
    if not options.length_tolerance_ms >= 0:
        raise OvertoneError(f"--length-tolerance: expected 0 ms or more, got {options.length_tolerance_ms:g}.")
    for key in check_measures(options.measures) if options.measures is not None else ():
        if "block_samples" in MEASURES[key].arguments:
            raise OvertoneError(f"--measures {key}: needs a model's block length, which files do not tell.")
        if options.cutoff_hz is None and _needs_cutoff(MEASURES[key]):
            raise OvertoneError(f"--measures {key}: needs --cutoff-hz, where the input's own content ends.")


def _needs_cutoff(measure: Measure) -> bool:
    """Return whether a measure applies to nothing where the cutoff is not known."""
    if "cutoff_hz" not in measure.arguments:
        return False
    noise = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    try:
        measure(preds=noise, target=noise, sample_rate=16000, cutoff_hz=None, band_hz=8000.0, block_samples=None)
    except NotApplicable:
        return True
    return False


def _open(reference: Path, estimates: Sequence[str], options: EvaluateOptions, progress: Board) -> Evaluation:
    """List, pair and inspect the files."""
    named = named_folders(estimates)
    if options.narrowband is not None:
        named["--narrowband"] = options.narrowband
    apart = [folder.resolve() for folder in named.values()]
    references = reference_files(reference, apart)
    speakers = speakers_of(references, reference, options.speaker_pattern)
    folders = [counterparts(name, folder, reference, references, apart) for name, folder in named.items()]
    if options.missing == "refuse":
        for folder in folders:
            _refuse_missing(folder, references)
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
    return _evaluation(references, folders, speakers if options.speaker_pattern else None, options)


def _evaluation(
    references: Files, folders: list[Counterparts], speakers: Mapping[str, str] | None, options: EvaluateOptions
) -> Evaluation:
    narrowband = folders.pop() if options.narrowband is not None else None
    name_of_input = condition(narrowband is not None, options.cutoff_hz)
    controls = tuple(control.name for control in build_controls()) if name_of_input != NONE else ()
    tasks = []
    for name, path in references.items():
        inputs = None if narrowband is None else _source(narrowband, name)
        sources = {folder.name: source for folder in folders if (source := _source(folder, name)) is not None}
        heard = controls if narrowband is None or inputs is not None else ()
        tasks.append(Task(name, path, sources, heard, inputs, options.cutoff_hz, options.length_tolerance_ms / 1000))
    systems = [folder.name for folder in folders]
    return Evaluation(tasks, systems, controls, check_measures(options.measures), name_of_input, speakers)


def _source(folder: Counterparts, name: str) -> Source | None:
    path = folder.files.get(name)
    return None if path is None else Source(path, folder.delay_seconds)


def _refuse_missing(folder: Counterparts, references: Files) -> None:
    if folder.missing:
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


def _say_what_controls_hear(evaluation: Evaluation, options: EvaluateOptions, progress: Board) -> None:
    if not evaluation.controls:
        progress.say("No controls: they need --narrowband, or --cutoff-hz to low-pass the reference at.")
    elif options.narrowband is None:
        hz = options.cutoff_hz
        progress.say(f"Controls hear the reference low-passed at {hz:g} Hz, because --narrowband is not given.")
    elif options.cutoff_hz is None:
        progress.say("Without --cutoff-hz no band counts as missing: neither its measures apply nor controls fill it.")


def _score(evaluation: Evaluation, options: EvaluateOptions, journal: ScoreJournal, progress: Board) -> None:
    """Score what the journal does not hold yet."""
    shared = _shared_key(evaluation, options)
    keys = {task.name: _keys(task, shared) for task in evaluation.tasks}
    total = sum(map(len, keys.values()))
    tasks = [_left(task, keys[task.name], journal) for task in evaluation.tasks]
    pending = sum(len(task.systems) for task in tasks)
    done = total - pending
    if done:
        progress.say(f"{done} of {total} rows were scored before and are kept.")
    progress.update("score", done, total)
    with WorkerPool(min(options.workers, max(pending, 1))) as pool:
        for found in score((task for task in tasks if task.systems), pool, evaluation.measures):
            name = found.job.name
            journal.add(
                Entry(system, name, keys[name][system] if found.lasting else "", row)
                for system, row in found.rows.items()
            )
            done += len(found.rows)
            progress.update("score", done, total, name)


def _left(task: Task, keys: Mapping[str, str], journal: ScoreJournal) -> Task:
    """Return a task without what is scored already."""
    left = {system for system in task.systems if not journal.holds(system, task.name, keys[system])}
    return replace(
        task,
        estimates={system: source for system, source in task.estimates.items() if system in left},
        controls=tuple(control for control in task.controls if control in left),
    )


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


def _shared_key(evaluation: Evaluation, options: EvaluateOptions) -> str:
    """Digest of what all scores depend on: settings, the sources of measures and controls, and their packages."""
    code = digest_with_own_measures(
        "evaluation.harness", "models.baselines", "experiments.scoring.alignment", "experiments.scoring.folder_job"
    )
    settings = (evaluation.condition, options.cutoff_hz, options.length_tolerance_ms, evaluation.measures)
    return digest(*settings, code, [_version(package) for package in MEASURING_PACKAGES])


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _count_use(evaluation: Evaluation, journal: ScoreJournal) -> int:
    """Note which estimates the references scored; return how many different sets of them they have scored."""
    references = digest([_stamp(task.reference) for task in evaluation.tasks])
    sources = [(system, source) for task in evaluation.tasks for system, source in task.estimates.items()]
    estimates = digest([(system, _stamp(source.path)) for system, source in sources])
    journal.add([Entry("", f"{references} {estimates}", references, {})])
    return journal.count(references)


def _table(evaluation: Evaluation, journal: ScoreJournal) -> pd.DataFrame:
    """Return the rows of all systems, each in the order of the references."""
    speakers = evaluation.speakers
    rows = []
    for system in evaluation.names:
        for task in evaluation.tasks:
            if system in task.systems:
                own = {"system": system, "file": task.name, "condition": evaluation.condition}
                own |= {"speaker": speakers[task.name]} if speakers is not None else {}
                rows.append((journal.find(system, task.name) or {}) | own)
    speaker = [] if speakers is None else ["speaker"]
    columns = ["system", "file", *speaker, "condition", *evaluation.measures, *STATE_COLUMNS, NOTES]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(evaluation.measures, float))


def _write(table: pd.DataFrame, out: Path, journal: ScoreJournal) -> None:
    """Write the table, whole or not at all, and note in the journal what it is, so that it may be replaced later."""
    with written_whole(out) as temporary:
        (table.to_csv if out.suffix.lower() == ".csv" else table.to_parquet)(temporary, index=False)
        journal.add([Entry("", TABLE, _digest_of(temporary), {})])


def _digest_of(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
