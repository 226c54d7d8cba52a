"""The declared limits of a preset and what they say about one candidate.

They are declared before anything is trained, so that nobody chooses the rule after the result.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import pandas as pd

from evaluation.statistics import applicable
from evaluation.statistics import speaker_mean as mean_over_speakers
from runtime.errors import OvertoneError

UNPROCESSED = "unprocessed"
ROUNDING = 1e-6  # what float32 spectra of the same band may differ by; no guard may hang on it


@dataclass(frozen=True)
class WinnerRule:
    """The limits of a preset; an infinite one is off.

    Raises:
        OvertoneError: a limit is NaN.

    Attributes:
        content_ber_margin: how far ``content_ber`` may lie above that of the unprocessed input.
        lsd_low_clean: largest ``lsd_low`` where nothing but a band is missing.
        lsd_low_margin: how far ``lsd_low`` may lie above that of the unprocessed input elsewhere. A band filled over
            an untouched input leaks up to 0.002 into it through the analysis window; noise at -70 dBFS adds 0.009.
        visqol_above_unprocessed: whether ViSQOL has to be above that of the unprocessed input.
        tonality: largest difference of spectral flatness in the missing band, dB: above it speech is hoarse or buzzy.
        excess_above_band_db: largest energy above the target's own band, dB.
        latency_ms: largest algorithmic latency in ms.
        rtf: largest real-time factor on one core.
        equivalence_gap: a smaller gap in the primary score is no difference.
        each_condition: whether the limits on scores hold under every condition, instead of for their average.
    """

    content_ber_margin: float = 0.01
    lsd_low_clean: float = 0.15
    lsd_low_margin: float = 0.005
    visqol_above_unprocessed: bool = True
    tonality: float = 2.5
    excess_above_band_db: float = 6.0
    latency_ms: float = 40.0
    rtf: float = 0.5
    equivalence_gap: float = 0.005
    each_condition: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            if math.isnan(getattr(self, field.name)):  # no comparison with it holds: the guard would pass everything
                raise OvertoneError(
                    f"Winner rule: {field.name} is not a number. Give a limit, or .inf to switch it off."
                )


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
