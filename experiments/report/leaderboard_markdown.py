"""The leaderboard in words and tables: the headline, the whole report in Markdown, and what notes go with it."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from evaluation.measures.catalogue import Shown, keys_shown
from evaluation.statistics.hypothesis_tests import POWER, SIGNIFICANCE
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.columns import (
    COST_COLUMNS,
    TRAINING_COLUMNS,
    Row,
    cell,
    difference_cell,
    heading,
    markdown_table,
    number,
    plain_heading,
    rank_cell,
    rows_of,
)
from experiments.ranking.compute import frontier_sentences
from experiments.ranking.conditions import ConditionFactors, condition_rows
from experiments.ranking.outranking import FLAG, flagged, missing_controls, without_target
from experiments.ranking.paired_tests import detectable_keys, paired_tests
from experiments.ranking.primary import PRIMARY, failed_scores, with_primary
from experiments.ranking.selection import Selection
from experiments.report.markdown_sections import condition_section, significance_section

MOST_FAILURES = 20


def headline(leaderboard: pd.DataFrame, selection: Selection, split: str = "test") -> str:
    """The result in a sentence or two, in Markdown."""
    if selection.winner is None:
        return "**No champion**: no candidate passed every guard."
    rows = {row["system"]: row for row in rows_of(leaderboard)}
    if selection.winner not in rows:
        return f"**`{selection.winner}` is the champion**; it was not scored on `{split}`."
    row = rows[selection.winner]
    nothing = f"where doing nothing scores {rows[UNPROCESSED][PRIMARY]:.3f} and " if UNPROCESSED in rows else "where "
    text = (
        f"**`{selection.winner}` is the champion**: primary score {row[PRIMARY]:.3f} on `{split}` "
        f"({row['primary_low']:.3f} to {row['primary_high']:.3f}), {nothing}0 is perfect."
    )
    text += _alarm(row)
    gap, low, high = (row[f"vs_runner_up{suffix}"] for suffix in ("", "_low", "_high"))
    if math.isnan(gap):
        return text
    uncertain = "" if low > 0.0 or high < 0.0 else ", so that the two cannot be told apart"
    return (
        f"{text} It is {abs(gap):.3f} {'better' if gap < 0 else 'worse'} than the runner-up "
        f"`{selection.runner_up}` (paired difference {low:+.3f} to {high:+.3f}, negative is better{uncertain})."
    )


def _alarm(row: Row) -> str:
    """A sentence when a control that reads no target is ahead of the champion."""
    controls = without_target(filter(None, str(row.get("outranked_by", "")).split(",")))
    if not controls:
        return ""
    better = "a control, scores better" if len(controls) == 1 else "which are controls, score better"
    return f" {FLAG} **{_quoted(controls)}, {better}**: look for the reason before trusting it."


def leaderboard_markdown(
    leaderboard: pd.DataFrame,
    scores: pd.DataFrame,
    selection: Selection,
    *,
    preset: str,
    reproduce: Sequence[str],
    split: str = "test",
    test_uses: int | None = None,
    factors: Mapping[str, ConditionFactors] | None = None,
    tests: pd.DataFrame | None = None,
    conditions: pd.DataFrame | None = None,
) -> str:
    """The whole report in Markdown.

    Arguments are those of `write_leaderboard`; ``tests`` and ``conditions`` are `paired_tests` and `condition_rows`
    where they are there already.
    """
    scores = with_primary(scores)
    speakers = scores["speaker"].nunique()
    utterances = len(scores[["file"]].drop_duplicates())
    parts = [
        f"# Leaderboard of `{preset}`",
        headline(leaderboard, selection, split),
        f"Scores on `{split}`: {utterances} utterances of {speakers} speakers; means over speakers, then over "
        "conditions. The primary score is 0 at best and 0.5 for doing nothing. Arrows show the better direction; – is "
        f"a measure that does not apply; {FLAG} is a control that reads no target and is ahead of a candidate.",
        _systems_table(leaderboard),
        "\n".join(f"- {note}" for note in notes(leaderboard, split=split, test_uses=test_uses)),
        *_compute_section(leaderboard),
        "## How the winner was chosen",
        "Decided on `val`, by limits declared before the training.",
        selection.explanation,
        "## How to reproduce",
        "```\n" + "\n".join(reproduce) + "\n```",
        *_failure_section(scores),
        "## Differences in the primary score",
        markdown_table(
            ["system", "to unprocessed", "to the runner-up"],
            (
                [row["system"], difference_cell(row, "vs_unprocessed"), difference_cell(row, "vs_runner_up")]
                for row in rows_of(leaderboard)
            ),
        ),
        "Paired by utterance, with 95 % intervals; negative is better.",
        *significance_section(paired_tests(scores, selection) if tests is None else tests, leaderboard, selection),
        *_training_section(leaderboard),
        *_detectable_section(leaderboard),
        "## By condition",
        *condition_section(
            scores,
            condition_rows(scores) if conditions is None else conditions,
            list(leaderboard["system"]),
            factors,
        ),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _systems_table(leaderboard: pd.DataFrame) -> str:
    measures = [key for key in keys_shown(Shown.LEADERBOARD) if key in leaderboard]
    columns = [PRIMARY, "interval", *measures, *COST_COLUMNS, *TRAINING_COLUMNS]
    flags = flagged_systems(leaderboard)
    return markdown_table(
        ["rank", "system", "status", *(heading(key) for key in columns), f"{FLAG} outranked by"],
        (
            [
                rank_cell(row),
                flag(row["system"], flags),
                row["status"],
                *(cell(row, key) for key in columns),
                ", ".join(_better_controls(row)),
            ]
            for row in rows_of(leaderboard)
        ),
    )


def _better_controls(row: Row) -> list[str]:
    return without_target(filter(None, str(row.get("outranked_by") or "").split(",")))


def flagged_systems(leaderboard: pd.DataFrame) -> dict[str, list[str]]:
    """The controls that read no target and are ahead of candidates, with these, best first."""
    return flagged({str(row["system"]): _better_controls(row) for row in rows_of(leaderboard)})


def flag(system: str, flags: Mapping[str, Sequence[str]]) -> str:
    """The name, with the flag when it is a flagged control's."""
    return f"{system} {FLAG}" if system in flags else system


def notes(leaderboard: pd.DataFrame, *, split: str = "test", test_uses: int | None = None) -> list[str]:
    """What a reader must know beside the table, in sentences of Markdown.

    Controls that outrank candidates, controls that are missing, the smallest difference that can be detected, and how
    often the split has been used.

    Args:
        leaderboard: as `build_leaderboard` gives it.
        split: what the scores are of.
        test_uses: how many different comparisons have scored this split; None says nothing.
    """
    ahead: dict[str, list[str]] = {}
    for control, candidates in flagged_systems(leaderboard).items():
        ahead.setdefault(_quoted(candidates), []).append(control)
    found = [
        f"{FLAG} Ahead of {candidates}, though without reading the target: {_quoted(controls)}."
        for candidates, controls in ahead.items()
    ]
    if missing := missing_controls(leaderboard["system"]):
        found.append(f"{FLAG} Missing controls: {_quoted(missing)}.")
    if detectable := _detectable_sentence(leaderboard):
        found.append(detectable)
    if leaderboard["speakers"].max() == 1:
        found.append(
            "There is one speaker: intervals are about that speaker alone, and neither tests nor detectable "
            "differences can be computed. Add speakers."
        )
    if test_uses is not None:
        found.append(_uses_sentence(split, test_uses))
    return found


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _detectable_sentence(leaderboard: pd.DataFrame) -> str:
    ranges = []
    for key in (PRIMARY, "lsd_hf_band", "visqol"):
        values = leaderboard[f"detectable_{key}"].dropna() if f"detectable_{key}" in leaderboard else pd.Series()
        if not values.empty:
            name = plain_heading(key)
            median, low, high = (number(float(one), key) for one in (values.median(), values.min(), values.max()))
            ranges.append(f"{name} {median} ({low} to {high})")
    if not ranges:
        return ""
    return (
        "Smallest difference between neighbours that this test set detects, median and range: "
        f"{', '.join(ranges)}; paired, speakers as clusters, {POWER:.0%} power at {SIGNIFICANCE:.0%} two-sided."
    ).replace("%", " %")


def _uses_sentence(split: str, uses: int) -> str:
    if uses <= 1:
        return f"`{split}` has been used once, by this comparison: nothing was chosen by looking at it before."
    chance = 1.0 - (1.0 - SIGNIFICANCE) ** uses
    return (
        f"`{split}` has been used {uses} times, each by a different comparison. Whoever keeps the best of {uses} looks "
        f"keeps luck too: were they independent, one of them would look significant by luck alone with {chance:.0%} "
        "probability."
    ).replace("%", " %")


def _compute_section(leaderboard: pd.DataFrame) -> list[str]:
    found = frontier_sentences(leaderboard)
    if not found:
        return []
    words = "Among the candidates that passed every guard; in brackets cost and primary score."
    return ["## Quality for compute", words, "\n".join(f"- {sentence}" for sentence in found)]


def _training_section(leaderboard: pd.DataFrame) -> list[str]:
    trained = [row for row in rows_of(leaderboard) if row["seeds"] > 0]
    if not trained:
        return []
    if max(row["seeds"] for row in trained) < 2:
        return [
            "## Training seeds",
            "Every model was trained once: nothing here says what another seed would give (`--seeds N` does).",
        ]
    lines = (
        [
            row["system"],
            row["seeds"],
            *(number(float(row[key]), PRIMARY) for key in (PRIMARY, "seed_sd")),
            cell(row, "interval"),
            _range(float(row["trainings_low"]), float(row["trainings_high"])),
        ]
        for row in trained
    )
    return [
        "## Training seeds",
        markdown_table(
            [
                "system",
                "seeds",
                heading(PRIMARY),
                "standard deviation over seeds",
                "95 % interval",
                "over trainings too",
            ],
            lines,
        ),
        "Seeds are averaged per utterance. The first interval says what other speakers would change, for these "
        "trainings; the second, which draws trainings as well as speakers, what training again would change too. With "
        "two or three seeds it is rough.",
    ]


def _range(low: float, high: float) -> str:
    return "–" if math.isnan(low) else f"{low:.3f}–{high:.3f}"


def _detectable_section(leaderboard: pd.DataFrame) -> list[str]:
    keys = [key for key in detectable_keys() if f"detectable_{key}" in leaderboard]
    lines = [
        [row["system"], row["next"], *(number(float(row[f"detectable_{key}"]), key) for key in keys)]
        for row in rows_of(leaderboard)
        if row["next"]
    ]
    if not lines:
        return []
    return [
        "## What this test set can detect",
        markdown_table(["system", "next", *(plain_heading(key) for key in keys)], lines),
        f"The true difference between two neighbours that would be found with {POWER:.0%} probability by a two-sided "
        f"test at {SIGNIFICANCE:.0%} on speaker means, from the spread of their paired differences. A smaller observed "
        "difference is no evidence of equality.".replace("%", " %"),
    ]


def _failure_section(scores: pd.DataFrame) -> list[str]:
    failed = failed_scores(scores)
    if failed.empty:
        return []
    lines = [
        f"- `{row['system']}`, {row['file']}, {row['condition']}: {row['key']} ({row['reason']})"
        for row in failed.head(MOST_FAILURES).to_dict("records")
    ]
    if len(failed) > MOST_FAILURES:
        lines.append(f"- and {len(failed) - MOST_FAILURES} more")
    return ["## Failed scores", "\n".join(lines)]
