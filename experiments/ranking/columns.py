"""The leaderboard's columns: their headings, and how a number of each is written."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd

from experiments.ranking.primary import PRIMARY

MEASURE_COLUMNS = (
    "extended_ber",
    "extended_ber_median",
    "lsd",
    "lsd_hf_band",
    "lsd_low",
    "content_ber",
    "seed_ber",
    "si_sdr",
    "visqol",
    "pesq_wb",
    "stoi",
    "tonality",
    "seam",
    "hallucination",
)
COST_COLUMNS = ("rtf", "latency_ms", "macs", "parameters")
TRAINING_COLUMNS = ("train_cpu_hours", "train_seconds", "examples_per_second", "train_peak_mb", "examples")
HEADINGS = {
    PRIMARY: "primary ↓",
    "interval": "95\u00a0% interval",
    "extended_ber": "ext. BER ↓",
    "extended_ber_median": "ext. BER median ↓",
    "lsd": "LSD ↓",
    "lsd_hf_band": "LSD-HF ↓",
    "lsd_low": "LSD-low ↓",
    "content_ber": "content BER ↓",
    "seed_ber": "seed BER ↓",
    "si_sdr": "SI-SDR ↑",
    "visqol": "ViSQOL ↑",
    "pesq_wb": "PESQ ↑",
    "stoi": "STOI ↑",
    "tonality": "tonality ↓",
    "seam": "seam ↓",
    "hallucination": "halluc. ↓",
    "rtf": "RTF",
    "latency_ms": "ms",
    "macs": "MAC/s",
    "train_cpu_hours": "train CPU-h",
    "train_seconds": "train s",
    "examples_per_second": "examples/s",
    "train_peak_mb": "train MiB",
}
DECIMALS = {
    "si_sdr": 1,
    "visqol": 2,
    "pesq_wb": 2,
    "seam": 1,
    "hallucination": 1,
    "tonality": 2,
    "rtf": 3,
    "latency_ms": 1,
}

Row = dict[str, Any]


def rows_of(table: pd.DataFrame) -> list[Row]:
    """The rows as dictionaries by column."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def rank_cell(row: Row) -> str:
    """A candidate's rank; empty for a control."""
    rank = row["rank"]
    return "" if pd.isna(rank) else str(rank)


def cell(row: Row, key: str) -> str:
    """What the table shows of a leaderboard's row in a column; ``interval`` is that of the primary score."""
    if key == "interval":
        low, high = float(row["primary_low"]), float(row["primary_high"])
        return "–" if math.isnan(low) else f"{low:.3f}–{high:.3f}"
    failed = key in str(row.get("failed", "")).split(",")
    return "failed" if failed else number(float(row.get(key, math.nan)), key)


def number(value: float, key: str) -> str:
    """A value of a column, in its usual number of decimals; a dash for NaN."""
    if math.isnan(value):
        return "–"
    if key in ("macs", "parameters"):
        return format_macs(value)
    if key in ("train_cpu_hours", "examples_per_second"):
        return f"{value:.3g}"
    if key in TRAINING_COLUMNS:
        return f"{value:.0f}"
    return f"{value:.{DECIMALS.get(key, 3)}f}"


def difference_cell(row: Row, column: str) -> str:
    """A difference with its interval, of the columns ``column``, ``column_low`` and ``column_high``."""
    mean, low, high = (float(row[f"{column}{suffix}"]) for suffix in ("", "_low", "_high"))
    if math.isnan(mean):
        return "–"
    return f"{mean:+.3f}" if math.isnan(low) else f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"


def probability(value: float) -> str:
    """A p value; a dash for NaN."""
    if math.isnan(value):
        return "–"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; bars in cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(one).replace("|", "\\|") for one in line) + " |" for line in lines)


def format_macs(macs: float) -> str:
    """Write multiply-accumulates with a unit prefix, as ``12.3 M``."""
    if math.isnan(macs):
        return "unknown"
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if macs >= size:
            return f"{macs / size:.3g} {prefix}"
    return f"{macs:.3g}"
