"""The leaderboard: one row per system, as a table, as CSV and Markdown files, and on the terminal."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from evaluation.statistics import PairedDifference, paired_difference
from evaluation.statistics import speaker_mean as mean_over_speakers
from experiments.selection import (
    PRIMARY,
    Selection,
    average_seeds,
    failed_scores,
    format_macs,
    interval,
    with_primary,
)
from experiments.winner_rule import UNPROCESSED
from runtime.files import written_whole

MEASURE_COLUMNS = (
    "extended_ber",
    "lsd",
    "lsd_hf_band",
    "lsd_low",
    "content_ber",
    "seed_ber",
    "si_sdr",
    "visqol",
    "tonality",
    "seam",
    "hallucination",
)
COST_COLUMNS = ("rtf", "latency_ms", "macs", "parameters")
TRAINING_COLUMNS = ("train_seconds", "examples")
CONDITION_KEYS = (PRIMARY, "extended_ber", "lsd_hf_band", "visqol")
HEADINGS = {
    PRIMARY: "primary ↓",
    "interval": "95\u00a0% interval",
    "extended_ber": "ext. BER ↓",
    "lsd": "LSD ↓",
    "lsd_hf_band": "LSD-HF ↓",
    "lsd_low": "LSD-low ↓",
    "content_ber": "content BER ↓",
    "seed_ber": "seed BER ↓",
    "si_sdr": "SI-SDR ↑",
    "visqol": "ViSQOL ↑",
    "tonality": "tonality ↓",
    "seam": "seam ↓",
    "hallucination": "halluc. ↓",
    "rtf": "RTF",
    "latency_ms": "ms",
    "macs": "MAC/s",
    "train_seconds": "train s",
}
DECIMALS = {"si_sdr": 1, "visqol": 2, "seam": 1, "hallucination": 1, "tonality": 2, "rtf": 3, "latency_ms": 1}
MOST_FAILURES = 20
WIDE = 110  # characters that the wide table takes with the longest names
WIDE_COLUMNS = (PRIMARY, "interval", "extended_ber", "lsd_hf_band", "lsd_low", "visqol", "rtf", "latency_ms", "macs")
NARROW_COLUMNS = (PRIMARY, "extended_ber", "lsd_hf_band", "visqol", "latency_ms")
STYLES = {"champion": "bold green", "tied": "green", "control": "dim", "candidate": ""}

Row = dict[str, Any]


def build_leaderboard(
    scores: pd.DataFrame, costs: pd.DataFrame, selection: Selection, trainings: pd.DataFrame
) -> pd.DataFrame:
    """Sum up a score table, best primary score first.

    Args:
        scores: score table, on `test` as a rule; rows of candidates have a ``seed``.
        costs: indexed by system: ``rtf, latency_ms, macs, parameters``; a system without a row has none of them.
        selection: what was decided on `val`.
        trainings: one row per training: ``system, seconds, examples``; seeds are averaged.

    Returns:
        Columns: ``rank`` (candidates only), ``system``, ``status``, ``primary`` with ``primary_low`` and
        ``primary_high`` (95 % interval), the measures (means over conditions of means over speakers), the differences
        in ``primary`` to unprocessed, ``vs_unprocessed``, and to the runner-up, ``vs_runner_up``, with their intervals
        (negative is better), the costs, ``train_seconds`` and ``examples``, and ``failed``, the measures with a failed
        score, comma-separated. NaN is a measure that failed (then named there) or that does not apply.
    """
    scores = with_primary(scores)
    failed = failed_scores(scores).groupby("system")["key"].agg(lambda keys: ",".join(sorted(set(keys))))
    rows = [
        _scores_of(str(system), group) | _differences(scores, str(system), selection.runner_up)
        for system, group in average_seeds(scores).groupby("system", sort=True)
    ]
    table = pd.DataFrame(rows)
    table = table.join(costs.reindex(columns=list(COST_COLUMNS)), on="system")
    table = table.join(_training_means(trainings), on="system")
    table["failed"] = table["system"].map(failed).fillna("")
    table.insert(1, "status", [_status(system, selection) for system in table["system"]])
    table = table.sort_values([PRIMARY, "system"], na_position="last", ignore_index=True)
    ranked = (table["status"] != "control").to_numpy()
    table.insert(0, "rank", pd.Series(ranked.cumsum(), dtype="Int64").where(ranked))
    return table


def _scores_of(system: str, averaged: pd.DataFrame) -> Row:
    primary = interval(averaged, PRIMARY)
    row: Row = {"system": system, PRIMARY: primary.mean}
    row |= {"primary_low": primary.low, "primary_high": primary.high}
    return row | {key: mean_over_speakers(averaged, key) for key in MEASURE_COLUMNS if key in averaged}


def _differences(scores: pd.DataFrame, system: str, runner_up: str | None) -> dict[str, float]:
    present = set(scores["system"])
    row: dict[str, float] = {}
    for column, other in (("vs_unprocessed", UNPROCESSED), ("vs_runner_up", runner_up)):
        known = other is not None and other in present and other != system
        difference = paired_difference(scores, system, str(other), PRIMARY) if known else None
        row |= _difference_columns(column, difference)
    return row


def _difference_columns(column: str, difference: PairedDifference | None) -> dict[str, float]:
    if difference is None:
        return dict.fromkeys((column, f"{column}_low", f"{column}_high"), math.nan)
    return {column: difference.mean, f"{column}_low": difference.low, f"{column}_high": difference.high}


def _training_means(trainings: pd.DataFrame) -> pd.DataFrame:
    if trainings.empty:
        return pd.DataFrame(columns=list(TRAINING_COLUMNS), dtype=float)
    means = trainings.groupby("system")[["seconds", "examples"]].mean()
    return means.rename(columns={"seconds": "train_seconds"})


def _status(system: str, selection: Selection) -> str:
    if system == selection.winner:
        return "champion"
    if system in selection.disqualified:
        return "disqualified: " + ", ".join(dict.fromkeys(r.guard for r in selection.disqualified[system]))
    if system in selection.tied:
        return "tied"
    return "candidate" if any(system == candidate.system for candidate in selection.candidates) else "control"


def headline(leaderboard: pd.DataFrame, selection: Selection, split: str = "test") -> str:
    """The result in a sentence or two, in Markdown."""
    if selection.winner is None:
        return "**No champion**: no candidate passed every guard."
    rows = {row["system"]: row for row in _rows(leaderboard)}
    if selection.winner not in rows:
        return f"**`{selection.winner}` is the champion**; it was not scored on `{split}`."
    row = rows[selection.winner]
    nothing = f"where doing nothing scores {rows[UNPROCESSED][PRIMARY]:.3f} and " if UNPROCESSED in rows else "where "
    text = (
        f"**`{selection.winner}` is the champion**: primary score {row[PRIMARY]:.3f} on `{split}` "
        f"({row['primary_low']:.3f} to {row['primary_high']:.3f}), {nothing}0 is perfect."
    )
    gap, low, high = (row[f"vs_runner_up{suffix}"] for suffix in ("", "_low", "_high"))
    if math.isnan(gap):
        return text
    uncertain = "" if low > 0.0 or high < 0.0 else ", so that the two cannot be told apart"
    return (
        f"{text} It is {abs(gap):.3f} {'better' if gap < 0 else 'worse'} than the runner-up "
        f"`{selection.runner_up}` (paired difference {low:+.3f} to {high:+.3f}, negative is better{uncertain})."
    )


def write_leaderboard(
    folder: Path,
    leaderboard: pd.DataFrame,
    scores: pd.DataFrame,
    selection: Selection,
    *,
    preset: str,
    reproduce: Sequence[str],
    split: str = "test",
) -> tuple[Path, Path]:
    """Write ``leaderboard.csv`` and ``leaderboard.md``.

    Args:
        folder: where to; made when absent.
        leaderboard: as `build_leaderboard` gives it.
        scores: the score table it sums up.
        selection: what was decided on `val`.
        preset: the preset's name.
        reproduce: the commands that give this result.
        split: what the scores are of.

    Returns:
        The paths of both.
    """
    csv, markdown = folder / "leaderboard.csv", folder / "leaderboard.md"
    with written_whole(csv) as temporary:
        leaderboard.to_csv(temporary, index=False, float_format="%.6g")
    with written_whole(markdown) as temporary:
        text = leaderboard_markdown(leaderboard, scores, selection, preset=preset, reproduce=reproduce, split=split)
        temporary.write_text(text, encoding="utf-8")
    return csv, markdown


def leaderboard_markdown(
    leaderboard: pd.DataFrame,
    scores: pd.DataFrame,
    selection: Selection,
    *,
    preset: str,
    reproduce: Sequence[str],
    split: str = "test",
) -> str:
    """The whole report in Markdown; arguments as in `write_leaderboard`."""
    scores = with_primary(scores)
    measures = [key for key in MEASURE_COLUMNS if key in leaderboard]
    columns = [PRIMARY, "interval", *measures, *COST_COLUMNS, *TRAINING_COLUMNS]
    speakers = scores["speaker"].nunique()
    utterances = len(scores[["file"]].drop_duplicates())
    parts = [
        f"# Leaderboard of `{preset}`",
        headline(leaderboard, selection, split),
        f"Scores on `{split}`: {utterances} utterances of {speakers} speakers; means over speakers, then over "
        "conditions. The primary score is 0 at best and 0.5 for doing nothing. Arrows show the better direction; – is "
        "a measure that does not apply.",
        _markdown_table(
            ["rank", "system", "status", *(HEADINGS.get(key, key) for key in columns)],
            (
                [_rank(row), row["system"], row["status"], *(_cell(row, key) for key in columns)]
                for row in _rows(leaderboard)
            ),
        ),
        "## How the winner was chosen",
        "Decided on `val`, by limits declared before the training.",
        selection.explanation,
        "## Differences in the primary score",
        _markdown_table(
            ["system", "to unprocessed", "to the runner-up"],
            (
                [row["system"], _difference(row, "vs_unprocessed"), _difference(row, "vs_runner_up")]
                for row in _rows(leaderboard)
            ),
        ),
        "Paired by utterance, with 95 % intervals; negative is better.",
        "## By condition",
        *_condition_tables(scores, leaderboard),
    ]
    if failures := _failure_lines(scores):
        parts += ["## Failed scores", "\n".join(failures)]
    parts += ["## How to reproduce", "```\n" + "\n".join(reproduce) + "\n```"]
    return "\n\n".join(parts) + "\n"


def _rows(leaderboard: pd.DataFrame) -> list[Row]:
    return [{str(key): value for key, value in row.items()} for row in leaderboard.to_dict("records")]


def _condition_tables(scores: pd.DataFrame, leaderboard: pd.DataFrame) -> list[str]:
    keys = [key for key in CONDITION_KEYS if key in scores]
    averaged = average_seeds(scores)
    parts: list[str] = []
    for condition, group in averaged.groupby("condition", sort=False):
        systems = [system for system in leaderboard["system"] if system in set(group["system"])]
        lines = []
        for system in systems:
            rows = group[group["system"] == system]
            lines.append([system, *(_number(mean_over_speakers(rows, key), key) for key in keys)])
        parts += [f"### {condition}", _markdown_table(["system", *(HEADINGS[key] for key in keys)], lines)]
    return parts


def _failure_lines(scores: pd.DataFrame) -> list[str]:
    failed = failed_scores(scores)
    lines = [
        f"- `{row['system']}`, {row['file']}, {row['condition']}: {row['key']} ({row['reason']})"
        for row in failed.head(MOST_FAILURES).to_dict("records")
    ]
    if len(failed) > MOST_FAILURES:
        lines.append(f"- and {len(failed) - MOST_FAILURES} more")
    return lines


def _markdown_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _rank(row: Row) -> str:
    rank = row["rank"]
    return "" if pd.isna(rank) else str(rank)


def _cell(row: Row, key: str) -> str:
    if key == "interval":
        low, high = float(row["primary_low"]), float(row["primary_high"])
        return "–" if math.isnan(low) else f"{low:.3f}–{high:.3f}"
    failed = key in str(row.get("failed", "")).split(",")
    return "failed" if failed else _number(float(row.get(key, math.nan)), key)


def _number(value: float, key: str) -> str:
    if math.isnan(value):
        return "–"
    if key in ("macs", "parameters"):
        return format_macs(value)
    if key in TRAINING_COLUMNS:
        return f"{value:.0f}"
    return f"{value:.{DECIMALS.get(key, 3)}f}"


def _difference(row: Row, column: str) -> str:
    mean, low, high = (float(row[f"{column}{suffix}"]) for suffix in ("", "_low", "_high"))
    if math.isnan(mean):
        return "–"
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"


def print_leaderboard(console: Console, leaderboard: pd.DataFrame, selection: Selection, split: str = "test") -> None:
    """Print the headline, the table in as many columns as fit, and what the rule said."""
    console.print(Markdown(headline(leaderboard, selection, split)))
    columns = WIDE_COLUMNS if console.width >= WIDE else NARROW_COLUMNS
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("system", overflow="fold")
    for key in columns:
        table.add_column(Text(HEADINGS[key].replace(" ", "\n", 1)), justify="right")
    table.add_column("status", overflow="fold")
    for row in _rows(leaderboard):
        status = str(row["status"]).partition(":")[0]
        cells = [_rank(row), str(row["system"]), *(_cell(row, key) for key in columns), status]
        table.add_row(*(Text(cell) for cell in cells), style=STYLES.get(status, "yellow"))
    console.print(table)
    console.print(Markdown(selection.explanation))
