"""Which systems give most for what they cost, in training and at run time: the Pareto front, as points and in words."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd

from experiments.ranking.columns import format_macs, number, rows_of
from experiments.ranking.primary import PRIMARY


@dataclass(frozen=True)
class Cost:
    """One kind of cost, a column of the leaderboard.

    Attributes:
        key: the column.
        name: in words.
        text: writes a value.
    """

    key: str
    name: str
    text: Callable[[float], str]


COSTS = (
    Cost("train_cpu_hours", "CPU-hours of one training", lambda hours: f"{hours:.2g} h"),
    Cost("macs", "multiply-accumulates per second of audio", format_macs),
    Cost("rtf", "real-time factor on one core", lambda factor: f"{factor:.2g}"),
)


@dataclass(frozen=True)
class CostPoint:
    """A system's quality and one of its costs.

    Attributes:
        name: of the system.
        cost: positive.
        score: lower is better.
        kind: ``champion``, ``tied``, ``candidate``, ``disqualified`` or ``control``: how the mark looks.
    """

    name: str
    cost: float
    score: float
    kind: str

    @property
    def passed(self) -> bool:
        """Whether it is a candidate that passed every guard."""
        return self.kind not in ("disqualified", "control")


def cost_points(leaderboard: pd.DataFrame, key: str) -> list[CostPoint]:
    """Return the systems whose cost is known, in the order of the leaderboard.

    Args:
        leaderboard: as `experiments.ranking.leaderboard.build_leaderboard` gives it.
        key: the column of the cost.
    """
    if key not in leaderboard:
        return []
    return [
        CostPoint(str(row["system"]), float(row[key]), float(row[PRIMARY]), str(row["status"]).partition(":")[0])
        for row in rows_of(leaderboard)
        if math.isfinite(float(row[PRIMARY])) and float(row[key]) > 0.0
    ]


def pareto_frontier(points: Iterable[CostPoint]) -> list[CostPoint]:
    """Return the points that no other one beats in cost and score at once, cheapest first."""
    frontier: list[CostPoint] = []
    for point in sorted(points, key=lambda point: (point.cost, point.score)):
        if not frontier or point.score < frontier[-1].score:
            frontier.append(point)
    return frontier


def frontier_sentences(leaderboard: pd.DataFrame) -> list[str]:
    """Name the Pareto front for each cost that is known, a Markdown sentence or two each."""
    return [
        _sentences(cost, points)
        for cost in COSTS
        if (points := [point for point in cost_points(leaderboard, cost.key) if point.passed])
    ]


def _sentences(cost: Cost, passed: list[CostPoint]) -> str:
    frontier = pareto_frontier(passed)
    named = [f"`{point.name}` ({cost.text(point.cost)}; {number(point.score, PRIMARY)})" for point in frontier]
    first = f"By {cost.name}: "
    if len(frontier) == 1:
        first += f"{named[0]} is the cheapest and the best."
    else:
        first += f"{named[0]} is the cheapest; more buys a better score with {', then '.join(named[1:])}."
    behind = [point for point in passed if point not in frontier]
    if not behind:
        return first
    beaten = [f"`{point.name}` ({_better(point, frontier, cost)})" for point in behind]
    return f"{first} Not worth it by this cost: {', '.join(beaten)}."


def _better(point: CostPoint, frontier: list[CostPoint], cost: Cost) -> str:
    better = next(one for one in reversed(frontier) if one.cost <= point.cost)
    return f"{cost.text(point.cost)}; {number(point.score, PRIMARY)}; `{better.name}` costs no more and scores no worse"
