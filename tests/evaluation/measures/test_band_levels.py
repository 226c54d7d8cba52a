"""Level errors over frequency."""

import numpy as np
import pytest

from evaluation.measures.band_levels import band_level_errors, crossover_level_error
from evaluation.measures.stft import NotApplicable
from overtone.audio import resample

RATE = 16000
EDGES = [100, 1000, 3000, 5000, 7900]


def noise(seed=0, seconds=2.0):
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE))


def test_a_gain_is_the_same_error_in_every_band_and_frame():
    target = noise()
    errors = band_level_errors(0.5 * target, target, RATE, EDGES)
    assert errors.shape[0] == 4
    assert errors == pytest.approx(20 * np.log10(0.5), abs=1e-3)


def test_a_missing_band_is_missed_there_and_nowhere_else():
    target = noise()
    narrow = resample(resample(target, RATE, 6000), 6000, RATE)[: len(target)]
    errors = band_level_errors(narrow, target, RATE, [100, 1000, 2500, 3300, 7900])
    assert np.abs(errors[:2].mean(axis=1)).max() < 0.1
    assert errors[3].max() < -60


def test_other_noise_has_spread_without_bias():
    errors = band_level_errors(noise(1, 20), noise(2, 20), RATE, EDGES)
    assert np.abs(errors.mean(axis=1)).max() < 0.2
    assert np.all((errors.std(axis=1) > 0.3) & (errors.std(axis=1) < 1.5))


def test_frames_in_which_the_target_is_quiet_do_not_count():
    target = noise()
    target[RATE:] *= 1e-4
    wrong_where_quiet = target.copy()
    wrong_where_quiet[RATE + 1024 :] *= 10
    assert np.abs(band_level_errors(wrong_where_quiet, target, RATE, EDGES)).max() < 0.01


def test_a_band_that_is_too_narrow_is_refused():
    with pytest.raises(ValueError, match=r"bands of at least 15.625 Hz"):
        band_level_errors(noise(), noise(), RATE, [100, 101, 1000])


def crossover(preds, target, cutoff_hz=4000.0, band_hz=8000.0):
    return crossover_level_error(preds=preds, target=target, sample_rate=RATE, cutoff_hz=cutoff_hz, band_hz=band_hz)


def with_gain(waveform, first_hz, last_hz, gain_db):
    spectrum, hz = np.fft.rfft(waveform), np.fft.rfftfreq(len(waveform), 1 / RATE)
    spectrum[(hz >= first_hz) & (hz < last_hz)] *= 10 ** (gain_db / 20)
    return np.fft.irfft(spectrum, len(waveform))


@pytest.mark.parametrize("gain_db", [-12.0, -7.0, 6.0])
@pytest.mark.parametrize("times", [(0.9, 0.95), (0.95, 1.0), (1.1, 1.15)])
def test_a_hole_or_a_bump_at_the_cutoff_has_its_depth_and_its_sign(times, gain_db):
    target = noise()
    first_hz, last_hz = (4000 * one for one in times)
    # A Hann window's main lobe is four bins of 15.6 Hz wide: at the edges of a band it sees what is beside it.
    assert crossover(with_gain(target, first_hz - 62, last_hz + 62, gain_db), target) == pytest.approx(gain_db, abs=0.1)


def test_the_same_level_everywhere_and_other_noise_have_no_crossover():
    target = noise(1, 20)
    assert crossover(target, target) == 0.0
    assert crossover(0.25 * target, target) == pytest.approx(0.0, abs=0.01)
    # The mean of n errors whose standard deviation is below 2.5 dB, the largest of six.
    assert abs(crossover(noise(2, 20), target)) < 4 * 2.5 / np.sqrt(20 / 0.032)


def test_doing_nothing_misses_all_that_is_counted():
    target = noise()
    assert crossover(with_gain(target, 4000, 8001, -300), target) == pytest.approx(-60.0, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cutoff_hz": None}, "no band is missing"),
        ({"band_hz": 4500.0}, "within the crossover"),
        ({"cutoff_hz": 7500.0}, "within the crossover"),
        ({"target": np.zeros(2 * RATE)}, "silent"),
    ],
)
def test_where_there_is_no_crossover_the_measure_does_not_apply(changes, reason):
    with pytest.raises(NotApplicable, match=reason):
        crossover(**{"preds": noise(), "target": noise()} | changes)
