"""Level errors over frequency, frame by frame: what is too quiet or too loud, and how much that varies."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.measures.missing_band import ACTIVE_RANGE_DB, TINY, short_power
from evaluation.measures.stft import NotApplicable, Power, bin_frequencies, check_pair, required_cutoff

CROSSOVER = (0.85, 1.15)  # times the cutoff
CROSSOVER_BANDS = 6
MOST_ERROR_DB = 60.0


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
    """
    cutoff_hz = required_cutoff(cutoff_hz)
    first, last = (times * cutoff_hz for times in CROSSOVER)
    if last > min(band_hz, sample_rate / 2):
        raise NotApplicable(f"the target ends at {band_hz:.0f} Hz, within the crossover at {cutoff_hz:.0f} Hz")
    if not np.any(target):
        raise NotApplicable("the target is silent")
    edges = [first / 2, *np.linspace(first, last, CROSSOVER_BANDS + 1)]
    errors = band_level_errors(preds, target, sample_rate, edges).clip(-MOST_ERROR_DB, MOST_ERROR_DB).mean(axis=1)
    crossover = errors[1:] - errors[0]
    return float(crossover[np.abs(crossover).argmax()])


def _level_db(power: Power, bins: NDArray[np.intp]) -> NDArray[np.float64]:
    energies = np.add.reduceat(power[: bins[-1]].astype(np.float64), bins[:-1], axis=0)
    return 10 * np.log10(np.maximum(energies, TINY))
