"""Speech-like clips made on the spot, where no corpus is at hand and what is measured does not depend on the words."""

import numpy as np

from datamodules.degradation.filters import fitted
from overtone.audio import Waveform, resample

CLIPS, CLIP_SECONDS = 6, 2.0
NARROW_RATE = 8000


def generated_clips(sample_rate: int) -> dict[str, Waveform]:
    """Return speech-like clips with pauses: syllables of harmonics and of hiss, full band and narrowband."""
    clips = {}
    for number in range(CLIPS // 2):
        clip = syllables(sample_rate, CLIP_SECONDS, number)
        clips[f"generated {number}"] = clip
        clips[f"generated {number}, from {NARROW_RATE} Hz"] = narrowed(clip, sample_rate)
    return clips


def syllables(sample_rate: int, seconds: float, seed: int) -> Waveform:
    """Return a speech-like waveform ``(samples,)``: voiced and hissing syllables in turn, digital silence between.

    Args:
        sample_rate: in Hz.
        seconds: length.
        seed: of the hiss; it moves the pitch too.
    """
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    phase = 2 * np.pi * np.cumsum((100 + 25 * seed) * (1 + 0.1 * np.sin(3 * time))) / sample_rate
    voiced = np.zeros_like(time)
    for harmonic in range(1, 40):
        voiced += np.sin(harmonic * phase) / harmonic
    hiss = np.diff(generator.standard_normal(len(time) + 1))
    rhythm = np.sin(2 * np.pi * 2.5 * time)
    speech = 0.1 * np.maximum(rhythm - 0.2, 0) * voiced + 0.05 * np.maximum(-rhythm - 0.4, 0) * hiss
    return speech.astype(np.float32)


def narrowed(clip: Waveform, sample_rate: int) -> Waveform:
    """Return a clip after a visit to 8 kHz.

    Args:
        clip: ``(samples,)``.
        sample_rate: of the clip, in Hz.
    """
    back = resample(resample(clip, sample_rate, NARROW_RATE), NARROW_RATE, sample_rate)
    return fitted(back, len(clip))
