"""Level errors over frequency, frame by frame: what is too quiet or too loud, and how much that varies."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.measures.missing_band import ACTIVE_RANGE_DB, TINY, short_power
from evaluation.measures.stft import NotApplicable, Power, bin_frequencies, check_pair, required_cutoff

CROSSOVER = (0.85, 1.15)  # times the cutoff
CROSSOVER_BANDS = 6
MOST_ERROR_DB = 60.0
BAND_BIAS, BAND_SPREAD = "band_bias_db", "band_spread_db"
LOWEST_BAND_HZ, BANDS_AN_OCTAVE = 1000.0, 3
TOP_SHARE = 0.98  # of the Nyquist frequency, where the last band ends


@dataclass(frozen=True, order=True)
class Band:
    """A band of `missing_band_levels`, a third of an octave wide, in whole Hz.

    Attributes:
        low_hz: where it begins.
        high_hz: where it ends.
    """

    low_hz: int
    high_hz: int

    @property
    def bias(self) -> str:
        """The column of a score table that holds its mean level error."""
        return f"{BAND_BIAS}_{self.low_hz}_{self.high_hz}"

    @property
    def spread(self) -> str:
        """The column of a score table that holds the standard deviation of its level error."""
        return f"{BAND_SPREAD}_{self.low_hz}_{self.high_hz}"


def level_bands(sample_rate: int) -> list[Band]:
    """Return the thirds of octaves from 1 kHz to 0.98 of the Nyquist frequency, where the last one ends early.

    One of which less than half would be left is left out.

    Args:
        sample_rate: in Hz.

    Examples:
        >>> level_bands(8000)[-2:]
        [Band(low_hz=2520, high_hz=3175), Band(low_hz=3175, high_hz=3920)]
    """
    top = TOP_SHARE * sample_rate / 2
    count = max(0, round(BANDS_AN_OCTAVE * math.log2(top / LOWEST_BAND_HZ)))
    edges = [min(LOWEST_BAND_HZ * 2 ** (place / BANDS_AN_OCTAVE), top) for place in range(count + 1)]
    return [Band(*map(round, band)) for band in pairwise(edges)]


def bands_among(columns: Iterable[object]) -> list[Band]:
    """Return the bands that a score table's columns hold levels of, in order.

    Args:
        columns: names, of which those that are none of `Band` are passed over.
    """
    found = (re.fullmatch(rf"{BAND_BIAS}_(\d+)_(\d+)", str(name)) for name in columns)
    return sorted(Band(int(match[1]), int(match[2])) for match in found if match)


def missing_band_levels(
    *, preds: ArrayLike, target: ArrayLike, sample_rate: int, cutoff_hz: float | None, band_hz: float
) -> dict[str, float]:
    """How much too loud an estimate is in each third of an octave of the missing band, and how much that varies.

    The keys ``band_bias_db_LOW_HIGH`` have the mean over frames of `band_level_errors`, each error within 60 dB, and
    ``band_spread_db_LOW_HIGH`` their standard deviation, for each of `level_bands` that lies wholly above the cutoff
    and within the target's own band. An octave would hide what a system does to the last one below the Nyquist
    frequency, where most go wrong.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.
        cutoff_hz: where the narrowband's own content ends, in Hz; None where no band is missing.
        band_hz: where the wideband's own content ends, in Hz.

    Returns:
        dB by key. A bias is negative where the estimate is too quiet; 0 is best. A spread is 0 or more; lower is
        better.

    Raises:
        NotApplicable: no band is missing, none of the bands lies within what is missing, or the target is silent.
    """
    cutoff_hz = required_cutoff(cutoff_hz)
    bands = [band for band in level_bands(sample_rate) if band.low_hz >= cutoff_hz and band.high_hz <= band_hz]
    if not bands:
        raise NotApplicable(f"no third of an octave lies within {cutoff_hz:.0f} to {band_hz:.0f} Hz")
    if not np.any(target):
        raise NotApplicable("the target is silent")
    edges = [*(band.low_hz for band in bands), bands[-1].high_hz]
    errors = band_level_errors(preds, target, sample_rate, edges).clip(-MOST_ERROR_DB, MOST_ERROR_DB)
    biases = {band.bias: float(frames.mean()) for band, frames in zip(bands, errors, strict=True)}
    return biases | {band.spread: float(frames.std()) for band, frames in zip(bands, errors, strict=True)}


def band_level_errors(
    preds: ArrayLike, target: ArrayLike, sample_rate: int, edges_hz: ArrayLike
) -> NDArray[np.float64]:
    """Level of the estimate minus that of the target, in frequency bands and frames of 64 ms.

    Frames count in which the target is within 40 dB of its loudest frame. The mean over frames is a system's bias in
    a band, the standard deviation its spread.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.
        edges_hz: of the bands, ascending ``(bands + 1,)``; a band holds at least one multiple of 15.625 Hz.

    Returns:
        dB ``(bands, frames)``; positive where the estimate is too loud. Digital silence counts as -300 dB.

    Raises:
        ValueError: other shapes than stated, or a band without a frequency of the transform.
    """
    check_pair(preds, target)
    edges = np.asarray(edges_hz, dtype=np.float64)
    given, wanted = short_power(preds, target, sample_rate)
    energy = wanted.sum(axis=0)
    loud = energy >= energy.max() * 10 ** (-ACTIVE_RANGE_DB / 10)
    bins = np.searchsorted(bin_frequencies(2 * (len(wanted) - 1), sample_rate), edges)
    if np.diff(bins).min() < 1:
        raise ValueError(f"expected bands of at least {sample_rate / 2 / (len(wanted) - 1):g} Hz, received {edges}")
    return _level_db(given[:, loud], bins) - _level_db(wanted[:, loud], bins)


def crossover_level_error(
    *, preds: ArrayLike, target: ArrayLike, sample_rate: int, cutoff_hz: float | None, band_hz: float
) -> float:
    """Signed level error where what is there meets what is made, key ``crossover_db``.

    Six bands from 0.85 to 1.15 ``cutoff_hz`` have their mean of `band_level_errors`, each error within 60 dB, less the
    mean below them: a change of the whole level is neither a hole nor a bump. The band with the largest size counts.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.
        cutoff_hz: where the narrowband's own content ends, in Hz; None where no band is missing.
        band_hz: where the wideband's own content ends, in Hz.

    Returns:
        dB, negative for a hole, positive for a bump; 0 is best.

    Raises:
        NotApplicable: no band is missing, the target's ends within the crossover, or is silent.
        ValueError: the estimate is silent; all bands are then equally wrong, which is no sound crossover.
    """
    cutoff_hz = required_cutoff(cutoff_hz)
    first, last = (times * cutoff_hz for times in CROSSOVER)
    if last > min(band_hz, sample_rate / 2):
        raise NotApplicable(f"the target ends at {band_hz:.0f} Hz, within the crossover at {cutoff_hz:.0f} Hz")
    if not np.any(target):
        raise NotApplicable("the target is silent")
    if not np.any(preds):
        raise ValueError("the estimate is silent")
    edges = [first / 2, *np.linspace(first, last, CROSSOVER_BANDS + 1)]
    errors = band_level_errors(preds, target, sample_rate, edges).clip(-MOST_ERROR_DB, MOST_ERROR_DB).mean(axis=1)
    crossover = errors[1:] - errors[0]
    return float(crossover[np.abs(crossover).argmax()])


def _level_db(power: Power, bins: NDArray[np.intp]) -> NDArray[np.float64]:
    energies = np.add.reduceat(power[: bins[-1]].astype(np.float64), bins[:-1], axis=0)
    return 10 * np.log10(np.maximum(energies, TINY))
