"""Is it the same voice? Timbre as mel-cepstra, pitch as fundamental frequency."""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import dct, irfft, rfft

from evaluation.measures.missing_band import ACTIVE_RANGE_DB, MINIMUM_FRAMES, short_power, voiced_frames
from evaluation.measures.stft import FRAMES_PER_BLOCK, NotApplicable, Power, check_pair, mel_filters
from overtone.audio import resample

MEL_BANDS, CEPSTRAL_COEFFICIENTS = 80, 24
POWER_FLOOR = 1e-8  # that of the log-spectral distance
PITCH_SAMPLE_RATE, PITCH_FRAME, PITCH_HOP = 16_000, 1024, 512  # the frames of `short_power`: 64 ms, hop 32 ms
LOWEST_PITCH_HZ, HIGHEST_PITCH_HZ = 60.0, 400.0
SHORTEST_PERIOD, LONGEST_PERIOD = (
    int(PITCH_SAMPLE_RATE / HIGHEST_PITCH_HZ),
    int(np.ceil(PITCH_SAMPLE_RATE / LOWEST_PITCH_HZ)),
)
TROUGH = 0.1  # of the normalised difference, below which a period is taken for the voice's own
CENTS_AN_OCTAVE = 1200.0


def mel_cepstral_distance(*, preds: ArrayLike, target: ArrayLike, sample_rate: int) -> float:
    """Mel-cepstral distance, key ``mcd`` (Kubichek 1993, equation 2, without coefficient 0).

    The root mean square distance in dB of two smooth spectra over the mel scale: coefficients 1 to 24 of the cosine
    transform of the logarithms of 80 triangular mel bands (O'Shaughnessy's scale) up to the Nyquist frequency. Kubichek
    had 13 coefficients and speech up to 4 kHz; published figures differ by both. Frames of 64 ms count in which the
    target is within 40 dB of its loudest; power is floored at 1e-8.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.

    Returns:
        dB, 0 or more; lower is better. A change of level alone is no distance, above the floor.

    Raises:
        NotApplicable: the target is silent.
    """
    check_pair(preds, target)
    given, wanted = short_power(preds, target, sample_rate)
    energy = wanted.sum(axis=0)
    if energy.max() <= 0.0:
        raise NotApplicable("the target is silent")
    loud = energy >= energy.max() * 10 ** (-ACTIVE_RANGE_DB / 10)
    difference = _mel_cepstra(given[:, loud], sample_rate) - _mel_cepstra(wanted[:, loud], sample_rate)
    return float(10 / np.log(10) * np.sqrt(2 * (difference**2).sum(axis=0)).mean())


def _mel_cepstra(power: Power, sample_rate: int) -> NDArray[np.float64]:
    """Coefficients 1 to 24 ``(24, frames)``, in units of the natural logarithm of power."""
    bands = _mel_filters(sample_rate, 2 * (len(power) - 1)) @ power
    cepstra = dct(np.log(np.maximum(bands, POWER_FLOOR)), axis=0) / (2 * MEL_BANDS)
    return np.asarray(cepstra[1 : CEPSTRAL_COEFFICIENTS + 1])


@cache
def _mel_filters(sample_rate: int, n_fft: int) -> NDArray[np.float64]:
    return mel_filters(sample_rate, n_fft, MEL_BANDS, 0.0, sample_rate / 2)


def pitch_error(*, preds: ArrayLike, target: ArrayLike, sample_rate: int) -> float:
    """Root mean square error of the fundamental frequency in the target's voiced frames, key ``f0_error``.

    See `pitches` for how both are found. An octave wrong in one frame of a hundred is 120 cents.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.

    Returns:
        Cents, a hundredth of a semitone each, 0 or more; lower is better.

    Raises:
        NotApplicable: the target has under 8 voiced frames.
    """
    given, wanted = pitches(preds, target, sample_rate)
    return float(CENTS_AN_OCTAVE * np.sqrt(np.mean(np.log2(given / wanted) ** 2)))


def pitch_correlation(*, preds: ArrayLike, target: ArrayLike, sample_rate: int) -> float:
    """Pearson correlation of the logarithms of fundamental frequencies, key ``f0_correlation``: the same melody.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.

    Returns:
        -1 to 1; higher is better. 0 where one of them never changes.

    Raises:
        NotApplicable: the target has under 8 voiced frames, or its pitch never changes.
    """
    given, wanted = (np.log2(hz) - np.log2(hz).mean() for hz in pitches(preds, target, sample_rate))
    if not wanted.any():
        raise NotApplicable("the target's pitch never changes")
    size = float(np.sqrt((given @ given) * (wanted @ wanted)))
    return float(given @ wanted) / size if size > 0.0 else 0.0


def pitches(preds: ArrayLike, target: ArrayLike, sample_rate: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fundamental frequencies of both waveforms in the frames in which the target is voiced.

    By `yin`, from 60 to 400 Hz, at 16 kHz. A frame counts by the target's voicing (`voiced_frames`), whatever the
    estimate is there: an estimate that is not voiced gets a pitch by chance, and pays for it.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.

    Returns:
        Hz, ``(voiced frames,)`` each.

    Raises:
        NotApplicable: the target has under 8 voiced frames.
    """
    check_pair(preds, target)
    voiced = voiced_frames(short_power(preds, target, sample_rate)[1], sample_rate)
    given, wanted = (yin(waveform, sample_rate) for waveform in (preds, target))
    frames = np.flatnonzero(voiced[: len(wanted)])
    if len(frames) < MINIMUM_FRAMES:
        raise NotApplicable(f"{len(frames)} voiced frames, {MINIMUM_FRAMES} needed")
    return given[frames], wanted[frames]


def yin(waveform: ArrayLike, sample_rate: int) -> NDArray[np.float64]:
    """Fundamental frequency of each frame of 64 ms, hop 32 ms, by YIN (de Cheveigné and Kawahara 2002, steps 1 to 5).

    Args:
        waveform: ``(samples,)``.
        sample_rate: in Hz.

    Returns:
        About 60 to 400 Hz, ``(frames,)``, by chance where there is no voice; empty for less than a frame.
    """
    samples = resample(np.asarray(waveform, dtype=np.float32), sample_rate, PITCH_SAMPLE_RATE).astype(np.float64)
    if len(samples) < PITCH_FRAME:
        return np.empty(0)
    frames = np.lib.stride_tricks.sliding_window_view(samples, PITCH_FRAME)[::PITCH_HOP]
    blocks = (frames[start : start + FRAMES_PER_BLOCK] for start in range(0, len(frames), FRAMES_PER_BLOCK))
    return PITCH_SAMPLE_RATE / np.concatenate([_periods(_normalised_difference(block)) for block in blocks])


def _normalised_difference(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Equation 8 of frames ``(frames, samples)``: ``(frames, lags)`` from the shortest to the longest period."""
    spectrum = rfft(frames, 2 * PITCH_FRAME)
    correlation = irfft(spectrum.real**2 + spectrum.imag**2)[:, : LONGEST_PERIOD + 1]
    energy = np.cumsum(frames[:, :LONGEST_PERIOD] ** 2, axis=1)  # of what a lag leaves without a partner
    difference = 2 * (correlation[:, :1] - correlation[:, 1:]) - energy
    mean = np.cumsum(difference, axis=1) / np.arange(1, LONGEST_PERIOD + 1)
    lags = slice(SHORTEST_PERIOD - 1, LONGEST_PERIOD)
    return np.asarray(difference[:, lags] / (mean[:, lags] + np.finfo(np.float64).tiny))


def _periods(difference: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first trough that is deep enough, else the deepest point, between samples: ``(frames,)`` samples."""
    trough = np.zeros(difference.shape, dtype=bool)
    before, here, after = difference[:, :-2], difference[:, 1:-1], difference[:, 2:]
    trough[:, 0] = difference[:, 0] < difference[:, 1]
    trough[:, 1:-1] = (here < before) & (here <= after)
    trough[:, -1] = difference[:, -1] < difference[:, -2]
    trough &= difference < TROUGH
    chosen = np.where(trough.any(axis=1), trough.argmax(axis=1), difference.argmin(axis=1))

    curvature, slope = after + before - 2 * here, (after - before) / 2
    shift = np.zeros(difference.shape)
    inside = np.abs(slope) < np.abs(curvature)  # a parabola whose lowest point is beside this sample
    np.divide(-slope, curvature, out=shift[:, 1:-1], where=inside)
    return np.asarray(SHORTEST_PERIOD + chosen + shift[np.arange(len(chosen)), chosen])
