"""Distortion ratios, of samples and of bands, and the seams of systems that work in blocks."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.measures.stft import NotApplicable, check_pair

LIMIT_DB = 100.0  # beyond it float32 rounding decides, and one perfect clip would rule a mean
# fmt: off
CRITICAL_BANDS_HZ = np.array([
    50.0, 120.0, 190.0, 260.0, 330.0, 400.0, 470.0, 540.0, 617.372, 703.378, 798.717, 904.128, 1020.38, 1148.30,
    1288.72, 1442.54, 1610.70, 1794.16, 1993.93, 2211.08, 2446.71, 2701.97, 2978.04, 3276.17, 3597.63,
])
CRITICAL_BANDWIDTHS_HZ = np.array([
    70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 70.0, 77.3724, 86.0056, 95.3398, 105.411, 116.256, 127.914, 140.423,
    153.823, 168.154, 183.457, 199.776, 217.153, 235.631, 255.255, 276.072, 298.126, 321.465, 346.136,
])
# fmt: on
SEGMENT_SECONDS, SEGMENTS_PER_BLOCK = 0.03, 256
LEAST_SEGMENT_DB, MOST_SEGMENT_DB = -10.0, 35.0
WEIGHT_EXPONENT = 0.2
TINY = float(np.finfo(np.float64).eps)
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


def frequency_weighted_segmental_snr(*, preds: ArrayLike, target: ArrayLike, sample_rate: int) -> float:
    """Frequency-weighted segmental signal-to-noise ratio, key ``fwsnrseg`` (Hu and Loizou 2008, equations 8 and 9).

    Frames of 30 ms that overlap by three quarters; magnitudes are scaled to a sum of 1 in each, so that no level
    counts, and added up in 25 critical bands up to 3.8 kHz. The ratio of the target's magnitude to the magnitudes'
    difference, within -10 to 35 dB, is averaged over bands with the target's magnitude to the power of 0.2 as weight,
    and then over frames. Frames in which the target is digital silence do not count.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.

    Returns:
        dB, -10 to 35; higher is better.

    Raises:
        NotApplicable: the target is silent or shorter than two frames.
    """
    estimate, reference = check_pair(preds, target)
    if not reference.any() or len(reference) < 2 * SEGMENT_SECONDS * sample_rate:
        raise NotApplicable(f"the target is silent or shorter than {2 * SEGMENT_SECONDS} s")
    frames = []
    blocks = (_critical_magnitudes(waveform, sample_rate) for waveform in (estimate, reference))
    for every_given, every_wanted in zip(*blocks, strict=True):
        sounding = every_wanted.any(axis=1)
        given, wanted = every_given[sounding], every_wanted[sounding]
        ratio_db = 10 * np.log10(np.maximum(wanted, TINY) ** 2 / np.maximum((wanted - given) ** 2, TINY))
        weights = np.maximum(wanted, TINY) ** WEIGHT_EXPONENT
        limited = ratio_db.clip(LEAST_SEGMENT_DB, MOST_SEGMENT_DB)
        frames.append((weights * limited).sum(axis=1) / weights.sum(axis=1))
    return float(np.concatenate(frames).mean())


def _critical_magnitudes(waveform: NDArray[np.float64], sample_rate: int) -> Iterator[NDArray[np.float64]]:
    """Magnitudes in critical bands, some frames at a time: ``(frames, 25)``."""
    length = round(SEGMENT_SECONDS * sample_rate)
    n_fft = 2 ** int(np.ceil(np.log2(2 * length)))
    filters = _critical_filters(n_fft // 2, sample_rate)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, length)[: -(length // 4) : length // 4]
    window = np.hanning(length + 2)[1:-1]
    for start in range(0, len(frames), SEGMENTS_PER_BLOCK):
        magnitudes = np.abs(np.fft.rfft(frames[start : start + SEGMENTS_PER_BLOCK] * window, n_fft))[:, :-1]
        yield magnitudes / np.maximum(magnitudes.sum(axis=1, keepdims=True), TINY) @ filters.T


def _critical_filters(bins: int, sample_rate: int) -> NDArray[np.float64]:
    """Gaussian filters of equal weight ``(25, bins)``, cut where they are 30 dB down, as Loizou's code has them."""
    centres, widths = (bins * hz / (sample_rate / 2) for hz in (CRITICAL_BANDS_HZ, CRITICAL_BANDWIDTHS_HZ))
    away = (np.arange(bins) - np.floor(centres)[:, None]) / widths[:, None]
    filters = CRITICAL_BANDWIDTHS_HZ[0] / CRITICAL_BANDWIDTHS_HZ[:, None] * np.exp(-11 * away**2)
    return np.where(filters > np.exp(-30 / (2 * 2.303)), filters, 0.0)


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
