"""The leaderboard's columns: their headings, and how a number of each is written."""

import math
from typing import Any

import pandas as pd

from evaluation.measures.catalogue import MEASURES
from experiments.ranking.primary import PRIMARY

COST_COLUMNS = ("rtf", "latency_ms", "macs", "parameters")
TRAINING_COLUMNS = ("train_cpu_hours", "train_seconds", "examples_per_second", "train_peak_mb", "examples")
OTHER_HEADINGS = {
    PRIMARY: "primary ↓",
    "interval": "95\u00a0% interval",
    "rtf": "RTF",
    "latency_ms": "ms",
    "macs": "MAC/s",
    "train_cpu_hours": "train CPU-h",
    "train_seconds": "train s",
    "examples_per_second": "examples/s",
    "train_peak_mb": "train MiB",
}
OTHER_DECIMALS = {"latency_ms": 1}

Row = dict[str, Any]


def heading(key: str) -> str:
    """Return a column's heading, with an arrow in the better direction; the key where it has none."""
    return MEASURES[key].heading if key in MEASURES else OTHER_HEADINGS.get(key, key)


def plain_heading(key: str) -> str:
    """Return a column's heading without its arrow."""
    return heading(key).rstrip(" ↓↑")


def decimals(key: str) -> int:
    """Return how many digits after the point a column's numbers have."""
    return MEASURES[key].decimals if key in MEASURES else OTHER_DECIMALS.get(key, 3)


def rows_of(table: pd.DataFrame) -> list[Row]:
    """Return the rows as dictionaries by column."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def cell(row: Row, key: str) -> str:
    """Return the text of a leaderboard's row in a column.

    Args:
        row: of the leaderboard.
        key: the column; ``rank`` is empty for a control, ``interval`` is that of the primary score.
    """
    if key == "rank":
        return "" if pd.isna(row["rank"]) else str(row["rank"])
    if key == "interval":
        return span(float(row["primary_low"]), float(row["primary_high"]))
    return "failed" if key in row["failed"] else number(float(row.get(key, math.nan)), key)


def number(value: float, key: str) -> str:
    """Return a value of a column in its usual number of decimals; a dash for NaN."""
    if math.isnan(value):
        return "–"
    if key in ("macs", "parameters"):
        return format_macs(value)
    if key in ("train_cpu_hours", "examples_per_second"):
        return f"{value:.3g}"
    if key in TRAINING_COLUMNS:
        return f"{value:.0f}"
    return f"{value:.{decimals(key)}f}"


def span(low: float, high: float) -> str:
    """Return an interval of the primary score; a dash for NaN."""
    return "–" if math.isnan(low) else f"{low:.3f}–{high:.3f}"


def difference(mean: float, low: float, high: float) -> str:
    """Return a difference with its interval; a dash for NaN."""
    if math.isnan(mean):
        return "–"
    return f"{mean:+.3f}" if math.isnan(low) else f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"


def probability(value: float) -> str:
    """Return a p value as text; a dash for NaN."""
    if math.isnan(value):
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def format_macs(macs: float) -> str:
    """Write multiply-accumulates with a unit prefix, as ``12.3 M``."""
    if math.isnan(macs):
        return "unknown"
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if macs >= size:
            return f"{macs / size:.3g} {prefix}"
    return f"{macs:.3g}"
