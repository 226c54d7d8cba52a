"""Level errors over frequency."""

import numpy as np
import pytest
from scipy.signal import ShortTimeFFT
from scipy.signal.windows import hann

from evaluation.measures.band_levels import (
    Band,
    band_level_errors,
    bands_among,
    crossover_level_error,
    level_bands,
    missing_band_levels,
)
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


def test_silence_has_no_crossover_that_could_be_right():
    with pytest.raises(ValueError, match="the estimate is silent"):
        crossover(np.zeros_like(noise()), noise())


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


def levels(preds, target, cutoff_hz=4000.0, band_hz=8000.0, rate=RATE):
    return missing_band_levels(preds=preds, target=target, sample_rate=rate, cutoff_hz=cutoff_hz, band_hz=band_hz)


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 24000, 44100, 48000])
def test_bands_follow_each_other_in_thirds_of_octaves_up_to_the_nyquist_frequency(rate):
    bands = level_bands(rate)
    assert bands[0].low_hz == 1000
    assert [band.low_hz for band in bands[1:]] == [band.high_hz for band in bands[:-1]]
    octaves = [np.log2(band.high_hz / band.low_hz) for band in bands]
    assert octaves[:-1] == pytest.approx([1 / 3] * (len(bands) - 1), abs=1e-3)
    assert octaves[-1] + 1e-3 >= 1 / 6 and 0.98 * 2 ** (-1 / 6) < bands[-1].high_hz / (rate / 2) <= 0.98


def test_usual_cutoffs_are_edges_and_the_last_band_shows_the_top_alone():
    assert {2000, 4000, 8000, 16000} <= {band.low_hz for band in level_bands(48000)}
    assert level_bands(48000)[-2:] == [Band(16000, 20159), Band(20159, 23520)]
    assert level_bands(16000)[-3:] == [Band(4000, 5040), Band(5040, 6350), Band(6350, 7840)]


def test_columns_tell_their_bands():
    bands = level_bands(48000)
    names = [name for band in reversed(bands) for name in (band.spread, band.bias)]
    assert bands_among([*names, "lsd", 3, "band_bias_db", "band_bias_db_x_y"]) == bands


def test_levels_equal_those_of_another_transform():
    """SciPy's, band by band and frame by frame."""
    target, preds = noise(1), np.cumsum(noise(2)) / 30
    found = levels(preds, target, cutoff_hz=1900.0)
    transform = ShortTimeFFT(hann(1024, sym=False), 512, RATE)
    inside = slice(transform.lower_border_end[1], transform.upper_border_begin(len(target))[1])
    given, wanted = (np.abs(transform.stft(samples)[:, inside]) ** 2 for samples in (preds, target))
    assert len(found) == 2 * 6
    for band in bands_among(found):
        bins = (transform.f >= band.low_hz) & (transform.f < band.high_hz)
        errors = 10 * np.log10(given[bins].sum(axis=0) / wanted[bins].sum(axis=0))
        assert found[band.bias] == pytest.approx(errors.mean(), abs=1e-3)
        assert found[band.spread] == pytest.approx(errors.std(), abs=1e-3)


def test_the_target_has_neither_bias_nor_spread_and_a_gain_has_its_own():
    target = noise()
    assert set(levels(target, target).values()) == {0.0}
    quieter = levels(0.5 * target, target)
    assert {name: quieter[name] for name in quieter if "bias" in name} == pytest.approx(
        {band.bias: 20 * np.log10(0.5) for band in level_bands(RATE)[-3:]}, abs=1e-3
    )
    assert all(quieter[name] < 1e-3 for name in quieter if "spread" in name)


def test_one_band_too_loud_is_that_band_and_no_other():
    target = noise()
    found = levels(with_gain(target, 5040 - 62, 6350 + 62, 9.0), target)
    assert found["band_bias_db_5040_6350"] == pytest.approx(9.0, abs=0.1)
    assert abs(found["band_bias_db_6350_7840"]) < 1.5 and abs(found["band_bias_db_4000_5040"]) < 1.5


def test_a_level_that_is_right_on_average_alone_has_spread():
    target = noise(seconds=20)
    seconds = np.arange(len(target)) // RATE
    found = levels(target * np.where(seconds % 2, 10 ** (6 / 20), 10 ** (-6 / 20)), target)
    assert abs(found["band_bias_db_4000_5040"]) < 0.3
    assert found["band_spread_db_4000_5040"] == pytest.approx(6.0, abs=0.3)


def test_silence_is_limited_and_what_is_there_or_ends_early_is_left_out():
    target = noise()
    assert levels(np.zeros_like(target), target)["band_bias_db_4000_5040"] == -60.0
    assert bands_among(levels(target, target, cutoff_hz=4001.0)) == [Band(5040, 6350), Band(6350, 7840)]
    assert bands_among(levels(target, target, band_hz=7000.0)) == [Band(4000, 5040), Band(5040, 6350)]


@pytest.mark.parametrize(("cutoff_hz", "band_hz", "factor"), [(None, 8000, 1), (4000, 4500, 1), (4000, 8000, 0)])
def test_without_a_missing_band_of_the_target_there_are_no_levels(cutoff_hz, band_hz, factor):
    with pytest.raises(NotApplicable):
        levels(noise(), factor * noise(), cutoff_hz, band_hz)
