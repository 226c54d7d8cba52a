"""The choice of the winner: candidates are scored on `val`, guarded, ranked, and the cheapest of the equals wins."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import pandas as pd

from evaluation.statistics.intervals import Interval, PairedDifference, paired_difference, speaker_mean
from experiments.presets.winner_rule import UNPROCESSED, WinnerRule
from experiments.ranking.guards import Measured, Reason, disqualifying
from experiments.ranking.outranking import outranked_by
from experiments.ranking.primary import PRIMARY, average_seeds, failed_scores, interval
from models.baselines import CONTROLS
from overtone.errors import OvertoneError


class Status(StrEnum):
    """What the rule made of a system; controls and systems from outside are no candidates."""

    CHAMPION = "champion"
    TIED = "tied"
    CANDIDATE = "candidate"
    DISQUALIFIED = "disqualified"
    EXTERNAL = "external"
    CONTROL = "control"

    @property
    def passed(self) -> bool:
        """Whether it is a candidate that passed every guard."""
        return self in (Status.CHAMPION, Status.TIED, Status.CANDIDATE)


@dataclass(frozen=True)
class Candidate:
    """A candidate's place on `val`.

    Attributes:
        system: its name.
        primary: the primary score with its interval; 0 is best, 0.5 is what doing nothing scores.
        gap: primary minus that of the best qualified candidate, paired; None for that one and where none qualified.
        macs: multiply-accumulates per second of audio.
        reasons: why it is disqualified; empty when it is not.
    """

    system: str
    primary: Interval
    gap: PairedDifference | None
    macs: float
    reasons: tuple[Reason, ...] = ()

    @property
    def failed_guards(self) -> tuple[str, ...]:
        """The guards that disqualify it, each once."""
        return tuple(dict.fromkeys(reason.guard for reason in self.reasons))


@dataclass(frozen=True)
class Selection:
    """What the rule decided.

    Attributes:
        winner: the champion's name; None when no candidate qualified.
        candidates: all of them, best primary score first, the disqualified included.
        tied: the candidates that the winner was chosen among for its cost; just the winner when it stood alone.
        controls: the primary score of each control, best first.
        equivalence_gap: a smaller gap in the primary score counted as none.
        externals: systems from outside, which are ranked but never chosen.
    """

    winner: str | None
    candidates: tuple[Candidate, ...]
    tied: tuple[str, ...] = ()
    controls: Mapping[str, float] = field(default_factory=dict)
    equivalence_gap: float = 0.0
    externals: tuple[str, ...] = ()

    @property
    def disqualified(self) -> dict[str, tuple[Reason, ...]]:
        """The reasons by disqualified candidate."""
        return {one.system: one.reasons for one in self.candidates if one.reasons}

    @property
    def outranked_by(self) -> dict[str, tuple[str, ...]]:
        """The controls with a better primary score than a candidate, best first, by candidate."""
        own = {one.system: one.primary.mean for one in self.candidates}
        return outranked_by({**own, **self.controls}, own)

    @property
    def flagged_controls(self) -> tuple[str, ...]:
        """The controls with a better primary score than the winner, or than the best candidate without one."""
        leader = self.winner or next((one.system for one in self.candidates), None)
        return () if leader is None else self.outranked_by[leader]

    @property
    def runner_up(self) -> str | None:
        """The best candidate beside the winner, a qualified one before a disqualified one."""
        ordered = sorted(self.candidates, key=lambda candidate: bool(candidate.reasons))
        others = [candidate.system for candidate in ordered if candidate.system != self.winner]
        return others[0] if self.winner is not None and others else None

    def candidate(self, system: str) -> Candidate | None:
        """Return a system's place on `val`; None for a control and for a system from outside."""
        return next((one for one in self.candidates if one.system == system), None)

    def status(self, system: str) -> Status:
        """Return what the rule made of a system."""
        candidate = self.candidate(system)
        if candidate is None:
            return Status.EXTERNAL if system in self.externals else Status.CONTROL
        if system == self.winner:
            return Status.CHAMPION
        if candidate.reasons:
            return Status.DISQUALIFIED
        return Status.TIED if system in self.tied else Status.CANDIDATE


def choose(scores: pd.DataFrame, costs: pd.DataFrame, rule: WinnerRule) -> Selection:
    """Apply the rule.

    Args:
        scores: score table on `val` with the column ``primary``; rows of candidates have a ``seed``, those of controls
            have none, and would stay controls if they had: none can be champion.
        costs: indexed by system: ``latency_ms`` (NaN for a whole-file system), ``rtf`` and ``macs``.
        rule: the preset's limits.

    Raises:
        OvertoneError: the control ``unprocessed`` was not scored, or a candidate's cost was not measured.
    """
    averaged = {str(system): rows for system, rows in average_seeds(scores).groupby("system")}
    if UNPROCESSED not in averaged:
        raise OvertoneError(f"The control {UNPROCESSED!r} has no scores, but guards compare with it. Score it too.")
    trained = sorted(scores.loc[scores["seed"].notna(), "system"].astype(str).unique())
    names = [name for name in trained if name not in CONTROLS]
    if unmeasured := [name for name in names if name not in costs.index]:
        raise OvertoneError(f"No cost was measured for {', '.join(unmeasured)}. Measure latency, RTF and MACs first.")
    failed = failed_scores(scores)
    reasons = {
        name: tuple(
            disqualifying(
                Measured(averaged[name], averaged[UNPROCESSED], costs.loc[name], failed[failed["system"] == name]), rule
            )
        )
        for name in names
    }
    primary = {system: interval(rows, PRIMARY) for system, rows in averaged.items()}
    names.sort(key=lambda name: (math.isnan(primary[name].mean), primary[name].mean))
    best = next((name for name in names if not reasons[name]), None)
    candidates = tuple(
        Candidate(
            name,
            primary[name],
            None if best in (None, name) else paired_difference(scores, name, str(best), PRIMARY),
            float(costs["macs"].loc[name]),
            reasons[name],
        )
        for name in names
    )
    tied = [one for one in candidates if _is_equal(one, rule)]
    controls = sorted((name for name in averaged if name not in names), key=lambda name: primary[name].mean)
    return Selection(
        winner=min(tied, key=_cost_order).system if tied else None,
        candidates=candidates,
        tied=tuple(one.system for one in tied),
        controls={name: primary[name].mean for name in controls},
        equivalence_gap=rule.equivalence_gap,
    )


def _is_equal(candidate: Candidate, rule: WinnerRule) -> bool:
    """Whether a candidate qualified and is as good as the best that did, or is that one."""
    gap = candidate.gap
    return not candidate.reasons and (gap is None or gap.includes_zero or gap.mean < rule.equivalence_gap)


def _cost_order(candidate: Candidate) -> tuple[float, float]:
    return (math.inf if math.isnan(candidate.macs) else candidate.macs, candidate.primary.mean)


def champion_seed(scores: pd.DataFrame, winner: str) -> int:
    """Return the winner's training seed with the best primary score; the smaller seed of two equals.

    Args:
        scores: score table on `val` with the column ``primary``.
        winner: the champion's name.

    Raises:
        OvertoneError: no seed of the winner has a score.
    """
    rows = scores[(scores["system"] == winner) & scores["seed"].notna()]
    means = {int(seed): speaker_mean(rows[rows["seed"] == seed], PRIMARY) for seed in rows["seed"].unique()}
    finite = {seed: mean for seed, mean in means.items() if not math.isnan(mean)}
    if not finite:
        raise OvertoneError(f"{winner}: no training seed has a primary score on val. Score one before choosing.")
    return min(finite, key=lambda seed: (finite[seed], seed))
