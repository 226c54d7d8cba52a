"""Every measure against an independent form or its package: on generated clips always, on real speech where there is.

OVERTONE_DATA names a folder of real speech (``speech/**/*.flac``).
"""

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
import second_forms
import torch
from pesq import NoUtterancesError, pesq
from pystoi import stoi
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio
from visqol import VisqolApi

from evaluation.measures.catalogue import MEASURES
from evaluation.measures.stft import NotApplicable
from overtone.audio import resample
from overtone.audio_files.recordings import read_audio

CLIPS, CLIP_SECONDS = 50, 2.4
BLOCK_SAMPLES = 2048
TOLERANCE = 1e-3


def degraded(target, rate, cutoff_hz, seed=0):
    """What is below the cutoff, a noise above it, and steps at the borders of blocks."""
    low_rate = round(2 * cutoff_hz)
    narrow = resample(resample(target, rate, low_rate), low_rate, rate)
    narrow = np.pad(narrow, (0, max(0, len(target) - len(narrow))))[: len(target)]
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(len(target)) * np.abs(target) * 0.1
    steps = np.repeat(1e-3 * rng.standard_normal(len(target) // BLOCK_SAMPLES + 1), BLOCK_SAMPLES)[: len(target)]
    return (narrow + noise + 1e-5 * rng.standard_normal(len(target)) + steps).astype(np.float32)


def generated(rate, seed, seconds=CLIP_SECONDS):
    """Syllables of a voice with hiss, pauses, and nothing above 0.8 of Nyquist."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    pitch = 2 * np.pi * np.cumsum(110 + 20 * seed + 15 * np.sin(2 * np.pi * 1.3 * time)) / rate
    voice = sum(np.cos(k * pitch + k * k) / k for k in range(1, int(0.35 * rate / (160 + 20 * seed))))
    syllables = np.maximum(np.sin(2 * np.pi * 1.7 * time + seed), 0)
    hiss = rng.standard_normal(len(time)) * np.maximum(np.sin(2 * np.pi * 2.3 * time), 0)
    spectrum = np.fft.rfft(0.1 * syllables * voice + 0.01 * syllables * hiss)
    spectrum[np.fft.rfftfreq(len(time), 1 / rate) > 0.4 * rate] = 0
    return (np.fft.irfft(spectrum, len(time)) + 1e-6 * rng.standard_normal(len(time))).astype(np.float32)


class Clip:
    """A pair, and everything that measures may ask for."""

    def __init__(self, target, rate, seed):
        self.rate, self.cutoff_hz, self.band_hz = rate, rate / 6, 0.4 * rate
        self.target, self.preds = target, degraded(target, rate, rate / 6, seed)

    def __call__(self, key, **other):
        available = {
            "preds": self.preds,
            "target": self.target,
            "sample_rate": self.rate,
            "cutoff_hz": self.cutoff_hz,
            "band_hz": self.band_hz,
            "block_samples": BLOCK_SAMPLES,
        }
        return MEASURES[key](**available | other)

    def at(self, rate, dtype=np.float32):
        return [resample(one, self.rate, rate).astype(dtype) for one in (self.target, self.preds)]


@pytest.fixture(scope="module", params=["generated", "real"])
def clips(request):
    if request.param == "generated":
        return [Clip(generated(rate, seed), rate, seed) for seed, rate in enumerate((16_000, 24_000, 44_100, 48_000))]
    if "OVERTONE_DATA" not in os.environ:
        pytest.skip("OVERTONE_DATA names no folder of real speech")
    return real_clips(Path(os.environ["OVERTONE_DATA"]))


def real_clips(folder):
    found = []
    paths = sorted(folder.glob("speech/**/*.flac"))
    for path in paths[:: max(1, len(paths) // (3 * CLIPS))]:
        waveform, rate = read_audio(path)
        if len(waveform) > 1.2 * rate and len(found) < CLIPS:
            found.append(Clip(waveform[: int(CLIP_SECONDS * rate)], rate, len(found)))
    assert len(found) == CLIPS
    return found


def expect_equal(clips, key, independent, tolerance=TOLERANCE):
    """Compare with ``independent(clip)`` wherever the measure applies; return for how many clips it did."""
    applied = 0
    for number, clip in enumerate(clips):
        try:
            ours = clip(key)
        except NotApplicable:
            continue
        assert ours == pytest.approx(float(independent(clip)), abs=tolerance), (key, number)
        applied += 1
    return applied


@pytest.mark.parametrize(
    ("key", "limits"),
    [
        ("lsd", lambda c: ()),
        ("lsd_lf", lambda c: (c.rate, 0, c.cutoff_hz)),
        ("lsd_hf", lambda c: (c.rate, c.cutoff_hz)),
        ("lsd_hf_band", lambda c: (c.rate, c.cutoff_hz, c.band_hz)),
        ("lsd_low", lambda c: (c.rate, 0, 0.9 * c.cutoff_hz)),
    ],
)
def test_lsd_is_the_field_s(clips, key, limits):
    applied = expect_equal(clips, key, lambda clip: second_forms.lsd(clip.preds, clip.target, *limits(clip)))
    assert applied == len(clips)


def test_lsd_of_other_projects(clips):
    def ssr_eval(clip):
        return second_forms.lsd_ssr_eval(clip.preds, clip.target, clip.rate)

    assert expect_equal(clips, "lsd_ssr_eval", ssr_eval) == len(clips)
    assert expect_equal(clips, "lsd_kuleshov", lambda c: second_forms.lsd_kuleshov(c.preds, c.target)) == len(clips)


def test_multi_resolution_stft(clips):
    assert expect_equal(clips, "mr_stft", lambda c: second_forms.mr_stft(c.preds, c.target)) == len(clips)


@pytest.mark.parametrize(
    ("key", "theirs"), [("si_sdr", scale_invariant_signal_distortion_ratio), ("snr", signal_noise_ratio)]
)
def test_distortion_ratios_are_torchmetrics(clips, key, theirs):
    def torchmetrics(clip):
        return theirs(torch.from_numpy(clip.preds).double(), torch.from_numpy(clip.target).double())

    assert expect_equal(clips, key, torchmetrics) == len(clips)


def test_own_measures_agree_with_their_second_form(clips):
    forms = {
        "tonality": lambda c: second_forms.tonality(c.preds, c.target, c.rate, c.cutoff_hz, c.band_hz)[0],
        "excess_above_band": lambda c: second_forms.excess_above_band(c.preds, c.target, c.rate, c.band_hz),
        "hallucination": lambda c: second_forms.hallucination(c.preds, c.target, c.rate, c.cutoff_hz, c.band_hz)[0],
        "seam": lambda c: second_forms.seam(c.preds, c.target, c.rate, BLOCK_SAMPLES),
    }
    for key, form in forms.items():
        assert expect_equal(clips, key, form) >= len(clips) / 4, key


def test_stoi_is_exactly_pystoi_s(clips):
    def package(clip):
        return stoi(clip.target.astype(np.float64), clip.preds.astype(np.float64), clip.rate)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert expect_equal(clips, "stoi", package, tolerance=0.0) >= 0.9 * len(clips)


def test_extended_stoi_is_pystoi_s(clips):
    """pystoi adds random numbers at the limit of double precision."""

    def package(clip):
        return stoi(clip.target.astype(np.float64), clip.preds.astype(np.float64), clip.rate, extended=True)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert expect_equal(clips, "estoi", package, tolerance=1e-6) >= 0.9 * len(clips)


@pytest.mark.parametrize(("key", "form"), [("fwsnrseg", second_forms.fwsnrseg), ("mcd", second_forms.mcd)])
def test_measures_of_the_field_agree_with_their_second_form(clips, key, form):
    assert expect_equal(clips, key, lambda clip: form(clip.preds, clip.target, clip.rate)) == len(clips)


def test_pesq_is_exactly_the_package_s(clips):
    def package(clip):
        return pesq(16_000, *clip.at(16_000), "wb")

    heard = []
    for clip in clips:
        try:
            package(clip)
        except NoUtterancesError:
            with pytest.raises(NoUtterancesError):
                clip("pesq_wb")
        else:
            heard.append(clip)
    assert expect_equal(heard, "pesq_wb", package, tolerance=0.0) >= 0.9 * len(clips)


def test_visqol_is_exactly_visqol_python_s(clips):
    speech, audio = VisqolApi(), VisqolApi()
    speech.create(mode="speech")
    audio.create(mode="audio")

    def package(clip):
        mode, rate = (speech, 16_000) if clip.rate <= 16_000 else (audio, 48_000)
        return mode.measure_from_arrays(*clip.at(rate, np.float64), rate).moslqo

    assert expect_equal(clips, "visqol", package, tolerance=0.0) >= 0.9 * len(clips)


def test_identical_files_and_a_gain_of_one_percent(clips):
    for clip in clips:
        assert clip("lsd", preds=clip.target) == 0.0
        assert clip("lsd", preds=(0.99 * clip.target).astype(np.float32)) < 0.01
        for key in ("extended_ber", "content_ber", "original_ber"):
            try:
                assert clip(key, preds=clip.target) == 0.0
            except NotApplicable:
                continue
