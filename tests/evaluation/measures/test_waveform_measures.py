"""Distortion ratios against torchmetrics, and the seam measure."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio

from evaluation.measures.stft import NotApplicable
from evaluation.measures.waveform import frequency_weighted_segmental_snr, scale_invariant_sdr, seam, snr

RATE = 16_000


def noise(seed: int, samples: int = RATE) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(samples)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [(scale_invariant_sdr, scale_invariant_signal_distortion_ratio), (snr, signal_noise_ratio)],
)
@pytest.mark.parametrize("level", [0.01, 0.3, 3.0])
def test_ratios_equal_torchmetrics(ours, theirs, level):
    target = noise(0)
    preds = 0.7 * target + level * noise(1) + 0.01
    expected = float(theirs(preds=torch.from_numpy(preds), target=torch.from_numpy(target)))
    assert ours(preds=preds, target=target) == pytest.approx(expected, abs=1e-4)


def test_si_sdr_ignores_scale_and_snr_does_not():
    target, preds = noise(0), noise(0) + 0.1 * noise(1)
    value = scale_invariant_sdr(preds=preds, target=target)
    assert value == pytest.approx(20.0, abs=0.3)
    assert scale_invariant_sdr(preds=3 * preds, target=target) == pytest.approx(value, abs=1e-6)
    assert snr(preds=0.99 * target, target=target) == pytest.approx(40.0, abs=1e-6)


@pytest.mark.parametrize("ratio", [scale_invariant_sdr, snr])
def test_ratios_are_bounded(ratio):
    target = noise(0)
    assert ratio(preds=target, target=target) == 100.0
    assert scale_invariant_sdr(preds=0 * target, target=target) == -100.0
    with pytest.raises(NotApplicable):
        ratio(preds=target, target=0 * target)
    with pytest.raises(ValueError, match="one shape"):
        ratio(preds=target[1:], target=target)


def fwsnrseg(preds, target, rate=RATE):
    return frequency_weighted_segmental_snr(preds=preds, target=target, sample_rate=rate)


def test_segmental_ratio_is_limited_and_hears_no_level():
    target = noise(0)
    assert fwsnrseg(target, target) == fwsnrseg(0.25 * target, target) == pytest.approx(35.0)
    assert fwsnrseg(0 * target, target) == pytest.approx(0.0, abs=1e-9)
    values = [fwsnrseg(target + level * noise(1), target) for level in (0.01, 0.1, 1.0, 10.0)]
    assert values == sorted(values, reverse=True) and -10 <= values[-1] < 20 < values[0] < 35


def test_segmental_ratio_leaves_out_digital_silence_and_what_is_too_short():
    target = noise(0)
    half = np.concatenate([target, np.zeros(RATE)])
    assert fwsnrseg(half, half) == pytest.approx(35.0)
    for unusable in (np.zeros(RATE), noise(0, 900)):
        with pytest.raises(NotApplicable):
            fwsnrseg(unusable, unusable)


def smooth(seconds: float = 3.0) -> np.ndarray:
    time = np.arange(int(seconds * RATE)) / RATE
    return sum(0.1 * np.sin(2 * np.pi * f * time + f) for f in (150.0, 310.0, 470.0))


def test_seam_hears_offset_blocks():
    target = smooth()
    offsets = 0.02 * np.random.default_rng(0).standard_normal(len(target) // 2048 + 1)
    preds = target + np.repeat(offsets, 2048)[: len(target)]
    broken = seam(preds=preds, target=target, sample_rate=RATE, block_samples=2048)
    # A border that is not the system's own is as smooth as any other place.
    elsewhere = seam(preds=preds, target=target, sample_rate=RATE, block_samples=1900)
    assert broken > 8.0
    assert abs(elsewhere) < 1.0
    assert seam(preds=target, target=target, sample_rate=RATE, block_samples=2048) == 0.0
    assert abs(seam(preds=0.3 * target, target=target, sample_rate=RATE, block_samples=2048)) < 1e-6


def test_seam_of_noise_without_blocks_is_near_zero():
    target, preds = noise(0, 20 * RATE), noise(1, 20 * RATE)
    assert abs(seam(preds=preds, target=target, sample_rate=RATE, block_samples=512)) < 0.5


@pytest.mark.parametrize(("samples", "block_samples"), [(RATE, None), (400, 512), (100, 50)])
def test_seam_needs_borders(samples, block_samples):
    with pytest.raises(NotApplicable):
        seam(preds=noise(0, samples), target=noise(0, samples), sample_rate=RATE, block_samples=block_samples)


def test_seam_needs_sound_at_the_borders():
    with pytest.raises(NotApplicable):
        seam(preds=noise(0), target=0 * noise(0), sample_rate=RATE, block_samples=512)
