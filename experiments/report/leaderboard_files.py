"""The leaderboard as files: a table for programs, a page of Markdown for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from evaluation.measures.catalogue import Shown, keys_shown
from experiments.ranking.conditions import ConditionFactors, condition_rows
from experiments.ranking.paired_tests import paired_tests
from experiments.ranking.primary import PRIMARY, with_primary
from experiments.ranking.selection import Selection
from experiments.report.leaderboard_markdown import leaderboard_markdown
from overtone.files import written_whole


@dataclass(frozen=True)
class LeaderboardDetails:
    """What stands behind a leaderboard, computed once for all that is written about it.

    Attributes:
        conditions: scores by condition, as `condition_rows` gives them.
        tests: of the differences in the primary score, as `paired_tests` gives them.
    """

    conditions: pd.DataFrame
    tests: pd.DataFrame


def leaderboard_details(
    scores: pd.DataFrame, selection: Selection, factors: Mapping[str, ConditionFactors] | None = None
) -> LeaderboardDetails:
    """Return the details of a score table; arguments are those of `write_leaderboard`."""
    scores = with_primary(scores)
    conditions = condition_rows(scores, [PRIMARY, *keys_shown(Shown.LEADERBOARD)], factors)
    return LeaderboardDetails(conditions, paired_tests(scores, selection))


def write_leaderboard(
    folder: Path,
    leaderboard: pd.DataFrame,
    scores: pd.DataFrame,
    selection: Selection,
    *,
    preset: str,
    reproduce: Sequence[str],
    split: str = "test",
    test_uses: int | None = None,
    factors: Mapping[str, ConditionFactors] | None = None,
    details: LeaderboardDetails | None = None,
) -> tuple[Path, Path]:
    """Write ``leaderboard.csv`` and ``leaderboard.md``, and beside them ``conditions.csv`` and ``differences.csv``.

    Args:
        folder: where to; made when absent.
        leaderboard: as `build_leaderboard` gives it.
        scores: the score table it sums up.
        selection: what was decided on `val`.
        preset: the preset's name.
        reproduce: the commands that give this result.
        split: what the scores are of.
        test_uses: how many different comparisons have scored this split; None says nothing.
        factors: codec, noise and cutoff of each condition, by its name; None where nobody knows.
        details: as `leaderboard_details` gives them; None computes them.

    Returns:
        The paths of the first two.
    """
    csv, markdown = folder / "leaderboard.csv", folder / "leaderboard.md"
    details = details or leaderboard_details(scores, selection, factors)
    for path, table in (
        (csv, leaderboard),
        (folder / "conditions.csv", details.conditions),
        (folder / "differences.csv", details.tests),
    ):
        with written_whole(path) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
    text = leaderboard_markdown(
        leaderboard,
        scores,
        selection,
        preset=preset,
        reproduce=reproduce,
        split=split,
        test_uses=test_uses,
        factors=factors,
        tests=details.tests,
        conditions=details.conditions,
    )
    with written_whole(markdown) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return csv, markdown
