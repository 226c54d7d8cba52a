"""Synthetic backgrounds, most of unit root mean square, and the speech level that a signal-to-noise ratio refers to."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from overtone.audio import Waveform

_FRAME_SECONDS = 0.02
_ACTIVE_RANGE_DB = 30.0
_PERIOD = 4096


def active_level(waveform: Waveform, sample_rate: int) -> float:
    """Return the root mean square of a waveform's active frames, 0.0 for silence.

    A frame of 20 ms is active when it is within 30 dB of the loudest one: a simpler relative of ITU-T P.56 that
    gives the same level whether a clip has long pauses or none.

    Args:
        waveform: ``(samples,)``.
        sample_rate: in Hz.
    """
    frame = max(1, round(_FRAME_SECONDS * sample_rate))
    starts = np.arange(0, waveform.size, frame)
    lengths = np.minimum(frame, waveform.size - starts)
    power = np.add.reduceat(np.square(waveform, dtype=np.float64), starts) / lengths
    active = power[power >= power.max() * 10 ** (-_ACTIVE_RANGE_DB / 10)]
    return float(np.sqrt(active.mean()))


def _unit(noise: NDArray[np.float64]) -> Waveform:
    noise = noise - noise.mean()
    return (noise / np.sqrt(np.mean(np.square(noise)))).astype(np.float32)


def _shaped(samples: int, gain: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """White noise ``(samples,)`` with its spectrum ``(samples // 2 + 1,)`` multiplied by ``gain``."""
    return np.fft.irfft(np.fft.rfft(rng.standard_normal(samples)) * gain, samples)


def pink(samples: int, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """Return noise ``(samples,)`` that falls 3 dB an octave above 50 Hz, of unit root mean square.

    Args:
        samples: length.
        sample_rate: in Hz.
        rng: source of random numbers.
    """
    samples_or_more = max(samples, 64)
    frequencies = np.fft.rfftfreq(samples_or_more, 1 / sample_rate)
    noise = _shaped(samples_or_more, 1 / np.sqrt(np.maximum(frequencies, 50.0)), rng)
    return _unit(noise)[:samples]


def hum_and_hiss(samples: int, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """Mains hum of 50 Hz with harmonics under the hiss of an amplifier.

    Args:
        samples: length.
        sample_rate: in Hz.
        rng: source of random numbers.
    """
    time = np.arange(samples) / sample_rate
    hum = sum(np.sin(2 * np.pi * 50 * n * time + rng.uniform(0, 2 * np.pi)) / n for n in (1, 2, 3, 5, 7))
    return _unit(hum + 0.35 * rng.standard_normal(samples))


def fan(samples: int, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """A fan: a broad resonance near 400 Hz, modulated by the blades at 23 Hz.

    Args:
        samples: length.
        sample_rate: in Hz.
        rng: source of random numbers.
    """
    frequencies = np.fft.rfftfreq(samples, 1 / sample_rate)
    gain = 1 / (1 + np.abs(frequencies - 400) / 300)
    blades = 1 + 0.4 * np.sin(2 * np.pi * 23 * np.arange(samples) / sample_rate)
    return _unit(_shaped(samples, gain, rng) * blades)


def street(samples: int, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """Traffic: a rumble that falls 9 dB an octave above 80 Hz and swells every few seconds, with tyre noise.

    Args:
        samples: length.
        sample_rate: in Hz.
        rng: source of random numbers.
    """
    frequencies = np.fft.rfftfreq(samples, 1 / sample_rate)
    rumble = _unit(_shaped(samples, np.maximum(frequencies, 80.0) ** -1.5, rng))
    tyres = _unit(_shaped(samples, np.exp(-(((frequencies - 900) / 900) ** 2)), rng))
    slow = np.maximum(frequencies, 0.05) ** -1.0 * (frequencies < 0.6)
    swell = np.exp(0.6 * _unit(_shaped(samples, slow, rng)))
    return _unit((rumble + 0.4 * tyres) * swell)


def rain(samples: int, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """Rain: some 600 decaying clicks a second over a soft high hiss.

    Args:
        samples: length.
        sample_rate: in Hz.
        rng: source of random numbers.
    """
    impulses = rng.standard_normal(samples) * (rng.random(samples) < 600 / sample_rate)
    drop = np.exp(-np.arange(round(0.004 * sample_rate)) / (0.0008 * sample_rate))
    drop *= rng.standard_normal(drop.size)
    frequencies = np.fft.rfftfreq(samples, 1 / sample_rate)
    hiss = _unit(_shaped(samples, np.clip(frequencies / 4000, 0, 1), rng))
    return _unit(_unit(np.convolve(impulses, drop)[:samples]) + 0.3 * hiss)


def hum(samples: int, sample_rate: int, rng: np.random.Generator, mains_hz: float) -> Waveform:
    """Return mains hum ``(samples,)`` with harmonics that fall 6 dB an octave, of unit root mean square.

    Args:
        samples: length.
        sample_rate: in Hz.
        rng: source of random numbers.
        mains_hz: 50 or 60.
    """
    return _tone(samples, sample_rate, rng, mains_hz, harmonics=20, tilt=1.0)


def speech_shaped(samples: int, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """Return noise ``(samples,)`` with the long-term spectrum of speech, in four to six syllables a second.

    Args:
        samples: length.
        sample_rate: in Hz.
        rng: source of random numbers.
    """
    frequencies = np.fft.rfftfreq(max(samples, 64), 1 / sample_rate)
    # Flat from 100 to 500 Hz, then 9 dB an octave down (after Byrne et al. 1994).
    gain = np.clip(frequencies / 100, 0, 1) * np.maximum(frequencies / 500, 1.0) ** -1.5
    syllables = np.sin(np.pi * (rng.uniform(4, 6) * np.arange(samples) / sample_rate + rng.random())) ** 2
    return _unit(_shaped(max(samples, 64), gain, rng))[:samples] * syllables.astype(np.float32)


def arpeggios(samples: int, sample_rate: int, rng: np.random.Generator) -> Waveform:
    """Return plucked notes of major and minor chords ``(samples,)`` over a sustained bass.

    Args:
        samples: length.
        sample_rate: in Hz.
        rng: source of random numbers.
    """
    beat = round(sample_rate * rng.uniform(0.12, 0.3))
    decay = np.exp(-3 * np.arange(4 * beat, dtype=np.float32) / sample_rate)
    piece = np.zeros(samples + 4 * beat, np.float32)
    for number, start in enumerate(range(0, samples, beat)):
        if number % 4 == 0:
            root_hz = 110 * 2 ** (rng.integers(12) / 12)
            chord = (0, 3 + int(rng.integers(2)), 7, 12)
            piece[start : start + 4 * beat] += 0.5 * _tone(4 * beat, sample_rate, rng, root_hz / 2, 6, tilt=1.0)
        note_hz = 2 * root_hz * 2 ** (chord[int(rng.integers(4))] / 12)
        piece[start : start + 4 * beat] += decay * _tone(4 * beat, sample_rate, rng, note_hz, 20, tilt=1.5)
    return piece[:samples]


def _tone(
    samples: int, sample_rate: int, rng: np.random.Generator, hertz: float, harmonics: int, tilt: float
) -> Waveform:
    """A harmonic tone, read from one period of unit root mean square: a sine for each harmonic costs tenfold."""
    numbers = np.arange(1, 1 + min(harmonics, max(1, int(0.5 * sample_rate / hertz))))
    spectrum = np.zeros(_PERIOD // 2 + 1, np.complex128)
    spectrum[numbers] = numbers**-tilt * np.exp(2j * np.pi * rng.random(numbers.size))
    period = _unit(np.fft.irfft(spectrum))
    phases = np.arange(samples, dtype=np.float64) * (hertz / sample_rate * _PERIOD)
    return period[phases.astype(np.int64) % _PERIOD]


def babble(samples: int, talkers: Sequence[Waveform], rng: np.random.Generator) -> Waveform:
    """Sum talkers ``(samples,)``, each from a random point of its speech on, round and round.

    Args:
        samples: length.
        talkers: speech, ``(samples,)`` each, of any lengths.
        rng: source of random numbers.
    """
    total = np.zeros(samples)
    for talker in talkers:
        total += _unit(np.resize(np.roll(talker, -int(rng.integers(talker.size))), samples).astype(np.float64))
    return _unit(total)
