"""Why a selection came out as it did, in sentences."""

from experiments.presets.winner_rule import WinnerRule
from experiments.ranking.columns import format_macs
from experiments.ranking.outranking import reads_target, without_target
from experiments.ranking.selection import Candidate


def _explain(
    winner: str | None,
    candidates: list[Candidate],
    tied: list[Candidate],
    flagged: dict[str, float],
    outranked: dict[str, list[str]],
    rule: WinnerRule,
) -> str:
    """Say in Markdown what was decided and why."""
    won = _explain_none(candidates) if winner is None else _explain_winner(winner, candidates, tied, rule)
    parts = [won]
    if out := [candidate for candidate in candidates if candidate.reasons]:
        lines = (
            f"- `{candidate.system}` ({candidate.primary.mean:.3f}): {'; '.join(map(str, candidate.reasons))}."
            for candidate in out
        )
        parts.append("Disqualified:\n\n" + "\n".join(lines))
    if flagged:
        parts.append("Controls with a better primary score:\n\n" + "\n".join(_explain_controls(flagged)))
    behind = {name: without_target(controls) for name, controls in outranked.items() if name != winner}
    if any(behind.values()):
        lines = (f"- `{name}`: {', '.join(f'`{one}`' for one in ones)}." for name, ones in behind.items() if ones)
        parts.append("Candidates behind a control that reads no target:\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _explain_none(candidates: list[Candidate]) -> str:
    if not candidates:
        return "**No winner**: there was no candidate."
    nearest = min(candidates, key=lambda candidate: len(candidate.reasons))
    guards = ", ".join(dict.fromkeys(reason.guard for reason in nearest.reasons))
    return (
        f"**No winner**: none of the {len(candidates)} candidates passed every guard. Nearest was "
        f"`{nearest.system}`, with a primary score of {nearest.primary.mean:.3f}, which failed {guards}."
    )


def _explain_winner(winner: str, candidates: list[Candidate], tied: list[Candidate], rule: WinnerRule) -> str:
    chosen = next(candidate for candidate in tied if candidate.system == winner)
    qualified = [candidate for candidate in candidates if not candidate.reasons]
    score = chosen.primary
    text = (
        f"**`{winner}` wins** with a primary score of {score.mean:.3f} "
        f"(95 % interval {score.low:.3f} to {score.high:.3f}); 0 is perfect, doing nothing scores 0.5."
    )
    if len(tied) > 1:
        equals = ", ".join(
            f"`{candidate.system}` ({candidate.primary.mean:.3f}, {format_macs(candidate.macs)} "
            "multiply-accumulates a second)"
            for candidate in tied
        )
        return (
            f"{text} The best cannot be told apart, since the paired interval includes 0 or the gap is under "
            f"{rule.equivalence_gap:g}: {equals}. The cheapest of them wins."
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


def _explain_controls(flagged: dict[str, float]) -> list[str]:
    return [
        f"- `{name}` ({mean:.3f}) "
        + (
            "reads the target: a reference, expected above every candidate."
            if reads_target(name)
            else "reads no target, and is better than what was chosen: look for the reason."
        )
        for name, mean in flagged.items()
    ]
