"""Steps that add what else is heard: noise, other talkers and music, each at an active-speech signal-to-noise ratio."""

from collections.abc import Callable

import numpy as np

from datamodules.degradation.noise import active_level, arpeggios, pink, speech_shaped
from datamodules.degradation.scene import Recordings, Scene
from overtone.audio import Waveform

_Synthesis = Callable[[int, int, np.random.Generator], Waveform]


def noise(waveform: Waveform, scene: Scene, *, snr_db: float) -> Waveform:
    """Add background noise.

    Args:
        waveform: ``(samples,)``; silence stays silence.
        scene: one of its noises plays, from a random point on; pink noise where there is none, or silence is drawn.
        snr_db: signal-to-noise ratio in dB between the active levels of both.
    """
    background = _drawn(scene.noises, scene, waveform.size, pink)
    return waveform + at_snr(background, waveform, scene.sample_rate, snr_db)


def talkers(waveform: Waveform, scene: Scene, *, snr_db: float, count: float = 1) -> Waveform:
    """Add competing talkers: one is an interruption, six or more are babble.

    Args:
        waveform: ``(samples,)``; silence stays silence.
        scene: so many of its talkers speak, each at the same active level; syllables of speech-shaped noise where there
            are none.
        snr_db: signal-to-noise ratio in dB between the active levels of the waveform and of all talkers together.
        count: how many talk.
    """
    together = np.zeros(waveform.size, np.float32)
    for _ in range(round(count)):
        one = _drawn(scene.talkers, scene, waveform.size, speech_shaped)
        together += one / np.float32(active_level(one, scene.sample_rate) or 1.0)
    return waveform + at_snr(together, waveform, scene.sample_rate, snr_db)


def music(waveform: Waveform, scene: Scene, *, snr_db: float) -> Waveform:
    """Add music.

    Args:
        waveform: ``(samples,)``; silence stays silence.
        scene: one of its pieces plays, from a random point on; synthesised arpeggios where there is none.
        snr_db: signal-to-noise ratio in dB between the active levels of both.
    """
    background = _drawn(scene.music, scene, waveform.size, arpeggios)
    return waveform + at_snr(background, waveform, scene.sample_rate, snr_db)


def at_snr(background: Waveform, waveform: Waveform, sample_rate: int, snr_db: float) -> Waveform:
    """Scale a background ``(samples,)`` to an active level ``snr_db`` dB below the waveform's; mute it for silence.

    Args:
        background: ``(samples,)``.
        waveform: speech ``(samples,)`` that it is heard beside.
        sample_rate: of both, in Hz.
        snr_db: by how much the speech is louder, in dB.
    """
    speech_level = active_level(waveform, sample_rate)
    background_level = active_level(background, sample_rate) or 1.0
    return np.float32(speech_level / background_level * 10 ** (-snr_db / 20)) * background


def _drawn(recordings: Recordings, scene: Scene, samples: int, otherwise: _Synthesis) -> Waveform:
    if len(recordings) > 0:
        segment = recordings.segment(int(scene.rng.integers(len(recordings))), scene.rng, samples)
        if segment.any():
            return segment
    return otherwise(samples, scene.sample_rate, scene.rng)
