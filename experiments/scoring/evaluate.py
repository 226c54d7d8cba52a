"""Scoring folders of audio: any system's output against a reference, with the controls beside it."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd

from evaluation.harness import STATE_COLUMNS, Row, check_measures, settled
from evaluation.measures.catalogue import MEASURES
from evaluation.measures.declaration import Measure
from evaluation.measures.stft import NotApplicable
from experiments.keys import digest, digest_with_own_measures, file_stamp
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
from experiments.scoring.journal import ScoreJournal, score_journal
from experiments.scoring.options import EvaluateOptions
from experiments.scoring.rows import NOTES, score
from models.baselines import build_controls
from overtone.errors import OvertoneError
from overtone.files import refuse_overwriting, written_whole
from overtone.progress import Board, board, console
from overtone.worker_pool import WorkerPool, available_cores

DELAY_FILES = 8  # of each folder that are listened to for a constant delay
MEASURING_PACKAGES = ("numpy", "scipy", "soundfile", "soxr", "visqol-python", "pesq", "pystoi")
TABLE = "table "  # what the journal's key of a table that was written here begins with


def evaluate(options: EvaluateOptions) -> None:
    """Score systems' files against a reference, write the table and print its means.

    The table has one row per system and file: ``system, file, condition``, a column per measure key, ``failures,
    not_applicable, notes``. Controls that need no training are rows too. Scores are kept beside the table as they
    come: the same command continues where it was interrupted, and later scores only what is new or has changed.

    Args:
        options: what is scored, and how.

    Raises:
        OvertoneError: a folder, file, name or number is not usable; nothing is written then.
    """
    _check(options)
    out = options.out
    kept = out.parent / f".{out.name}.scores"
    refuse_overwriting(out, own=kept.exists(), overwrite=options.overwrite)
    with board() as progress:
        evaluation = _open(options, progress)
        _say_what_controls_hear(evaluation, options, progress)
        check_writable(out.parent, "Name another file with --out.")
        with score_journal(kept) as journal:
            own = out.is_file() and TABLE + _digest_of(out) in journal.rows
            refuse_overwriting(out, own=own, overwrite=options.overwrite)
            table = _table(evaluation, _score(evaluation, options, journal, progress))
            with written_whole(out) as temporary:
                (table.to_csv if out.suffix.lower() == ".csv" else table.to_parquet)(temporary, index=False)
                journal.add(TABLE + _digest_of(temporary), {})
        print_summary(table, evaluation)
    console.print(f"Table: {out}", soft_wrap=True, highlight=False, markup=False)


def _check(options: EvaluateOptions) -> None:
    """Raise unless all is well that can be told before a file is opened."""
    out = options.out
    if out.suffix.lower() not in (".csv", ".parquet") or out.is_dir():
        raise OvertoneError(f"--out {out}: expected the name of a .csv file or a .parquet file.")
    if out.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise OvertoneError("--out: Parquet needs pyarrow. Install it, or name a .csv file.")
    if options.band_hz and options.cutoff_hz and options.band_hz <= options.cutoff_hz:
        raise OvertoneError(
            f"--band-hz: expected more than --cutoff-hz, {options.cutoff_hz:g}, got {options.band_hz:g}: the missing "
            "band lies between the two."
        )
    for key in check_measures(options.measures) if options.measures else ():
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


def _open(options: EvaluateOptions, progress: Board) -> Evaluation:
    """List, pair and inspect the files."""
    named = named_folders(options.estimate)
    if options.narrowband is not None:
        named["--narrowband"] = options.narrowband
    apart = [folder.resolve() for folder in named.values()]
    references = reference_files(options.reference, apart)
    pattern = options.speaker_pattern
    speakers = None if pattern is None else speakers_of(references, options.reference, pattern)
    folders = [counterparts(name, folder, references, apart) for name, folder in named.items()]
    if options.missing == "refuse":
        for folder in folders:
            _refuse_missing(folder, references)
    for number, folder in enumerate(folders, start=1):
        folder.delay = find_delay(_some_pairs(folder, references))
        folder.removed = options.align and folder.delay is not None and folder.delay.constant
        progress.update("compare delays", number, len(folders), folder.name)
    tolerance_seconds = options.length_tolerance / 1000
    for line in inspect(
        references,
        folders,
        options.cutoff_hz,
        tolerance_seconds,
        lambda done, total: progress.update("check files", done, total),
    ):
        progress.say(line)
    inputs = folders.pop() if options.narrowband is not None else None
    name_of_input = condition(inputs is not None, options.cutoff_hz)
    controls = tuple(control.name for control in build_controls()) if name_of_input != NONE else ()
    tasks = []
    for name, path in references.items():
        narrowband = None if inputs is None else _source(inputs, name)
        sources = {folder.name: source for folder in folders if (source := _source(folder, name)) is not None}
        heard = controls if inputs is None or narrowband is not None else ()
        bands = (options.cutoff_hz, options.band_hz)
        tasks.append(Task(name, path, sources, heard, narrowband, *bands, tolerance_seconds))
    measures = check_measures(options.measures or None)
    return Evaluation(tasks, [folder.name for folder in folders], controls, measures, name_of_input, speakers)


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


def _some_pairs(folder: Counterparts, references: Files) -> Iterator[tuple[Path, Path]]:
    """Some of a folder's files, evenly spread over it, each with its reference."""
    names = list(folder.files)
    count = min(len(names), DELAY_FILES)
    for index in range(count):
        name = names[index * len(names) // count]
        yield Path(folder.files[name]), Path(references[name])


def _say_what_controls_hear(evaluation: Evaluation, options: EvaluateOptions, progress: Board) -> None:
    if not evaluation.controls:
        progress.say("No controls: they need --narrowband, or --cutoff-hz to low-pass the reference at.")
    elif options.narrowband is None:
        hz = options.cutoff_hz
        progress.say(f"Controls hear the reference low-passed at {hz:g} Hz, because --narrowband is not given.")
    elif options.cutoff_hz is None:
        progress.say("Without --cutoff-hz no band counts as missing: neither its measures apply nor controls fill it.")


def _score(
    evaluation: Evaluation, options: EvaluateOptions, journal: ScoreJournal, progress: Board
) -> dict[tuple[str, str], Row]:
    """Score what the journal does not hold yet; return all rows by system and reference."""
    keys = _keys(evaluation, options)
    rows = {name: journal.rows[key] for name, key in keys.items() if key in journal.rows}
    left = len(keys) - len(rows)
    if rows:
        progress.say(f"{len(rows)} of {len(keys)} rows were scored before and are kept.")
    progress.update("score", len(rows), len(keys))
    tasks = (
        task.only({system for system in task.systems if (system, task.name) not in rows}) for task in evaluation.tasks
    )
    with WorkerPool(min(options.workers or available_cores(), max(left, 1))) as pool:
        for task, scores, lasting in score((task for task in tasks if task.systems), pool, evaluation.measures):
            for system, row in scores.items():
                rows[system, task.name] = row
                if lasting:
                    journal.add(keys[system, task.name], row)
            progress.update("score", len(rows), len(keys), task.name)
    return rows


def _keys(evaluation: Evaluation, options: EvaluateOptions) -> dict[tuple[str, str], str]:
    """Digests of all that scores depend on, by system and reference: files, settings, code and its packages."""
    code = digest_with_own_measures(
        "evaluation.harness", "models.baselines", "experiments.scoring.alignment", "experiments.scoring.folder_job"
    )
    settings = (evaluation.condition, options.cutoff_hz, options.length_tolerance, evaluation.measures)
    shared = digest(*settings, options.band_hz, code, [version(package) for package in MEASURING_PACKAGES])
    keys = {}
    for task in evaluation.tasks:
        parts = (shared, file_stamp(os.path.abspath(task.reference)))
        for system, source in task.estimates.items():
            keys[system, task.name] = digest(*parts, *_source_key(source))
        inputs = _source_key(task.narrowband) if task.narrowband is not None else []
        keys |= {(control, task.name): digest(*parts, *inputs, control) for control in task.controls}
    return keys


def _source_key(source: Source) -> list[object]:
    return [file_stamp(os.path.abspath(source.path)), source.delay_seconds]


def _table(evaluation: Evaluation, rows: Mapping[tuple[str, str], Row]) -> pd.DataFrame:
    """Return the rows of all systems, each in the order of the references."""
    speakers = evaluation.speakers
    listed: list[Row] = []
    for system in (*evaluation.systems, *evaluation.controls):
        of_system = []
        for task in evaluation.tasks:
            if system in task.systems:
                own = {"system": system, "file": task.name, "condition": evaluation.condition}
                own |= {"speaker": speakers[task.name]} if speakers is not None else {}
                of_system.append(rows[system, task.name] | own)
        listed += settled(of_system, evaluation.measures)
    speaker = [] if speakers is None else ["speaker"]
    columns = ["system", "file", *speaker, "condition", *evaluation.measures, *STATE_COLUMNS, NOTES]
    return pd.DataFrame(listed, columns=columns).astype(dict.fromkeys(evaluation.measures, float))


def _digest_of(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
