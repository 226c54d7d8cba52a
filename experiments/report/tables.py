"""The report's tables as HTML: leaderboard, guards, conditions, trainings, failures."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd

from evaluation.measures.catalogue import MEASURES, Shown, keys_shown
from experiments.pages.embedding import breakable
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.columns import (
    COST_COLUMNS,
    TRAINING_COLUMNS,
    Row,
    cell,
    heading,
    number,
    plain_heading,
    rank_cell,
    rows_of,
)
from experiments.ranking.conditions import is_failed, matrix_of
from experiments.ranking.outranking import FLAG, reads_target, without_target
from experiments.ranking.primary import PRIMARY
from experiments.ranking.selection import Selection
from experiments.report.axes import Axis, linear_axis
from experiments.report.figures import whiskers_axis_svg, whiskers_svg
from experiments.report.leaderboard_markdown import flagged_systems

MOST_PRIMARY = 1.0  # beyond it everything is bad, and a worse value would squeeze what matters
MOST_FAILURES = 200
COST_HEADINGS = {"latency_ms": "latency, ms", "parameters": "parameters", "examples": "examples"}
GUARDS = ("content_ber", "lsd_low", "visqol", "tonality", "excess_above_band", "latency_ms", "rtf", "failed scores")


def table_html(header: Sequence[str], rows: Iterable[str], label: str, style: str = "") -> str:
    """A table that scrolls inside its own box and can be scrolled by keyboard.

    Args:
        header: cells as HTML.
        rows: whole rows as HTML.
        label: what the box is called.
        style: the table's class.
    """
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(label)}"><table class="{escape(style)}">'
        f"<thead><tr>{''.join(header)}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _heading(words: str, explanation: str = "", style: str = "") -> str:
    title = f' title="{escape(explanation)}"' if explanation else ""
    return f'<th scope="col" class="{style}"{title}>{words}</th>'


def kind_of(status: str) -> str:
    """The status without its reasons: ``champion``, ``tied``, ``candidate``, ``disqualified`` or ``control``."""
    return status.partition(":")[0]


def primary_axis(leaderboard: pd.DataFrame) -> Axis:
    """The axis of the primary score that whiskers and plot share."""
    values = [*leaderboard[PRIMARY], *leaderboard["primary_high"]]
    return linear_axis(values, start=0.0, most=MOST_PRIMARY)


def leaderboard_table(leaderboard: pd.DataFrame) -> str:
    """The leaderboard, the primary score drawn beside its number, controls dimmed, and flagged where they outrank."""
    measures = [key for key in keys_shown(Shown.LEADERBOARD) if key in leaderboard]
    costs = [key for key in (*COST_COLUMNS, *TRAINING_COLUMNS) if key in leaderboard and leaderboard[key].notna().any()]
    rows = rows_of(leaderboard)
    axis = primary_axis(leaderboard)
    reference = next((float(row[PRIMARY]) for row in rows if row["system"] == UNPROCESSED), math.nan)
    flags = flagged_systems(leaderboard)
    header = [
        _heading("system", style="name"),
        _heading(heading(PRIMARY), "0 is best, 0.5 is what doing nothing scores", "number"),
        _heading(whiskers_axis_svg(axis), "dot: mean, whiskers: 95 % interval, line: unprocessed"),
        _heading(heading("interval"), style="number"),
        *(_heading(heading(key), MEASURES[key].description, "number") for key in measures),
        *(_heading(COST_HEADINGS.get(key, heading(key)), style="number") for key in costs),
    ]
    lines = []
    for row in rows:
        kind = kind_of(str(row["status"]))
        mean, low, high = (float(row[key]) for key in (PRIMARY, "primary_low", "primary_high"))
        cells = [
            f'<th scope="row" class="name">{_system_cell(row, flags)}</th>',
            _number_cell(cell(row, PRIMARY)),
            f"<td>{whiskers_svg(mean, low, high, axis, reference, kind)}</td>",
            *(_number_cell(cell(row, key)) for key in ("interval", *measures, *costs)),
        ]
        lines.append(f'<tr class="{escape(kind)}">{"".join(cells)}</tr>')
    return table_html(header, lines, "Leaderboard", "leaderboard")


def _number_cell(text: str) -> str:
    style = "number failed" if text == "failed" else "number"
    return f'<td class="{style}">{escape(text)}</td>'


def _system_cell(row: Row, flags: Mapping[str, Sequence[str]]) -> str:
    name, status = str(row["system"]), str(row["status"])
    rank = rank_cell(row)
    parts = [f'<span class="rank">{escape(rank)}</span> ' if rank else "", breakable(name)]
    if name in flags:
        parts.append(f' <span class="flag" title="ahead of {escape(", ".join(flags[name]))}">{FLAG}</span>')
    note = "control, reads the target" if status == "control" and reads_target(name) else status
    parts.append(f'<small class="status">{breakable(note)}</small>')
    better = without_target(filter(None, str(row.get("outranked_by") or "").split(",")))
    if better:
        words = f"{FLAG} behind {better[0] if len(better) == 1 else f'{len(better)} controls'}"
        parts.append(f'<small class="status flag" title="{escape(", ".join(better))}">{breakable(words)}</small>')
    return "".join(parts)


def guards_table(selection: Selection) -> str:
    """Which guard ruled out which candidate, best primary score on `val` first."""
    ruled = {one.system: {reason.guard: str(reason) for reason in one.reasons} for one in selection.candidates}
    guards = [*GUARDS, *sorted({guard for reasons in ruled.values() for guard in reasons} - set(GUARDS))]
    header = [
        _heading("candidate", style="name"),
        _heading("primary on val ↓", style="number"),
        _heading("95\u00a0% interval", style="number"),
        _heading("verdict"),
        *(_heading(escape(guard), style="mark") for guard in guards),
    ]
    lines = []
    for candidate in selection.candidates:
        score, reasons = candidate.primary, ruled[candidate.system]
        verdict = "champion" if candidate.system == selection.winner else "disqualified" if reasons else "passed"
        span = "–" if math.isnan(score.low) else f"{score.low:.3f}–{score.high:.3f}"
        marks = [
            f'<td class="mark failed" title="{escape(reasons[guard])}">✗<span class="unseen"> failed</span></td>'
            if guard in reasons
            else '<td class="mark"></td>'
            for guard in guards
        ]
        lines.append(
            f'<tr class="{verdict}"><th scope="row" class="name">{breakable(candidate.system)}</th>'
            f"{_number_cell(number(score.mean, PRIMARY))}{_number_cell(span)}<td>{verdict}</td>{''.join(marks)}</tr>"
        )
    return table_html(header, lines, "Guards")


def condition_table(rows: pd.DataFrame, leaderboard: pd.DataFrame, key: str) -> str:
    """Systems by conditions in one measure: blue is better than doing nothing under the condition, orange worse.

    Args:
        rows: as `experiments.ranking.conditions.condition_rows` gives them.
        leaderboard: the order of the systems.
        key: the measure.
    """
    matrix = matrix_of(rows, key)
    conditions = [str(name) for name in rows["condition"].drop_duplicates()]
    shades = _shades(pd.DataFrame({name: matrix["mean", name].astype(float) for name in conditions}), key)
    status = dict(zip(leaderboard["system"], leaderboard["status"], strict=True))
    lines = []
    for system in (str(name) for name in leaderboard["system"] if name in matrix.index):
        values: dict[Any, Any] = dict(matrix.loc[[system]].iloc[0].items())
        cells = [_condition_cell(values, name, key, float(shades[name].loc[system])) for name in conditions]
        head = f'<th scope="row" class="name">{breakable(system)}</th>'
        lines.append(f'<tr class="{escape(kind_of(str(status[system])))}">{head}{"".join(cells)}</tr>')
    header = [_heading("system", style="name"), *(_heading(breakable(name), style="number") for name in conditions)]
    return table_html(header, lines, f"{plain_heading(key)} by condition", "matrix")


def _shades(means: pd.DataFrame, key: str) -> pd.DataFrame:
    """How much better than doing nothing each mean is, from -1 to 1; NaN where there is nothing to compare with.

    The scale ends at the largest gain of a system that does not read the target: a few very bad systems then saturate
    in place of hiding all differences among the good ones.
    """
    if UNPROCESSED not in means.index:
        return means * math.nan
    sign = 1.0 if key in MEASURES and MEASURES[key].higher_is_better else -1.0
    gains = sign * (means - means.loc[UNPROCESSED])
    honest = gains.loc[without_target(gains.index)].to_numpy()
    most = float(pd.Series(honest.ravel()).max())
    return (gains / (most if most > 0.0 else 1.0)).clip(-1.0, 1.0)


def _condition_cell(row: Mapping[tuple[str, str], Any], condition: str, key: str, shade: float) -> str:
    mean, half_width = float(row["mean", condition]), float(row["half_width", condition])
    if is_failed(mean, float(row["utterances", condition])):
        return _number_cell("failed")
    spread = "" if math.isnan(half_width) else f" <small>± {number(half_width, key)}</small>"
    alarming = without_target(filter(None, str(row["outranked_by", condition]).split(",")))
    flag = f' <span class="flag" title="behind {escape(", ".join(alarming))}">{FLAG}</span>' if alarming else ""
    colour = ""
    if not math.isnan(shade):
        colour = f' style="--side:var(--{"better" if shade >= 0 else "worse"});--share:{100 * abs(shade):.0f}%"'
    return f'<td class="number shade"{colour}>{number(mean, key)}{spread}{flag}</td>'


def trainings_table(trainings: pd.DataFrame) -> str:
    """What every training cost."""
    words = {
        "seed": "seed",
        "processes": "processes",
        "examples": "examples",
        "seconds": "seconds",
        "cpu_seconds": "CPU seconds",
        "examples_per_second": "examples a second",
        "peak_mb": "peak MiB",
        "gpu_peak_mb": "peak MiB, GPU",
        "val_loss": "loss on val ↓",
    }
    columns = [key for key in words if key in trainings and not (key == "gpu_peak_mb" and not trainings[key].any())]
    lines = []
    for row in rows_of(trainings):
        numbers = "".join(_number_cell(_training_number(float(row[key]), key)) for key in columns)
        late = "stopped by the safety limit" if row.get("over_budget") else ""
        head = f'<th scope="row" class="name">{breakable(str(row["system"]))}</th>'
        lines.append(f'<tr>{head}{numbers}<td class="failed">{late}</td></tr>')
    header = [_heading("system", style="name"), *(_heading(words[key], style="number") for key in columns)]
    return table_html([*header, _heading("")], lines, "Trainings")


def _training_number(value: float, key: str) -> str:
    if math.isnan(value):
        return "–"
    if key == "val_loss":
        return f"{value:.3f}"
    return f"{value:.3g}" if key == "examples_per_second" else f"{value:.0f}"


def failures_table(failed: pd.DataFrame) -> str:
    """The failed scores, as `experiments.ranking.selection.failed_scores` lists them; the first of many."""
    header = [_heading(words, style="name" * (words == "system")) for words in failed.columns]
    lines = [
        f'<tr><th scope="row" class="name">{breakable(row["system"])}</th>'
        + "".join(f"<td>{escape(str(row[key]))}</td>" for key in failed.columns[1:])
        + "</tr>"
        for row in rows_of(failed.head(MOST_FAILURES))
    ]
    table = table_html(header, lines, "Failed scores", "failures")
    more = len(failed) - MOST_FAILURES
    if more <= 0:
        return table
    return f"{table}<p>And {more} more: see the column <code>failures</code> of the score table.</p>"
