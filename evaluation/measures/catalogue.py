"""Every measure, declared once: what it computes, what fools it, and how tables show it."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeVar

import pandas as pd

from evaluation.measures import (
    band_levels,
    chromaprint,
    fingerprints,
    log_spectral_conventions,
    missing_band,
    multi_resolution,
    perceptual,
    spectral,
    waveform,
)

LOWER, HIGHER, NEAR_ZERO = "↓", "↑", "→0"

Scores = TypeVar("Scores", float, pd.Series, pd.DataFrame)


class Shown(IntEnum):
    """How prominent a measure is; each level is shown wherever the levels below it are."""

    ON_REQUEST = 0
    """Computed only when a command names it."""
    SCORES = 1
    """A column of every score table."""
    LEADERBOARD = 2
    """A column of every leaderboard and of the tables by condition."""
    HEADLINE = 3
    """In summaries: model card, registered version, terminal, detectable differences."""
    OVERVIEW = 4
    """In MLflow's list of runs, and on a terminal that is wide."""
    COMPACT = 5
    """On narrow terminals, and in the sections by condition."""


@dataclass(frozen=True)
class Measure:
    """One measure. Whatever lists measures iterates over `MEASURES`, so a new one is one entry there.

    Attributes:
        key: name of its column in score tables, and of its metric in MLflow (``test/KEY``).
        higher_is_better: the better direction, of one that is not signed.
        meaning: what it measures, in a line.
        function: the pure function behind it; it is given those of ``preds``, ``target``, ``sample_rate``,
            ``cutoff_hz``, ``band_hz`` and ``block_samples`` that its signature names.
        unit: unit or scale, as ``dB`` or ``1 to 5``; "" where ``meaning`` says it, or there is none.
        name: short name for headings; None for the key.
        decimals: digits after the point in tables for reading.
        weakness: what fools it, or what it cannot hear.
        shown: where it stands.
        gain: whether it measures what was gained, so that a control ahead of a system is a warning. In the others,
            which measure harm, doing nothing is as good as can be.
        signed: whether its sign says what is wrong, and 0 is best. Means keep the sign, so that errors in one
            direction show and those of chance cancel; whatever compares systems compares sizes.
        detectable: whether a leaderboard has the smallest difference that its test set detects in a headline measure.
    """

    key: str
    higher_is_better: bool
    meaning: str
    function: Callable[..., float]
    unit: str = ""
    name: str | None = None
    decimals: int = 3
    weakness: str = ""
    shown: Shown = Shown.SCORES
    gain: bool = False
    signed: bool = False
    detectable: bool = True
    arguments: frozenset[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "arguments", frozenset(inspect.signature(self.function).parameters))

    def __call__(self, **available: object) -> float:
        """Score one pair from whatever of ``available`` the function asks for."""
        return self.function(**{name: available[name] for name in self.arguments})

    @property
    def heading(self) -> str:
        """The heading of its column, with an arrow in the better direction."""
        return f"{self.name or self.key} {self.arrow}"

    @property
    def arrow(self) -> str:
        """The better direction as a sign."""
        return NEAR_ZERO if self.signed else HIGHER if self.higher_is_better else LOWER

    @property
    def better(self) -> str:
        """The better direction in words."""
        return "near 0" if self.signed else "higher" if self.higher_is_better else "lower"

    def loss(self, scores: Scores) -> Scores:
        """Return scores, or means of them, as numbers of which the smaller is better."""
        return abs(scores) if self.signed else -scores if self.higher_is_better else scores

    @property
    def description(self) -> str:
        """What it measures, with its unit."""
        return f"{self.meaning}, {self.unit}" if self.unit else self.meaning


def keys_shown(least: Shown) -> list[str]:
    """Return the keys of the measures that are at least as prominent as ``least``, in the order of `MEASURES`."""
    return [key for key, measure in MEASURES.items() if measure.shown >= least]


MEASURES: dict[str, Measure] = {
    measure.key: measure
    for measure in (
        Measure(
            key="extended_ber",
            higher_is_better=False,
            meaning="bits that differ in a fingerprint of the missing band; chance is 0.5",
            function=fingerprints.extended_bit_error_rate,
            name="ext. BER",
            weakness="hears envelopes, not what fills them: the target's envelope on noise scores like half the truth",
            shown=Shown.COMPACT,
            gain=True,
        ),
        Measure(
            key="extended_ber_median",
            higher_is_better=False,
            meaning="the same of levels at the median alone, for comparison with earlier figures",
            function=fingerprints.extended_bit_error_rate_at_median,
            name="ext. BER median",
            weakness="as `extended_ber`, and one number a frame for all bands nearly satisfies it",
            shown=Shown.LEADERBOARD,
        ),
        Measure(
            key="lsd",
            higher_is_better=False,
            meaning="log-spectral distance",
            unit="1 is 10 dB",
            function=spectral.log_spectral_distance,
            name="LSD",
            weakness="log power below the target's own noise floor counts as much as speech, so faint noise is "
            "rewarded",
            shown=Shown.HEADLINE,
            gain=True,
        ),
        Measure(
            key="lsd_lf",
            higher_is_better=False,
            meaning="log-spectral distance below the cutoff",
            function=spectral.log_spectral_distance_low_frequencies,
            weakness="mostly sees the transition band of the resampler; a perfect pass-through is not 0",
        ),
        Measure(
            key="lsd_hf",
            higher_is_better=False,
            meaning="log-spectral distance above the cutoff",
            function=spectral.log_spectral_distance_high_frequencies,
            weakness="as `lsd`; above the target's own band an encoder's low-pass is the target",
            gain=True,
        ),
        Measure(
            key="lsd_hf_band",
            higher_is_better=False,
            meaning="log-spectral distance from the cutoff to the end of the target's own band",
            function=spectral.log_spectral_distance_missing_band,
            name="LSD-HF",
            weakness="as `lsd` up to the end of the target's own band: steady noise of the right colour is rewarded",
            shown=Shown.COMPACT,
            gain=True,
        ),
        Measure(
            key="lsd_low",
            higher_is_better=False,
            meaning="log-spectral distance up to 0.9 cutoff: harm to what was already there",
            function=spectral.log_spectral_distance_retained_band,
            name="LSD-low",
            weakness="sees only harm below the cutoff: doing nothing is near the best that can be had",
            shown=Shown.OVERVIEW,
            detectable=False,
        ),
        Measure(
            key="crossover_db",
            higher_is_better=False,
            meaning="level error from 0.85 to 1.15 cutoff, in the worst of six bands: a hole or a bump where what is "
            "there meets what is made",
            unit="dB",
            function=band_levels.crossover_level_error,
            name="crossover",
            decimals=1,
            weakness="sees levels around the cutoff only: noise of the right level passes",
            shown=Shown.LEADERBOARD,
            signed=True,
        ),
        Measure(
            key="content_ber",
            higher_is_better=False,
            meaning="bits that differ in the fingerprint of 300 to 2000 Hz: are the words intact",
            function=fingerprints.content_bit_error_rate,
            name="content BER",
            weakness="sees 300 to 2000 Hz only, where the unprocessed input is all but perfect: a guard, not a score",
            shown=Shown.HEADLINE,
        ),
        Measure(
            key="original_ber",
            higher_is_better=False,
            meaning="the original project's fingerprint; it can prefer doing nothing",
            function=fingerprints.original_bit_error_rate,
            name="original BER",
            weakness="neighbouring linear bins of noise differ by chance, so doing nothing beats every envelope on "
            "noise",
            shown=Shown.LEADERBOARD,
        ),
        Measure(
            key="si_sdr",
            higher_is_better=True,
            meaning="scale-invariant signal-to-distortion ratio",
            unit="dB",
            function=waveform.scale_invariant_sdr,
            name="SI-SDR",
            decimals=1,
            weakness="wants the missing band's phase: whatever fills it and is not the truth costs, so doing nothing "
            "beats it",
            shown=Shown.HEADLINE,
        ),
        Measure(
            key="snr",
            higher_is_better=True,
            meaning="signal-to-noise ratio",
            unit="dB",
            function=waveform.snr,
            weakness="as `si_sdr`, and a change of level ruins it",
        ),
        Measure(
            key="visqol",
            higher_is_better=True,
            meaning="ViSQOL mean opinion score",
            unit="1 to 5",
            function=perceptual.visqol,
            name="ViSQOL",
            decimals=2,
            weakness="hears neither phase nor what fills an envelope finely enough; its speech mode ends at 8 kHz",
            shown=Shown.COMPACT,
            gain=True,
        ),
        Measure(
            key="pesq_wb",
            higher_is_better=True,
            meaning="wideband PESQ mean opinion score",
            unit="1 to 4.64; sees up to 8 kHz",
            function=perceptual.pesq_wb,
            name="PESQ",
            decimals=2,
            weakness="ends at 8 kHz and was made for telephone codecs: a band that is filled wrongly may cost more "
            "than none",
            shown=Shown.LEADERBOARD,
            gain=True,
        ),
        Measure(
            key="stoi",
            higher_is_better=True,
            meaning="short-time objective intelligibility",
            unit="at most 1; sees up to 5 kHz",
            function=perceptual.stoi,
            name="STOI",
            weakness="ends at 5 kHz and saturates: nothing above the telephone band moves it much",
            shown=Shown.LEADERBOARD,
            gain=True,
        ),
        Measure(
            key="tonality",
            higher_is_better=False,
            meaning="difference of spectral flatness in voiced frames of the missing band",
            unit="dB",
            function=missing_band.tonality,
            name="tonality",
            decimals=2,
            weakness="compares one average: the right share of noise at the wrong moments, or of the wrong level, "
            "passes",
            shown=Shown.LEADERBOARD,
        ),
        Measure(
            key="seam",
            higher_is_better=False,
            meaning="break of the waveform at block borders",
            unit="dB above the target's",
            function=waveform.seam,
            name="seam",
            decimals=1,
            weakness="applies only to systems with block borders, of which this table has none",
            shown=Shown.LEADERBOARD,
        ),
        Measure(
            key="hallucination",
            higher_is_better=False,
            meaning="energy in the missing band where the target has none",
            unit="dB below its loudest",
            function=missing_band.hallucination,
            name="halluc.",
            decimals=1,
            weakness="sees only what is too much: silence is best",
            shown=Shown.LEADERBOARD,
        ),
        Measure(
            key="excess_above_band",
            higher_is_better=False,
            meaning="energy above the target's own band against 1 kHz below its edge",
            unit="dB",
            function=missing_band.excess_above_band,
            weakness="sees only what is too much: silence is best",
        ),
        Measure(
            key="lsd_ssr_eval",
            higher_is_better=False,
            meaning="log-spectral distance as ssr_eval computes it",
            unit="1 is 10 dB",
            function=log_spectral_conventions.log_spectral_distance_ssr_eval,
            weakness="as `lsd`, with another floor",
            shown=Shown.ON_REQUEST,
        ),
        Measure(
            key="lsd_kuleshov",
            higher_is_better=False,
            meaning="log-spectral distance as Kuleshov's code computes it",
            unit="1 is 4.3 dB, at most 10",
            function=log_spectral_conventions.log_spectral_distance_kuleshov,
            weakness="as `lsd`, with natural logarithms and another floor",
            shown=Shown.ON_REQUEST,
        ),
        Measure(
            key="chromaprint_ber",
            higher_is_better=False,
            meaning="bits that differ in Chromaprint's fingerprint; needs libchromaprint, sees up to 3.5 kHz",
            function=chromaprint.chromaprint_bit_error_rate,
            weakness="sees up to 3.5 kHz, folded into 12 pitch classes, eight times a second: a guard at most",
            shown=Shown.ON_REQUEST,
        ),
        Measure(
            key="mr_stft",
            higher_is_better=False,
            meaning="spectral convergence and log magnitude distance over three resolutions",
            function=multi_resolution.multi_resolution_stft_distance,
            weakness="as `si_sdr` in magnitudes: its convergence term is ruled by the loud low band",
            shown=Shown.ON_REQUEST,
            gain=True,
        ),
    )
}
