"""The sentences of a report, in Markdown: the result, its notes, why the winner was chosen, and what costs least."""

import math
from collections.abc import Iterable, Sequence

from evaluation.statistics.hypothesis_tests import POWER, SIGNIFICANCE
from experiments.pages.tables import FLAG
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.columns import COSTS, Cost, Row, number, plain_heading, rows_of, with_prefix
from experiments.ranking.findings import Findings
from experiments.ranking.leaderboard import pareto_frontier, with_cost
from experiments.ranking.outranking import flagged, reads_target, without_target
from experiments.ranking.paired_tests import reference_of, smallest_p_value
from experiments.ranking.primary import PRIMARY
from experiments.ranking.selection import Candidate, Selection


def quoted(names: Iterable[str]) -> str:
    """Return names as code in Markdown, with commas between them."""
    return ", ".join(f"`{name}`" for name in names)


def listed(sentences: Iterable[object]) -> str:
    """Return sentences as a list in Markdown."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def flagged_systems(findings: Findings) -> dict[str, list[str]]:
    """Return the controls that read no target and are ahead of candidates, with these, best first."""
    return flagged({str(row["system"]): row["outranked_by"] for row in rows_of(findings.leaderboard)})


def headline(findings: Findings) -> str:
    """Return the result in a sentence or two."""
    winner = findings.selection.winner
    if winner is None:
        return "**No champion**: no candidate passed every guard."
    if winner not in findings.systems:
        return f"**`{winner}` is the champion**; it was not scored on `{findings.split}`."
    row = findings.row(winner)
    nothing = ""
    if UNPROCESSED in findings.systems:
        nothing = f"doing nothing scores {findings.row(UNPROCESSED)[PRIMARY]:.3f} and "
    text = (
        f"**`{winner}` is the champion**: primary score {row[PRIMARY]:.3f} on `{findings.split}` "
        f"({row['primary_low']:.3f} to {row['primary_high']:.3f}), where {nothing}0 is perfect."
    )
    if alarming := without_target(row["outranked_by"]):
        better = "a control, scores better" if len(alarming) == 1 else "which are controls, score better"
        text += f" {FLAG} **{quoted(alarming)}, {better}**: look for the reason before trusting it."
    gap, low, high = (row[f"vs_runner_up{suffix}"] for suffix in ("", "_low", "_high"))
    if math.isnan(gap):
        return text
    uncertain = "" if low > 0.0 or high < 0.0 else ", so that the two cannot be told apart"
    second = findings.selection.candidate(str(findings.selection.runner_up))
    ruled_out = f", which was disqualified by {', '.join(second.failed_guards)}" if second and second.reasons else ""
    return (
        f"{text} It is {abs(gap):.3f} {'better' if gap < 0 else 'worse'} than the runner-up "
        f"`{findings.selection.runner_up}`{ruled_out} (paired difference {low:+.3f} to {high:+.3f}, negative is better"
        f"{uncertain})."
    )


def notes(findings: Findings) -> list[str]:
    """Return what a reader must know beside the leaderboard.

    Controls that outrank candidates, systems from outside ahead of all candidates or without scores, the smallest
    difference that can be detected, and how often the split has been used.
    """
    found = flag_notes(findings)
    if outside := _ahead_from_outside(findings):
        found.append(f"From outside, and ahead of every candidate: {quoted(outside)}.")
    found += _failed_outside(findings)
    if detectable := _detectable_sentence(findings):
        found.append(detectable)
    if findings.leaderboard["speakers"].max() == 1:
        found.append(
            "There is one speaker: intervals are about that speaker alone, and neither tests nor detectable "
            "differences can be computed. Add speakers."
        )
    if findings.test_uses is not None:
        found.append(_uses_sentence(findings.split, findings.test_uses))
    return found


def _ahead_from_outside(findings: Findings) -> list[str]:
    board, selection = findings.leaderboard, findings.selection
    best = board.loc[[selection.candidate(name) is not None for name in board["system"]], PRIMARY].min()
    rows = rows_of(board[board["system"].isin(selection.externals)])
    return [str(row["system"]) for row in rows if row[PRIMARY] < best]


def _failed_outside(findings: Findings) -> list[str]:
    """Why systems from outside have no scores, which nobody sees as they run."""
    total = len(findings.scores[["file", "condition"]].drop_duplicates())
    failed, said = findings.failed, []
    for name in findings.selection.externals:
        own = failed[failed["system"] == name]
        if not own.empty:
            count = len(own[["file", "condition"]].drop_duplicates())
            reason = own["reason"].iloc[0]
            end = "" if reason.endswith((".", "?", "!")) else "."
            said.append(f"`{name}` has failed scores for {count} of {total} utterances: {reason}{end}")
    return said


def flag_notes(findings: Findings) -> list[str]:
    """Return what the flags in the leaderboard mean: which controls are ahead of which candidates."""
    ahead: dict[str, list[str]] = {}
    for control, candidates in flagged_systems(findings).items():
        ahead.setdefault(quoted(candidates), []).append(control)
    return [
        f"{FLAG} Ahead of {candidates}, though without reading the target: {quoted(controls)}."
        for candidates, controls in ahead.items()
    ]


def _detectable_sentence(findings: Findings) -> str:
    ranges = []
    for key in (PRIMARY, "lsd_hf_band", "visqol"):
        values = findings.leaderboard.get(f"detectable_{key}", findings.leaderboard["seed_sd"][:0]).dropna()
        if not values.empty:
            median, low, high = (number(float(one), key) for one in (values.median(), values.min(), values.max()))
            ranges.append(f"{plain_heading(key)} {median} ({low} to {high})")
    if not ranges:
        return ""
    return (
        "Smallest difference between neighbours that this test set detects, median and range: "
        f"{', '.join(ranges)}; paired, speakers as clusters, {_percent(POWER)} power at {_percent(SIGNIFICANCE)} "
        "two-sided."
    )


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _uses_sentence(split: str, uses: int) -> str:
    if uses <= 1:
        return f"`{split}` has been used once, by this comparison: nothing was chosen by looking at it before."
    chance = 1.0 - (1.0 - SIGNIFICANCE) ** uses
    return (
        f"`{split}` has been used {uses} times, each by a different comparison. Choosing the best of {uses} results "
        f"favours luck: if they were independent, one of them would look significant by luck alone with a probability "
        f"of {_percent(chance)}."
    )


def explanation(selection: Selection) -> str:
    """Return what was decided and why."""
    winner = selection.winner
    parts = [_no_winner(selection) if winner is None else _winner(selection, winner)]
    parts += disqualified(selection)
    if selection.flagged_controls:
        parts += [
            "Controls with a better primary score:",
            listed(
                f"`{name}` ({selection.controls[name]:.3f}) {_of_control(name)}" for name in selection.flagged_controls
            ),
        ]
    behind = {name: without_target(ones) for name, ones in selection.outranked_by.items() if name != winner}
    if any(behind.values()):
        parts += [
            "Candidates behind a control that reads no target:",
            listed(f"`{name}`: {quoted(controls)}." for name, controls in behind.items() if controls),
        ]
    return "\n\n".join(parts)


def disqualified(selection: Selection) -> list[str]:
    """Return why candidates were disqualified, as a list in Markdown with a line above it; nothing where none was."""
    lines = [
        f"`{one.system}` ({one.primary.mean:.3f}): {'; '.join(map(str, one.reasons))}."
        for one in selection.candidates
        if one.reasons
    ]
    return ["Disqualified on `val`:", listed(lines)] if lines else []


def _of_control(name: str) -> str:
    if reads_target(name):
        return "reads the target: a reference, expected above every candidate."
    return "reads no target, and is better than what was chosen: look for the reason."


def _no_winner(selection: Selection) -> str:
    if not selection.candidates:
        return "**No winner**: there was no candidate."
    nearest = min(selection.candidates, key=lambda candidate: len(candidate.reasons))
    return (
        f"**No winner**: none of the {len(selection.candidates)} candidates passed every guard. Nearest was "
        f"`{nearest.system}`, with a primary score of {nearest.primary.mean:.3f}, which failed "
        f"{', '.join(nearest.failed_guards)}."
    )


def _winner(selection: Selection, winner: str) -> str:
    qualified = [one for one in selection.candidates if not one.reasons]
    score = next(one.primary for one in qualified if one.system == winner)
    text = (
        f"**`{winner}` wins** with a primary score of {score.mean:.3f} on `val` "
        f"(95 % interval {score.low:.3f} to {score.high:.3f}); 0 is perfect, doing nothing scores 0.5."
    )
    if len(selection.tied) > 1:
        equals = ", ".join(_with_cost(one) for one in qualified if one.system in selection.tied)
        return (
            f"{text} The best cannot be told apart, since the paired interval includes 0 or the gap is under "
            f"{selection.equivalence_gap:g}: {equals}. The cheapest of them wins."
        )
    if len(qualified) == 1:
        return f"{text} No other candidate passed every guard."
    second = qualified[1]
    if second.gap is None:
        return text
    return (
        f"{text} It is ahead of `{second.system}` ({second.primary.mean:.3f}) by {second.gap.mean:.3f} "
        f"({second.gap.low:.3f} to {second.gap.high:.3f})."
    )


def _with_cost(one: Candidate) -> str:
    return f"`{one.system}` ({one.primary.mean:.3f}, {with_prefix(one.macs)} multiply-accumulates a second)"


def frontier_sentences(findings: Findings) -> list[str]:
    """Return which systems give most for each cost that is known, a sentence or two each."""
    passed = [
        (cost, [row for row in with_cost(findings.leaderboard, cost.key) if row["status"].passed])
        for cost in COSTS.values()
        if cost.plotted
    ]
    return [_frontier_sentences(cost, rows) for cost, rows in passed if rows]


def _frontier_sentences(cost: Cost, rows: Sequence[Row]) -> str:
    def text(row: Row) -> str:
        return f"{cost.text(row[cost.key])}; {number(row[PRIMARY], PRIMARY)}"

    frontier = pareto_frontier(rows, cost.key)
    first, *others = (f"`{row['system']}` ({text(row)})" for row in frontier)
    words = f"By {cost.name}: {first} is the cheapest" + (
        f"; more buys a better score with {', then '.join(others)}." if others else " and the best."
    )
    beaten, unbeaten = [], [row["system"] for row in frontier]
    for row in rows:
        if row["system"] not in unbeaten:
            better = next(one for one in reversed(frontier) if one[cost.key] <= row[cost.key])
            beaten.append(f"`{row['system']}` ({text(row)}; `{better['system']}` costs no more and scores no worse)")
    return f"{words} Not worth it by this cost: {', '.join(beaten)}." if beaten else words


def tests_words(findings: Findings) -> str:
    """Return how the tests of the primary score were made, and what they cannot show."""
    tests = findings.tests
    speakers = int(tests["speakers"].max())
    reference = reference_of(findings.systems, findings.selection)
    outside = " and every system from outside" if set(findings.systems) & set(findings.selection.externals) else ""
    words = (
        f"Wilcoxon signed-rank tests on the means of {speakers} speakers; p values with Holm's correction for the "
        f"family of {len(tests)}: every candidate against every control, and `{reference}` against every other "
        f"candidate{outside}. Negative differences are better. r is the rank-biserial correlation of the pairs, from "
        "-1 (better for every speaker) to 1 (worse for every one); d_z the mean difference in standard deviations over "
        "speakers."
    )
    if speakers < 2:
        return f"{words} With one speaker there is no test."
    smallest = smallest_p_value(speakers)
    if smallest * len(tests) > SIGNIFICANCE:
        words += (
            f" {speakers} speakers cannot give a p value under {smallest:.2g}, nor under {SIGNIFICANCE:g} after the "
            "correction, however large the difference: read the intervals, or add speakers."
        )
    return words
