"""Bias and spread of systems' levels over frequency, from score tables: where each is too quiet or too loud."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from evaluation.measures.band_levels import Band, bands_among
from experiments.ranking.columns import rows_of

COLUMNS = ["system", "condition", "low_hz", "high_hz", "bias_db", "spread_db", "speakers"]


def band_level_rows(scores: pd.DataFrame) -> pd.DataFrame:
    """Return every system's level errors in each band of the missing band, under every condition.

    Args:
        scores: a score table; training seeds are averaged.

    Returns:
        Columns ``system, condition, low_hz, high_hz``, the means ``bias_db`` and ``spread_db`` over speakers of speaker
        means, and of how many ``speakers``, by system and condition in the table's order and then by frequency. NaN is
        a band of an utterance whose score failed; a band that is missing under no condition has no row.
    """
    rows: list[dict[str, Any]] = []
    bands = bands_among(scores.columns)
    for (system, condition), part in scores.groupby(["system", "condition"], sort=False):
        for band in bands:
            inside = _concerned(part, band)
            if inside.empty:
                continue
            failed = inside[band.bias].isna().any()
            means = inside.groupby("speaker")[[band.bias, band.spread]].mean().mean()
            bias, spread = (float("nan") if failed else float(means[name]) for name in (band.bias, band.spread))
            place = {"system": system, "condition": condition, "low_hz": band.low_hz, "high_hz": band.high_hz}
            rows.append(place | {"bias_db": bias, "spread_db": spread, "speakers": inside["speaker"].nunique()})
    return pd.DataFrame(rows, columns=COLUMNS)


def _concerned(rows: pd.DataFrame, band: Band) -> pd.DataFrame:
    """The rows that have levels in a band, and those that would have if their scores had not failed."""
    missing = (rows["cutoff_hz"] <= band.low_hz) & (rows["band_hz"] >= band.high_hz)
    return rows[rows[band.bias].notna() | (missing & (rows["failures"].fillna("") != ""))]


def over_conditions(levels: pd.DataFrame) -> pd.DataFrame:
    """Return the means over the conditions under which a band is missing.

    Args:
        levels: as `band_level_rows` gives them.

    Returns:
        The same columns but ``condition``; ``speakers`` are the fewest of a condition.
    """
    groups = levels.groupby(["system", "low_hz", "high_hz"], sort=False)
    means = groups[["bias_db", "spread_db"]].agg("mean", skipna=False)
    return means.assign(speakers=groups["speakers"].min()).reset_index()


def band_level_means(scores: pd.DataFrame) -> dict[str, float]:
    """Return one system's bias and spread in each band by the columns of its score table, means over conditions.

    Args:
        scores: the system's rows of a score table.
    """
    means: dict[str, float] = {}
    for row in rows_of(over_conditions(band_level_rows(scores))):
        band = Band(row["low_hz"], row["high_hz"])
        means |= {band.bias: row["bias_db"], band.spread: row["spread_db"]}
    return means


def grouped_metrics(metrics: Mapping[str, float], split: str) -> dict[str, float]:
    """Return metrics by names in groups, where those of bands do not stand before the scores.

    Args:
        metrics: by the columns of a score table.
        split: on which they were measured.

    Examples:
        >>> list(grouped_metrics({"lsd": 1.0, "band_bias_db_4000_5040": -3.0}, "test"))
        ['test/lsd', 'test_bands/band_bias_db_4000_5040']
    """
    of_bands = {name for band in bands_among(metrics) for name in (band.bias, band.spread)}
    return {f"{split}_bands/{name}" if name in of_bands else f"{split}/{name}": metrics[name] for name in metrics}
