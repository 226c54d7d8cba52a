"""Paired comparisons of a leaderboard, tested as one family, and the differences that its test set can detect."""

import math
from collections.abc import Collection, Sequence

import pandas as pd

from evaluation.measures.catalogue import MEASURES, keys_shown
from evaluation.measures.declaration import Shown
from evaluation.statistics.hypothesis_tests import (
    cohens_d_z,
    holm,
    rank_biserial_correlation,
    signed_rank_test,
    smallest_detectable_difference,
)
from evaluation.statistics.intervals import difference_of, speaker_differences_of, utterance_pairs
from evaluation.statistics.training_spread import paired_difference_over_trainings
from experiments.ranking.primary import PRIMARY, average_seeds
from experiments.ranking.selection import Selection


def reference_of(systems: Collection[str], selection: Selection) -> str | None:
    """Return the candidate that others are compared with: the champion, or the best on `val` without one.

    Args:
        systems: those with scores.
        selection: what was decided on `val`, so that the champion is not chosen by the scores that are tested.
    """
    candidates = [one.system for one in selection.candidates if one.system in systems]
    return selection.winner if selection.winner in candidates else next(iter(candidates), None)


def _pairs(systems: Sequence[str], selection: Selection) -> list[tuple[str, str]]:
    """Every candidate against every control; the champion against every other candidate and system from outside."""
    candidates = [one.system for one in selection.candidates if one.system in systems]
    others = [*candidates, *(name for name in systems if name in selection.externals)]
    reference = reference_of(systems, selection)
    pairs = [(candidate, control) for candidate in candidates for control in systems if control not in others]
    return pairs + [(reference, other) for other in others if reference is not None and reference != other]


def paired_tests(scores: pd.DataFrame, selection: Selection) -> pd.DataFrame:
    """Compare systems in the primary score, with one correction for all tests.

    Every candidate is compared with every control, the champion with every other candidate and system from outside.

    Args:
        scores: a score table with the column ``primary``, of `test` as a rule; training seeds are averaged.
        selection: what was decided on `val`.

    Returns:
        Columns ``system, other``, ``difference`` (system minus other) with its 95 % interval ``low, high`` and, where
        systems were trained more than once, ``trainings_low, trainings_high``, which allows for other trainings;
        ``p_value`` of the Wilcoxon signed-rank test on speaker means, ``p_holm`` with Holm's correction for all rows,
        ``rank_biserial`` (-1 to 1), ``d_z`` (Cohen's), ``detectable`` (smallest difference, 80 % power at 5 %),
        ``speakers`` and ``utterances``. NaN is what cannot be computed: failed scores, or a single speaker.
    """
    pairs = _pairs([str(name) for name in scores["system"].unique()], selection)
    columns = ["system", "other", "difference", "low", "high", "trainings_low", "trainings_high", "p_value", "p_holm"]
    columns += ["rank_biserial", "d_z", "detectable", "speakers", "utterances"]
    of_system = {str(name): rows for name, rows in scores.groupby("system")}
    rows = [_compared(pd.concat([of_system[one], of_system[two]]), one, two) for one, two in pairs]
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = holm(table["p_value"].to_numpy(float))
    return table


def _compared(scores: pd.DataFrame, system: str, other: str) -> dict[str, float | str]:
    pairs = utterance_pairs(scores, system, other, PRIMARY)
    difference, of_speakers = difference_of(pairs), speaker_differences_of(pairs)
    row: dict[str, float | str] = {"system": system, "other": other, "difference": difference.mean}
    row |= {"low": difference.low, "high": difference.high}
    row |= dict(zip(("trainings_low", "trainings_high"), _over_trainings(scores, system, other), strict=True))
    return row | {
        "p_value": signed_rank_test(of_speakers).p_value,
        "rank_biserial": rank_biserial_correlation(of_speakers),
        "d_z": cohens_d_z(of_speakers),
        "detectable": smallest_detectable_difference(of_speakers),
        "speakers": difference.speakers,
        "utterances": difference.utterances,
    }


def _over_trainings(scores: pd.DataFrame, system: str, other: str) -> tuple[float, float]:
    seeds = scores[scores["system"].isin([system, other])].groupby("system")["seed"].nunique()
    if 1 in seeds.to_numpy():
        return math.nan, math.nan
    difference = paired_difference_over_trainings(scores, system, other, PRIMARY)
    return difference.low, difference.high


def smallest_p_value(speakers: int) -> float:
    """The smallest two-sided p value that a signed-rank test of so many speakers can give."""
    return min(2.0 ** (1 - speakers), 1.0) if speakers > 1 else math.nan


def detectable_keys() -> list[str]:
    """Return the measures whose smallest detectable differences are told."""
    return [PRIMARY, *(key for key in keys_shown(Shown.HEADLINE) if MEASURES[key].detectable)]


def detectable_differences(scores: pd.DataFrame, systems: Sequence[str]) -> pd.DataFrame:
    """The smallest differences between neighbours that the test set can detect, per measure.

    Args:
        scores: a score table with the column ``primary``.
        systems: in the order of the leaderboard.

    Returns:
        A row per system, in that order: ``system``, ``next``, the one below ("" for the last), and a column
        ``detectable_KEY`` for each of `detectable_keys` that the table has, in the measure's units: two-sided, paired,
        speakers as clusters, 80 % power at 5 %. NaN where it cannot be computed.
    """
    averaged = average_seeds(scores)
    keys = [key for key in detectable_keys() if key in averaged]
    of_system = {str(name): rows for name, rows in averaged.groupby("system")}
    rows = []
    for system, following in zip(systems, [*systems[1:], ""], strict=True):
        row: dict[str, float | str] = {"system": system, "next": following}
        neighbours = pd.concat([of_system[name] for name in (system, following) if name])
        for key in keys if following else []:
            differences = speaker_differences_of(utterance_pairs(neighbours, system, following, key))
            row[f"detectable_{key}"] = smallest_detectable_difference(differences)
        rows.append(row)
    return pd.DataFrame(rows, columns=["system", "next", *(f"detectable_{key}" for key in keys)])
