"""Measures on the samples themselves: distortion ratios, and the seams of systems that work in blocks."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.measures.stft import NotApplicable, check_pair

LIMIT_DB = 100.0  # beyond it float32 rounding decides, and one perfect clip would rule a mean
ACTIVE_RMS = 1e-3  # -60 dBFS: a border in silence tells nothing


def scale_invariant_sdr(*, preds: ArrayLike, target: ArrayLike) -> float:
    """Scale-invariant signal-to-distortion ratio, key ``si_sdr`` (Le Roux 2019, equation 5; means are kept).

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.

    Returns:
        dB, limited to -100..100; higher is better.

    Raises:
        NotApplicable: the target is silent.
    """
    estimate, reference = check_pair(preds, target)
    energy = float(np.dot(reference, reference))
    if energy == 0.0:
        raise NotApplicable("the target is silent")
    scaled = float(np.dot(estimate, reference)) / energy * reference
    return _ratio_db(scaled, scaled - estimate)


def snr(*, preds: ArrayLike, target: ArrayLike) -> float:
    """Signal-to-noise ratio of the estimate, key ``snr``: 10 log10 of the target's energy over the error's.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.

    Returns:
        dB, limited to -100..100; higher is better.

    Raises:
        NotApplicable: the target is silent.
    """
    estimate, reference = check_pair(preds, target)
    if not reference.any():
        raise NotApplicable("the target is silent")
    return _ratio_db(reference, reference - estimate)


def _ratio_db(signal: NDArray[np.float64], error: NDArray[np.float64]) -> float:
    numerator, denominator = float(np.dot(signal, signal)), float(np.dot(error, error))
    if denominator == 0.0:
        return LIMIT_DB if numerator > 0.0 else -LIMIT_DB
    if numerator == 0.0:
        return -LIMIT_DB
    return float(np.clip(10 * np.log10(numerator / denominator), -LIMIT_DB, LIMIT_DB))


def seam(*, preds: ArrayLike, target: ArrayLike, sample_rate: int, block_samples: int | None) -> float:
    """How far the waveform breaks at the borders of a system's blocks, key ``seam``.

    At each border the second difference's largest size over the samples next to it, against the second
    difference's root mean square over the 10 ms around; the median over borders where the target sounds,
    minus the target's.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.
        block_samples: the system's block length; None where it has no borders.

    Returns:
        dB; lower is better, about 0 without seams.

    Raises:
        NotApplicable: no blocks, or no border where the target sounds.
    """
    estimate, reference = check_pair(preds, target)
    if block_samples is None:
        raise NotApplicable("the system has no block borders")
    half = max(2, round(0.005 * sample_rate))
    borders = np.arange(block_samples, len(reference) - half - 1, block_samples)
    around = borders[borders > half][:, None] + np.arange(-half, half)
    if around.size == 0:
        raise NotApplicable("the utterance is shorter than a block")
    around = around[np.sqrt(np.mean(reference[around] ** 2, axis=1)) > ACTIVE_RMS]
    if around.size == 0:
        raise NotApplicable("there is no block border where the target sounds")
    return _break_db(estimate, around) - _break_db(reference, around)


def _break_db(samples: NDArray[np.float64], around: NDArray[np.intp]) -> float:
    """Median over borders ``(borders, samples around)`` of peak over root mean square, in dB."""
    curvature = np.abs(np.diff(samples, n=2, prepend=samples[:1], append=samples[-1:]))[around]
    middle = around.shape[1] // 2
    # The two second differences that span the border: centred on its last sample before and first after.
    peak = curvature[:, middle - 1 : middle + 1].max(axis=1)
    level = np.sqrt(np.mean(curvature**2, axis=1))
    return float(np.median(20 * np.log10(np.maximum(peak, 1e-12) / np.maximum(level, 1e-12))))
