"""The choice among candidates by the winner rule."""

import math

import pandas as pd

from evaluation.statistics.intervals import (
    Interval,
    paired_difference,
)
from experiments.presets.winner_rule import UNPROCESSED, WinnerRule
from experiments.ranking.explanation import _explain
from experiments.ranking.guards import Reason, failure_reasons, guard_reasons
from experiments.ranking.outranking import outranked_by
from experiments.ranking.primary import PRIMARY, average_seeds, failed_scores, interval, with_primary
from experiments.ranking.selection import Candidate, Selection
from models.baselines import CONTROLS
from overtone.errors import OvertoneError


def choose(scores: pd.DataFrame, costs: pd.DataFrame, rule: WinnerRule) -> Selection:
    """Apply the rule.

    Args:
        scores: score table on `val`; rows of candidates have a ``seed``, those of controls have none, and would stay
            controls if they had: none can be champion.
        costs: indexed by system: ``latency_ms`` (NaN for a whole-file system), ``rtf`` and ``macs``.
        rule: the preset's limits.

    Raises:
        OvertoneError: the control ``unprocessed`` was not scored, or a candidate's cost was not measured.
    """
    scores = with_primary(scores)
    averaged = {str(system): rows for system, rows in average_seeds(scores).groupby("system")}
    if UNPROCESSED not in averaged:
        raise OvertoneError(f"The control {UNPROCESSED!r} has no scores, but guards compare with it. Score it too.")
    trained = sorted(scores.loc[scores["seed"].notna(), "system"].astype(str).unique())
    names = [name for name in trained if name not in CONTROLS]
    if unmeasured := [name for name in names if name not in costs.index]:
        raise OvertoneError(f"No cost was measured for {', '.join(unmeasured)}. Measure latency, RTF and MACs first.")
    failed = failed_scores(scores)
    reasons = {
        name: [
            *failure_reasons(failed[failed["system"] == name]),
            *guard_reasons(averaged[name], averaged[UNPROCESSED], costs.loc[name], rule),
        ]
        for name in names
    }
    primary = {system: interval(rows, PRIMARY) for system, rows in averaged.items()}
    names.sort(key=lambda name: (math.isnan(primary[name].mean), primary[name].mean))
    candidates = _rank(scores, names, primary, costs, reasons)
    tied = _tied(candidates, rule)
    winner = min(tied, key=_cost_order).system if tied else None
    bar = primary[winner or names[0]].mean if names else math.nan
    controls = sorted((name for name in averaged if name not in names), key=lambda name: primary[name].mean)
    flagged = [name for name in controls if primary[name].mean < bar]
    better = outranked_by({name: primary[name].mean for name in (*names, *controls)}, names)
    return Selection(
        winner=winner,
        candidates=candidates,
        disqualified={name: reasons[name] for name in names if reasons[name]},
        tied=[candidate.system for candidate in tied],
        flagged_controls=flagged,
        explanation=_explain(winner, candidates, tied, {name: primary[name].mean for name in flagged}, better, rule),
        outranked_by=better,
    )


def _rank(
    scores: pd.DataFrame,
    names: list[str],
    primary: dict[str, Interval],
    costs: pd.DataFrame,
    reasons: dict[str, list[Reason]],
) -> list[Candidate]:
    best = next((name for name in names if not reasons[name]), None)
    return [
        Candidate(
            system=name,
            primary=primary[name],
            gap=None if best in (None, name) else paired_difference(scores, name, str(best), PRIMARY),
            macs=float(costs["macs"].loc[name]),
            reasons=tuple(reasons[name]),
        )
        for name in names
    ]


def _tied(candidates: list[Candidate], rule: WinnerRule) -> list[Candidate]:
    """The qualified candidates that are as good as the best of them, that one included."""
    return [
        candidate
        for candidate in candidates
        if not candidate.reasons
        and (candidate.gap is None or candidate.gap.includes_zero or candidate.gap.mean < rule.equivalence_gap)
    ]


def _cost_order(candidate: Candidate) -> tuple[float, float]:
    return (math.inf if math.isnan(candidate.macs) else candidate.macs, candidate.primary.mean)
