"""Log-spectral distance as other projects compute it, under their own names, for comparison with their tables.

One pair of files scores 0.67 to 1.47 depending on the convention alone. The harness' own is
`evaluation.measures.spectral.log_spectral_distance`.
"""

import numpy as np
from numpy.typing import ArrayLike

from evaluation.measures.stft import check_pair, shared_spectrogram

SSR_EVAL_EPSILON = 1e-12
KULESHOV_N_FFT, KULESHOV_HOP_LENGTH = 2048, 512
KULESHOV_FLOOR, KULESHOV_LIMIT = 1e-8, 10.0


def log_spectral_distance_ssr_eval(
    *,
    preds: ArrayLike,
    target: ArrayLike,
    sample_rate: int,
) -> float:
    """Log-spectral distance of ssr_eval, key ``lsd_ssr_eval`` (``AudioMetrics.lsd``; NVSR, Liu 2022, equation 7).

    Frames of ``int(2048 / (44100 / sample_rate))`` samples (46 ms) every 10 ms. The logarithm is of the ratio of
    powers, and 1e-12 is added after the division: the target has no floor, so that the measure looks as deep as the
    estimate's rounding. It is computed in double here; ssr_eval's own single-precision transform adds to that floor.
    A bin in which both are digital silence scores 12.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz; at least 100.

    Returns:
        0 or more, a unit is 10 dB; lower is better.

    Raises:
        ValueError: shapes differ.
    """
    check_pair(preds, target)
    n_fft, hop_length = int(2048 / (44100 / sample_rate)), int(sample_rate / 100)
    given, wanted = (
        np.sqrt(shared_spectrogram(waveform, n_fft, hop_length, centred=True), dtype=np.float64)
        for waveform in (preds, target)
    )
    logs = np.log10(wanted**2 / (given + SSR_EVAL_EPSILON) ** 2 + SSR_EVAL_EPSILON)
    return float(np.sqrt(np.mean(logs**2, axis=0)).mean())


def log_spectral_distance_kuleshov(*, preds: ArrayLike, target: ArrayLike) -> float:
    """Log-spectral distance of Kuleshov 2017's published code, key ``lsd_kuleshov`` (also TFiLM's, AFiLM's).

    Centred STFT 2048/512, the *natural* logarithm of power plus 1e-8. The root is of the mean over frames, the mean
    outside it over bins: the paper's equation has it the other way round. 1e-8 under the root makes identical files
    score 0.0001.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.

    Returns:
        0.0001 to 10, where it is cut off; a unit is 4.3 dB. Lower is better.

    Raises:
        ValueError: shapes differ.
    """
    check_pair(preds, target)
    given, wanted = (
        np.log(
            shared_spectrogram(waveform, KULESHOV_N_FFT, KULESHOV_HOP_LENGTH, centred=True) + KULESHOV_FLOOR,
            dtype=np.float64,
        )
        for waveform in (preds, target)
    )
    distance = np.sqrt(np.mean((given - wanted) ** 2 + 1e-8, axis=1)).mean()
    return float(min(distance, KULESHOV_LIMIT))
