"""Parts of the leaderboard's report: the tests of its differences, and the scores by condition."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from experiments.ranking.columns import difference_cell, heading, markdown_table, number, probability, rows_of
from experiments.ranking.conditions import (
    ConditionFactors,
    condition_keys,
    factor_matrix,
    is_failed,
    matrix_of,
)
from experiments.ranking.outranking import FLAG, without_target
from experiments.ranking.paired_tests import family_of, smallest_p_value
from experiments.ranking.primary import PRIMARY
from experiments.ranking.selection import Selection


def significance_section(tests: pd.DataFrame, leaderboard: pd.DataFrame, selection: Selection) -> list[str]:
    """The tests of the primary score, as `paired_tests` gives them: candidates by controls, and the champion's."""
    systems = [str(name) for name in leaderboard["system"]]
    family = family_of(systems, selection)
    if tests.empty:
        return []
    rows = {(row["system"], row["other"]): row for row in rows_of(tests)}
    candidates = [name for name in systems if any(name == system for system, _ in rows)]
    controls = [name for name in systems if (candidates[0], name) in rows and name not in candidates]
    parts = ["## Tests of the primary score", _family_words(tests, family.words)]
    if controls:
        lines = [
            [candidate, *(_test_cell(rows[candidate, control]) for control in controls)] for candidate in candidates
        ]
        parts.append(markdown_table(["candidate minus control", *controls], lines))
    versus = [row for (system, other), row in rows.items() if system == family.reference and other not in controls]
    if versus:
        header = [
            f"{family.reference} minus",
            "difference",
            "over trainings too",
            "p",
            "p (Holm)",
            "r",
            "d_z",
            "detectable",
        ]
        lines = [
            [
                row["other"],
                _interval_cell(row, "low", "high"),
                _interval_cell(row, "trainings_low", "trainings_high"),
                probability(row["p_value"]),
                probability(row["p_holm"]),
                _signed(row["rank_biserial"], 2),
                _signed(row["d_z"], 1),
                number(row["detectable"], PRIMARY),
            ]
            for row in versus
        ]
        parts.append(markdown_table(header, lines))
    return parts


def _family_words(tests: pd.DataFrame, family: str) -> str:
    speakers = int(tests["speakers"].max())
    words = (
        f"Wilcoxon signed-rank tests on the means of {speakers} speakers; p values with Holm's correction for the "
        f"family of {len(tests)}: {family}. Negative differences are better. r is the rank-biserial correlation of the "
        "pairs, from -1 (better for every speaker) to 1 (worse for every one); d_z the mean difference in standard "
        "deviations over speakers."
    )
    if speakers < 2:
        return f"{words} With one speaker there is no test."
    smallest = smallest_p_value(speakers)
    if smallest * len(tests) > 0.05:
        words += (
            f" {speakers} speakers cannot give a p value under {smallest:.2g}, nor under 0.05 after the correction, "
            "however large the difference: read the intervals, or add speakers."
        )
    return words


def _test_cell(row: Mapping[str, float]) -> str:
    if math.isnan(row["difference"]):
        return "failed"
    return f"{row['difference']:+.3f} (p {probability(row['p_holm'])}, r {_signed(row['rank_biserial'], 2)})"


def _signed(value: float, decimals: int) -> str:
    return "–" if math.isnan(value) else f"{value:+.{decimals}f}"


def _interval_cell(row: Mapping[str, float], low: str, high: str) -> str:
    if math.isnan(row[low]):
        return "–"
    plain = {"difference": row["difference"], "difference_low": row[low], "difference_high": row[high]}
    return difference_cell(plain, "difference")


def condition_section(
    scores: pd.DataFrame,
    conditions: pd.DataFrame,
    systems: Sequence[str],
    factors: Mapping[str, ConditionFactors] | None,
) -> list[str]:
    """Systems by conditions for each of `condition_keys`, then the primary score by codec, noise and cutoff.

    Args:
        scores: a score table with the column ``primary``.
        conditions: its `condition_rows`.
        systems: in the order of the leaderboard.
        factors: of each condition, by its name; None leaves the last out.
    """
    parts = [
        f"Means over speakers ± half the width of the 95 % interval. {FLAG} marks a candidate's score that a control "
        "which reads no target beats there."
    ]
    if factors:
        names = [name for name in scores["condition"].drop_duplicates() if name in factors]
        levels = ([name, *factors[name].levels.values()] for name in names)
        parts.append(markdown_table(["condition", *ConditionFactors().levels], levels))
    for key in (key for key in condition_keys() if key in scores):
        parts += [f"### {heading(key)}", _matrix_table(matrix_of(conditions, key), systems, key)]
    if factors:
        matrix = factor_matrix(scores, PRIMARY, factors)
        if not matrix.empty:
            words = f"### {heading(PRIMARY)} by codec, noise and cutoff"
            parts += [words, "Means over the conditions of each level.", _matrix_table(matrix, systems, PRIMARY)]
    return parts


def _matrix_table(matrix: pd.DataFrame, systems: Sequence[str], key: str) -> str:
    columns = list(matrix["mean"].columns)
    rows = {str(system): row for system, row in matrix.iterrows()}
    lines = (
        [system, *(_matrix_cell(rows[system], column, key) for column in columns)]
        for system in systems
        if system in rows
    )
    return markdown_table(["system", *columns], lines)


def _matrix_cell(row: pd.Series, column: str, key: str) -> str:
    mean, half_width = float(row["mean", column]), float(row["half_width", column])
    if is_failed(mean, float(row["utterances", column])):
        return "failed"
    text = number(mean, key)
    if not math.isnan(half_width):
        text += f" ± {number(half_width, key)}"
    alarming = without_target(filter(None, str(row["outranked_by", column]).split(",")))
    return f"{text} {FLAG}" if alarming else text
