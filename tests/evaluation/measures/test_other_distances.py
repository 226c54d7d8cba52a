"""Other projects' log-spectral distances and the multi-resolution distance: known values and limits."""

import numpy as np
import pytest
import second_forms
from waveforms import white

from evaluation.measures.log_spectral_conventions import log_spectral_distance_kuleshov, log_spectral_distance_ssr_eval
from evaluation.measures.multi_resolution import multi_resolution_stft_distance
from evaluation.measures.stft import NotApplicable, power_blocks, power_spectrogram, spectrograms_shared

RATE = 16_000


def ssr_eval(**pair):
    return log_spectral_distance_ssr_eval(**pair, sample_rate=RATE)


DISTANCES = [ssr_eval, log_spectral_distance_kuleshov, multi_resolution_stft_distance]


@pytest.mark.parametrize(
    ("distance", "value"),
    [
        (ssr_eval, 2.0),
        (log_spectral_distance_kuleshov, np.log(100)),
        (multi_resolution_stft_distance, 9 + np.log(10)),
    ],
)
def test_a_gain_of_ten(distance, value):
    target = white(2 * RATE)
    assert distance(preds=10 * target, target=target) == pytest.approx(value, abs=1e-3)


@pytest.mark.parametrize("distance", DISTANCES)
def test_identical_and_noisier(distance):
    target = white(2 * RATE)
    scores = [distance(preds=target + white(len(target), 1, level), target=target) for level in (0, 0.01, 0.03, 0.1)]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(1e-4 if distance is log_spectral_distance_kuleshov else 0.0, abs=1e-7)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("samples", [1, 2, 513, 2047])
def test_any_length(distance, samples):
    assert distance(preds=white(samples), target=white(samples, 1)) > 0


@pytest.mark.parametrize("distance", DISTANCES)
def test_lengths_that_differ_are_refused(distance):
    with pytest.raises(ValueError, match="one shape"):
        distance(preds=white(100), target=white(101))


def test_what_silence_scores():
    target, silence = white(RATE), np.zeros(RATE)
    assert ssr_eval(preds=silence, target=silence) == pytest.approx(12.0)
    assert log_spectral_distance_kuleshov(preds=silence, target=1e3 * target) == 10.0
    assert multi_resolution_stft_distance(preds=silence, target=target) > 1.0
    with pytest.raises(NotApplicable):
        multi_resolution_stft_distance(preds=target, target=silence)


def test_conventions_disagree_about_the_same_files():
    target = white(2 * RATE)
    preds = second_forms.librosa.resample(target, orig_sr=RATE, target_sr=8000)
    preds = second_forms.librosa.resample(preds, orig_sr=8000, target_sr=RATE)
    assert log_spectral_distance_kuleshov(preds=preds, target=target) > ssr_eval(preds=preds, target=target) + 1


def test_what_was_computed_already_is_used():
    target, preds = white(RATE), white(RATE, 1)
    for function, arguments in (
        (log_spectral_distance_kuleshov, {}),
        (log_spectral_distance_ssr_eval, {"sample_rate": RATE}),
    ):
        pair = {"preds": preds, "target": target} | arguments
        with spectrograms_shared():
            together = function(**pair), function(**pair)
        assert together == (function(**pair),) * 2


def test_blocks_are_the_spectrogram_and_windows_lie_in_the_middle():
    waveform = white(3 * RATE)
    blocks = list(power_blocks(waveform, 512, 64, centred=True))
    assert len(blocks) > 1
    np.testing.assert_array_equal(np.concatenate(blocks).T, power_spectrogram(waveform, 512, 64, centred=True))
    (block,) = power_blocks(waveform[:RATE], 512, 50, centred=True, window_length=240)
    expected = second_forms.librosa_magnitude(waveform[:RATE], 512, 50, 240).T ** 2
    np.testing.assert_allclose(block, expected, rtol=1e-5, atol=1e-9)
