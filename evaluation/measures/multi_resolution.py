"""Distance of short-time Fourier transforms over several resolutions."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from evaluation.measures.stft import NotApplicable, Power, check_pair, power_blocks

RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))  # transform, hop and window in samples
POWER_FLOOR = 1e-7


def multi_resolution_stft_distance(*, preds: ArrayLike, target: ArrayLike) -> float:
    """Spectral convergence plus log magnitude distance, mean over resolutions, key ``mr_stft``.

    Yamamoto 2020 (Parallel WaveGAN), equations 3 to 6: over each resolution the Frobenius norm of the magnitudes'
    difference over that of the target's magnitudes, plus the mean absolute difference of natural logarithms.
    Transform, hop and window are that paper's (Table 1) in samples, whatever the sample rate: 1024/120/600,
    2048/240/1200 and 512/50/240, centred, periodic Hann; power is clamped at 1e-7 as its published code does.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.

    Returns:
        0 or more; lower is better. It sees loud low frequencies first: read it beside ``lsd_hf_band``.

    Raises:
        NotApplicable: the target is silent.
        ValueError: shapes differ.
    """
    estimate, reference = check_pair(preds, target)
    if not reference.any():
        raise NotApplicable("the target is silent")
    return float(np.mean([_distance(estimate, reference, *resolution) for resolution in RESOLUTIONS]))


def _distance(estimate: ArrayLike, reference: ArrayLike, n_fft: int, hop_length: int, window_length: int) -> float:
    error = energy = logarithms = 0.0
    count = 0

    def magnitudes(waveform: ArrayLike) -> Iterator[Power]:
        blocks = power_blocks(waveform, n_fft, hop_length, centred=True, single=True, window_length=window_length)
        return (np.sqrt(np.maximum(block, POWER_FLOOR)) for block in blocks)

    for given, wanted in zip(magnitudes(estimate), magnitudes(reference), strict=True):
        error += float(np.sum((wanted - given) ** 2, dtype=np.float64))
        energy += float(np.sum(wanted**2, dtype=np.float64))
        logarithms += float(np.sum(np.abs(np.log(wanted) - np.log(given)), dtype=np.float64))
        count += wanted.size
    return float(np.sqrt(error / energy)) + logarithms / count
