"""What a sweep may change of an architecture's hyper-parameters: ranges and choices, declared beside each model.

Plain values, so that models need no optimiser library; `experiments.sweep.study` turns them into its distributions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class FloatRange:
    """Numbers from ``low`` to ``high``, both included.

    Attributes:
        low: smallest value.
        high: largest value.
        log: whether equal ratios, instead of equal differences, are equally likely.
    """

    low: float
    high: float
    log: bool = False

    def including(self, value: float) -> "FloatRange":
        """Return the smallest such range that also holds ``value``."""
        return replace(self, low=min(self.low, value), high=max(self.high, value))


@dataclass(frozen=True)
class IntRange:
    """Whole numbers from ``low`` to ``high``, both included, ``step`` apart.

    Attributes:
        low: smallest value.
        high: largest value, a whole number of steps above.
        step: distance of neighbours.
        log: whether equal ratios are equally likely; needs a step of 1.
    """

    low: int
    high: int
    step: int = 1
    log: bool = False

    def including(self, value: int) -> "IntRange":
        """Return the smallest such range that also holds ``value``; one off the steps gives them up."""
        step = self.step if (value - self.low) % self.step == 0 else 1
        return replace(self, low=min(self.low, value), high=max(self.high, value), step=step)


@dataclass(frozen=True)
class Choice:
    """One of some values that have no order, or no even one.

    Attributes:
        options: the values; plain ones or tuples of them.
    """

    options: tuple[Any, ...]

    def including(self, value: Any) -> "Choice":  # noqa: ANN401 - whatever a setting may be
        """Return the choice with ``value`` among its options."""
        return self if value in self.options else Choice((*self.options, value))


Range = FloatRange | IntRange | Choice
SearchSpace = Mapping[str, Range]
