"""Scores of systems on a split, computed once and kept under a key; utterances come and go, none is kept."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from evaluation.contracts import System, Utterance
from evaluation.harness import STATE_COLUMNS, check_measures
from experiments.keys import digest, scoring_code
from experiments.scoring.journal import Entry, ScoreJournal
from experiments.scoring.rows import EstimatesJob, Pair, score, score_table
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
        seed: of its training; NaN for a control.
    """

    name: str
    load: Callable[[], System]
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
        A table per task, with its column ``seed``. Scores of an utterance that ended its process are NaN with that
        reason; the next call tries them again.
    """
    paths = [table_path(task.folder, split) for task in tasks]
    missing = {path: task for path, task in zip(paths, tasks, strict=True) if not path.is_file()}
    new: dict[Path, pd.DataFrame] = {}
    if missing:
        with _Pass(split, missing) as pending:
            new = pending.run(pool, progress)
    tables = (new[path] if path in new else read_scores(path) for path in paths)
    return [table.assign(seed=task.seed) for task, table in zip(tasks, tables, strict=True)]


class _Pass:
    """One pass over a split for the tasks that have no table yet; within it, a system goes by its table's path."""

    def __init__(self, split: ScoredSplit, tasks: dict[Path, ScoringTask]) -> None:
        self._split = split
        self._tasks = tasks
        self._journals = {str(path): ScoreJournal(_journal_path(path)) for path in tasks}
        self._loads = {str(path): cache(task.load) for path, task in tasks.items()}
        self._items: list[str] = []
        self._done = 0

    def __enter__(self) -> "_Pass":
        return self

    def __exit__(self, *_: object) -> None:
        for journal in self._journals.values():
            journal.close()

    def run(self, pool: WorkerPool, progress: Callable[[int, int, str], None] | None) -> dict[Path, pd.DataFrame]:
        """Write every table; return those with rows that are to be scored again, which are not written.

        Args:
            pool: the processes.
            progress: as in `scored`.
        """
        total = len(self._split.utterances) * len(self._tasks)
        for found in score(self._jobs(), pool):
            utterance = found.job.utterance
            for label, row in found.rows.items():
                key = self._split.key if found.lasting else ""
                self._journals[label].add([Entry("", item_of(utterance), key, row)])
            self._done += len(found.rows)
            if progress is not None:
                progress(self._done, total, utterance.file)
        tables = {path: self._finish(path, task) for path, task in self._tasks.items()}
        return {path: table for path, table in tables.items() if table is not None}

    def _jobs(self) -> Iterator[EstimatesJob]:
        for utterance in self._split.utterances:
            item = item_of(utterance)
            self._items.append(item)
            left = [label for label, journal in self._journals.items() if not journal.holds("", item, self._split.key)]
            self._done += len(self._journals) - len(left)
            if left:
                yield EstimatesJob(utterance, [self._pair(label, utterance) for label in left])

    def _pair(self, label: str, utterance: Utterance) -> Pair:
        system = self._loads[label]()
        return Pair(label, utterance, system(utterance), getattr(system, "block_samples", None))

    def _finish(self, path: Path, task: ScoringTask) -> pd.DataFrame | None:
        journal = self._journals[str(path)]
        table = score_table(task.name, (journal.find("", item) or {} for item in self._items), check_measures(None))
        if not all(journal.holds("", item, self._split.key) for item in self._items):
            return table
        write_scores(table, path)
        journal.remove()
        return None


def _journal_path(table: Path) -> Path:
    return table.with_name(f".{table.name}.journal")


def item_of(utterance: Utterance) -> str:
    """Return the name of an utterance in a journal."""
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
