"""How much trainings that differ in their seed only differ in their scores, and intervals that allow for it.

Trainings and speakers are crossed: every training has scored every utterance. A resample draws speakers and
utterances as `statistics.bootstrap_interval` does and, independently, trainings (the pigeonhole bootstrap, Owen 2007,
"The pigeonhole bootstrap"): one fewer than there are, with which the variance of their mean comes out right (Rao and
Wu 1988). Such an interval is about the architecture, not about the trainings that happen to be there. With two or
three trainings their spread is hardly known, and the interval is rough.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from evaluation.statistics.bootstrap import (
    Array,
    mean_of,
    mean_over_columns,
    percentiles,
    resampled_means,
    utterance_matrices,
)
from evaluation.statistics.intervals import (
    CONFIDENCE,
    RESAMPLES,
    UTTERANCE,
    Interval,
    PairedDifference,
    applicable,
    speaker_mean,
    utterance_pairs,
)


@dataclass(frozen=True)
class TrainingSpread:
    """The spread of a system's trainings in one measure.

    Attributes:
        seeds: how many trainings there are; 0 for a system that is not trained.
        standard_deviation: of their means over speakers, with ``seeds - 1`` in the denominator; NaN below two.
        interval: of the mean over trainings, drawing trainings too; its bounds are NaN below two.
    """

    seeds: int
    standard_deviation: float
    interval: Interval


def training_spread(
    scores: pd.DataFrame, system: str, key: str, *, resamples: int = RESAMPLES, seed: int = 0
) -> TrainingSpread:
    """Say how much a system's trainings differ in a measure.

    Args:
        scores: a score table; its column ``seed`` is NaN for what is not trained.
        system: the system.
        key: the measure.
        resamples: as in `bootstrap_interval`.
        seed: as in `bootstrap_interval`.

    Raises:
        KeyError: the system has no row.
    """
    rows = _rows_of(scores, system, key)
    seeds = sorted(rows["seed"].dropna().unique())
    means = [speaker_mean(rows[rows["seed"] == one], key) for one in seeds]
    if len(means) < 2:
        utterances = len(rows[["speaker", "file"]].drop_duplicates())
        mean = Interval(speaker_mean(rows, key), math.nan, math.nan, rows["speaker"].nunique(), utterances)
        return TrainingSpread(len(means), math.nan, mean)
    interval = _interval([rows], key, resamples, seed)
    return TrainingSpread(len(means), float(np.std(means, ddof=1)), interval)


def paired_difference_over_trainings(
    scores: pd.DataFrame, system: str, other: str, key: str, *, resamples: int = RESAMPLES, seed: int = 0
) -> PairedDifference:
    """`paired_difference` with an interval that draws the trainings of both systems too.

    Args:
        scores: a score table; its column ``seed`` is NaN for what is not trained.
        system: the one.
        other: the other.
        key: the measure.
        resamples: as in `bootstrap_interval`.
        seed: as in `bootstrap_interval`.

    Returns:
        Bounds are NaN where a trained system has a single training: nothing says what another would give.

    Raises:
        KeyError: a system has no row.
    """
    pairs = utterance_pairs(scores, system, other, key)[UTTERANCE]
    sides = [_rows_of(scores, name, key).merge(pairs, on=UTTERANCE) for name in (system, other)]
    interval = _interval(sides, key, resamples, seed)
    if any(rows["seed"].dropna().nunique() == 1 for rows in sides):
        interval = Interval(interval.mean, math.nan, math.nan, interval.speakers, interval.utterances)
    return PairedDifference(interval.mean, interval.low, interval.high, interval.speakers, interval.utterances)


def _rows_of(scores: pd.DataFrame, system: str, key: str) -> pd.DataFrame:
    rows = scores[scores["system"] == system]
    if rows.empty:
        raise KeyError(f"no rows of system {system!r} among {sorted(scores['system'].unique())}")
    return applicable(rows, key)


def _interval(sides: Sequence[pd.DataFrame], key: str, resamples: int, seed: int) -> Interval:
    """Interval of one system's mean over its trainings, or of the first system's minus the second's."""
    rows = pd.concat([rows.assign(side=side, seed=rows["seed"].fillna(-1.0)) for side, rows in enumerate(sides)])
    speakers, utterances = rows["speaker"].nunique(), len(rows[["speaker", "file"]].drop_duplicates())
    if rows.empty or rows[key].isna().any():
        return Interval(math.nan, math.nan, math.nan, speakers, utterances)
    identity = ["side", "seed", "condition"]
    of_row = list(rows[identity].itertuples(index=False, name=None))
    per_speaker = utterance_matrices(rows[key].to_numpy(float), rows["speaker"].tolist(), rows["file"].tolist(), of_row)
    generator = np.random.default_rng(seed)
    means = resampled_means(per_speaker, resamples, generator)
    side_of, training_of = (np.array(column) for column in list(zip(*sorted(set(of_row)), strict=True))[:2])
    mean, drawn = 0.0, np.zeros(resamples)
    for side in range(len(sides)):
        trainings = [(side_of == side) & (training_of == one) for one in np.unique(training_of[side_of == side])]
        sign = 1.0 if side == 0 else -1.0
        drawn += sign * _mean_of_drawn(
            np.stack([mean_over_columns(means[:, one]) for one in trainings], axis=1), generator
        )
        mean += sign * float(np.mean([mean_of([matrix[:, one] for matrix in per_speaker]) for one in trainings]))
    low, high = percentiles(drawn, speakers, CONFIDENCE)
    return Interval(mean, low, high, speakers, utterances)


def _mean_of_drawn(means: Array, generator: np.random.Generator) -> Array:
    """Mean over drawn trainings ``(resamples,)`` of each resample's means ``(resamples, trainings)``."""
    resamples, trainings = means.shape
    draws = max(trainings - 1, 1)
    weights = generator.multinomial(draws, np.full(trainings, 1.0 / trainings), size=resamples) / draws
    return np.asarray((weights * means).sum(axis=1))
