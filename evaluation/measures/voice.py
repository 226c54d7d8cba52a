"""Is it the same voice? Timbre as mel-cepstra, pitch as fundamental frequency."""

from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import dct

from evaluation.measures.missing_band import ACTIVE_RANGE_DB, MINIMUM_FRAMES, short_power, voiced_frames
from evaluation.measures.stft import NotApplicable, Power, check_pair
from overtone.audio import resample

MEL_BANDS, CEPSTRAL_COEFFICIENTS = 80, 24
POWER_FLOOR = 1e-8  # that of the log-spectral distance
PITCH_SAMPLE_RATE, PITCH_FRAME, PITCH_HOP = 16_000, 1024, 512  # the frames of `short_power`: 64 ms, hop 32 ms
LOWEST_PITCH_HZ, HIGHEST_PITCH_HZ = 60.0, 400.0
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
    from librosa.filters import mel

    return np.asarray(mel(sr=sample_rate, n_fft=n_fft, n_mels=MEL_BANDS, htk=True, norm=None, dtype=np.float64))


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

    By YIN (de Cheveigné and Kawahara 2002) as librosa computes it, from 60 to 400 Hz, at 16 kHz, in frames of 64 ms,
    hop 32 ms. A frame counts by the target's voicing (`voiced_frames`), whatever the estimate is there: an estimate
    that is not voiced gets a pitch by chance, and pays for it.

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
    given, wanted = (_yin(waveform, sample_rate) for waveform in (preds, target))
    frames = np.flatnonzero(voiced[: len(wanted)])
    if len(frames) < MINIMUM_FRAMES:
        raise NotApplicable(f"{len(frames)} voiced frames, {MINIMUM_FRAMES} needed")
    return given[frames], wanted[frames]


def _yin(waveform: ArrayLike, sample_rate: int) -> NDArray[np.float64]:
    from librosa import yin

    samples = resample(np.asarray(waveform, dtype=np.float32), sample_rate, PITCH_SAMPLE_RATE)
    if len(samples) < PITCH_FRAME:
        return np.empty(0)
    return np.asarray(
        yin(
            samples,
            fmin=LOWEST_PITCH_HZ,
            fmax=HIGHEST_PITCH_HZ,
            sr=PITCH_SAMPLE_RATE,
            frame_length=PITCH_FRAME,
            hop_length=PITCH_HOP,
            center=False,
        ),
        dtype=np.float64,
    )
