"""The causal bandwidth: where filtered speech ends, what must not fool it, and what is kept below it."""

from math import inf

import numpy as np
import pytest
import scipy.signal
from waveforms import breathing_speech, rng

from overtone.bandwidth import BandwidthTracker
from overtone.preservation import Preservation
from overtone.short_time import Analysis, Synthesis, root_hann

RATE, N_FFT, HOP = 48000, 1536, 384


def speech(seconds=4.0, seed=0):
    return breathing_speech(RATE, seconds, seed)


def lowpass(samples, cutoff_hz, order=16):
    sections = scipy.signal.ellip(order // 2, 0.1, 80, cutoff_hz, fs=RATE, output="sos")
    return scipy.signal.sosfilt(sections, samples).astype(np.float32)


def spectra_of(*channels):
    stacked = np.stack(channels)
    return Analysis(len(channels), root_hann(N_FFT), HOP)(stacked[:, : stacked.shape[1] // HOP * HOP])


def tracked(*channels, upper_hz=RATE / 2):
    tracker = BandwidthTracker(len(channels), RATE, N_FFT, HOP, upper_hz)
    return tracker(spectra_of(*channels)), tracker


@pytest.mark.parametrize("cutoff_hz", [3400, 4000, 6000, 8000, 11000, 16000])
def test_the_end_of_filtered_speech_is_found_and_never_put_too_high(cutoff_hz):
    found, _ = tracked(lowpass(speech(), cutoff_hz))
    assert cutoff_hz - 1000 <= found[0, -1] <= cutoff_hz + 500
    assert found.max() <= cutoff_hz + 1000
    surely = np.argmax(found[0] >= cutoff_hz - 1000) * HOP / RATE
    assert surely < 1.5


def test_vowels_fall_steeply_and_go_on():
    """What lies 23 dB below the first formants still belongs to the voice."""
    noise = rng(2).standard_normal(2 * RATE) * (np.arange(2 * RATE) % 24000 < 12000)
    formants = lowpass(noise, 1500)
    rest = 10 ** (-23 / 20) * (lowpass(noise, 4000) - formants)
    found, _ = tracked((0.1 * (formants + rest)).astype(np.float32))
    assert found[0, -1] >= 3500


def test_full_band_speech_is_found_to_be_so():
    found, _ = tracked(speech())
    assert found[0, -1] >= 19000


def test_steady_noise_above_the_speech_is_not_content():
    hiss = 3e-4 * rng(1).standard_normal(4 * RATE)
    found, _ = tracked((lowpass(speech(), 4000) + hiss).astype(np.float32))
    assert 2500 <= found[0, -1] <= 4500


def test_a_click_does_not_reach_up():
    samples = lowpass(speech(), 4000)
    samples[2 * RATE] = 0.9
    samples[2 * RATE + 5000] = -0.9
    found, _ = tracked(samples)
    assert found.max() <= 5000


def test_silence_before_between_and_after_says_nothing():
    quiet = np.zeros(RATE, np.float32)
    samples = lowpass(speech(2.0), 8000)
    found, _ = tracked(np.concatenate([quiet, samples, quiet, quiet, samples]))
    assert not found[0, : RATE // HOP - 4].any()
    after = found[0, 3 * RATE // HOP]
    assert 7000 <= after <= 8500
    assert found[0, 5 * RATE // HOP - 8] == after


def test_a_source_that_becomes_narrower_is_noticed_within_three_seconds():
    found, _ = tracked(np.concatenate([speech(4.0), lowpass(speech(4.0, 1), 4000)]))
    assert found[0, 4 * RATE // HOP - 1] >= 19000
    assert found[0, 7 * RATE // HOP] <= 5000


def test_channels_have_bandwidths_of_their_own_and_the_files_rate_bounds_them():
    found, tracker = tracked(lowpass(speech(), 4000), speech(), upper_hz=7200)
    assert found[0, -1] <= 4500
    assert found[1, -1] == 7200
    np.testing.assert_array_equal(tracker.bandwidth_hz, found[:, -1])


def test_frames_one_by_one_give_the_same_to_the_last_bit():
    spectra = spectra_of(lowpass(speech(2.0), 6000))
    whole = BandwidthTracker(1, RATE, N_FFT, HOP, 24000)(spectra)
    tracker = BandwidthTracker(1, RATE, N_FFT, HOP, 24000)
    one_by_one = [tracker(spectra[:, frame : frame + 1]) for frame in range(spectra.shape[1])]
    np.testing.assert_array_equal(np.concatenate(one_by_one, axis=1), whole)


def test_below_the_bandwidth_the_input_stays_and_above_it_the_model_speaks():
    given = spectra_of(lowpass(speech(), 8000))
    frequencies = np.arange(N_FFT // 2 + 1) * RATE / N_FFT
    model = np.where(frequencies < 8000, 0.7j * given, 0.5).astype(np.complex64)
    preservation = Preservation(1, RATE, N_FFT, HOP, 24000, inf)
    blended = preservation(model, given)
    settled = blended[0, -50:]
    np.testing.assert_array_equal(settled[:, frequencies < 6000], given[0, -50:, frequencies < 6000].T)
    np.testing.assert_array_equal(settled[:, frequencies > 8500], 0.5)
    assert preservation.complete_share == 0


def test_what_the_model_raises_below_the_bandwidth_stays_raised():
    given = spectra_of(lowpass(speech(), 8000))
    frequencies = np.arange(N_FFT // 2 + 1) * RATE / N_FFT
    hole = (frequencies > 3000) & (frequencies < 4000)  # a codec's, under frames and bins that it left
    slightly = (frequencies > 5000) & (frequencies < 6000)
    model = given * np.where(hole, 10 ** (6 / 20), np.where(slightly, 10 ** (1 / 20), 1)).astype(np.float32)
    blended = Preservation(1, RATE, N_FFT, HOP, 24000, inf)(model, given)
    np.testing.assert_allclose(blended[0, -50:, hole], model[0, -50:, hole], rtol=1e-5)
    np.testing.assert_array_equal(blended[0, -50:, slightly], given[0, -50:, slightly])


def test_what_reaches_beyond_the_training_passes_unchanged():
    given = spectra_of(lowpass(speech(), 8000))
    silent = np.zeros_like(given)
    preservation = Preservation(1, RATE, N_FFT, HOP, 24000, widest_input_hz=4000)
    np.testing.assert_array_equal(preservation(silent, given)[0, -50:], given[0, -50:])
    assert 0.5 < preservation.complete_share < 1
    trained = Preservation(1, RATE, N_FFT, HOP, 24000, widest_input_hz=8000)
    assert not trained(silent, given)[0, -50:, -50:].any() and trained.complete_share == 0


def test_complete_input_passes_unchanged_and_fades_in_without_a_step():
    given = spectra_of(speech())
    silent = np.zeros_like(given)
    preservation = Preservation(1, RATE, N_FFT, HOP, 24000, inf)
    blended = preservation(silent, given)
    np.testing.assert_array_equal(blended[0, -50:], given[0, -50:])
    heard = np.abs(given[0]) > 1e-3
    weights = np.abs(blended[0]) / np.maximum(np.abs(given[0]), 1e-3)
    steps = np.abs(np.diff(weights, axis=0))[heard[1:] & heard[:-1]]
    assert 0.1 < steps.max() <= HOP / (0.04 * RATE) + 1e-3


def test_transforms_invert_each_other_for_any_blocks():
    samples = np.stack([speech(0.5), speech(0.5, 1)])[:, : 60 * HOP]
    analysis, synthesis = Analysis(2, root_hann(N_FFT), HOP), Synthesis(2, root_hann(N_FFT), HOP)
    parts = [synthesis(analysis(block)) for block in np.split(samples, [HOP, 5 * HOP, 7 * HOP], axis=1)]
    output = np.concatenate(parts, axis=1)
    delay = N_FFT - HOP
    np.testing.assert_allclose(output[:, delay:], samples[:, :-delay], atol=1e-6)
