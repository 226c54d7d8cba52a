"""Axes of the report's figures: where a value lies between the ends, and which values are named."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

LOG_STEPS = (1, 2, 5)
MOST_LOG_TICKS = 6


@dataclass(frozen=True)
class Axis:
    """A range of values with its ticks.

    Attributes:
        low: the value at the start.
        high: the value at the end.
        ticks: the values that are named, all within the range.
        logarithmic: whether equal distances are equal ratios.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def fraction(self, value: float) -> float:
        """Where a value lies from 0, the start, to 1, the end; values beyond an end lie at it."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low)


def linear_axis(values: Iterable[float], *, start: float | None = None, most: float = math.inf, ticks: int = 5) -> Axis:
    """An axis round numbers of which hold the values.

    Args:
        values: those that are not finite are left out.
        start: a value that the axis reaches down to.
        most: a value that it does not go beyond, however large the values are.
        ticks: about how many there are.
    """
    finite = [min(value, most) for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    low = low if start is None else min(low, start)
    if high <= low:
        high = low + max(abs(low), 1.0) * 0.1
    named = [float(tick) for tick in MaxNLocator(nbins=ticks, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)]
    return Axis(named[0], named[-1], tuple(named))


def logarithmic_axis(values: Iterable[float]) -> Axis:
    """An axis on which equal ratios are equal distances; values that are not positive are left out."""
    positive = [value for value in values if math.isfinite(value) and value > 0.0]
    low, high = min(positive, default=1.0) / 1.5, max(positive, default=1.0) * 1.5
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    named = [step * 10.0**decade for decade in decades for step in LOG_STEPS if low <= step * 10.0**decade <= high]
    if len(named) > MOST_LOG_TICKS:
        named = [10.0**decade for decade in decades if low <= 10.0**decade <= high]
    return Axis(low, high, tuple(named), logarithmic=True)
