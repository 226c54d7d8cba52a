"""Audio files in and out, at their native rate, and the one resampler."""

from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from overtone.errors import OvertoneError
from overtone.files import written_whole

Waveform = NDArray[np.float32]
AUDIO_SUFFIXES = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".au", ".w64", ".caf"})


class AudioError(OvertoneError):
    """A file that is not usable audio; the message names it."""


def read_audio(path: Path, *, start: int = 0, frames: int = -1) -> tuple[Waveform, int]:
    """Read a file at its native rate, mixed down to one channel.

    Args:
        path: anything libsndfile reads.
        start: first frame to read.
        frames: how many frames to read, -1 for all that follow ``start``.

    Returns:
        The waveform ``(samples,)`` as float32 and its sample rate in Hz.

    Raises:
        AudioError: the file is missing, is not audio, holds no samples, or holds NaN or infinite ones.
    """
    try:
        samples, sample_rate = soundfile.read(path, start=start, frames=frames, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise AudioError(f"{path}: not readable as audio ({error}). Expected a file that libsndfile reads.") from None
    if samples.shape[0] == 0:
        raise AudioError(f"{path}: holds no samples. Remove it or replace it.")
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: holds NaN or infinite samples. Write it again from its source.")
    return samples.mean(axis=1, dtype=np.float32), sample_rate


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
