"""Which systems give most for what they cost, in training and at run time: the Pareto front."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from experiments.ranking.columns import rows_of
from experiments.ranking.primary import PRIMARY
from experiments.ranking.selection import Status


@dataclass(frozen=True)
class CostPoint:
    """A system's quality and one of its costs.

    Attributes:
        name: of the system.
        cost: positive.
        score: lower is better.
        status: what the rule made of it.
    """

    name: str
    cost: float
    score: float
    status: Status


def cost_points(leaderboard: pd.DataFrame, key: str) -> list[CostPoint]:
    """Return the systems whose cost is known, in the order of the leaderboard.

    Args:
        leaderboard: as `experiments.ranking.leaderboard.build_leaderboard` gives it.
        key: the column of the cost.
    """
    return [
        CostPoint(str(row["system"]), float(row[key]), float(row[PRIMARY]), row["status"])
        for row in rows_of(leaderboard)
        if math.isfinite(float(row[PRIMARY])) and float(row.get(key, 0.0)) > 0.0
    ]


def pareto_frontier(points: Iterable[CostPoint]) -> list[CostPoint]:
    """Return the points that no other one beats in cost and score at once, cheapest first."""
    frontier: list[CostPoint] = []
    for point in sorted(points, key=lambda point: (point.cost, point.score)):
        if not frontier or point.score < frontier[-1].score:
            frontier.append(point)
    return frontier
