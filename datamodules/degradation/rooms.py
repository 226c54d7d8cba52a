"""Steps that put speech into a room: simulated or measured, with the direct path at sample 0."""

import functools

import numpy as np
import scipy.fft

from datamodules.degradation.filters import fitted
from datamodules.degradation.scene import Scene
from overtone.audio import Waveform

# Before the first reflection: 2 ms are 70 cm of detour.
_FIRST_REFLECTION_SECONDS = 0.002
_AUDIBLE_DB = 60.0
_LONGEST_SECONDS = 2.0
# What is drawn where a room has not been measured: a furnished room to a small hall, near to far.
_USUAL_RT60_SECONDS = (0.2, 0.8)
_USUAL_DIRECT_TO_REVERBERANT_DB = (0.0, 15.0)


def echo(waveform: Waveform, scene: Scene, *, rt60_seconds: float, direct_to_reverberant_db: float) -> Waveform:
    """Add the reverberation of a simulated room: exponentially decaying noise (Polack 1988) after the direct path.

    Args:
        waveform: ``(samples,)``; its own level, that of the direct path, is kept.
        scene: its generator draws the room.
        rt60_seconds: until the reverberation has decayed by 60 dB.
        direct_to_reverberant_db: energy of the direct path against all the rest, in dB.
    """
    decay = _decay(scene.sample_rate, rt60_seconds)
    response = scene.rng.standard_normal(decay.size, dtype=np.float32) * decay
    response *= np.float32(10 ** (-direct_to_reverberant_db / 20) / max(float(np.linalg.norm(response)), 1e-9))
    response[0] = 1.0
    return _convolved(waveform, response)


def room(waveform: Waveform, scene: Scene) -> Waveform:
    """Add the reverberation of a measured room.

    Args:
        waveform: ``(samples,)``; its own level, that of the direct path, is kept.
        scene: one of its impulse responses is drawn; a simulated room where there is none, or silence is drawn.
    """
    responses = scene.impulse_responses
    if len(responses) > 0:
        response = _from_direct_path(responses.whole(int(scene.rng.integers(len(responses)))), scene.sample_rate)
        if response.size > 0:
            return _convolved(waveform, response)
    return echo(
        waveform,
        scene,
        rt60_seconds=float(scene.rng.uniform(*_USUAL_RT60_SECONDS)),
        direct_to_reverberant_db=float(scene.rng.uniform(*_USUAL_DIRECT_TO_REVERBERANT_DB)),
    )


@functools.lru_cache(maxsize=64)
def _decay(sample_rate: int, rt60_seconds: float) -> Waveform:
    seconds = np.arange(max(2, round(rt60_seconds * sample_rate))) / sample_rate
    decay = 10 ** (-_AUDIBLE_DB / 20 * seconds / rt60_seconds)
    return np.where(seconds < _FIRST_REFLECTION_SECONDS, 0.0, decay).astype(np.float32)


def _from_direct_path(response: Waveform, sample_rate: int) -> Waveform:
    """Cut a measured response from its peak to where 60 dB of its energy are gone; empty for silence."""
    if not response.any():
        return response[:0]
    peak = int(np.argmax(np.abs(response)))
    response = response[peak : peak + round(_LONGEST_SECONDS * sample_rate)]
    remaining = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]
    audible = int(np.searchsorted(-remaining, -remaining[0] * 10 ** (-_AUDIBLE_DB / 10)))
    return response[: max(1, audible)] / response[0]


def _convolved(waveform: Waveform, response: Waveform) -> Waveform:
    # No reflection from later than the waveform's end is heard.
    response = response[: waveform.size]
    size = scipy.fft.next_fast_len(waveform.size + response.size - 1, real=True)
    spectrum = scipy.fft.rfft(waveform, size)
    spectrum *= scipy.fft.rfft(response, size)
    return fitted(scipy.fft.irfft(spectrum, size, overwrite_x=True), waveform.size)
