"""Waveforms with known properties, and what tests measure on waveforms."""

import numpy as np

from datamodules.degradation.noise import pink
from datamodules.degradation.scene import HeldRecordings, Scene
from experiments.export.generated_speech import syllables


def rng(seed=0):
    return np.random.default_rng(seed)


def scene(sample_rate=16000, seed=0, **recordings):
    return Scene(sample_rate, rng(seed), **{kind: HeldRecordings(held) for kind, held in recordings.items()})


def tone(frequency, sample_rate=16000, seconds=1.0):
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * sample_rate)) / sample_rate).astype(np.float32)


def white(samples, seed=0, level=0.1):
    return (level * rng(seed).standard_normal(samples)).astype(np.float32)


def speech_like(sample_rate, samples, seed=0):
    """Pink noise in bursts of 200 ms, 100 ms apart."""
    bursts = (np.arange(samples) / sample_rate % 0.3) < 0.2
    return (0.1 * pink(samples, sample_rate, rng(seed)) * bursts).astype(np.float32)


def breathing_speech(sample_rate, seconds, seed=0):
    """Syllables and consonants over faint steady noise: what comes and goes, and what stays."""
    base = syllables(sample_rate, seconds, seed)
    bursts = np.arange(len(base)) / sample_rate % 0.4 < 0.15
    consonants = 0.05 * bursts * pink(len(base), sample_rate, rng(seed))
    return (base + consonants + 1e-5 * rng(seed).standard_normal(len(base))).astype(np.float32)


def lag(later, earlier):
    """Samples by which ``later`` follows ``earlier``, by cross-correlation of whole signals."""
    size = 2 ** int(np.ceil(np.log2(later.size + earlier.size)))
    correlation = np.fft.irfft(np.fft.rfft(later, size) * np.conj(np.fft.rfft(earlier, size)))
    peak = int(np.argmax(correlation))
    return peak - size if peak > size // 2 else peak


def decibels(ratio):
    with np.errstate(divide="ignore"):  # of nothing: minus infinity
        return 20 * np.log10(ratio)


def root_mean_square(waveform):
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))
