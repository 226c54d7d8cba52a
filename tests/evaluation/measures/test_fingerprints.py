"""The three fingerprints against slow, independent forms of their definitions, and their properties."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.measures.fingerprints import (
    content_bit_error_rate,
    extended_bit_error_rate,
    extended_bit_error_rate_at_median,
    original_bit_error_rate,
)
from evaluation.measures.stft import NotApplicable
from overtone.audio import resample
from overtone.audio_files.recordings import read_audio

RATE = 16_000
MISSING = {"sample_rate": RATE, "cutoff_hz": 4000.0, "band_hz": 8000.0}


def speech_like(seed: int, seconds: float = 4.0) -> np.ndarray:
    """Noise whose bands rise and fall independently, several times a second."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    waveform = np.zeros(len(time))
    frequencies = np.fft.rfftfreq(len(time), 1 / RATE)
    for low in range(0, 8000, 250):
        band = np.fft.rfft(generator.standard_normal(len(time))) * ((frequencies >= low) & (frequencies < low + 250))
        knots = generator.normal(0.0, 0.8, int(seconds * 8) + 2)
        waveform += np.fft.irfft(band, len(time)) * np.exp(np.interp(time * 8, np.arange(len(knots)), knots))
    return (0.05 * waveform).astype(np.float32)


def narrow(waveform: np.ndarray) -> np.ndarray:
    return resample(resample(waveform, RATE, 8000), 8000, RATE)


def slow_levels(preds: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    window = np.hanning(1025)[:1024]
    powers = [
        np.array(
            [np.abs(np.fft.rfft(window * w[s : s + 1024].astype(float))) ** 2 for s in range(0, len(w) - 1023, 512)]
        )
        for w in (preds, target)
    ]
    frequency = np.arange(513) * RATE / 1024
    low = frequency < 0.9 * 4000
    powers[0] *= powers[1][:, low].sum() / powers[0][:, low].sum()
    edges = np.linspace(1.02 * 4000, 0.98 * 8000, 10)
    bands = [[p[:, (frequency >= a) & (frequency < b)].sum(axis=1) for a, b in pairwise(edges)] for p in powers]
    given, wanted = np.array(bands[0]), np.array(bands[1])
    loud = wanted.sum(axis=0) >= wanted.sum(axis=0).max() / 1e4
    return np.log(given[:, loud]), np.log(wanted[:, loud])


def slow_extended(preds: np.ndarray, target: np.ndarray) -> float:
    level = slow_levels(preds, target)
    colour = level[0][1:] - level[0][:-1], level[1][1:] - level[1][:-1]
    return np.mean([slow_balanced_error(*half) for half in (level, colour)])


def slow_extended_at_median(preds: np.ndarray, target: np.ndarray) -> float:
    given, wanted = slow_levels(preds, target)
    wrong = [
        (a > np.median(row)) != (b > np.median(row))
        for g, row in zip(given, wanted, strict=True)
        for a, b in zip(g, row, strict=True)
    ]
    return float(np.mean(wrong))


def slow_balanced_error(given: np.ndarray, wanted: np.ndarray) -> float:
    errors = []
    for given_row, wanted_row in zip(given, wanted, strict=True):
        for share in (0.25, 0.5, 0.75):
            count = round(share * len(wanted_row))
            threshold = np.mean(sorted(wanted_row)[count - 1 : count + 1])
            missed = np.mean([value <= threshold for value in given_row[wanted_row > threshold]])
            invented = np.mean([value > threshold for value in given_row[wanted_row <= threshold]])
            errors += [missed, invented]
    return float(np.mean(errors))


def slow_content(preds: np.ndarray, target: np.ndarray) -> float:
    edges = 300 * (2000 / 300) ** (np.arange(34) / 33)
    frequency = np.arange(1025) * 5000 / 2048
    prints = []
    for waveform in (preds, target):
        energies = []
        for start in range(0, len(waveform) - 2047, 64):
            power = np.abs(np.fft.rfft(np.hanning(2049)[:2048] * waveform[start : start + 2048].astype(float))) ** 2
            energies.append([power[(frequency >= a) & (frequency < b)].sum() for a, b in pairwise(edges)])
        prints.append(
            [
                [(now[m] - now[m + 1]) - (before[m] - before[m + 1]) > 0 for m in range(32)]
                for before, now in pairwise(energies)
            ]
        )
    return float(np.mean(np.array(prints[0]) != np.array(prints[1])))


def librosa_decibel(frame: np.ndarray) -> np.ndarray:
    """What the original's librosa.amplitude_to_db(abs(librosa.stft(frame))) gave in 2020."""
    window = torch.hann_window(2048)
    amplitude = torch.stft(torch.from_numpy(frame), 2048, 512, window=window, return_complex=True).abs().numpy()
    decibel = 20 * np.log10(np.maximum(amplitude, 1e-5))
    return np.maximum(decibel, decibel.max() - 80.0)


def slow_original(preds: np.ndarray, target: np.ndarray) -> float:
    length, step, prints = int(0.37 * RATE), int(0.02 * RATE), []
    for waveform in (preds, target):
        count = int(np.ceil((len(waveform) - length) / step)) + 1
        padded = np.append(waveform, np.zeros(length + (count - 1) * step - len(waveform), np.float32))
        frames = [padded[i * step : i * step + length] for i in range(count)]
        decibel = [librosa_decibel(frame) for frame in frames]
        energy = np.array([2 * values.sum(axis=1) for values in decibel])
        bits = np.zeros(energy.shape)
        bits[1:, :-1] = (energy[1:, :-1] - energy[1:, 1:]) - (energy[:-1, :-1] - energy[:-1, 1:]) > 0
        prints.append(bits)
    return float(np.mean(prints[0] != prints[1]))


def test_extended_equals_its_definition():
    target = speech_like(0)
    preds = (0.5 * target + 0.3 * speech_like(1)).astype(np.float32)
    score = extended_bit_error_rate(preds=preds, target=target, **MISSING)
    assert score == pytest.approx(slow_extended(preds, target), abs=1e-3)
    assert 0.1 < score < 0.45


def test_extended_at_the_median_equals_its_definition():
    target = speech_like(0)
    preds = (0.5 * target + 0.3 * speech_like(1)).astype(np.float32)
    score = extended_bit_error_rate_at_median(preds=preds, target=target, **MISSING)
    assert score == pytest.approx(slow_extended_at_median(preds, target), abs=1e-3)
    assert 0.1 < score < 0.45
    for preds in (0 * target, narrow(target)):
        score = extended_bit_error_rate_at_median(preds=preds, target=target, **MISSING)
        assert score == pytest.approx(0.5, abs=0.02)


def test_extended_stays_at_chance_for_silence_noise_and_doing_nothing():
    target = speech_like(0, seconds=12.0)
    noise = np.random.default_rng(0).standard_normal(len(target)).astype(np.float32)
    for preds in (0 * target, narrow(target), narrow(target) + 3e-4 * noise, 0.1 * noise, speech_like(1, 12.0)):
        assert extended_bit_error_rate(preds=preds, target=target, **MISSING) == pytest.approx(0.5, abs=0.05)


def test_extended_is_half_exactly_for_what_never_changes():
    target, time = speech_like(0), np.arange(4 * RATE) / RATE
    hum = sum(0.01 * np.sin(2 * np.pi * 250 * k * time) for k in range(1, 32))
    for preds in (0 * target, hum):
        score = extended_bit_error_rate(preds=preds, target=target, **MISSING)
        assert score == pytest.approx(0.5, abs=1e-9 if not preds.any() else 0.02)


def test_extended_hears_when_and_which_colour():
    """Energy at the right moments in all bands alike is worth something, and not enough."""
    target = speech_like(0, seconds=8.0)
    target *= (0.02 + np.sin(2 * np.pi * 1.3 * np.arange(len(target)) / RATE) ** 4).astype(np.float32)
    spectrum = np.fft.rfft(target)
    frequency = np.fft.rfftfreq(len(target), 1 / RATE)
    missing = np.fft.irfft(spectrum * (frequency > 4000), len(target))
    power = np.convolve(missing**2, np.ones(1024) / 1024, mode="same")
    noise = np.fft.irfft(np.fft.rfft(np.random.default_rng(0).standard_normal(len(target))) * (frequency > 4000))
    follower = narrow(target) + np.sqrt(2 * power) * noise
    scores = [extended_bit_error_rate(preds=p, target=target, **MISSING) for p in (narrow(target), follower, target)]
    assert scores[0] == pytest.approx(0.5, abs=0.03)
    assert 0.25 < scores[1] < 0.45
    assert scores[2] == 0.0


def test_extended_forgives_a_tilt_more_than_a_wrong_band():
    target = speech_like(0)
    frequency = np.maximum(np.fft.rfftfreq(len(target), 1 / RATE), 50)
    tilted = np.fft.irfft(np.fft.rfft(target) * np.sqrt(frequency / 1000), len(target))
    assert extended_bit_error_rate(preds=tilted, target=target, **MISSING) < 0.35


def test_extended_needs_a_band_that_changes():
    steady = sum(0.01 * np.sin(2 * np.pi * 31.25 * k * np.arange(RATE) / RATE) for k in range(100, 240))
    target = np.tile(steady[:1024], 40).astype(np.float32)  # every frame is the same
    with pytest.raises(NotApplicable, match="never changes"):
        extended_bit_error_rate(preds=target, target=target, **MISSING)


def test_extended_ignores_level_and_rates_identity_best():
    target = speech_like(0)
    for gain in (1.0, 0.99, 0.01, 5.0):
        assert extended_bit_error_rate(preds=gain * target, target=target, **MISSING) < 2e-3


def test_extended_grows_with_noise():
    target, noise = speech_like(0), np.random.default_rng(0).standard_normal(4 * RATE)
    scores = [
        extended_bit_error_rate(preds=target + level * noise, target=target, **MISSING) for level in (0.003, 0.03, 0.3)
    ]
    assert scores == sorted(scores)


@pytest.mark.parametrize("change", [{"cutoff_hz": None}, {"band_hz": 4300.0}, {"cutoff_hz": 7800.0}])
def test_extended_needs_a_missing_band(change):
    with pytest.raises(NotApplicable):
        extended_bit_error_rate(preds=speech_like(0), target=speech_like(0), **MISSING | change)


def test_extended_needs_eight_active_frames():
    target = speech_like(0)
    target[3000:] = 0.0
    with pytest.raises(NotApplicable, match="active frames"):
        extended_bit_error_rate(preds=target, target=target, **MISSING)


def test_content_equals_its_definition():
    target = resample(speech_like(0, 2.0), RATE, 5000)
    preds = (target + 0.3 * resample(speech_like(1, 2.0), RATE, 5000)).astype(np.float32)
    score = content_bit_error_rate(preds=preds, target=target, sample_rate=5000)
    assert score == pytest.approx(slow_content(preds, target), abs=1e-3)
    assert 0.02 < score < 0.45


@pytest.mark.skipif("OVERTONE_DATA" not in os.environ, reason="OVERTONE_DATA names no corpus of real speech")
def test_real_speech_gives_what_the_definitions_say():
    """Fifty clips at 16 kHz, against their own narrowband."""
    compared = 0
    for clip in sorted(Path(os.environ["OVERTONE_DATA"]).rglob("*.flac"))[::5]:
        waveform, rate = read_audio(clip, frames=2 * 48_000)
        target = resample(waveform, rate, RATE)
        if len(target) < RATE:
            continue
        slow = [resample(one, RATE, 5000) for one in (narrow(target)[: len(target)], target)]
        score = content_bit_error_rate(preds=narrow(target)[: len(target)], target=target, sample_rate=RATE)
        assert score == pytest.approx(slow_content(*slow), abs=1e-3), clip
        mixed = (target + 0.3 * np.roll(target, 4000)).astype(np.float32)
        try:
            score = extended_bit_error_rate(preds=mixed, target=target, **MISSING)
        except NotApplicable:
            continue
        assert score == pytest.approx(slow_extended(mixed, target), abs=1e-3), clip
        compared += 1
        if compared == 50:
            return
    pytest.fail(f"expected 50 clips, found {compared}")


def test_content_properties():
    target = speech_like(0)
    rate = {"sample_rate": RATE}
    assert content_bit_error_rate(preds=0.5 * target, target=target, **rate) < 1e-3
    assert content_bit_error_rate(preds=narrow(target), target=target, **rate) < 0.01
    assert content_bit_error_rate(preds=speech_like(1), target=target, **rate) == pytest.approx(0.5, abs=0.05)
    noise = np.random.default_rng(0).standard_normal(len(target))
    scores = [
        content_bit_error_rate(preds=target + level * noise, target=target, **rate) for level in (0.003, 0.03, 0.3)
    ]
    assert scores == sorted(scores)


def test_content_has_no_random_bits_in_digital_silence():
    target = speech_like(0)
    target[RATE : 3 * RATE] = 0.0
    assert content_bit_error_rate(preds=(0.99 * target).astype(np.float32), target=target, sample_rate=RATE) < 1e-3


def test_content_needs_two_frames():
    short = speech_like(0)[: int(0.4 * RATE)]
    with pytest.raises(NotApplicable):
        content_bit_error_rate(preds=short, target=short, sample_rate=RATE)


@pytest.mark.parametrize("samples", [12_345, RATE, 2000])
def test_seed_equals_the_original_s_loop(samples):
    target = speech_like(0)[:samples]
    preds = (target + 0.1 * speech_like(1)[:samples]).astype(np.float32)
    score = original_bit_error_rate(preds=preds, target=target, sample_rate=RATE)
    if samples > 0.37 * RATE:
        assert score == pytest.approx(slow_original(preds, target), abs=2e-3)
    else:
        assert score == 0.0  # one frame has only the first row, which is always 0
    assert original_bit_error_rate(preds=target, target=target, sample_rate=RATE) == 0.0
