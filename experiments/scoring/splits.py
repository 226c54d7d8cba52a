"""Scores of systems on a split, computed once and kept under a key; utterances come and go, none is kept."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from evaluation.contracts import System, Utterance
from evaluation.harness import STATE_COLUMNS, Row, check_measures
from experiments.keys import digest, scoring_code
from experiments.scoring.external import Estimates
from experiments.scoring.journal import score_journal
from experiments.scoring.rows import EstimatesJob, Pair, Unusable, score, score_table
from overtone.files import written_whole
from overtone.worker_pool import WorkerPool

TEXT_COLUMNS = ("system", "file", "speaker", "condition", *STATE_COLUMNS)


class Utterances:
    """Utterances that are made again for each iteration, so that none has to be kept.

    Args:
        make: begins to make them, always the same ones in the same order.
        count: how many there are.
    """

    def __init__(self, make: Callable[[], Iterator[Utterance]], count: int) -> None:
        self._make = make
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Utterance]:
        return self._make()

    def find(self, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], Utterance]:
        """Return those of some files and conditions, by these, in one pass that ends with the last of them."""
        left, found = set(wanted), {}
        for utterance in self._make() if left else ():
            name = (utterance.file, utterance.condition)
            if name in left:
                found[name] = utterance
                left.remove(name)
                if not left:
                    break
        return found


@dataclass(frozen=True)
class ScoredSplit:
    """The utterances of a split, and what identifies their scores."""

    name: str
    utterances: Utterances
    key: str


@dataclass(frozen=True)
class ScoringTask:
    """A system to be scored.

    Attributes:
        name: for the column ``system``.
        load: makes the system; not called when its scores are there.
        folder: where its table is kept.
        seed: of its training; NaN for a control and for a system from outside.
    """

    name: str
    load: Callable[[], System | Estimates]
    folder: Path
    seed: float = math.nan


def split_key(split: str, conditions: object, data_digest: str) -> str:
    """Return a key that changes when scores on this split may change for another reason than the model.

    Args:
        split: its name.
        conditions: its degradations, as plain values.
        data_digest: of the corpus.
    """
    return digest(split, conditions, data_digest, scoring_code())


def table_path(folder: Path, split: ScoredSplit) -> Path:
    """Return the path of a system's score table on a split.

    Args:
        folder: where the system's files are.
        split: what is scored.
    """
    return folder / f"scores-{split.name}-{split.key}.csv"


def scored(
    pool: WorkerPool,
    tasks: Sequence[ScoringTask],
    split: ScoredSplit,
    progress: Callable[[int, int, str], None] | None = None,
) -> list[pd.DataFrame]:
    """Return the systems' score tables, read from their folders where they were scored before under the same key.

    All others are scored in one pass over the utterances, of which few are in memory at any time. Scores are kept as
    they come, so that a pass that was interrupted goes on where it was.

    Args:
        pool: the scoring processes.
        tasks: the systems.
        split: what is scored.
        progress: called with how many of how many estimates are scored, and of which utterance.

    Returns:
        A table per task, with its column ``seed``. Scores of an utterance that ended its process, or that has no
        estimate, are NaN with that reason; the next call tries them again.
    """
    paths = [table_path(task.folder, split) for task in tasks]
    missing = {str(path): task for path, task in zip(paths, tasks, strict=True) if not path.is_file()}
    new = _score_missing(pool, missing, split, progress) if missing else {}
    tables = (new[str(path)] if str(path) in new else read_scores(path) for path in paths)
    return [table.assign(seed=task.seed) for task, table in zip(tasks, tables, strict=True)]


def _score_missing(
    pool: WorkerPool,
    tasks: Mapping[str, ScoringTask],
    split: ScoredSplit,
    progress: Callable[[int, int, str], None] | None,
) -> dict[str, pd.DataFrame]:
    """Write the tables of systems by their paths; return those with rows that are to be scored again, not written."""
    loads = {path: cache(task.load) for path, task in tasks.items()}
    items: list[str] = []
    done = 0
    with ExitStack() as stack:
        journals = {path: stack.enter_context(score_journal(_journal_path(Path(path)))) for path in tasks}
        again: dict[str, dict[str, Row]] = {path: {} for path in tasks}

        def jobs() -> Iterator[EstimatesJob]:
            nonlocal done
            for utterance in split.utterances:
                items.append(_item(utterance))
                left = [path for path, journal in journals.items() if items[-1] not in journal.rows]
                done += len(journals) - len(left)
                if left:
                    yield EstimatesJob(utterance, [_pair(path, loads[path](), utterance) for path in left])

        for job, scores, lasting in score(jobs(), pool):
            item = _item(job.utterance)
            lacking = {pair.system for pair in job.estimates if isinstance(pair, Unusable)}
            for path, row in scores.items():
                if lasting and path not in lacking:
                    journals[path].add(item, row)
                else:
                    again[path][item] = row
            done += len(scores)
            if progress is not None:
                progress(done, len(split.utterances) * len(tasks), job.utterance.file)
        tables = {}
        for path, task in tasks.items():
            rows = journals[path].rows | again[path]
            tables[path] = score_table(task.name, (rows[item] for item in items), check_measures(None))
            if not again[path]:
                write_scores(tables.pop(path), Path(path))
                journals[path].rows.clear()
    return tables


def _journal_path(table: Path) -> Path:
    return table.with_name(f".{table.name}.rows")


def _pair(path: str, system: System | Estimates, utterance: Utterance) -> Pair | Unusable:
    if isinstance(system, Estimates):
        return system.pair(path, utterance)
    return Pair(path, utterance, system(utterance), getattr(system, "block_samples", None))


def _item(utterance: Utterance) -> str:
    return f"{utterance.file}\t{utterance.condition}"


def write_scores(table: pd.DataFrame, path: Path) -> None:
    """Write a score table as CSV, whole or not at all.

    Args:
        table: a score table.
        path: the file.
    """
    with written_whole(path) as temporary:
        table.to_csv(temporary, index=False)


def read_scores(path: Path) -> pd.DataFrame:
    """Read a score table as :func:`write_scores` wrote it: names that look like numbers stay names."""
    columns = pd.read_csv(path, nrows=0).columns
    text = dict.fromkeys((name for name in TEXT_COLUMNS if name in columns), str)
    missing = {name: [""] for name in columns if name not in text}
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=missing, float_precision="round_trip")
