"""The picture of levels over frequency: at a glance, where a system is too quiet or too loud."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from experiments.ranking.band_levels import over_conditions
from experiments.ranking.columns import Row, band_heading, kilohertz, level, rows_of
from experiments.ranking.findings import Findings
from experiments.report.figures import COLOURS, INK, SOFT, Picture, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PANELS_A_ROW = 4
LIMIT_DB = 24.0  # of the axis: what is farther off is not there, or is noise, and the panel says how far


def band_levels_picture(findings: Findings) -> Picture:
    """Return bias and spread over frequency: a panel per system, controls included, the same axes for all.

    Args:
        findings: of a comparison that has levels.
    """
    levels: dict[str, list[Row]] = {system: [] for system in findings.systems}
    for row in rows_of(over_conditions(findings.band_levels)):
        levels[row["system"]].append(row)
    shown = {system: rows for system, rows in levels.items() if rows}
    colours = {system: COLOURS.get(findings.selection.status(system), INK) for system in shown}
    words = "; ".join(f"{system}: {_words(rows)}" for system, rows in shown.items())
    return Picture(partial(_draw, shown, colours), f"Level error over frequency in dB, bias ± spread. {words}")


def _words(rows: Sequence[Row]) -> str:
    return ", ".join(
        f"{band_heading(row['low_hz'], row['high_hz'])} kHz {level(row['bias_db'], row['spread_db'])}" for row in rows
    )


def _draw(levels: Mapping[str, Sequence[Row]], colours: Mapping[str, str]) -> Figure:
    height = math.ceil(len(levels) / PANELS_A_ROW)
    figure = new_figure(10.0, 0.6 + 1.7 * height)
    panels = figure.subplots(height, PANELS_A_ROW, sharex=True, sharey=True, squeeze=False).ravel()
    for panel in panels[len(levels) :]:
        panel.set_axis_off()
    edges = sorted({row[side] for rows in levels.values() for row in rows for side in ("low_hz", "high_hz")})
    for panel, (system, rows) in zip(panels, levels.items(), strict=False):
        panel.set_title(system, fontsize=9, color=colours[system])
        panel.axhline(0.0, color=SOFT, linewidth=0.8, linestyle=(0, (2, 2)), zorder=0)
        _draw_levels(panel, rows, colours[system])
    axes = panels[0]
    axes.set_xscale("log")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(-LIMIT_DB, LIMIT_DB)
    axes.set_yticks([-20, -10, 0, 10, 20])
    ticks = edges if len(edges) < 6 else sorted({*edges[::3], edges[-1]})
    axes.set_xticks(ticks, [kilohertz(hz) for hz in ticks])
    axes.set_xticks([], minor=True)
    figure.supxlabel("frequency, kHz", fontsize=9, color=INK)
    figure.supylabel("level error, dB: bias ± spread", fontsize=9, color=INK)
    return figure


def _draw_levels(panel: Axes, rows: Sequence[Row], colour: str) -> None:
    """A step a band; one that is beyond the axis has its number at the border."""
    for row in rows:
        bias, spread = row["bias_db"], row["spread_db"]
        span = (row["low_hz"], row["high_hz"])
        if math.isnan(bias):
            continue
        panel.fill_between(span, bias - spread, bias + spread, color=colour, alpha=0.2, linewidth=0)
        panel.plot(span, [bias, bias], color=colour, linewidth=2, solid_capstyle="butt")
    beyond = [row for row in rows if abs(row["bias_db"]) > LIMIT_DB]
    if not beyond:
        return
    worst = max(beyond, key=lambda row: abs(row["bias_db"]))
    below, right = worst["bias_db"] < 0, worst is rows[-1]
    panel.text(
        worst["high_hz" if right else "low_hz"],
        (-0.9 if below else 0.9) * LIMIT_DB,
        f"{'▼' if below else '▲'} {worst['bias_db']:+.0f} dB ",
        ha="right" if right else "left",
        va="bottom" if below else "top",
        fontsize=9,
        color=colour,
    )
