"""Where a recording's own content ends, whatever its sample rate says."""

import numpy as np
from numpy.typing import ArrayLike

from evaluation.stft import power_spectrogram

FRAME_SECONDS, HOP_SECONDS = 0.064, 0.032
BINS_PER_BAND = 8  # 125 Hz
LOUD_PERCENTILE, QUIET_PERCENTILE = 95, 10
MODULATION = 10.0  # of power; half a second of steady noise has no band above 8.3
DEPTH_DB = 80.0


def effective_band_hz(waveform: ArrayLike, sample_rate: int) -> float:
    """Measure the highest frequency in which sound comes and goes as speech does.

    In bands of 125 Hz, over frames of 64 ms, a loud and a quiet level are taken (95th and 10th percentile of
    power). A band belongs to the content if its loud level is 10 dB above its quiet one, which a recorder's hiss or
    an encoder's dither is not, and within 80 dB of the loudest band, which rounding to 16 bits and a resampler's
    stop band are not. Where no band comes and goes (steady noise, digital silence), only the second holds.

    Args:
        waveform: ``(samples,)``.
        sample_rate: in Hz.

    Returns:
        Hz, the upper edge of the highest such band, at most half the sample rate; half the sample rate for silence.
    """
    n_fft, hop_length = round(FRAME_SECONDS * sample_rate), round(HOP_SECONDS * sample_rate)
    power = power_spectrogram(waveform, n_fft, hop_length, centred=False).astype(np.float64)
    # The last band takes the bins that are left over: few of them would fluctuate as speech does.
    first_bins = np.arange(0, max(len(power) - BINS_PER_BAND, 1), BINS_PER_BAND)
    bands = np.add.reduceat(power, first_bins, axis=0)
    quiet, loud = np.percentile(bands, (QUIET_PERCENTILE, LOUD_PERCENTILE), axis=1)
    heard = (loud > 0.0) & (loud >= loud.max() * 10 ** (-DEPTH_DB / 10))
    speech = heard & (loud >= MODULATION * quiet)
    content = np.flatnonzero(speech if speech.any() else heard)
    if not len(content):
        return sample_rate / 2
    end = np.append(first_bins, len(power))[content[-1] + 1]
    return float(min(end * sample_rate / n_fft, sample_rate / 2))
