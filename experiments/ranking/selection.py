"""The choice of the winner: candidates are scored on `val`, guarded, ranked, and the cheapest of the equals wins."""

from dataclasses import dataclass, field

from evaluation.statistics.intervals import (
    Interval,
    PairedDifference,
)
from experiments.ranking.guards import Reason


@dataclass(frozen=True)
class Candidate:
    """A candidate's place on `val`.

    Attributes:
        system: its name.
        primary: the primary score with its interval; 0 is best, 0.5 is what doing nothing scores.
        gap: primary minus that of the best qualified candidate, paired; None for that one and where nobody qualified.
        macs: multiply-accumulates per second of audio.
        reasons: why it is disqualified; empty when it is not.
    """

    system: str
    primary: Interval
    gap: PairedDifference | None
    macs: float
    reasons: tuple[Reason, ...]


@dataclass(frozen=True)
class Selection:
    """What the rule decided.

    Attributes:
        winner: the champion's name; None when nobody qualified.
        candidates: all of them, best primary score first, the disqualified included.
        disqualified: reasons by system.
        tied: the candidates that the winner was chosen among for its cost; just the winner when it stood alone.
        flagged_controls: controls with a better primary score than the winner (or the best candidate, without one).
        explanation: Markdown, in words.
        outranked_by: the controls with a better primary score than a candidate, best first, by candidate.
    """

    winner: str | None
    candidates: list[Candidate]
    disqualified: dict[str, list[Reason]]
    tied: list[str]
    flagged_controls: list[str]
    explanation: str
    outranked_by: dict[str, list[str]] = field(default_factory=dict)

    @property
    def runner_up(self) -> str | None:
        """The best candidate beside the winner, a qualified one before a disqualified one."""
        ordered = sorted(self.candidates, key=lambda candidate: bool(candidate.reasons))
        others = [candidate.system for candidate in ordered if candidate.system != self.winner]
        return others[0] if self.winner is not None and others else None
