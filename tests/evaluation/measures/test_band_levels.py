"""Level errors over frequency."""

import numpy as np
import pytest

from evaluation.measures.band_levels import band_level_errors
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
