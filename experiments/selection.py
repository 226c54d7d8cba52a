"""The choice of the winner: candidates are scored on `val`, guarded, ranked, and the cheapest of the equals wins."""

import math
from dataclasses import dataclass, field

import pandas as pd

from evaluation.harness import MEASURES
from evaluation.statistics import Interval, PairedDifference, applicable, bootstrap_interval, paired_difference
from evaluation.statistics import speaker_mean as mean_over_speakers
from experiments.outranking import outranked_by, reads_target, without_target
from experiments.winner_rule import UNPROCESSED, Reason, WinnerRule, failure_reasons, guard_reasons
from models.baselines import CONTROLS
from runtime.errors import OvertoneError

PRIMARY = "primary"
SI_SDR_LIMIT_DB = 20.0


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


def add_primary(scores: pd.DataFrame) -> pd.DataFrame:
    """Add the column ``primary``, in the units of a bit error rate: 0 is best, 0.5 is what doing nothing scores.

    Where a band is missing it is ``extended_ber``. Elsewhere it is half the mean of two ratios to doing nothing:
    that of the log-spectral distances (to the control's mean under the condition) and that of the distortion
    amplitudes, ``10 ** (-(si_sdr - si_sdr of unprocessed) / 20)``, paired by utterance, clipped to 20 dB either way.

    Args:
        scores: a score table; not changed.

    Returns:
        A copy; ``primary`` is NaN where a score behind it failed or, then named in ``not_applicable``, does not apply.

    Raises:
        OvertoneError: no band is missing under a condition, and the control ``unprocessed`` has no scores there.
    """
    scores = scores.copy()
    band_missing = scores["cutoff_hz"].notna()
    scores[PRIMARY] = scores["extended_ber"].astype(float)
    if not band_missing.all():
        scores.loc[~band_missing, PRIMARY] = _ratio_to_unprocessed(scores[~band_missing])
    not_applicable = scores.get("not_applicable", pd.Series("", index=scores.index)).fillna("").astype(str)
    keys = not_applicable.str.split(",")
    undefined = [
        bool(({"extended_ber"} if missing else {"lsd", "si_sdr"}) & set(listed))
        for missing, listed in zip(band_missing, keys, strict=True)
    ]
    scores["not_applicable"] = [
        ",".join(dict.fromkeys([*filter(None, listed), *([PRIMARY] if none else [])]))
        for listed, none in zip(keys, undefined, strict=True)
    ]
    return scores


def _ratio_to_unprocessed(rows: pd.DataFrame) -> pd.Series:
    """Half the mean ratio to doing nothing, for rows in which no band is missing."""
    control = rows[rows["system"] == UNPROCESSED]
    distances = {condition: mean_over_speakers(group, "lsd") for condition, group in control.groupby("condition")}
    for condition in rows["condition"].unique():
        if condition not in distances or distances[condition] == 0.0:
            raise OvertoneError(
                f"Condition {condition}: no band is missing, so scores are compared with the control {UNPROCESSED!r}, "
                "which has none there or no distance to the target. Score it under every condition."
            )
    untouched = control.drop_duplicates(["file", "condition"]).set_index(["file", "condition"])["si_sdr"]
    index = pd.MultiIndex.from_frame(rows[["file", "condition"]])
    gain = (rows["si_sdr"].to_numpy(float) - untouched.reindex(index).to_numpy(float)).clip(
        -SI_SDR_LIMIT_DB, SI_SDR_LIMIT_DB
    )
    return 0.25 * (rows["lsd"] / rows["condition"].map(distances).astype(float) + 10.0 ** (-gain / 20.0))


def with_primary(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores with their column ``primary``, added when absent."""
    return scores if PRIMARY in scores else add_primary(scores)


def average_seeds(scores: pd.DataFrame) -> pd.DataFrame:
    """Average the training seeds of each system per utterance and condition; a failed seed fails the utterance."""
    identity = ["system", "file", "condition"]
    keys = [key for key in (*MEASURES, PRIMARY) if key in scores]
    means = scores.groupby(identity, sort=False, observed=True)[keys].agg("mean", skipna=False)
    rest = scores.drop(columns=keys).drop_duplicates(identity).set_index(identity)
    return rest.join(means).reset_index()


def interval(averaged: pd.DataFrame, key: str) -> Interval:
    """Mean of one system's scores with its 95 % interval; rows in which the measure does not apply are left out."""
    rows = applicable(averaged, key)
    return bootstrap_interval(
        rows[key],
        rows["speaker"].tolist(),
        conditions=rows["condition"].tolist(),
        files=rows["file"].tolist(),
    )


def failed_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """List the failed scores: columns ``system, file, condition, key, reason``, one row each."""
    keys = [key for key in MEASURES if key in scores]
    listed: list[dict[str, str]] = []
    columns = ["system", "file", "condition", "key", "reason"]
    for row in scores.to_dict("records"):
        reasons = dict(
            entry.partition(": ")[::2] for entry in str(row.get("failures") or "").split("; ") if ":" in entry
        )
        excused = str(row.get("not_applicable") or "").split(",")
        for key in keys:
            if key not in reasons and key not in excused and pd.isna(row[key]):
                reasons[key] = "NaN"
        listed += [
            {name: str(row[name]) for name in columns[:3]} | {"key": key, "reason": reason}
            for key, reason in reasons.items()
        ]
    return pd.DataFrame(listed, columns=columns)


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


def champion_seed(scores: pd.DataFrame, winner: str) -> int:
    """The winner's training seed with the best primary score on `val`; the smaller seed of two equals.

    Raises:
        OvertoneError: no seed of the winner has a score.
    """
    rows = with_primary(scores)
    rows = rows[(rows["system"] == winner) & rows["seed"].notna()]
    means = {int(seed): mean_over_speakers(rows[rows["seed"] == seed], PRIMARY) for seed in rows["seed"].unique()}
    finite = {seed: mean for seed, mean in means.items() if not math.isnan(mean)}
    if not finite:
        raise OvertoneError(f"{winner}: no training seed has a primary score on val. Score one before choosing.")
    return min(finite, key=lambda seed: (finite[seed], seed))


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


def format_macs(macs: float) -> str:
    """Write multiply-accumulates with a unit prefix, as ``12.3 M``."""
    if math.isnan(macs):
        return "unknown"
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if macs >= size:
            return f"{macs / size:.3g} {prefix}"
    return f"{macs:.3g}"
