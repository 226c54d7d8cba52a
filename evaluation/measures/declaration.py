"""What a measure declares: what it computes, what fools it, and how tables show it."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from overtone.errors import OvertoneError

OWN_MEASURES = "OVERTONE_MEASURES"
ARGUMENTS = ("preds", "target", "sample_rate", "cutoff_hz", "band_hz", "block_samples")

LOWER, HIGHER, NEAR_ZERO = "↓", "↑", "→0"

Score = float | NDArray[np.float64]
OverPairs = Callable[[Sequence[NDArray[np.float64]], Sequence[str]], Sequence[float]]
Scores = TypeVar("Scores", float, pd.Series, pd.DataFrame)


class Shown(IntEnum):
    """How prominent a measure is; each level is shown wherever the levels below it are."""

    ON_REQUEST = 0
    """Computed only when a command names it."""
    SCORES = 1
    """A column of every score table."""
    LEADERBOARD = 2
    """A column of every leaderboard and of the tables by condition."""
    HEADLINE = 3
    """In summaries: model card, registered version, terminal, detectable differences."""
    OVERVIEW = 4
    """In MLflow's list of runs, and on a terminal that is wide."""
    COMPACT = 5
    """On narrow terminals, and in the sections by condition."""


@dataclass(frozen=True)
class Measure:
    """One measure. Whatever lists measures iterates over `MEASURES`, so a new one is one entry there.

    Attributes:
        key: name of its column in score tables, and of its metric in MLflow (``test/KEY``).
        higher_is_better: the better direction, of one that is not signed.
        meaning: what it measures, in a line.
        function: the pure function behind it; it is given those of ``preds``, ``target``, ``sample_rate``,
            ``cutoff_hz``, ``band_hz`` and ``block_samples`` that its signature names.
        unit: unit or scale, as ``dB`` or ``1 to 5``; "" where ``meaning`` says it, or there is none.
        name: short name for headings; None for the key.
        decimals: digits after the point in tables for reading.
        weakness: what fools it, or what it cannot hear.
        shown: where it stands.
        gain: whether it measures what was gained, so that a control ahead of a system is a warning. In the others,
            which measure harm, doing nothing is as good as can be.
        signed: whether its sign says what is wrong, and 0 is best. Means keep the sign, so that errors in one
            direction show and those of chance cancel; whatever compares systems compares sizes.
        version: of its definition: a change that moves scores raises it, and figures of two versions are not compared.
        detectable: whether a leaderboard has the smallest difference that its test set detects in a headline measure.
        over_pairs: None, or, of a measure that a pair alone does not have, what makes a score of each pair from what
            ``function`` returned for each pair of a system under a condition, and from their speakers.
    """

    key: str
    higher_is_better: bool
    meaning: str
    function: Callable[..., Score]
    unit: str = ""
    name: str | None = None
    decimals: int = 3
    weakness: str = ""
    shown: Shown = Shown.SCORES
    gain: bool = False
    signed: bool = False
    version: int = 1
    detectable: bool = True
    over_pairs: OverPairs | None = None
    arguments: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", frozenset(inspect.signature(self.function).parameters))

    def __call__(self, **available: object) -> Score:
        """Score one pair from whatever of ``available`` the function asks for."""
        return self.function(**{name: available[name] for name in self.arguments})

    @property
    def heading(self) -> str:
        """The heading of its column, with an arrow in the better direction."""
        return f"{self.name or self.key} {self.arrow}"

    @property
    def arrow(self) -> str:
        """The better direction as a sign."""
        return NEAR_ZERO if self.signed else HIGHER if self.higher_is_better else LOWER

    @property
    def better(self) -> str:
        """The better direction in words."""
        return "near 0" if self.signed else "higher" if self.higher_is_better else "lower"

    def loss(self, scores: Scores) -> Scores:
        """Return scores, or means of them, as numbers of which the smaller is better."""
        return abs(scores) if self.signed else -scores if self.higher_is_better else scores

    @property
    def description(self) -> str:
        """What it measures, with its unit."""
        return f"{self.meaning}, {self.unit}" if self.unit else self.meaning


def own_measures() -> Iterator[Measure]:
    """Import the measures that a user declares: ``MODULE:NAME,MODULE:NAME`` in the environment.

    It is the environment that names them, because each process that scores has to import them. Modules are found in the
    working directory too.

    Raises:
        OvertoneError: a name leads to no measure, or to one whose function asks for what there is not.
    """
    for name in filter(None, os.environ.get(OWN_MEASURES, "").split(",")):
        module, _, attribute = name.strip().partition(":")
        if os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        try:
            measure = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # whatever a user's module raises
            reason = f"{type(error).__name__}: {error}"
            raise OvertoneError(
                f"{OWN_MEASURES}: expected MODULE:NAME, {name} cannot be imported ({reason})."
            ) from error
        if not isinstance(measure, Measure):
            raise OvertoneError(
                f"{OWN_MEASURES}: expected {name} to be an evaluation.measures.declaration.Measure, got a "
                f"{type(measure).__name__}."
            )
        if unknown := sorted(measure.arguments.difference(ARGUMENTS)):
            raise OvertoneError(
                f"{OWN_MEASURES}: {name} asks for {', '.join(unknown)}; measures can have {', '.join(ARGUMENTS)}."
            )
        yield measure
