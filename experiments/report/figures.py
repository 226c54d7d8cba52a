"""The report's figures as inline SVG, coloured by the page's style sheet, so that they follow light and dark."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from itertools import pairwise

from experiments.ranking.compute import CostPoint, pareto_frontier
from experiments.report.axes import Axis

WHISKERS_WIDTH, WHISKERS_HEIGHT = 190, 24
PLOT_WIDTH, PLOT_HEIGHT = 420, 330
LEFT, RIGHT, TOP, BOTTOM = 40, 12, 12, 42
CURVE_WIDTH, CURVE_HEIGHT = 260, 130
LETTER = 0.61  # width of an average letter in ems
LABEL_SIZE, SMALL_SIZE = 12.0, 10.5

Box = tuple[float, float, float, float]


def whiskers_svg(mean: float, low: float, high: float, axis: Axis, reference: float, kind: str) -> str:
    """A dot with its interval, and a line where doing nothing lies; an arrow for a value beyond the axis.

    Args:
        mean: the dot; NaN draws none.
        low: the interval's start; NaN draws no interval.
        high: the interval's end.
        axis: the same for all rows.
        reference: the line; NaN draws none.
        kind: as that of `CostPoint`.
    """
    middle = WHISKERS_HEIGHT / 2
    parts = [f'<line class="rule" x1="0" x2="{WHISKERS_WIDTH}" y1="{middle}" y2="{middle}"/>']
    if math.isfinite(reference):
        x = _whiskers_x(axis, reference)
        parts.append(f'<line class="reference" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{WHISKERS_HEIGHT}"/>')
    if math.isfinite(low):
        start, end = _whiskers_x(axis, low), _whiskers_x(axis, high)
        parts.append(
            f'<path class="whisker" d="M{start:.1f} {middle}H{end:.1f}M{start:.1f} {middle - 4}v8M{end:.1f} '
            f'{middle - 4}v8"/>'
        )
    if math.isfinite(mean):
        x = _whiskers_x(axis, mean)
        parts.append(
            f'<path class="dot" d="M{x - 5:.1f} {middle - 5}l8 5l-8 5z"/>'
            if mean > axis.high
            else f'<circle class="dot" cx="{x:.1f}" cy="{middle}" r="4.5"/>'
        )
    return _svg("".join(parts), WHISKERS_WIDTH, WHISKERS_HEIGHT, f"whiskers {kind}")


def whiskers_axis_svg(axis: Axis) -> str:
    """The numbers above a column of `whiskers_svg`."""
    parts = []
    for tick in axis.ticks:
        x = _whiskers_x(axis, tick)
        anchor = "start" if tick == axis.ticks[0] else "end" if tick == axis.ticks[-1] else "middle"
        shift = {"start": -6, "end": 6, "middle": 0}[anchor]
        parts.append(_text(x + shift, 11, f"{tick:g}", SMALL_SIZE, anchor))
        parts.append(f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="15" y2="20"/>')
    return _svg("".join(parts), WHISKERS_WIDTH, 20, "whiskers")


def _whiskers_x(axis: Axis, value: float) -> float:
    return 7 + axis.fraction(value) * (WHISKERS_WIDTH - 14)


def pareto_svg(
    points: Sequence[CostPoint],
    lines: Mapping[str, float],
    costs: Axis,
    scores: Axis,
    *,
    cost_name: str,
    score_name: str,
    cost_text: Callable[[float], str],
) -> str:
    """Quality against compute: candidates as marks, the frontier of those that passed, controls as lines.

    Args:
        points: systems whose cost is known.
        lines: score by name of the controls, whose cost nobody measured.
        costs: from left to right.
        scores: from bottom to top.
        cost_name: below the plot.
        score_name: above the plot.
        cost_text: writes a tick.
    """

    def x(cost: float) -> float:
        return LEFT + costs.fraction(cost) * (PLOT_WIDTH - LEFT - RIGHT)

    def y(score: float) -> float:
        return PLOT_HEIGHT - BOTTOM - scores.fraction(score) * (PLOT_HEIGHT - TOP - BOTTOM)

    taken = [(x(point.cost) - 7, y(point.score) - 7, x(point.cost) + 7, y(point.score) + 7) for point in points]
    parts = [_grid(costs, scores, x, y, cost_text), _axis_names(cost_name, score_name)]
    frontier = pareto_frontier(point for point in points if point.passed)
    if frontier:
        steps = "".join(f"H{x(point.cost):.1f}V{y(point.score):.1f}" for point in frontier[1:])
        start = f"M{x(frontier[0].cost):.1f} {y(frontier[0].score):.1f}"
        parts.append(f'<path class="frontier" d="{start}{steps}"/>')
        for one, other in pairwise(frontier):
            taken.append((x(one.cost), y(one.score) - 1, x(other.cost), y(one.score) + 1))
    labels = []
    for point in sorted(points, key=lambda point: (point.kind != "champion", point.cost)):
        parts.append(_mark(point, x(point.cost), y(point.score)))
        name = point.name if point.score <= scores.high else f"{point.name} ({point.score:.2f})"
        choices = _beside(x(point.cost), y(point.score), name, LABEL_SIZE)
        labels.append(_label(name, choices, taken, LABEL_SIZE, f"label {point.kind}"))
    for name, score in lines.items():
        parts.insert(1, f'<path class="control-line" d="M{LEFT} {y(score):.1f}H{PLOT_WIDTH - RIGHT}"/>')
        labels.append(_label(name, _along(y(score), name, SMALL_SIZE), taken, SMALL_SIZE, "label control"))
    words = ", ".join(f"{point.name}: {cost_text(point.cost)}, {point.score:.3f}" for point in points)
    return _svg("".join(parts + labels), PLOT_WIDTH, PLOT_HEIGHT, "plot", f"{score_name} by {cost_name}. {words}")


def _grid(
    costs: Axis,
    scores: Axis,
    x: Callable[[float], float],
    y: Callable[[float], float],
    cost_text: Callable[[float], str],
) -> str:
    parts = []
    for tick in scores.ticks:
        parts.append(f'<path class="rule" d="M{LEFT} {y(tick):.1f}H{PLOT_WIDTH - RIGHT}"/>')
        parts.append(_text(LEFT - 6, y(tick) + 4, f"{tick:g}", SMALL_SIZE, "end"))
    for tick in costs.ticks:
        bottom = PLOT_HEIGHT - BOTTOM
        parts.append(f'<line class="rule" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{bottom}" y2="{bottom + 4}"/>')
        parts.append(_text(x(tick), bottom + 16, cost_text(tick), SMALL_SIZE, "middle"))
    return f'<g class="grid">{"".join(parts)}</g>'


def _axis_names(cost_name: str, score_name: str) -> str:
    across = _text((LEFT + PLOT_WIDTH - RIGHT) / 2, PLOT_HEIGHT - 6, cost_name, LABEL_SIZE, "middle")
    up = _text(-(TOP + PLOT_HEIGHT - BOTTOM) / 2, 11, score_name, LABEL_SIZE, "middle")
    return f'<g class="names">{across}<g transform="rotate(-90)">{up}</g></g>'


def _mark(point: CostPoint, x: float, y: float) -> str:
    shape = (
        f'<path d="M{x:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z"/>'
        if point.kind == "control"
        else f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{7 if point.kind == "champion" else 5.5}"/>'
    )
    words = f"{point.name} ({point.kind}), {point.score:.3f}"
    return f'<g class="mark {escape(point.kind)}"><title>{escape(words)}</title>{shape}</g>'


def _beside(x: float, y: float, name: str, size: float) -> Iterator[Box]:
    """Places for a label round a mark, the best first."""
    width, height = LETTER * size * len(name), size
    for away in (0.0, 10.0, 22.0, 34.0):
        for left, top in (
            (x + 10, y - height / 2 - away),
            (x + 10, y - height / 2 + away),
            (x - 10 - width, y - height / 2 - away),
            (x - 10 - width, y - height / 2 + away),
            (x - width / 2, y - 10 - height - away),
            (x - width / 2, y + 10 + away),
        ):
            yield left, top, left + width, top + height


def _along(y: float, name: str, size: float) -> Iterator[Box]:
    """Places for a label on a line across the plot, the best first."""
    width = LETTER * size * len(name)
    right = PLOT_WIDTH - RIGHT - 2 - width
    for share in (1.0, 0.0, 0.5, 0.75, 0.25):
        left = LEFT + 4 + share * (right - LEFT - 4)
        for top in (y - size - 1, y + 2):
            yield left, top, left + width, top + size


def _label(name: str, choices: Iterable[Box], taken: list[Box], size: float, style: str) -> str:
    """Write a name at the first place that is free and inside the plot, else at the least crowded, and take it."""
    inside: Box = (LEFT, 0.0, PLOT_WIDTH, PLOT_HEIGHT - BOTTOM + 2)

    def crowding(box: Box) -> float:
        area = (box[2] - box[0]) * (box[3] - box[1])
        return sum(_overlap(box, other) for other in taken) + 2.0 * (area - _overlap(box, inside))

    places = list(choices)
    best = next((box for box in places if crowding(box) <= 0.01), None) or min(places, key=crowding)
    taken.append(best)
    return _text(best[0], best[3] - 0.2 * size, name, size, "start", style)


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)


def curve_svg(lines: Sequence[Sequence[tuple[float, float]]], across: Axis, up: Axis, words: str) -> str:
    """A small plot of curves on axes that it shares with others.

    Args:
        lines: the points of each curve; those with a value that is not finite are left out.
        across: the axis from left to right.
        up: the axis from bottom to top.
        words: what it shows, for those who cannot see it.
    """
    left, bottom, right, top = 44, CURVE_HEIGHT - 20, CURVE_WIDTH - 10, 6

    def x(value: float) -> float:
        return left + across.fraction(value) * (right - left)

    def y(value: float) -> float:
        return bottom - up.fraction(value) * (bottom - top)

    parts = []
    for tick in up.ticks:
        parts.append(f'<line class="rule" x1="{left}" x2="{right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>')
        parts.append(_text(left - 5, y(tick) + 4, f"{tick:g}", SMALL_SIZE, "end"))
    for tick in (across.ticks[0], across.ticks[-1]):
        parts.append(_text(x(tick), bottom + 14, f"{tick:g}", SMALL_SIZE, "middle" if tick < across.high else "end"))
    for line in lines:
        finite = [(x(at), y(value)) for at, value in line if math.isfinite(at) and math.isfinite(value)]
        if finite:
            path = "L".join(f"{one:.1f} {other:.1f}" for one, other in finite)
            parts.append(f'<path class="curve" d="M{path}"/>')
            parts.append(f'<circle class="curve-end" cx="{finite[-1][0]:.1f}" cy="{finite[-1][1]:.1f}" r="2.5"/>')
    return _svg("".join(parts), CURVE_WIDTH, CURVE_HEIGHT, "curves", words)


def _text(x: float, y: float, words: str, size: float, anchor: str, style: str = "tick") -> str:
    return (
        f'<text class="{escape(style)}" x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def _svg(content: str, width: float, height: float, style: str, words: str = "") -> str:
    """A figure; without words it is decoration, whose numbers stand beside it."""
    role = f'role="img" aria-label="{escape(words)}"' if words else 'aria-hidden="true"'
    return f'<svg class="{escape(style)}" viewBox="0 0 {width} {height}" {role}>{content}</svg>'
