"""The guards of the winner rule: why a candidate is disqualified."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd

from evaluation.statistics.intervals import applicable
from evaluation.statistics.intervals import speaker_mean as mean_over_speakers
from experiments.presets.winner_rule import UNPROCESSED, WinnerRule

ROUNDING = 1e-6  # what float32 spectra of the same band may differ by; no guard may hang on it


@dataclass(frozen=True)
class Reason:
    """Why a candidate is out: which guard, and a sentence with both numbers."""

    guard: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def failure_reasons(failed: pd.DataFrame) -> Iterator[Reason]:
    """Yield the reason that failed scores are, naming the first file; ``failed`` lists those of one system."""
    if failed.empty:
        return
    first = failed.iloc[0]
    more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    yield Reason(
        "failed scores",
        f"{first['key']} failed for {first['file']} under {first['condition']} ({first['reason']}){more}",
    )


def guard_reasons(rows: pd.DataFrame, control: pd.DataFrame, cost: pd.Series, rule: WinnerRule) -> Iterator[Reason]:
    """Yield the reasons that a candidate's scores and cost give to disqualify it.

    Args:
        rows: the candidate's rows of a score table, training seeds averaged.
        control: the rows of the control ``unprocessed``.
        cost: ``latency_ms`` (NaN for a whole-file system) and ``rtf``.
        rule: the preset's limits.
    """
    if rule.each_condition:
        for condition, group in rows.groupby("condition", sort=False):
            for reason in _score_reasons(group, control[control["condition"] == condition], rule):
                yield replace(reason, sentence=f"{reason.sentence}, under {condition}")
    else:
        yield from _score_reasons(rows, control, rule)
    yield from _cost_reasons(cost, rule)


def _score_reasons(rows: pd.DataFrame, control: pd.DataFrame, rule: WinnerRule) -> Iterator[Reason]:
    yield from _against_unprocessed(rows, control, "content_ber", rule.content_ber_margin)
    clean = rows["clean"].astype(bool)
    yield from _against_limit(rows[clean], "lsd_low", rule.lsd_low_clean, " on clean conditions")
    degraded = control[~control["clean"].astype(bool)]
    yield from _against_unprocessed(rows[~clean], degraded, "lsd_low", rule.lsd_low_margin, " on degraded conditions")
    if rule.visqol_above_unprocessed:
        yield from _visqol(rows, control)
    yield from _against_limit(rows, "tonality", rule.tonality, " dB of flatness")
    yield from _against_limit(rows, "excess_above_band", rule.excess_above_band_db, " dB")


def _mean(rows: pd.DataFrame, key: str) -> float | None:
    """Mean over speakers and conditions; None where the measure applies nowhere, NaN where a score failed."""
    if applicable(rows, key).empty:
        return None
    return mean_over_speakers(rows, key)


def _against_limit(rows: pd.DataFrame, key: str, limit: float, suffix: str) -> Iterator[Reason]:
    if math.isinf(limit):
        return
    if key not in rows:
        yield Reason(key, f"{key} was not measured, but the rule limits it to {limit:g}")
        return
    value = _mean(rows, key)
    if value is not None and value > limit + ROUNDING:
        yield Reason(key, f"{key} is {value:.3f}{suffix}, above the limit of {limit:g}")


def _against_unprocessed(
    rows: pd.DataFrame, control: pd.DataFrame, key: str, margin: float, suffix: str = ""
) -> Iterator[Reason]:
    if math.isinf(margin):
        return
    if key not in rows:
        yield Reason(key, f"{key} was not measured, but the rule compares it with {UNPROCESSED}")
        return
    value, reference = _mean(rows, key), _mean(control, key)
    if value is None or reference is None:
        return
    if math.isnan(reference):
        yield Reason(key, f"{key} of {UNPROCESSED} failed{suffix}, so there is nothing to compare with")
    elif value > reference + margin + ROUNDING:
        added = f" + {margin:g}" if margin else ""
        yield Reason(key, f"{key} is {value:.4f}{suffix}, above {reference + margin:.4f} ({UNPROCESSED}{added})")


def _visqol(rows: pd.DataFrame, control: pd.DataFrame) -> Iterator[Reason]:
    if "visqol" not in rows:
        yield Reason("visqol", f"visqol was not measured, but the rule compares it with {UNPROCESSED}")
        return
    value, reference = _mean(rows, "visqol"), _mean(control, "visqol")
    if value is None or reference is None:
        return
    if math.isnan(reference):
        yield Reason("visqol", f"visqol of {UNPROCESSED} failed, so there is nothing to compare with")
    elif value <= reference:
        yield Reason("visqol", f"visqol is {value:.2f}, not above {reference:.2f} ({UNPROCESSED})")


def _cost_reasons(cost: pd.Series, rule: WinnerRule) -> Iterator[Reason]:
    latency, rtf = float(cost["latency_ms"]), float(cost["rtf"])
    if math.isnan(latency):
        yield Reason("latency_ms", f"whole-file, cannot stream: the limit is {rule.latency_ms:g} ms")
    elif latency > rule.latency_ms + ROUNDING:
        yield Reason("latency_ms", f"latency is {latency:.1f} ms, above the limit of {rule.latency_ms:g} ms")
    if math.isnan(rtf) and not math.isinf(rule.rtf):
        yield Reason("rtf", f"the real-time factor was not measured: the limit is {rule.rtf:g}")
    elif rtf > rule.rtf:
        yield Reason("rtf", f"the real-time factor is {rtf:.2f}, above the limit of {rule.rtf:g}")
