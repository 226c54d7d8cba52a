"""Samples: what they may be, the one resampler, and files of one channel."""

from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from overtone.errors import OvertoneError
from overtone.files import written_whole

Waveform = NDArray[np.float32]
HIGHEST_SAMPLE = 1e6  # 120 dB above full scale; from about 1e17 on, single precision overflows on the way
CANCELLING = (
    "its channels cancel each other when they are mixed: one of them is inverted. Keep one of them, for example with "
    "ffmpeg -i IN -af 'pan=mono|c0=c0' OUT."
)


class AudioError(OvertoneError):
    """A file that is not usable audio; the message names it."""


def unusable_sample(samples: NDArray[np.floating]) -> tuple[int, str] | None:
    """Return the first sample with which nothing can be computed, and what it is; None where there is none.

    Args:
        samples: ``(samples, channels)``.
    """
    if not samples.size or max(samples.max(), -samples.min()) <= HIGHEST_SAMPLE:  # false for NaN, too
        return None
    row = int(np.flatnonzero(~(np.abs(samples) <= HIGHEST_SAMPLE).all(axis=1))[0])
    worst = samples[row][~(np.abs(samples[row]) <= HIGHEST_SAMPLE)][0]
    return row, f"is {worst:.3g}, where full scale is 1" if np.isfinite(worst) else "is NaN or infinite"


def silenced(samples: NDArray[np.float32]) -> Waveform:
    """Return samples with silence for those with which nothing can be computed, for live sound, which must go on."""
    return np.where(np.abs(samples) <= HIGHEST_SAMPLE, samples, np.float32(0))  # false for NaN, too


def cancels(mixed: float, single: float) -> bool:
    """Return whether channels cancel each other in their mean, by more than 20 dB.

    Args:
        mixed: energy of the mean.
        single: mean energy of the channels.
    """
    return mixed < 0.01 * single


def write_audio(path: Path, waveform: Waveform, sample_rate: int, subtype: str | None = None) -> None:
    """Write a waveform ``(samples,)`` whole or not at all; the suffix chooses the format.

    Args:
        path: target; its folder exists.
        waveform: ``(samples,)``, full scale 1.
        sample_rate: in Hz.
        subtype: libsndfile's name of the sample format, None for the container's default.
    """
    with written_whole(path) as temporary:
        soundfile.write(temporary, waveform, sample_rate, subtype=subtype)


def resample(waveform: Waveform, from_rate: int, to_rate: int) -> Waveform:
    """Resample with soxr HQ; ``(samples,)`` in, ``(round(samples * to_rate / from_rate),)`` out.

    Args:
        waveform: ``(samples,)``.
        from_rate: its sample rate in Hz.
        to_rate: wanted sample rate in Hz.
    """
    if from_rate == to_rate:
        return waveform
    return np.asarray(soxr.resample(waveform, from_rate, to_rate, quality="HQ"), dtype=np.float32)
