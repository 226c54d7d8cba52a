"""Low-pass families against scipy's own designs; resampling against a brick wall."""

import numpy as np
import pytest
import scipy.signal
from waveforms import decibels, scene, speech_like, tone, white

from datamodules.degradation import filters

HERTZ = np.linspace(0, 24000, 4001)
DESIGNS = {
    "chebyshev1": lambda order, cutoff: scipy.signal.cheby1(order, 0.05, cutoff, fs=48000, output="sos"),
    "butterworth": lambda order, cutoff: scipy.signal.butter(order, cutoff, fs=48000, output="sos"),
    "bessel": lambda order, cutoff: scipy.signal.bessel(order, cutoff, norm="mag", fs=48000, output="sos"),
    "elliptic": lambda order, cutoff: scipy.signal.ellip(order, 0.05, 60, cutoff, fs=48000, output="sos"),
}


@pytest.mark.parametrize("cutoff_hz", [300, 4000, 20000])
@pytest.mark.parametrize("order", [1, 2, 5, 8, 12, 20])
@pytest.mark.parametrize("family", DESIGNS)
def test_magnitude_responses_are_those_of_scipy(family, order, cutoff_hz):
    expected = np.abs(scipy.signal.sosfreqz(DESIGNS[family](order, cutoff_hz), worN=HERTZ, fs=48000)[1])
    gain = filters.lowpass_gain(HERTZ, 48000, cutoff_hz, family, order, 0.05)
    np.testing.assert_allclose(gain, expected, atol=1e-4)


def test_the_band_pass_is_that_of_scipy():
    sections = scipy.signal.butter(4, [300, 3400], "bandpass", fs=48000, output="sos")
    expected = np.abs(scipy.signal.sosfreqz(sections, worN=HERTZ, fs=48000)[1])
    np.testing.assert_allclose(filters.bandpass_gain(HERTZ, 48000, 300, 3400, 4), expected, atol=1e-5)


def steady_gain_db(step, frequency):
    """Gain of a tone, away from both ends."""
    inner = slice(12000, -12000)
    waveform = tone(frequency, 48000)
    return decibels(np.std(step(waveform)[inner]) / np.std(waveform[inner]))


@pytest.mark.parametrize(
    ("family", "at_cutoff_db"), [("butterworth", -3.01), ("bessel", -3.01), ("chebyshev1", -0.5), ("elliptic", -0.5)]
)
def test_ripple_and_cutoff_are_those_of_one_pass(family, at_cutoff_db):
    def step(waveform):
        return filters.lowpass(waveform, scene(48000), cutoff_hz=4000, family=family, order=5, ripple_db=0.5)

    assert steady_gain_db(step, 4000) == pytest.approx(at_cutoff_db, abs=0.02)
    assert steady_gain_db(step, 12000) < -25


def test_a_lowpass_has_no_phase():
    waveform = white(20001)
    filtered = filters.lowpass(waveform, scene(48000), cutoff_hz=5000, family="elliptic", order=7)
    response = np.fft.rfft(filtered) * np.conj(np.fft.rfft(waveform))
    band = np.fft.rfftfreq(20001, 1 / 48000) < 4500
    assert np.abs(np.angle(response[band])).mean() < 0.01
    backwards = filters.lowpass(waveform[::-1].copy(), scene(48000), cutoff_hz=5000, family="elliptic", order=7)
    np.testing.assert_allclose(backwards[::-1], filtered, atol=1e-4)


def test_the_end_of_a_waveform_does_not_come_round_to_its_start():
    click_at_the_end = np.zeros(4800, np.float32)
    click_at_the_end[-1] = 1.0
    for family in DESIGNS:
        filtered = filters.lowpass(click_at_the_end, scene(48000), cutoff_hz=3000, family=family, order=8)
        assert np.abs(filtered[:1000]).max() < 1e-4


@pytest.mark.parametrize("family", filters.FAMILIES)
def test_a_cutoff_at_the_nyquist_frequency_changes_nothing(family):
    waveform = speech_like(16000, 1600)
    assert filters.lowpass(waveform, scene(16000), cutoff_hz=8000, family=family) is waveform


def test_the_radio_band_keeps_its_middle_and_survives_rates_that_lack_its_top():
    assert steady_gain_db(lambda waveform: filters.bandpass(waveform, scene(48000)), 1000) == pytest.approx(0, abs=0.01)
    assert steady_gain_db(lambda waveform: filters.bandpass(waveform, scene(48000)), 100) < -30
    low = speech_like(6000, 6000)
    assert np.isfinite(filters.bandpass(low, scene(6000))).all()


def test_resampling_keeps_a_tone_below_the_cutoff_sample_for_sample_and_removes_one_above():
    kept = filters.resample(tone(1000), scene(), rate=8000)
    removed = filters.resample(tone(6000), scene(), rate=8000)
    inner = slice(800, -800)
    np.testing.assert_allclose(kept[inner], tone(1000)[inner], atol=1e-3)
    assert decibels(np.abs(removed[inner]).max()) < -80


def test_resampling_agrees_with_a_brick_wall():
    waveform = speech_like(16000, 32000)
    band = filters.lowpass(waveform, scene(), cutoff_hz=3500, family="brickwall")
    resampled = filters.resample(waveform, scene(), rate=8000)
    passed = filters.lowpass(resampled, scene(), cutoff_hz=3500, family="brickwall")
    inner = slice(800, -800)
    assert decibels(np.std(passed[inner] - band[inner]) / np.std(band[inner])) < -50


def test_a_cheap_resampler_folds_back_what_a_good_one_removes():
    inner = slice(800, -800)
    folded = filters.resample(tone(5000), scene(), rate=8000, quality="QQ")[inner]
    spectrum = np.abs(np.fft.rfft(folded))
    assert np.argmax(spectrum) == pytest.approx(3000 * folded.size / 16000, abs=2)
    assert decibels(np.std(filters.resample(tone(5000), scene(), rate=8000)[inner])) < -80


def test_resampling_to_the_target_rate_or_above_changes_nothing():
    waveform = speech_like(16000, 1600)
    assert filters.resample(waveform, scene(), rate=16000) is waveform
