"""What the votes say: which listeners count, means with intervals, and differences."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evaluation.statistics.bootstrap import percentiles
from evaluation.statistics.hypothesis_tests import holm, signed_rank_test
from evaluation.statistics.intervals import CONFIDENCE, RESAMPLES, Interval
from experiments.listening.stimuli import ANCHORS, REFERENCE

REFERENCE_FLOOR = 90
MISSED_SHARE = 0.15

Array = NDArray[np.float64]


def excluded_listeners(ratings: pd.DataFrame) -> list[str]:
    """The listeners whose ratings do not count: ITU-R BS.1534-3, section 4.1.2, first criterion.

    They rated the hidden reference below 90 in more than 15 % of the trials. The second criterion, a mid-range anchor
    above 90, is not applied: speech at 16 kHz loses next to nothing above 7 kHz.

    Args:
        ratings: columns ``listener, system, rating``.
    """
    references = ratings[ratings["system"] == REFERENCE]
    missed = (references["rating"] < REFERENCE_FLOOR).groupby(references["listener"]).mean()
    return sorted(str(listener) for listener in missed[missed > MISSED_SHARE].index)


def two_way_interval(
    values: Sequence[float] | Array,
    listeners: Sequence[str],
    items: Sequence[str],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a mean over ratings that other listeners and other items would both change.

    The pigeonhole bootstrap (Owen 2007, "The pigeonhole bootstrap", Annals of Applied Statistics 1): each resample
    draws listeners with replacement and, independently, items; a rating counts as often as its listener times its
    item was drawn. It errs towards wide intervals. Percentiles are expanded as `bootstrap_interval` of
    `evaluation.statistics.intervals` does for few speakers, here for as many as there are listeners or items,
    whichever are fewer. With one listener, the interval is about other items alone.

    Args:
        values: ``(ratings,)``.
        listeners: who gave each ``(ratings,)``.
        items: the recording of each ``(ratings,)``.
        resamples: how many.
        seed: of the draws.

    Returns:
        ``speakers`` counts the listeners and ``utterances`` the items; bounds are NaN where both are one.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if not len(numbers):
        return Interval(math.nan, math.nan, math.nan, 0, 0)
    rows, row_names = pd.factorize(np.asarray(listeners, dtype=object))
    columns, column_names = pd.factorize(np.asarray(items, dtype=object))
    shape = (len(row_names), len(column_names))
    sums, counts = np.zeros(shape), np.zeros(shape)
    np.add.at(sums, (rows, columns), numbers)
    np.add.at(counts, (rows, columns), 1.0)
    mean = float(numbers.mean())
    if max(shape) == 1:
        return Interval(mean, math.nan, math.nan, *shape)
    generator = np.random.default_rng(seed)
    drawn = [generator.multinomial(size, np.full(size, 1 / size), size=resamples).astype(float) for size in shape]
    weights = np.einsum("rl,li,ri->r", drawn[0], counts, drawn[1], optimize=True)
    totals = np.einsum("rl,li,ri->r", drawn[0], sums, drawn[1], optimize=True)
    means = np.divide(totals, weights, out=np.full(resamples, np.nan), where=weights > 0)
    low, high = percentiles(means, min(size for size in shape if size > 1), CONFIDENCE)
    return Interval(mean, low, high, *shape)


def rated_systems(ratings: pd.DataFrame) -> pd.DataFrame:
    """Mean rating per system, best first.

    Args:
        ratings: columns ``listener, file, condition, system, rating`` of the listeners that count.

    Returns:
        Columns ``system, mushra, mushra_low, mushra_high, listeners, trials, ratings``.
    """
    rows = []
    for system, group in ratings.groupby("system", sort=True):
        found = two_way_interval(group["rating"].to_numpy(float), group["listener"].tolist(), _items(group))
        bounds = {"mushra": found.mean, "mushra_low": found.low, "mushra_high": found.high}
        counts = {"listeners": found.speakers, "trials": found.utterances, "ratings": len(group)}
        rows.append({"system": system, **bounds, **counts})
    columns = ["system", "mushra", "mushra_low", "mushra_high", "listeners", "trials", "ratings"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["mushra", "system"], ascending=[False, True], ignore_index=True)


def rated_pairs(ratings: pd.DataFrame) -> pd.DataFrame:
    """Differences between every two systems, reference and anchors left out.

    Paired by listener and recording. The test is Wilcoxon's on listeners' means, Holm's correction is for all pairs:
    with fewer than 6 listeners no p value can be below 5 %.

    Args:
        ratings: as in `rated_systems`.

    Returns:
        Columns ``system, other, difference, low, high, p_value, p_holm, listeners``; the better one comes first.
    """
    cells = ratings.pivot_table(index=["listener", "file", "condition"], columns="system", values="rating")
    names = [str(name) for name in cells.columns if name not in (REFERENCE, *ANCHORS)]
    means = ratings.groupby("system")["rating"].mean()
    names.sort(key=lambda name: (-means[name], name))
    rows = [_pair(cells, one, other) for one, other in itertools.combinations(names, 2)]
    columns = ["system", "other", "difference", "low", "high", "p_value", "p_holm", "listeners"]
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = holm(table["p_value"].to_numpy(float))
    return table


def _pair(cells: pd.DataFrame, one: str, other: str) -> dict[str, float | str]:
    difference = (cells[one] - cells[other]).dropna().rename("difference").reset_index()
    found = two_way_interval(
        difference["difference"].to_numpy(float), difference["listener"].tolist(), _items(difference)
    )
    of_listeners = difference.groupby("listener")["difference"].mean()
    row: dict[str, float | str] = {"system": one, "other": other, "difference": found.mean}
    return row | {
        "low": found.low,
        "high": found.high,
        "p_value": signed_rank_test(of_listeners.to_numpy(float)).p_value,
        "listeners": found.speakers,
    }


def _items(table: pd.DataFrame) -> list[str]:
    return [f"{file}\n{condition}" for file, condition in zip(table["file"], table["condition"], strict=True)]
