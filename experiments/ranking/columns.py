"""The leaderboard's columns: their headings, how a number of each is written, and the costs, each declared once."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from evaluation.measures.catalogue import MEASURES
from evaluation.measures.declaration import HIGHER, LOWER, NEAR_ZERO, Scores
from experiments.ranking.primary import PRIMARY

Row = dict[str, Any]


@dataclass(frozen=True)
class Cost:
    """One kind of cost. Whatever lists costs iterates over `COSTS`.

    Attributes:
        key: the column of the leaderboard.
        heading: of the column.
        name: in plots, tiles and sentences.
        form: how a number is written, as `format` takes it; ``prefix`` for `with_prefix`.
        unit: behind a number that stands alone.
        remark: what it tells, and what fools it.
        of_training: whether it is a cost of training; the others are costs at run time.
        plotted: whether a report draws quality against it.
    """

    key: str
    heading: str
    name: str = ""
    form: str = ".0f"
    unit: str = ""
    remark: str = ""
    of_training: bool = True
    plotted: bool = False

    def text(self, value: float) -> str:
        """Return a value with its unit."""
        return f"{number(value, self.key)} {self.unit}".rstrip()


COSTS = {
    cost.key: cost
    for cost in (
        Cost(
            "rtf",
            "RTF",
            "real-time factor on one core",
            ".3f",
            remark="seconds of one core per second of audio; fooled by a machine that does something else meanwhile",
            of_training=False,
            plotted=True,
        ),
        Cost(
            "latency_ms",
            "ms",
            "latency in ms",
            ".0f",
            remark="how late the output of a stream is; – cannot stream. The sound card's own is not in it",
            of_training=False,
        ),
        Cost(
            "macs",
            "MAC/s",
            "multiply-accumulates per second of audio",
            "prefix",
            remark="multiply-accumulates per second of audio without the transforms; says little about memory traffic",
            of_training=False,
            plotted=True,
        ),
        Cost("parameters", "parameters", form="prefix", of_training=False),
        Cost(
            "train_cpu_hours",
            "train CPU-h",
            "CPU-hours of one training",
            ".3g",
            "h",
            remark="processor time of one training, all its processes and starts, with validation; a GPU's time is "
            "not in it, and other programs on the same cores make it larger",
            plotted=True,
        ),
        Cost("train_seconds", "train s"),
        Cost("examples_per_second", "examples/s", form=".3g"),
        Cost("train_peak_mb", "train MiB"),
        Cost("examples", "examples"),
    )
}
RUN_TIME_COSTS = tuple(key for key, cost in COSTS.items() if not cost.of_training)
TRAINING_COSTS = tuple(key for key, cost in COSTS.items() if cost.of_training)


def heading(key: str) -> str:
    """Return a column's heading, with an arrow in the better direction; the key where it has none."""
    if key in MEASURES:
        return MEASURES[key].heading
    others = {PRIMARY: "primary ↓", "interval": "95\u00a0% interval"}
    return COSTS[key].heading if key in COSTS else others.get(key, key)


def plain_heading(key: str) -> str:
    """Return a column's heading without its arrow."""
    name, _, arrow = heading(key).rpartition(" ")
    return name if arrow in (LOWER, HIGHER, NEAR_ZERO) else heading(key)


def loss(key: str, scores: Scores) -> Scores:
    """Return scores as numbers of which the smaller is better.

    Args:
        key: a measure, or ``primary``.
        scores: of that key.
    """
    return MEASURES[key].loss(scores) if key in MEASURES else scores


def decimals(key: str) -> int:
    """Return how many digits after the point a measure's numbers have."""
    return MEASURES[key].decimals if key in MEASURES else 3


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
    """Return a number as a column shows it; a dash for NaN.

    Args:
        value: the number.
        key: the column.
    """
    if math.isnan(value):
        return "–"
    form = COSTS[key].form if key in COSTS else f".{decimals(key)}f"
    return with_prefix(value) if form == "prefix" else f"{value:{form}}"


def span(low: float, high: float) -> str:
    """Return an interval of the primary score; a dash for NaN.

    Args:
        low: its lower bound.
        high: its upper bound.
    """
    return "–" if math.isnan(low) else f"{low:.3f}–{high:.3f}"


def difference(mean: float, low: float, high: float) -> str:
    """Return a difference with its interval where there is one; a dash for NaN.

    Args:
        mean: the difference.
        low: lower bound of its interval.
        high: upper bound of its interval.
    """
    if math.isnan(mean):
        return "–"
    return f"{mean:+.3f}" if math.isnan(low) else f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"


def band_heading(low_hz: float, high_hz: float) -> str:
    """Return a band in kHz, as ``6.3–8``.

    Args:
        low_hz: where it begins.
        high_hz: where it ends.
    """
    return f"{kilohertz(low_hz)}–{kilohertz(high_hz)}"


def kilohertz(hz: float) -> str:
    """Return a frequency in kHz, to 100 Hz."""
    return f"{hz / 1000:.1f}".removesuffix(".0")


def level(bias_db: float, spread_db: float) -> str:
    """Return a level error in dB with its spread; ``failed`` for NaN.

    Args:
        bias_db: its mean.
        spread_db: its standard deviation.
    """
    return "failed" if math.isnan(bias_db) else f"{bias_db:+.1f} ± {spread_db:.1f}"


def probability(value: float) -> str:
    """Return a p value as text; a dash for NaN."""
    if math.isnan(value):
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def with_prefix(value: float) -> str:
    """Return a count with a unit prefix, as ``12.3 M``."""
    if math.isnan(value):
        return "unknown"
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {prefix}"
    return f"{value:.3g}"
