"""What changed from A to B in the scores of one system, paired by file and condition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from evaluation.measures.catalogue import MEASURES
from evaluation.statistics.intervals import PairedDifference, applicable, difference_of, speaker_mean
from experiments.ranking.columns import loss, number
from experiments.ranking.primary import average_seeds
from overtone.errors import OvertoneError

A, B = "A", "B"
BETTER, WORSE = "better", "worse"
ROUNDING = 1e-6  # the same sums in another order, as other processes make them, differ by less
MOST_UTTERANCES = 6
IDENTITY = ["speaker", "file", "condition"]


@dataclass(frozen=True)
class Change:
    """How a measure changed, over the utterances that both scored.

    Attributes:
        key: the measure, or ``primary``.
        a: mean over speakers in A.
        b: the same in B.
        newly_failed: utterances whose score failed in B and not in A; those that failed in either are in no mean.
        pairs: the utterances that both scored: columns ``speaker, file, condition, A, B, difference``.
    """

    key: str
    a: float
    b: float
    newly_failed: int
    pairs: pd.DataFrame

    @cached_property
    def difference(self) -> PairedDifference:
        """B minus A, paired, with its interval; NaN over no utterance where the measure applies to none."""
        return difference_of(self.pairs)

    @property
    def direction(self) -> str:
        """``better`` or ``worse`` where the interval excludes 0; else empty.

        A signed measure is worse where it is farther from 0 all over the interval, and better where it is nearer.
        """
        low, high = self.difference.low, self.difference.high
        if self.key in MEASURES and MEASURES[self.key].signed:
            ends = (self.a + low, self.a + high)
            least = 0.0 if ends[0] < 0.0 < ends[1] else min(map(abs, ends))
            return WORSE if least > abs(self.a) else BETTER if max(map(abs, ends)) < abs(self.a) else ""
        if self.difference.includes_zero:
            return ""
        return WORSE if loss(self.key, self.difference.mean) > 0 else BETTER

    @property
    def size(self) -> str:
        """How large it is, with its interval, as in a sentence."""
        found = self.difference
        low, high = (number(abs(bound), self.key) for bound in sorted((found.low, found.high), key=abs))
        return f"{number(abs(found.mean), self.key)} (95 % interval {low} to {high})"


@dataclass(frozen=True)
class SystemChanges:
    """How a system changed.

    Attributes:
        name: in A, and in B where that is another.
        changes: of each measure that both have.
        by_condition: of the most prominent measures and those that are judged, by condition.
        only_in: utterances that one side alone has scored, A's and B's.
    """

    name: str
    changes: Sequence[Change]
    by_condition: Mapping[str, Sequence[Change]]
    only_in: tuple[int, int]

    def change(self, key: str) -> Change:
        """Return the change in a measure that both have."""
        return next(one for one in self.changes if one.key == key)


def system_changes(
    tables: tuple[pd.DataFrame, pd.DataFrame],
    names: tuple[str, str],
    keys: Sequence[str],
    prominent: Sequence[str],
) -> SystemChanges:
    """Return how a system changed.

    Args:
        tables: score tables, of A and of B.
        names: of the system in A and in B.
        keys: the measures.
        prominent: those of them that are compared under each condition too.

    Raises:
        OvertoneError: A and B have scored no utterance under the same condition.
    """
    own = [
        average_seeds(table[table["system"] == name]).assign(system=label)
        for label, table, name in zip((A, B), tables, names, strict=True)
    ]
    of_a, of_b = (set(zip(table["file"], table["condition"], strict=True)) for table in own)
    if not of_a & of_b:
        raise OvertoneError(
            f"{' and '.join(dict.fromkeys(names))}: A and B have scored no utterance in common. Expected the same "
            "files under conditions of the same names: the same preset, corpus and split."
        )
    rows = pd.concat(own, ignore_index=True)
    return SystemChanges(
        names[0] if names[0] == names[1] else f"{names[0]} → {names[1]}",
        [change_in(rows, key) for key in keys],
        {
            condition: [change_in(rows, key, condition) for key in prominent]
            for condition in sorted({condition for _, condition in of_a & of_b})
        },
        (len(of_a - of_b), len(of_b - of_a)),
    )


def change_in(rows: pd.DataFrame, key: str, condition: str | None = None) -> Change:
    """Return how a measure changed.

    Args:
        rows: a score table with the systems A and B, seeds averaged.
        key: the measure.
        condition: the one that counts; None for the mean over all.
    """
    least = ROUNDING * rows[key].abs().max()
    found = applicable(rows if condition is None else rows[rows["condition"] == condition], key)
    values = {label: found[found["system"] == label].set_index(IDENTITY)[key] for label in (A, B)}
    pairs = pd.concat(values, axis=1, join="inner").sort_index().reset_index()
    newly_failed = int((pairs[A].notna() & pairs[B].isna()).sum())
    pairs = pairs.dropna()
    difference = pairs[B] - pairs[A]
    pairs["difference"] = difference.where(difference.abs() > least, 0.0)
    return Change(key, speaker_mean(pairs, A), speaker_mean(pairs, B), newly_failed, pairs)


def largest(change: Change) -> pd.DataFrame:
    """Return the pairs behind a change that changed most, largest first; those without a change are left out."""
    moved = change.pairs[change.pairs["difference"] != 0.0]
    order = moved["difference"].abs().sort_values(ascending=False, kind="stable").index
    return moved.loc[order[:MOST_UTTERANCES]]
