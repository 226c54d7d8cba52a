"""From estimates to rows of scores: the one way of `compare`, `evaluate`, `select`, sweeps and benchmarks."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import pandas as pd
from numpy.typing import ArrayLike

from evaluation.contracts import Utterance
from evaluation.harness import (
    IDENTITY_COLUMNS,
    STATE_COLUMNS,
    Row,
    check_measures,
    failed_row,
    identity,
    score_pair,
    settled,
)
from evaluation.measures.band_levels import bands_among
from overtone.worker_pool import WorkerPool

NOTES = "notes"
KILLED = "scoring it ends the process, for lack of memory as a rule"


@dataclass(frozen=True)
class Pair:
    """A system's estimate of an utterance.

    Attributes:
        system: its name.
        utterance: what it was given, and the target.
        estimate: ``(samples,)``.
        block_samples: the system's block length in samples; None where it has no block borders.
        notes: what was done to the estimate before it is scored, for the column ``notes``.
    """

    system: str
    utterance: Utterance
    estimate: ArrayLike
    block_samples: int | None = None
    notes: str = ""


@dataclass(frozen=True)
class Unusable:
    """A system without an estimate, such as a file that cannot be read, and the reason."""

    system: str
    reason: str


class Job(Protocol):
    """A unit of work for one process: estimates by several systems of the same target."""

    @property
    def systems(self) -> Sequence[str]:
        """The systems, of each of which there is one pair."""
        ...

    @property
    def identity(self) -> Row:
        """Columns of a row that has no scores."""
        ...

    def pairs(self) -> Iterable[Pair | Unusable]:
        """Make the pairs, in the process that scores them."""
        ...


AnyJob = TypeVar("AnyJob", bound=Job)


@dataclass(frozen=True)
class EstimatesJob:
    """An utterance with estimates that were made already.

    Attributes:
        utterance: what the systems were given, and the target.
        estimates: those of some systems.
        position: where its rows belong in the table.
    """

    utterance: Utterance
    estimates: Sequence[Pair | Unusable]
    position: int = 0

    @property
    def systems(self) -> Sequence[str]:
        """The systems that were given it."""
        return [pair.system for pair in self.estimates]

    @property
    def identity(self) -> Row:
        """The utterance's own columns."""
        return identity(self.utterance)

    def pairs(self) -> Iterable[Pair | Unusable]:
        """Return the estimates."""
        return self.estimates


def score(
    jobs: Iterable[AnyJob], pool: WorkerPool, measures: Sequence[str] | None = None
) -> Iterator[tuple[AnyJob, dict[str, Row], bool]]:
    """Score jobs as they come; one that cannot be scored has rows of NaN with the reason, and none is dropped.

    Args:
        jobs: consumed as they are scored, so that memory does not grow with their number.
        pool: the processes. A job that ends its process, alone too, fails in every score.
        measures: keys; None for those of every score table.

    Yields:
        Each job, in the order in which they are finished, with its rows by system: the columns of `score_pair` and
        ``notes``; and whether these last: where the process was killed, scoring it again may succeed.

    Raises:
        OvertoneError: an unknown measure is named.
    """
    keys = check_measures(measures)
    for job, rows in pool.map(partial(score_job, keys), jobs):
        if rows is not None:
            yield job, rows, True
        else:
            failed = job.identity | failed_row(keys, KILLED) | {NOTES: ""}
            yield job, dict.fromkeys(job.systems, failed), False


def score_job(measures: Sequence[str], job: Job) -> dict[str, Row]:
    """Return the rows of a job by system.

    Args:
        measures: keys.
        job: what is scored.
    """
    rows = {}
    for pair in job.pairs():
        if isinstance(pair, Unusable):
            rows[pair.system] = job.identity | failed_row(measures, pair.reason) | {NOTES: ""}
        else:
            row = score_pair(pair.utterance, pair.estimate, measures, pair.block_samples)
            rows[pair.system] = row | {NOTES: pair.notes}
    return rows


def score_pairs(
    pairs: Iterable[tuple[Utterance, ArrayLike]],
    system: str,
    measures: Sequence[str] | None = None,
    block_samples: int | None = None,
    *,
    pool: WorkerPool | None = None,
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Score the estimates of one system.

    Args:
        pairs: utterances with their estimates ``(samples,)``; consumed as they are scored.
        system: name for the column ``system``.
        measures: keys; None for those of every score table.
        block_samples: the system's block length in samples; None where it has no block borders.
        pool: the processes; None scores in this one.
        progress: called with the number of pairs scored so far.

    Returns:
        One row per pair, in their order: ``system``, the columns of `score_pair`.

    Raises:
        OvertoneError: an unknown measure is named.
    """
    keys = check_measures(measures)
    jobs = (
        EstimatesJob(utterance, [Pair(system, utterance, estimate, block_samples)], position)
        for position, (utterance, estimate) in enumerate(pairs)
    )
    rows: dict[int, Row] = {}
    for job, found, _ in score(jobs, pool or WorkerPool(1), keys):
        rows[job.position] = found[system]
        if progress is not None:
            progress(len(rows))
    return score_table(system, (rows[position] for position in sorted(rows)), keys)


def score_table(system: str, rows: Iterable[Row], measures: Sequence[str]) -> pd.DataFrame:
    """Return rows of one system as a score table.

    Args:
        system: for the column ``system``.
        rows: in order, as `score_pair` gives them.
        measures: keys.

    Returns:
        One row each: ``system``, the columns of `score_pair` with all scores settled, the levels of all bands that one
        of the rows has.
    """
    listed = [{"system": system} | row for row in settled(rows, measures)]
    bands = bands_among({name for row in listed for name in row})
    levels = [*(band.bias for band in bands), *(band.spread for band in bands)]
    return pd.DataFrame(listed, columns=["system", *IDENTITY_COLUMNS, *measures, *STATE_COLUMNS, *levels])
