"""Log-spectral distance and the other spectral measures."""

import numpy as np
import pytest
import torch

from evaluation.measures import missing_band, spectral
from evaluation.measures.stft import NotApplicable, power_spectrogram, shared_spectrogram, spectrograms_shared

RATE = 16_000


def noise(seed: int, samples: int = 2 * RATE, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def band_of(waveform: np.ndarray, low_hz: float, high_hz: float, rate: int = RATE) -> np.ndarray:
    spectrum = np.fft.rfft(waveform)
    frequencies = np.fft.rfftfreq(len(waveform), 1 / rate)
    return np.fft.irfft(spectrum * ((frequencies >= low_hz) & (frequencies < high_hz)), len(waveform)).astype(
        np.float32
    )


def harmonics(fundamental_hz: float, seconds: float = 2.0, level: float = 0.02) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    orders = np.arange(1, int(0.98 * RATE / 2 / fundamental_hz))[:, None]
    return (level * np.cos(2 * np.pi * fundamental_hz * orders * time + orders**2)).sum(axis=0).astype(np.float32)


def torch_lsd(preds: np.ndarray, target: np.ndarray, first: int = 0, last: int = 1025) -> float:
    logs = []
    for waveform in (preds, target):
        spectrum = torch.stft(
            torch.from_numpy(waveform).double(), 2048, 512, window=torch.hann_window(2048).double(), return_complex=True
        )
        logs.append(torch.log10(torch.clamp(spectrum.abs() ** 2, min=1e-8))[first:last])
    return float(((logs[0] - logs[1]) ** 2).mean(dim=0).sqrt().mean())


def test_lsd_equals_the_field_s_form_on_torch():
    preds, target = band_of(noise(0), 0, 5000), noise(1)
    assert spectral.log_spectral_distance(preds=preds, target=target) == pytest.approx(
        torch_lsd(preds, target), rel=1e-4
    )
    split = int(1025 * 8000 / RATE)
    pair = {"preds": preds, "target": target, "sample_rate": RATE, "cutoff_hz": 4000.0}
    low, high = spectral.log_spectral_distance_low_frequencies, spectral.log_spectral_distance_high_frequencies
    assert low(**pair) == pytest.approx(torch_lsd(preds, target, 0, split), rel=1e-4)
    assert high(**pair) == pytest.approx(torch_lsd(preds, target, split), rel=1e-4)


def test_lsd_of_known_values():
    target = noise(0)
    assert spectral.log_spectral_distance(preds=target, target=target) == 0.0
    assert spectral.log_spectral_distance(preds=10 * target, target=target) == pytest.approx(2.0, abs=1e-3)
    assert spectral.log_spectral_distance(preds=0 * target, target=0 * target) == 0.0


def test_lsd_grows_with_noise():
    target = noise(0)
    scores = [
        spectral.log_spectral_distance(preds=target + noise(1, level=level), target=target)
        for level in (0.01, 0.03, 0.1)
    ]
    assert scores == sorted(scores) and scores[0] > 0


@pytest.mark.parametrize("samples", [1, 2, 513, 1025, 2047])
def test_lsd_takes_any_length(samples):
    value = spectral.log_spectral_distance(preds=noise(0, samples), target=noise(1, samples))
    assert np.isfinite(value) and value > 0


def test_band_limits_of_lsd():
    target = noise(0)
    pair = {"target": target, "sample_rate": RATE, "cutoff_hz": 4000.0, "band_hz": 6500.0}
    above_band = {"preds": (target + band_of(noise(1), 6600, 8001)).astype(np.float32)}
    below_cutoff = {"preds": (target + band_of(noise(1), 0, 3800)).astype(np.float32)}
    missing, retained = spectral.log_spectral_distance_missing_band, spectral.log_spectral_distance_retained_band
    assert missing(**above_band, **pair) < 0.01 < missing(preds=noise(2), **pair)
    assert missing(**below_cutoff, **pair) < 0.01
    assert retained(**above_band, **pair) < 0.01 < retained(**below_cutoff, **pair)
    assert retained(**below_cutoff, **pair | {"cutoff_hz": None}) > 0.01


@pytest.mark.parametrize(
    "function", [spectral.log_spectral_distance_high_frequencies, spectral.log_spectral_distance_low_frequencies]
)
def test_nothing_missing_is_not_applicable(function):
    with pytest.raises(NotApplicable):
        function(preds=noise(0), target=noise(0), sample_rate=RATE, cutoff_hz=None)


def test_mismatched_lengths_are_refused():
    with pytest.raises(ValueError, match=r"\(10,\), \(11,\)"):
        spectral.log_spectral_distance(preds=noise(0, 10), target=noise(0, 11))


def test_spectrograms_compute_once_and_equal_the_plain_function():
    waveform = noise(0)
    with spectrograms_shared():
        first = shared_spectrogram(waveform, 1024, 512, centred=False)
        assert shared_spectrogram(waveform, 1024, 512, centred=False) is first
    assert shared_spectrogram(waveform, 1024, 512, centred=False) is not first
    np.testing.assert_array_equal(first, power_spectrogram(waveform, 1024, 512, centred=False))
    assert first.shape == (513, 1 + (len(waveform) - 1024) // 512)


@pytest.mark.parametrize("fundamental_hz", [80.0, 133.0, 220.0, 340.0])
def test_harmonics_are_voiced(fundamental_hz):
    power = power_spectrogram(harmonics(fundamental_hz), 1024, 512, centred=False)
    assert missing_band.voiced_frames(power, RATE).all()


def test_noise_is_not_voiced():
    power = power_spectrogram(noise(0, 10 * RATE), 1024, 512, centred=False)
    assert missing_band.voiced_frames(power, RATE).mean() < 0.02


def test_tonality_hears_noise_in_the_place_of_harmonics_and_the_reverse():
    tonal = harmonics(150.0)
    hoarse = (band_of(tonal, 0, 4000) + band_of(noise(0, level=0.1), 4000, 8001)).astype(np.float32)
    breathy = (band_of(tonal, 0, 4000) + band_of(noise(1, level=0.1), 4000, 8001)).astype(np.float32)
    settings = {"sample_rate": RATE, "cutoff_hz": 4000.0, "band_hz": 8000.0}
    difference = missing_band.flatness_difference
    assert difference(preds=hoarse, target=tonal, **settings) > 6.0
    assert difference(preds=tonal, target=hoarse, **settings) < -6.0
    assert abs(difference(preds=breathy, target=hoarse, **settings)) < 0.3
    assert difference(preds=0.1 * hoarse, target=tonal, **settings) == pytest.approx(
        difference(preds=hoarse, target=tonal, **settings), abs=1e-3
    )
    assert missing_band.tonality(preds=tonal, target=hoarse, **settings) > 6.0


def test_tonality_needs_voiced_frames():
    with pytest.raises(NotApplicable):
        missing_band.tonality(preds=noise(0), target=noise(0), sample_rate=RATE, cutoff_hz=4000.0, band_hz=8000.0)


def test_excess_above_band_of_flat_hiss():
    target = band_of(noise(0, 8 * RATE), 0, 6000)
    excess = missing_band.excess_above_band(preds=noise(0, 8 * RATE), target=target, sample_rate=RATE, band_hz=6000.0)
    assert excess == pytest.approx(10 * np.log10((8000 - 1.02 * 6000) / 1000), abs=0.3)
    assert missing_band.excess_above_band(preds=target, target=target, sample_rate=RATE, band_hz=6000.0) < -25.0
    with pytest.raises(NotApplicable):
        missing_band.excess_above_band(preds=target, target=target, sample_rate=RATE, band_hz=8000.0)


def test_hallucination_is_the_level_of_what_was_invented():
    target = noise(0)
    target[RATE:] = band_of(target, 0, 3500)[RATE:]
    invented = band_of(noise(1), 4000, 8001)
    invented[:RATE] = 0.0
    settings = {"target": target, "sample_rate": RATE, "cutoff_hz": 4000.0, "band_hz": 8000.0}
    loud = missing_band.hallucination(preds=target + 10**-1.5 * invented, **settings)
    assert loud == pytest.approx(-30.0, abs=1.5)
    assert missing_band.hallucination(preds=target, **settings) < -50.0
    assert missing_band.hallucination(preds=0 * target, **settings) == -100.0


def test_hallucination_needs_a_quiet_frame():
    with pytest.raises(NotApplicable):
        missing_band.hallucination(preds=noise(0), target=noise(0), sample_rate=RATE, cutoff_hz=4000.0, band_hz=8000.0)


@pytest.mark.parametrize(
    ("cutoff_hz", "band_hz"), [(None, 8000.0), (7000.0, 7300.0), (7000.0, 5000.0), (8000.0, 8000.0)]
)
def test_no_missing_band_is_not_applicable(cutoff_hz, band_hz):
    with pytest.raises(NotApplicable):
        missing_band.hallucination(
            preds=noise(0), target=noise(0), sample_rate=RATE, cutoff_hz=cutoff_hz, band_hz=band_hz
        )
