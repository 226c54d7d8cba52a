"""Scores of systems on a split, computed once and kept under a key; utterances come and go, none is kept."""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pandas as pd

from evaluation.contracts import System, Utterance
from evaluation.harness import IDENTITY_COLUMNS, STATE_COLUMNS, Row, check_measures, score_pair
from experiments.keys import digest, scoring_code
from experiments.scoring.journal import Entry, ScoreJournal
from overtone.audio import Waveform
from overtone.errors import OvertoneError
from overtone.files import written_whole
from overtone.worker_pool import ScoringPool

TEXT_COLUMNS = ("system", "file", "speaker", "condition", *STATE_COLUMNS)


class Utterances:
    """Utterances that are made anew each time somebody goes through them.

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

    def __getitem__(self, index: int) -> Utterance:
        """Return one of them; all before it are made on the way."""
        for utterance in islice(self._make(), index, None):
            return utterance
        raise IndexError(index)

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


@dataclass(frozen=True)
class Estimate:
    """One system's output on an utterance.

    Attributes:
        waveform: ``(samples,)``.
        block_samples: the system's block length in samples; None where it has no block borders.
    """

    waveform: Waveform
    block_samples: int | None


@dataclass(frozen=True)
class ScoringJob:
    """An utterance with the estimates of several tasks, by their number."""

    utterance: Utterance
    estimates: dict[int, Estimate]


def split_key(split: str, conditions: object, data_digest: str) -> str:
    """Return what scores of a split depend on besides a trained model: utterances, conditions, measures, controls."""
    return digest(split, conditions, data_digest, scoring_code())


def table_path(folder: Path, split: ScoredSplit) -> Path:
    """Return where a system's score table on a split is kept, of a system whose files lie in ``folder``."""
    return folder / f"scores-{split.name}-{split.key}.csv"


def scored(
    pool: ScoringPool,
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
        A table per task, with its column ``seed``.

    Raises:
        OvertoneError: a scoring process was killed.
    """
    paths = [table_path(task.folder, split) for task in tasks]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    if missing:
        with _Pass(split, {number: (tasks[number], paths[number]) for number in missing}) as pending:
            pending.run(pool, progress)
    return [read_scores(path).assign(seed=task.seed) for task, path in zip(tasks, paths, strict=True)]


class _Pass:
    """One pass over a split for the tasks that have no table yet."""

    def __init__(self, split: ScoredSplit, tasks: dict[int, tuple[ScoringTask, Path]]) -> None:
        self._split = split
        self._tasks = tasks
        self._journals = {number: ScoreJournal(_journal_path(path)) for number, (_, path) in tasks.items()}
        self._systems: dict[int, System] = {}
        self._items: list[str] = []
        self._done = 0

    def __enter__(self) -> "_Pass":
        return self

    def __exit__(self, *_: object) -> None:
        for journal in self._journals.values():
            journal.close()

    def run(self, pool: ScoringPool, progress: Callable[[int, int, str], None] | None) -> None:
        total = len(self._split.utterances) * len(self._tasks)
        for job, rows in pool.map(score_job, self._jobs()):
            if rows is None:
                raise OvertoneError(
                    f"{job.utterance.file}: scoring it ended the process, probably for lack of memory. Free some, and "
                    "start the same command again; it goes on where it was."
                )
            for number, row in rows.items():
                self._journals[number].add([Entry("", item_of(job.utterance), self._split.key, row)])
            self._done += len(rows)
            if progress is not None:
                progress(self._done, total, job.utterance.file)
        for number, (task, path) in self._tasks.items():
            self._write(number, task, path)

    def _jobs(self) -> Iterator[ScoringJob]:
        for utterance in self._split.utterances:
            item = item_of(utterance)
            self._items.append(item)
            left = [
                number for number, journal in self._journals.items() if not journal.holds("", item, self._split.key)
            ]
            self._done += len(self._journals) - len(left)
            if left:
                yield ScoringJob(utterance, {number: self._estimate(number, utterance) for number in left})

    def _estimate(self, number: int, utterance: Utterance) -> Estimate:
        if number not in self._systems:
            self._systems[number] = self._tasks[number][0].load()
        system = self._systems[number]
        return Estimate(system(utterance), getattr(system, "block_samples", None))

    def _write(self, number: int, task: ScoringTask, path: Path) -> None:
        journal = self._journals[number]
        rows = [{"system": task.name} | (journal.find("", item) or {}) for item in self._items]
        columns = ["system", *IDENTITY_COLUMNS, *check_measures(None), *STATE_COLUMNS]
        write_scores(pd.DataFrame(rows, columns=columns), path)
        journal.remove()


def _journal_path(table: Path) -> Path:
    return table.with_name(f".{table.name}.journal")


def item_of(utterance: Utterance) -> str:
    """Return what an utterance is called in a journal."""
    return f"{utterance.file}\t{utterance.condition}"


def score_job(job: ScoringJob) -> dict[int, Row]:
    """Return a row of scores per estimate, of plain values."""
    return {
        number: _plain(score_pair(job.utterance, estimate.waveform, block_samples=estimate.block_samples))
        for number, estimate in job.estimates.items()
    }


def _plain(row: Row) -> Row:
    return {name: value if isinstance(value, str | bool) else float(value) for name, value in row.items()}


def write_scores(table: pd.DataFrame, path: Path) -> None:
    """Write a score table as CSV, whole or not at all."""
    with written_whole(path) as temporary:
        table.to_csv(temporary, index=False)


def read_scores(path: Path) -> pd.DataFrame:
    """Read a score table as :func:`write_scores` wrote it: names that look like numbers stay names."""
    columns = pd.read_csv(path, nrows=0).columns
    text = dict.fromkeys((name for name in TEXT_COLUMNS if name in columns), str)
    missing = {name: [""] for name in columns if name not in text}
    return pd.read_csv(path, dtype=text, keep_default_na=False, na_values=missing, float_precision="round_trip")
