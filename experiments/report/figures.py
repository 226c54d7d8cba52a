"""The figures of a report as SVG, drawn by matplotlib in colours that follow light and dark."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.band_levels import over_conditions
from experiments.ranking.columns import Cost, Row, band_heading, kilohertz, level, number, rows_of, span
from experiments.ranking.findings import Findings
from experiments.ranking.leaderboard import pareto_frontier, with_cost
from experiments.ranking.primary import PRIMARY
from experiments.ranking.selection import Status

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PRIMARY = 1.0  # everything beyond it is bad, and would squeeze what matters
INK, SOFT, LINE, PAPER, ACCENT = "#1d1f24", "#5a616d", "#dadde3", "#ffffff", "#a82c6e"
DARK = {INK: "#e9eaee", SOFT: "#a8afbb", LINE: "#383b44", PAPER: "#17181c", ACCENT: "#f471aa"}
COLOURS = {Status.CHAMPION: ACCENT, Status.CONTROL: SOFT}
MARKS = {Status.EXTERNAL: "D"}  # all others are round
LINES = (Status.CONTROL, Status.EXTERNAL)  # where the cost is not known
LEAST_RANGE = 6.5  # of a logarithmic axis: two of the ticks 1, 2, 5, 10 are on it, wherever it begins
MARK = 8.0  # size of a mark in points, the unit of the places of names: across, up, and how the text is aligned
AROUND_MARK = [
    place
    for far in (1.0, 2.0, 3.5, 5.0, 6.5, 8.0)
    for place in (
        *((1.0, 0.0, "left"), (-1.0, 0.0, "right"), (0.0, 1.2 * far, "center"), (0.0, -1.2 * far, "center")),
        *((1.0, far, "left"), (-1.0, far, "right"), (1.0, -far, "left"), (-1.0, -far, "right")),
    )
]
BESIDE_LINE = [(1.5, side * 0.25 * step, "left") for step in range(100) for side in (1, -1)]
CURVES_A_ROW = 3
LEVELS_A_ROW = 4
LIMIT_DB = 24.0  # of levels: what is farther off is not there, or is noise, and the panel says how far

Points = Sequence[tuple[float, float]]
Named = tuple[str, float, float, str]  # name, place from left to right, score, colour


@dataclass(frozen=True)
class Picture:
    """A figure on a page.

    Attributes:
        draw: makes the figure, when a page shows it.
        words: what it shows, with its numbers, for readers who cannot see it.
    """

    draw: Callable[[], Figure]
    words: str

    def svg(self) -> str:
        """Draw it; its colours follow the reader's light or dark."""
        return _with_themes(_svg(self.draw()))

    def uri(self) -> str:
        """Draw it as a data URI."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg().encode()).decode()}"


def interval_picture(findings: Findings) -> Picture:
    """Return every system's primary score with its interval, and a line at doing nothing."""
    rows = [row for row in rows_of(findings.leaderboard) if math.isfinite(row[PRIMARY])]
    numbers = (
        f"{row['system']}: {number(row[PRIMARY], PRIMARY)} ({span(row['primary_low'], row['primary_high'])})"
        for row in rows
    )
    return Picture(partial(_draw_intervals, rows), f"Primary scores. {', '.join(numbers)}")


def _draw_intervals(rows: Sequence[Row]) -> Figure:
    figure = _new_figure(7.5, 0.8 + 0.28 * len(rows))
    axes = figure.subplots()
    for place, row in enumerate(rows):
        colour = COLOURS.get(row["status"], INK)
        filled = PAPER if row["status"] is Status.DISQUALIFIED else colour
        mean, low, high = (min(row[key], MOST_PRIMARY) for key in (PRIMARY, "primary_low", "primary_high"))
        axes.plot([low, high], [place, place], color=colour, linewidth=1.5, solid_capstyle="butt")
        beyond = row[PRIMARY] > MOST_PRIMARY
        mark = ">" if beyond else MARKS.get(row["status"], "o")
        axes.plot([mean], [place], mark, color=colour, markerfacecolor=filled, clip_on=False)
        if row["system"] == UNPROCESSED:
            axes.axvline(mean, color=SOFT, linestyle=(0, (2, 2)), linewidth=1, zorder=0)
    axes.set_yticks(range(len(rows)), [str(row["system"]) for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(COLOURS.get(row["status"], INK))
    axes.invert_yaxis()
    axes.set_xlim(left=0.0)
    axes.set_xlabel("primary score ↓, with its 95 % interval")
    axes.spines["left"].set_visible(False)
    return figure


def cost_picture(findings: Findings, cost: Cost) -> Picture | None:
    """Return quality against a cost: systems as marks, the frontier of those that passed, lines where none is known.

    Args:
        findings: of the comparison.
        cost: the axis from left to right.

    Returns:
        None where no system's cost is known, or the cost is none to draw.
    """
    rows = with_cost(findings.leaderboard, cost.key) if cost.plotted else []
    if not rows:
        return None
    shown = {row["system"] for row in rows}
    controls = {
        str(row["system"]): float(row[PRIMARY])
        for row in rows_of(findings.leaderboard)
        if row["status"] in LINES and row["system"] not in shown and math.isfinite(row[PRIMARY])
    }
    numbers = (f"{row['system']}: {cost.text(row[cost.key])}, {number(row[PRIMARY], PRIMARY)}" for row in rows)
    words = f"primary score ↓ by {cost.name}. {', '.join(numbers)}"
    return Picture(partial(_draw_costs, cost, rows, controls), words)


def _draw_costs(cost: Cost, rows: Sequence[Row], controls: Mapping[str, float]) -> Figure:
    from matplotlib.ticker import LogLocator

    figure = _new_figure(7.2, 4.4)
    axes = figure.subplots()
    axes.set_xscale("log")
    cheapest, dearest = (of(row[cost.key] for row in rows) for of in (min, max))
    margin = max(1.3, math.sqrt(LEAST_RANGE * cheapest / dearest))
    axes.set_xlim(cheapest / margin, dearest * margin)
    axes.set_ylim(0.0, 1.05 * min(max(*(row[PRIMARY] for row in rows), *controls.values(), 0.1), MOST_PRIMARY))
    for score in controls.values():
        axes.axhline(score, color=SOFT, linestyle=(0, (4, 4)), linewidth=0.8, zorder=0)
    frontier = pareto_frontier((row for row in rows if row["status"].passed), cost.key)
    line = [row[cost.key] for row in frontier], [row[PRIMARY] for row in frontier]
    axes.step(*line, where="post", color=ACCENT, zorder=1)
    for row in rows:
        colour = COLOURS.get(row["status"], INK)
        filled = PAPER if row["status"] is Status.DISQUALIFIED else colour
        place = [row[cost.key]], [min(row[PRIMARY], MOST_PRIMARY)]
        axes.plot(*place, MARKS.get(row["status"], "o"), color=colour, markerfacecolor=filled, clip_on=False)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(lambda value, _: cost.text(value))
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.set_xlabel(cost.name)
    axes.set_ylabel("primary score ↓")
    marks = [(row["system"], row[cost.key], row[PRIMARY], COLOURS.get(row["status"], INK)) for row in rows]
    _write_names(figure, axes, marks, [(name, 1.0, score, SOFT) for name, score in controls.items()])
    return figure


def _write_names(figure: Figure, axes: Axes, marks: Sequence[Named], lines: Sequence[Named]) -> None:
    """Write each name at the nearest place to its mark, or to the end of its line, where it covers no other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    renderer = FigureCanvasAgg(figure).get_renderer()
    for names, coordinates, places in (
        (lines, axes.get_yaxis_transform(), BESIDE_LINE),
        (marks, axes.transData, AROUND_MARK),
    ):
        figure.draw_without_rendering()  # makes the layout: names beside lines make the plot narrower
        ends = [(x, min(score, MOST_PRIMARY)) for _, x, score, _ in names]
        half = MARK / 2 * figure.dpi / 72
        taken = [Bbox([[x - half, y - half], [x + half, y + half]]) for x, y in map(coordinates.transform, ends)]
        left, right = (0.0, math.inf) if names is lines else axes.get_window_extent().intervalx
        for (name, _, score, colour), end in zip(names, ends, strict=True):
            text = name if score <= MOST_PRIMARY else f"{name} ({score:.2f})"
            line = {"arrowstyle": "-", "color": LINE, "linewidth": 0.8, "shrinkB": MARK / 2}
            label = axes.annotate(
                text, end, (0, 0), coordinates, "offset points", line, False, color=colour, fontsize=9, va="center"
            )
            for across, up, side in places:
                label.set(position=(across * MARK, up * MARK), ha=side)
                label.update_positions(renderer)
                box = Text.get_window_extent(label, renderer)  # an annotation's own would count the line as well
                if not any(box.overlaps(other) for other in taken) and left <= box.x0 and box.x1 <= right:
                    break
            taken.append(box)


def curves_picture(findings: Findings) -> Picture | None:
    """Return the loss on `val` by training examples: a panel per system with its own scale, a line per seed."""
    curves: dict[str, list[Points]] = {}
    for curve in findings.curves:
        if curve.points:
            curves.setdefault(curve.system, []).append(curve.points)
    if not curves:
        return None
    words = "; ".join(_last_losses(system, lines) for system, lines in curves.items())
    return Picture(partial(_draw_curves, curves), f"Loss on val by training examples; at the end {words}")


def _last_losses(system: str, lines: Sequence[Points]) -> str:
    return f"{system}: {', '.join(f'{points[-1][1]:.3f}' for points in lines)}"


def _draw_curves(curves: Mapping[str, Sequence[Points]]) -> Figure:
    figure, panels = _panels(len(curves), CURVES_A_ROW, (9.0, 1.8), sharey=False)
    for panel, (system, lines) in zip(panels, curves.items(), strict=False):
        panel.set_title(_last_losses(system, lines), fontsize=9, color=INK)
        for points in lines:
            panel.plot(*zip(*points, strict=True), color=ACCENT, linewidth=1.5)
        panel.set_xlim(left=0.0)  # after the lines: a limit that is set before keeps its other end where it is
    figure.supxlabel("training examples", fontsize=9, color=INK)
    figure.supylabel("loss on val ↓", fontsize=9, color=INK)
    return figure


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
    numbers = "; ".join(f"{system}: {_level_words(rows)}" for system, rows in shown.items())
    words = f"Level error over frequency in dB, bias ± spread. {numbers}"
    return Picture(partial(_draw_band_levels, shown, colours), words)


def _level_words(rows: Sequence[Row]) -> str:
    return ", ".join(
        f"{band_heading(row['low_hz'], row['high_hz'])} kHz {level(row['bias_db'], row['spread_db'])}" for row in rows
    )


def _draw_band_levels(levels: Mapping[str, Sequence[Row]], colours: Mapping[str, str]) -> Figure:
    figure, panels = _panels(len(levels), LEVELS_A_ROW, (10.0, 1.7), sharey=True)
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


def _panels(count: int, a_row: int, inches: tuple[float, float], *, sharey: bool) -> tuple[Figure, Sequence[Axes]]:
    """A figure of so many panels; inches are its width and the height of a row."""
    rows = math.ceil(count / a_row)
    figure = _new_figure(inches[0], 0.6 + inches[1] * rows)
    panels = list(figure.subplots(rows, a_row, sharex=True, sharey=sharey, squeeze=False).flat)
    for panel in panels[count:]:
        panel.set_axis_off()
    return figure, panels


def _new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, whose parts make room for each other."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure) -> str:
    from matplotlib import rc_context
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)  # a dollar sign in a name is no formula
    for axes in figure.axes:
        axes.set_facecolor("none")
        axes.tick_params(color=LINE, labelsize=9, which="both")
        axes.spines[:].set_color(LINE)
        axes.spines[["top", "right"]].set_visible(False)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set(color=INK, fontsize=9)
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "overtone", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return buffer.getvalue()


def _with_themes(svg: str) -> str:
    """Replace the colours by variables that follow the reader's light or dark."""
    start = svg.index("<svg")
    names = {colour: f"--c{place}" for place, colour in enumerate(DARK)}
    light = "".join(f"{name}:{colour};" for colour, name in names.items())
    dark = "".join(f"{name}:{DARK[colour]};" for colour, name in names.items())
    body = svg[start:]
    for colour, name in names.items():
        body = body.replace(colour, f"var({name})")
    style = f"<style>svg{{{light}}}@media(prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    head, end, rest = body.partition(">")
    return f"{head}{end}{style}{rest}"
