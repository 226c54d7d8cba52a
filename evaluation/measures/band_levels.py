"""Level errors over frequency, frame by frame: what is too quiet or too loud, and how much that varies."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.measures.missing_band import ACTIVE_RANGE_DB, TINY, short_power
from evaluation.measures.stft import Power, bin_frequencies, check_pair


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


def _level_db(power: Power, bins: NDArray[np.intp]) -> NDArray[np.float64]:
    energies = np.add.reduceat(power[: bins[-1]].astype(np.float64), bins[:-1], axis=0)
    return 10 * np.log10(np.maximum(energies, TINY))
