"""Variation of training speech: what moves, what stays, what is refused."""

from typing import Any

import numpy as np
import pytest
import soxr
from scipy.signal import welch

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


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_speech_teaches_up_to_where_resampling_leaves_it_flat(speed: float) -> None:
    samples = 4 * SAMPLE_RATE
    noise = np.random.default_rng(0).standard_normal(round(3 * speed * samples)).astype(np.float32)
    read = soxr.resample(noise, 3 * SAMPLE_RATE, SAMPLE_RATE, quality="HQ")
    variation = Variation(speed=(speed, speed))
    played = variation.apply(read, speed, samples, SAMPLE_RATE, np.random.default_rng(0))
    frequencies, power = welch(played, SAMPLE_RATE, nperseg=1024)
    limit = variation.band_hz(20_000.0, speed, SAMPLE_RATE)

    def level_db(low: float, high: float) -> float:
        return float(10 * np.log10(power[(frequencies >= low) & (frequencies < high)].mean()))

    middle = level_db(2000, 4000)
    assert level_db(limit - 250, limit) == pytest.approx(middle, abs=1.0)
    assert level_db(limit + 250, limit + 500) < middle - 3
    assert variation.band_hz(5000.0, speed, SAMPLE_RATE) == pytest.approx(5000 * speed)
    # As recorded, the slope of reading is part of what is wanted: val and test have it too.
    assert variation.band_hz(20_000.0, 1.0, SAMPLE_RATE) == SAMPLE_RATE / 2


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
