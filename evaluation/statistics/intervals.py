"""Means over speakers of speaker means; bootstrap intervals that resample speakers, then utterances.

Scores of one speaker are alike, so a bootstrap over utterances would give intervals that are far too narrow.
Training seeds are averaged per utterance first, so that these intervals say what other speakers would change;
`evaluation.statistics.training_spread` says what other trainings would change too.
A failed score makes its mean NaN instead of vanishing from it; a score that does not apply is left out.
"""

import math
import zlib
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from evaluation.statistics.bootstrap import mean_of, mean_over_columns, percentiles, resampled_means, utterance_matrices

Group = TypeVar("Group", bound=Any)  # what can be sorted, and is a key of a dictionary

RESAMPLES = 2000
UTTERANCE = ["speaker", "file", "condition"]  # one utterance under one condition, which a score is of
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over speakers with its bootstrap interval; the bounds of a single value are NaN."""

    mean: float
    low: float
    high: float
    speakers: int
    utterances: int


class PairedDifference(Interval):
    """Mean of one system's scores minus another's on the same utterances, with its interval."""

    @property
    def includes_zero(self) -> bool:
        """Whether the two systems cannot be told apart; so too where there is no interval."""
        return not (self.low > 0.0 or self.high < 0.0)


def applicable(scores: pd.DataFrame, key: str) -> pd.DataFrame:
    """The rows in which the measure ``key`` has a meaning; failed scores (NaN) stay among them.

    Args:
        scores: a score table.
        key: the measure.
    """
    applies = _applies(scores, key)
    return scores if applies.all() else scores[applies]


def _applies(scores: pd.DataFrame, key: str) -> NDArray[np.bool_]:
    """Whether a measure has a meaning in each row ``(rows,)``."""
    if "not_applicable" not in scores:
        return np.ones(len(scores), dtype=bool)
    states = scores["not_applicable"].tolist()
    excused = {state for state in set(states) if isinstance(state, str) and key in state.split(",")}
    return np.array([state not in excused for state in states], dtype=bool)


def speaker_mean(frame: pd.DataFrame, key: str) -> float:
    """Mean over conditions of the mean over speakers of speaker means.

    Args:
        frame: rows of one system of a score table; without a column ``condition`` all count as one.
        key: the measure.

    Returns:
        NaN where a score failed, or none applies.
    """
    applies = _applies(frame, key)
    conditions = "condition" if "condition" in frame else None
    by_speaker = _means(_columns(frame, applies, conditions, "speaker"), frame[key].to_numpy(float)[applies])
    by_condition = _means([condition for condition, _ in by_speaker], by_speaker.values())
    return _mean(by_condition.values())


def bootstrap_interval(
    values: ArrayLike,
    speakers: Sequence[str],
    *,
    conditions: Sequence[str] | None = None,
    files: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Interval:
    """Percentile interval of the mean over conditions of the mean over speakers of speaker means.

    Hierarchical bootstrap (Davison and Hinkley 1997, section 3.8): each resample draws speakers with
    replacement, then for each drawn speaker as many of its utterances with replacement; an utterance brings
    its scores under all conditions along, since they belong together. Percentiles are expanded for the number of
    speakers as Student's t is (Hesterberg 2015, "What teachers should know about the bootstrap", section 4.1.3):
    with 6 speakers, an utterance each, the plain 95 % interval covered the truth 82 times in 100, this one 90 (10
    speakers: 91 and 96; 20: 94 and 94). It is cautious where a speaker's utterances differ more than speakers do.
    The interval of a single speaker is about that speaker alone.

    Args:
        values: ``(rows,)``.
        speakers: whom each row belongs to ``(rows,)``.
        conditions: each row's condition ``(rows,)``; None for one.
        files: each row's utterance ``(rows,)``; None for an utterance per row.
        resamples: how many.
        confidence: share of the resamples inside the interval.
        seed: of the draws; the same seed gives the same interval.

    Returns:
        All NaN where a value is NaN or there is none.

    Raises:
        ValueError: the arguments' lengths differ.
    """
    numbers = np.asarray(values, dtype=np.float64)
    for name, given in (("speakers", speakers), ("conditions", conditions), ("files", files)):
        if given is not None and len(given) != len(numbers):
            raise ValueError(f"expected {len(numbers)} {name}, one per value, received {len(given)}")
    utterance_of: Sequence[Any] = range(len(numbers)) if files is None else files
    if np.isnan(numbers).any() or not len(numbers):
        utterances = len(set(zip(speakers, utterance_of, strict=True)))
        return Interval(math.nan, math.nan, math.nan, len(set(speakers)), utterances)
    per_speaker = utterance_matrices(
        numbers, speakers, utterance_of, [""] * len(numbers) if conditions is None else conditions
    )
    mean, utterances = mean_of(per_speaker), sum(len(matrix) for matrix in per_speaker)
    if utterances < 2:
        return Interval(mean, float("nan"), float("nan"), len(per_speaker), utterances)
    means = mean_over_columns(resampled_means(per_speaker, resamples, np.random.default_rng(seed)))
    low, high = percentiles(means, len(per_speaker), confidence)
    return Interval(mean, low, high, len(per_speaker), utterances)


def paired_difference(
    scores: pd.DataFrame,
    system: str,
    other: str,
    key: str,
    conditions: Sequence[str] | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> PairedDifference:
    """Mean of ``system`` minus ``other`` in ``key``, paired by file and condition.

    Rows of several training seeds are averaged per utterance first. Pairs in which the measure does not
    apply to either are left out; a failed score in any pair makes the difference NaN.

    Args:
        scores: a score table.
        system: the one.
        other: the other.
        key: the measure.
        conditions: which conditions count; None for all.
        resamples: as in `bootstrap_interval`.
        seed: as in `bootstrap_interval`.

    Raises:
        KeyError: a system has no row.
    """
    return difference_of(utterance_pairs(scores, system, other, key, conditions), resamples=resamples, seed=seed)


def difference_of(pairs: pd.DataFrame, *, resamples: int = RESAMPLES, seed: int = 0) -> PairedDifference:
    """The mean of `utterance_pairs` with its interval.

    Args:
        pairs: as `utterance_pairs` gives them.
        resamples: as in `bootstrap_interval`.
        seed: as in `bootstrap_interval`.
    """
    interval = bootstrap_interval(
        pairs["difference"],
        pairs["speaker"].tolist(),
        conditions=pairs["condition"].tolist(),
        files=pairs["file"].tolist(),
        resamples=resamples,
        seed=seed,
    )
    return PairedDifference(interval.mean, interval.low, interval.high, interval.speakers, interval.utterances)


def speaker_differences(
    scores: pd.DataFrame, system: str, other: str, key: str, conditions: Sequence[str] | None = None
) -> pd.Series:
    """Each speaker's mean of ``system`` minus ``other`` in ``key``, the observations of `hypothesis_tests`.

    Pairs are made as in `paired_difference`; a speaker's value is the mean over conditions of its means.

    Args:
        scores: a score table.
        system: name of one system.
        other: name of the other.
        key: the measure.
        conditions: those that count; None for all.

    Returns:
        ``(speakers,)``, indexed by speaker; NaN for a speaker with a failed score.

    Raises:
        KeyError: a system has no row.
    """
    return speaker_differences_of(utterance_pairs(scores, system, other, key, conditions))


def speaker_differences_of(pairs: pd.DataFrame) -> pd.Series:
    """The means of `utterance_pairs` by speaker ``(speakers,)``."""
    identity = _columns(pairs, slice(None), "speaker", "condition")
    by_condition = _means(identity, pairs["difference"].to_numpy(float))
    by_speaker = _means([speaker for speaker, _ in by_condition], by_condition.values())
    index = pd.Index(list(by_speaker), name="speaker")
    return pd.Series(list(by_speaker.values()), index=index, name="difference", dtype=float)


def utterance_pairs(
    scores: pd.DataFrame, system: str, other: str, key: str, conditions: Sequence[str] | None = None
) -> pd.DataFrame:
    """The pairs behind `paired_difference`.

    Args:
        scores: a score table.
        system: name of one system.
        other: name of the other.
        key: the measure.
        conditions: those that count; None for all.

    Returns:
        Columns ``speaker, file, condition, difference``, a row per file and condition.

    Raises:
        KeyError: a system has no row.
    """
    rows = scores if conditions is None else scores[scores["condition"].isin(list(conditions))]
    one, two = (_per_utterance(rows, name, key) for name in (system, other))
    pairs = [(*utterance, value - two[utterance]) for utterance, value in one.items() if utterance in two]
    return pd.DataFrame(pairs, columns=[*UTTERANCE, "difference"])


def _per_utterance(scores: pd.DataFrame, system: str, key: str) -> dict[tuple[Hashable, ...], float]:
    """Mean over training seeds by speaker, file and condition; one failed seed fails the utterance."""
    of_system = (scores["system"] == system).to_numpy()
    if not of_system.any():
        raise KeyError(f"no rows of system {system!r} among {sorted(scores['system'].unique())}")
    applies = of_system & _applies(scores, key)
    return _means(_columns(scores, applies, *UTTERANCE), scores[key].to_numpy(float)[applies])


def _columns(table: pd.DataFrame, rows: NDArray[np.bool_] | slice, *names: str | None) -> list[tuple[Hashable, ...]]:
    """Return some columns of some rows, a tuple a row; "" stands for a column without a name."""
    columns = [table[name].to_numpy(object)[rows] if name else np.full(len(table), "", object)[rows] for name in names]
    return list(zip(*columns, strict=True))


def _means(groups: Iterable[Group], values: Iterable[float]) -> dict[Group, float]:
    """Return the mean of each group's values, sorted by group; NaN where one is NaN.

    Tables of scores are small and many: Python's own dictionaries are several times as fast here as data frames.
    """
    of_group: dict[Group, list[float]] = {}
    for group, value in zip(groups, values, strict=True):
        of_group.setdefault(group, []).append(value)
    return {group: _mean(of_group[group]) for group in sorted(of_group)}


def _mean(values: Collection[float]) -> float:
    if not values:
        return math.nan
    exact = all(map(math.isfinite, values))  # fsum raises where infinities of both signs make NaN
    return (math.fsum(values) if exact else sum(map(float, values))) / len(values)


def summary(scores: pd.DataFrame, keys: Sequence[str], *, resamples: int = RESAMPLES) -> pd.DataFrame:
    """Mean over speakers with its 95 % interval per system, condition and measure.

    Args:
        scores: a score table.
        keys: the measures.
        resamples: as in `bootstrap_interval`.

    Returns:
        Columns ``system, condition, key, mean, low, high, speakers, utterances``; a measure that applies to
        no utterance of a group has a row of NaN with 0 utterances.
    """
    rows = [
        {"system": system, "condition": condition, "key": key}
        | vars(_group_interval(group, str(system), key, resamples))
        for (system, condition), group in scores.groupby(["system", "condition"], sort=False, observed=True)
        for key in keys
    ]
    columns = ["system", "condition", "key", "mean", "low", "high", "speakers", "utterances"]
    return pd.DataFrame(rows, columns=columns)


def _group_interval(group: pd.DataFrame, system: str, key: str, resamples: int) -> Interval:
    scores = _per_utterance(group, system, key)
    return bootstrap_interval(
        list(scores.values()),
        [str(speaker) for speaker, _, _ in scores],
        files=[str(file) for _, file, _ in scores],
        resamples=resamples,
        seed=zlib.crc32(key.encode()),
    )
