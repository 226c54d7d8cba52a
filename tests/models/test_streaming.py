"""Causal layers against their plain counterparts, transforms, the loss, Griffin-Lim against librosa."""

import librosa
import numpy as np
import pytest
import torch

from models.losses import CrossoverLoss, MultiResolutionSpectralLoss, band_mask, gradient_penalty
from models.reconstruction.torchaudio_guard import GriffinLim
from models.streaming.causal_layers import (
    Analysis,
    CausalConv1d,
    CausalConvTranspose1d,
    Excitation,
    History,
    Synthesis,
    framed,
    overlap_add,
)
from models.streaming.spectral_frame import LEVEL_FLOOR, FrequencyScale, RunningLevel
from models.wavegan.causal import FILTER_KERNEL, STRIDE, Filterbank
from models.whole_file import WholeFileSpectrogram


def in_blocks(layer, x, sizes):
    """Run a layer block by block over the last axis."""
    outputs, past, start = [], None, 0
    for size in sizes:
        history = History(past)
        outputs.append(layer(x[..., start : start + size], history))
        past, start = history.next, start + size
    return torch.cat(outputs, dim=-1)


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(3, 1, 1), (25, 4, 1), (3, 1, 4), (64, 4, 1)])
def test_causal_convolution_is_the_convolution_after_zeros(kernel_size, stride, dilation):
    layer = CausalConv1d(2, 3, kernel_size, stride=stride, dilation=dilation)
    x = torch.randn(2, 2, 96)
    padded = torch.nn.functional.pad(x, ((kernel_size - 1) * dilation + 1 - stride, 0))
    torch.testing.assert_close(layer(x, History()), layer.convolution(padded))
    torch.testing.assert_close(in_blocks(layer, x, [8, 4, 80, 4]), layer(x, History()))


def test_causal_transposed_convolution_is_the_start_of_the_full_one():
    layer = CausalConvTranspose1d(2, 3, 25, stride=4)
    x = torch.randn(2, 2, 40)
    torch.testing.assert_close(layer(x, History()), layer.convolution(x)[..., :160])
    torch.testing.assert_close(in_blocks(layer, x, [1, 5, 30, 4]), layer(x, History()), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("overlap", [2, 4, 8])
def test_synthesis_inverts_analysis_with_the_stated_delay(overlap):
    n_fft, hop = 64, 64 // overlap
    analysis, synthesis = Analysis(n_fft, hop), Synthesis(n_fft, hop)
    x = torch.randn(1, 20 * hop)
    y = synthesis(analysis(x, History()), History())
    delay = n_fft - hop
    torch.testing.assert_close(y[:, delay:], x[:, : x.shape[1] - delay], atol=1e-5, rtol=0)


def test_a_window_that_is_no_multiple_of_the_hop_is_refused():
    with pytest.raises(ValueError, match="multiple"):
        Synthesis(100, 33)


def test_overlap_add_is_the_sum_of_shifted_frames():
    frames = torch.randn(1, 5, 12)
    expected = np.zeros(4 * 5 + 8)
    for index, frame in enumerate(frames[0].numpy()):
        expected[4 * index : 4 * index + 12] += frame
    np.testing.assert_allclose(overlap_add(frames, 4, History())[0].numpy(), expected[:20], atol=1e-6)
    assert framed(torch.arange(8.0)[None], 4, 2, History()).tolist()[0][:2] == [[0, 0, 0, 1], [0, 1, 2, 3]]


def test_the_filterbank_with_open_gains_passes_one_source_unchanged_and_aliases_little():
    bank = Filterbank(bands=24, sources=1)
    time = torch.arange(4000) / 16000
    for frequency in (500.0, 2000.0, 4000.0, 6100.0, 7300.0):
        tone = torch.sin(2 * torch.pi * frequency * time)[None, None]
        passed = bank(tone, torch.ones(1, 1, 24, 4000 // STRIDE), History())[0]
        delay = FILTER_KERNEL - STRIDE
        error = passed[400:] - tone[0, 0, 400 - delay : 4000 - delay]
        assert error.square().mean().sqrt() < 0.06


def test_excitation_continues_harmonics_above_the_band():
    time = torch.arange(16000) / 16000
    low = sum(torch.sin(2 * torch.pi * 200 * k * time) for k in range(1, 20))[None]
    harmonics, noise = Excitation()(0.05 * low, History())
    spectrum = torch.fft.rfft(harmonics[0] * torch.hann_window(16000)).abs()
    on, off = spectrum[[5000, 5200, 5400]].mean(), spectrum[[5100, 5300, 5500]].mean()
    assert on > 20 * off
    assert noise.std().item() == pytest.approx(1.0, abs=0.05)


def test_spectral_loss_is_zero_for_the_target_and_blind_above_the_band():
    loss = MultiResolutionSpectralLoss(16000)
    target = 0.1 * torch.randn(2, 8000)
    band = torch.full((2,), 4000.0)
    time = torch.arange(8000) / 16000
    high = 0.05 * torch.sin(2 * torch.pi * 7000 * time) * torch.hann_window(8000)
    low = 0.05 * torch.sin(2 * torch.pi * 1000 * time) * torch.hann_window(8000)
    assert loss(target, target, band).item() < 1e-3
    assert loss(target + high, target, band) < 0.02
    assert loss(target + low, target, band) > 0.05


def test_the_distances_below_and_above_the_cutoff_are_terms_of_their_own():
    """10 dB more in the upper half are a distance of 1 there, and of the root of a half over the whole."""
    target = 0.1 * torch.randn(2, 16000)
    spectrum = torch.fft.rfft(target)
    spectrum[:, spectrum.shape[1] // 2 :] *= 10**0.5
    louder, band = torch.fft.irfft(spectrum, 16000), torch.full((2,), 8000.0)
    loss = MultiResolutionSpectralLoss(16000)
    whole = loss(louder, target, band)
    missing = loss(louder, target, band, cutoff_hz=band / 2, retained_weight=0.0)
    leakage = loss(louder, target, band, cutoff_hz=band / 2, retained_weight=1.0) - missing
    assert (missing - whole).item() == pytest.approx(1 - 0.5**0.5, abs=0.02)
    assert 0 <= leakage < 0.1
    # Where no band is missing there is one distance, whatever the weight.
    assert loss(louder, target, band, cutoff_hz=band, retained_weight=0.0) == whole


def changed_level(waveform, low_hz, high_hz, decibels):
    spectrum, rate = torch.fft.rfft(waveform), 16000
    inside = slice(round(low_hz * waveform.shape[-1] / rate), round(high_hz * waveform.shape[-1] / rate))
    spectrum[:, inside] *= 10 ** (decibels / 20)
    return torch.fft.irfft(spectrum, waveform.shape[-1])


def test_a_hole_beside_the_cutoff_costs_its_decibels_and_nothing_elsewhere_does():
    torch.manual_seed(0)
    loss, target = CrossoverLoss(16000), 0.1 * torch.randn(2, 32000)
    band, cutoff = torch.full((2,), 8000.0), torch.full((2,), 4000.0)
    hole, elsewhere = changed_level(target, 3000, 6600, -10), changed_level(target, 6600, 8000, -10)
    assert loss(target, target, band, cutoff) == 0
    assert loss(hole, target, band, cutoff).item() == pytest.approx(1.0, abs=0.02)
    assert loss(changed_level(target, 3200, 4000, 10), target, band, cutoff).item() == pytest.approx(4 / 16, abs=0.05)
    assert loss(elsewhere, target, band, cutoff).item() < 0.03
    # Bands that end above a clip's own say nothing, and in pauses a hole is not heard.
    assert loss(changed_level(target, 5400, 8000, -10), target, band * 0.625, cutoff).item() < 0.01
    assert loss(hole, target, band * 0, cutoff) == 0
    pause = torch.cat([target, 0.0005 * torch.randn(2, 32000)], dim=1)
    emptied = torch.cat([target, pause[:, 32000:] * 0.1], dim=1)
    assert loss(emptied, pause, band, cutoff).item() < 0.06  # what frames on the border have


def test_frames_in_which_the_missing_band_is_quiet_count_less():
    """Half of the frames 40 dB too low, first the loud ones, then those 70 dB below them."""
    torch.manual_seed(0)
    loss = MultiResolutionSpectralLoss(16000, resolutions=(256,))
    target = 100 * torch.randn(1, 16000)
    target[:, 8000:] *= 10**-3.5
    band = torch.full((1,), 8000.0)

    def of(changed, quiet_weight):
        preds = target.clone()
        preds[:, changed] *= 0.01
        weights = {"retained_weight": 0.0, "quiet_weight": quiet_weight, "envelope_weight": 0.0}
        return loss(preds, target, band, cutoff_hz=band / 2, **weights).item()

    quiet, loud = slice(8000, None), slice(None, 8000)
    assert of(quiet, 1.0) == pytest.approx(2.0, abs=0.1)
    assert of(quiet, 0.25) == pytest.approx(2.0 * 0.25 / 0.625, abs=0.1)
    assert of(loud, 0.25) - of(loud, 1.0) == pytest.approx(2.0 * (1 / 0.625 - 1), abs=0.1)


def test_a_scale_groups_what_lies_above_four_kilohertz_but_for_the_last_bin():
    scale = FrequencyScale(48000, 1536, coarse_hz=320.0)
    assert (scale.fine, scale.groups, scale.group, scale.points) == (128, 64, 10, 193)
    points = torch.randn(2, 4, scale.points, 3)
    spread = scale.spread(points)
    assert spread.shape == (2, 4, 769, 3)
    torch.testing.assert_close(scale.pooled(spread), points)
    torch.testing.assert_close(spread[:, :, :128], points[:, :, :128])
    assert (spread[:, :, 128:138] == points[:, :, 128:129]).all()
    bins = torch.randn(1, 1, 769, 1)
    torch.testing.assert_close(scale.pooled(bins)[0, 0, 129, 0], bins[0, 0, 138:148, 0].mean())
    # Groups that do not divide the bins begin a little later; groups of one bin are none.
    assert FrequencyScale(16000, 512, coarse_hz=160.0).fine == 131
    assert FrequencyScale(16000, 512, coarse_hz=1.0).points == 257


def test_the_running_level_is_that_of_the_last_frames_or_of_those_there_were():
    magnitudes = torch.tensor([2.0, 4.0, 4.0, 6.0])
    level = RunningLevel(2)(magnitudes.expand(1, 5, 4).to(torch.complex64), History())
    expected = torch.tensor([4.0, 10.0, 16.0, 26.0]).sqrt() + LEVEL_FLOOR
    torch.testing.assert_close(level, expected[None, None])


def test_band_mask_ends_at_each_clips_band():
    mask = band_mask(torch.tensor([8000.0, 4000.0]), 9, 16000)
    assert mask[:, :, 0].sum(dim=1).tolist() == [9, 5]


def test_gradient_penalty_of_a_linear_critic_is_known():
    weights = torch.full((10,), 2.0)
    penalty = gradient_penalty(lambda x: x @ weights, torch.randn(3, 10), torch.randn(3, 10))
    assert penalty.item() == pytest.approx((2 * 10**0.5 - 1) ** 2, rel=1e-4)


def test_griffin_lim_agrees_with_librosa():
    """From the same initial phase of zero, without momentum."""
    waveform = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    magnitude = np.abs(librosa.stft(waveform, n_fft=512, hop_length=128))
    ours = GriffinLim(512, 8, 512, 128, power=1.0, momentum=0.0, rand_init=False)(torch.from_numpy(magnitude))
    theirs = librosa.griffinlim(magnitude, n_iter=8, hop_length=128, n_fft=512, momentum=0.0, init=None)
    length = min(len(theirs), ours.shape[-1])
    inner = slice(1024, length - 1024)
    correlation = np.corrcoef(ours.numpy()[inner], theirs[inner])[0, 1]
    assert correlation > 0.99


def test_inverse_fft_without_a_phase_is_far_from_the_waveform_and_griffin_lim_nearer():
    """The original's known failure, as a number: spectral inconsistency of the two reconstructions."""
    waveform = torch.from_numpy(librosa.chirp(fmin=200, fmax=4000, sr=16000, duration=0.5).astype(np.float32))[None]
    distances = {}
    for reconstruction in ("inverse_fft", "griffin_lim"):
        frame = WholeFileSpectrogram(torch.nn.Identity(), 512, reconstruction)
        wanted = frame.amplitudes(waveform)
        distances[reconstruction] = (frame.amplitudes(frame(waveform)) - wanted).square().mean().item()
    assert distances["griffin_lim"] < 0.2 * distances["inverse_fft"]
