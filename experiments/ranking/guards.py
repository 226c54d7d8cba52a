"""The guards of the winner rule: one table that the rule, the trials of a sweep, reports and cards iterate over."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby

import pandas as pd

from evaluation.measures.catalogue import MEASURES
from evaluation.statistics.intervals import applicable, paired_difference, speaker_mean
from experiments.presets.winner_rule import UNPROCESSED, WinnerRule
from experiments.ranking.primary import PRIMARY

ROUNDING = 1e-6  # float32 spectra of the same band may differ by this much, and no guard may depend on it


@dataclass(frozen=True)
class Reason:
    """Why a candidate is disqualified.

    Attributes:
        guard: key of the guard.
        sentence: says so with both numbers.
    """

    guard: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class Measured:
    """Everything that guards look at.

    Attributes:
        rows: the candidate's rows of a score table, training seeds averaged.
        control: the rows of the control ``unprocessed``.
        cost: ``latency_ms`` (NaN for a whole-file system) and ``rtf``.
        failed: the candidate's failed scores, as `experiments.ranking.primary.failed_scores` lists them.
    """

    rows: pd.DataFrame
    control: pd.DataFrame
    cost: pd.Series
    failed: pd.DataFrame

    def by_condition(self) -> Iterator[tuple[str, "Measured"]]:
        """Yield each condition with what was measured under it."""
        for condition, rows in self.rows.groupby("condition", sort=False):
            yield str(condition), replace(self, rows=rows, control=self.control[self.control["condition"] == condition])


@dataclass(frozen=True)
class Guard:
    """One guard. Two guards may share a key: a table then shows one column for both.

    Attributes:
        key: its name, that of the measure if it limits one.
        limit: reads the limit of a rule; infinity switches the guard off.
        check: given what was measured and the limit, returns the sentence that disqualifies, or None.
        on_scores: whether it limits scores, so that a rule may ask for it under every condition.
    """

    key: str
    limit: Callable[[WinnerRule], float]
    check: Callable[[Measured, float], str | None]
    on_scores: bool = True


def disqualifying(measured: Measured, rule: WinnerRule, guards: Iterable[Guard] | None = None) -> Iterator[Reason]:
    """Yield the reasons to disqualify a candidate.

    Args:
        measured: its scores and costs.
        rule: the preset's limits.
        guards: those to check, in the order of the table; None for all of them.
    """
    for on_scores, group in groupby(GUARDS if guards is None else guards, key=lambda guard: guard.on_scores):
        listed = list(group)
        each = on_scores and rule.each_condition
        for condition, case in measured.by_condition() if each else [("", measured)]:
            for guard in listed:
                if sentence := guard.check(case, guard.limit(rule)):
                    yield Reason(guard.key, f"{sentence}, under {condition}" if condition else sentence)


def guard_names(rule: WinnerRule | None = None) -> list[str]:
    """Return the keys of all guards, or of those that are switched on in a rule."""
    return list(dict.fromkeys(guard.key for guard in GUARDS if rule is None or not math.isinf(guard.limit(rule))))


def _no_failed_scores(measured: Measured, _: float) -> str | None:
    if measured.failed.empty:
        return None
    first, others = measured.failed.iloc[0], len(measured.failed) - 1
    more = f", and {others} more" if others else ""
    return f"{first['key']} failed for {first['file']} under {first['condition']} ({first['reason']}){more}"


def _mean(rows: pd.DataFrame, key: str) -> float | None:
    """Mean over speakers and conditions; None where the measure applies nowhere, NaN where a score failed."""
    return None if applicable(rows, key).empty else speaker_mean(rows, key)


def _clean(rows: pd.DataFrame, wanted: bool | None) -> pd.DataFrame:
    """The rows of clean conditions, of degraded ones, or, for None, of all."""
    return rows if wanted is None else rows[rows["clean"].astype(bool) == wanted]


def _at_most(key: str, suffix: str, clean: bool | None = None) -> Callable[[Measured, float], str | None]:
    """A measure's mean, or its size where the sign says what is wrong, may not exceed the limit."""

    def check(measured: Measured, limit: float) -> str | None:
        if math.isinf(limit):
            return None
        if key not in measured.rows:
            return f"{key} was not measured, but the rule limits it to {limit:g}"
        value = _mean(_clean(measured.rows, clean), key)
        if value is None or not MEASURES[key].loss(value) > limit + ROUNDING:
            return None
        beyond = "farther from 0 than" if MEASURES[key].signed else "above"
        return f"{key} is {value:.3f}{suffix}, {beyond} the limit of {limit:g}"

    return check


def _near_unprocessed(key: str, suffix: str = "", clean: bool | None = None) -> Callable[[Measured, float], str | None]:
    """A measure's mean may exceed the unprocessed input's by the limit at most; where more is better, it has to."""

    def check(measured: Measured, limit: float) -> str | None:
        if math.isinf(limit):
            return None
        if key not in measured.rows:
            return f"{key} was not measured, but the rule compares it with {UNPROCESSED}"
        value, reference = (_mean(_clean(rows, clean), key) for rows in (measured.rows, measured.control))
        if value is None or reference is None:
            return None
        if math.isnan(reference):
            return f"{key} of {UNPROCESSED} failed{suffix}, so there is nothing to compare with"
        if MEASURES[key].higher_is_better:
            return f"{key} is {value:.2f}, not above {reference:.2f} ({UNPROCESSED})" if value <= reference else None
        added = f" + {limit:g}" if limit else ""
        above = f"above {reference + limit:.4f} ({UNPROCESSED}{added})"
        return f"{key} is {value:.4f}{suffix}, {above}" if value > reference + limit + ROUNDING else None

    return check


def _better_than_unprocessed(measured: Measured, limit: float) -> str | None:
    """The primary score has to be better than that of the unprocessed input by more than the limit.

    The whole paired interval has to show it: of several candidates that are as good as doing nothing, one is ahead of
    it by luck. With a single speaker there is no interval, and the mean has to do.
    """
    if math.isinf(limit):
        return None
    system = str(measured.rows["system"].iloc[0])
    both = pd.concat([measured.rows, measured.control], ignore_index=True)
    gap = paired_difference(both, system, UNPROCESSED, PRIMARY)
    least = gap.mean if math.isnan(gap.low) else gap.high
    if math.isnan(gap.mean) or least < -limit:
        return None
    asked = f" by more than {limit:g}" if limit else ""
    interval = "" if math.isnan(gap.low) else f", {gap.low:+.4f} to {gap.high:+.4f}"
    return (
        f"{PRIMARY} is not better than doing nothing{asked}: the paired difference from {UNPROCESSED} is "
        f"{gap.mean:+.4f}{interval}, negative is better"
    )


def _latency(measured: Measured, limit: float) -> str | None:
    latency = float(measured.cost["latency_ms"])
    if math.isnan(latency):  # no champion, even where the latency of others is not limited
        return f"whole-file, cannot stream: the limit is {limit:g} ms"
    return f"latency is {latency:.1f} ms, above the limit of {limit:g} ms" if latency > limit + ROUNDING else None


def _real_time_factor(measured: Measured, limit: float) -> str | None:
    factor = float(measured.cost["rtf"])
    if math.isnan(factor) and not math.isinf(limit):
        return f"the real-time factor was not measured: the limit is {limit:g}"
    return f"the real-time factor is {factor:.2f}, above the limit of {limit:g}" if factor > limit else None


FAILED_SCORES = Guard("failed scores", lambda rule: 0.0, _no_failed_scores, on_scores=False)
GUARDS: list[Guard] = [
    FAILED_SCORES,
    Guard(PRIMARY, lambda rule: rule.gain_over_unprocessed, _better_than_unprocessed),
    Guard("content_ber", lambda rule: rule.content_ber_margin, _near_unprocessed("content_ber")),
    Guard("lsd_low", lambda rule: rule.lsd_low_clean, _at_most("lsd_low", " on clean conditions", clean=True)),
    Guard(
        "lsd_low",
        lambda rule: rule.lsd_low_margin,
        _near_unprocessed("lsd_low", " on degraded conditions", clean=False),
    ),
    Guard(
        "crossover_db", lambda rule: rule.crossover_db, _at_most("crossover_db", " dB on clean conditions", clean=True)
    ),
    Guard("visqol", lambda rule: 0.0 if rule.visqol_above_unprocessed else math.inf, _near_unprocessed("visqol")),
    Guard("tonality", lambda rule: rule.tonality, _at_most("tonality", " dB of flatness")),
    Guard("excess_above_band", lambda rule: rule.excess_above_band_db, _at_most("excess_above_band", " dB")),
    Guard("latency_ms", lambda rule: rule.latency_ms, _latency, on_scores=False),
    Guard("rtf", lambda rule: rule.rtf, _real_time_factor, on_scores=False),
]
