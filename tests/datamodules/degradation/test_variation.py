"""Variation of training speech: what moves, what stays, what is refused."""

from typing import Any

import numpy as np
import pytest

from datamodules.degradation.variation import Variation, tilted
from overtone.errors import OvertoneError

SAMPLE_RATE = 16000


def tone(hertz: float, samples: int) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(samples) / SAMPLE_RATE).astype(np.float32)


@pytest.mark.parametrize("speed", [0.9, 1.0, 1.15])
def test_speed_moves_frequencies_and_keeps_the_length(speed: float) -> None:
    samples = SAMPLE_RATE
    faster = Variation(speed=(speed, speed)).apply(
        tone(1000, round(speed * samples)), speed, samples, SAMPLE_RATE, np.random.default_rng(0)
    )
    assert faster.shape == (samples,)
    assert faster.dtype == np.float32
    assert np.argmax(np.abs(np.fft.rfft(faster * np.hanning(samples)))) == pytest.approx(1000 * speed, abs=1.5)


@pytest.mark.parametrize(("hertz", "gain_db"), [(1000, 0.0), (2000, 2.0), (4000, 4.0), (500, -2.0)])
def test_tilt_is_so_many_decibels_an_octave(hertz: float, gain_db: float) -> None:
    waveform = tone(hertz, SAMPLE_RATE)
    level = np.sqrt(np.mean(tilted(waveform, 2.0, SAMPLE_RATE) ** 2) / np.mean(waveform**2))
    assert 20 * np.log10(level) == pytest.approx(gain_db, abs=0.05)


def test_no_variation_draws_nothing_and_changes_nothing() -> None:
    rng, untouched = np.random.default_rng(0), np.random.default_rng(0)
    waveform = tone(440, 800)
    variation = Variation()
    assert variation.apply(waveform, variation.draw_speed(rng), 800, SAMPLE_RATE, rng) is waveform
    assert rng.random() == untouched.random()


@pytest.mark.parametrize("bounds", [3, [1.1, 0.9], [1.0], ["slow", "fast"], [0.1, 1.0], [1.0, 2.5], None])
def test_what_is_no_range_of_speeds_is_refused(bounds: Any) -> None:
    with pytest.raises(OvertoneError, match="speed: expected"):
        Variation(speed=bounds)
