"""STOI, PESQ and ViSQOL: their states, their limits, and the quick gammatone spectrogram under ViSQOL."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pesq import pesq
from visqol.analysis_window import AnalysisWindow
from visqol.audio_utils import AudioSignal
from visqol.gammatone import GammatoneSpectrogramBuilder
from waveforms import speech_like, tone, white

from evaluation.contracts import Utterance
from evaluation.harness import score_pair
from evaluation.measures import perceptual
from evaluation.measures.gammatone import SideBySideSpectrogramBuilder
from evaluation.measures.perceptual import dnsmos, extended_stoi, pesq_wb, stoi, visqol
from evaluation.measures.stft import NotApplicable
from overtone.audio import resample

RATE = 16_000


def speech(seconds=2.0, seed=0):
    return speech_like(RATE, int(seconds * RATE), seed) + 0.1 * tone(200, RATE, seconds)


@pytest.mark.parametrize("function", [visqol, stoi, extended_stoi, pesq_wb])
def test_more_noise_scores_lower_and_nothing_is_printed(function, capfd):
    target = speech()
    scores = [
        function(preds=target + white(len(target), 1, level), target=target, sample_rate=RATE)
        for level in (0.0, 0.02, 0.3)
    ]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 3
    captured = capfd.readouterr()
    assert captured.out == "" and captured.err == ""


@pytest.mark.parametrize(("function", "best"), [(stoi, 1.0), (extended_stoi, 1.0), (pesq_wb, 4.64)])
@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100, 48_000])
def test_the_target_itself_scores_best_at_any_rate(function, best, rate):
    target = resample(speech(), RATE, rate)
    assert function(preds=target, target=target, sample_rate=rate) == pytest.approx(best, abs=0.01)


@pytest.mark.parametrize("sample_rate", [24_000, 48_000])
def test_visqol_uses_audio_mode_above_16_khz(sample_rate):
    target = resample(speech(1.2), RATE, sample_rate)
    assert visqol(preds=target, target=target, sample_rate=sample_rate) > 4.5


@pytest.mark.parametrize("function", [visqol, stoi, extended_stoi, pesq_wb])
@pytest.mark.parametrize("target", [np.zeros(2 * RATE), np.ones(RATE // 5), np.ones(1)])
def test_silent_or_short_targets_are_not_applicable(function, target):
    with pytest.raises(NotApplicable):
        function(preds=target, target=target, sample_rate=RATE)


def test_stoi_needs_sound_for_as_long_as_its_segments():
    target = np.zeros(2 * RATE, np.float32)
    target[:3000] = white(3000)
    with pytest.raises(NotApplicable, match=r"0\.4 s"):
        stoi(preds=target, target=target, sample_rate=RATE)


def test_a_silent_estimate_fails_and_says_so():
    target = speech()
    whole = Utterance("a", "b", "c", RATE, target, target, 4000.0, 8000.0, clean=True)
    row = score_pair(whole, np.zeros_like(target), ["lsd", "extended_ber", "stoi", "pesq_wb", "visqol"])
    assert row["failures"] == "pesq_wb: ValueError: the estimate is silent; visqol: gave nan"
    assert row["extended_ber"] == pytest.approx(0.5, abs=0.05)
    assert row["stoi"] == pytest.approx(0.0, abs=0.01)


def test_no_utterance_is_a_failure_with_its_reason():
    target, preds = np.zeros((2, 3 * RATE), np.float32)
    target[:800] = white(800)
    preds[-4000:] = white(4000)
    whole = Utterance("a", "b", "c", RATE, target, target, 4000.0, 8000.0, clean=True)
    row = score_pair(whole, preds, ["pesq_wb"])
    assert row["failures"] == "pesq_wb: NoUtterancesError: b'No utterances detected'"
    assert np.isnan(row["pesq_wb"]) and row["not_applicable"] == ""


def test_long_pairs_are_scored_in_parts_and_pauses_do_not_count():
    target = np.concatenate([speech(15.0), np.zeros(15 * RATE, np.float32), speech(15.0, seed=1)])
    preds = target + white(len(target), 2, 0.01)
    parts = [slice(0, 15 * RATE), slice(30 * RATE, 45 * RATE)]
    expected = [pesq(RATE, target[part], preds[part], "wb") for part in parts]
    assert pesq_wb(preds=preds, target=target, sample_rate=RATE) == pytest.approx(np.mean(expected), abs=1e-6)


def test_more_utterances_than_the_package_can_hold_do_not_end_the_process():
    code = (
        "import numpy as np; from evaluation.measures.perceptual import pesq_wb\n"
        "time = np.arange(60 * 16000) / 16000\n"
        "target = 0.1 * np.random.default_rng(0).standard_normal(len(time)) * (time % 0.42 < 0.21)\n"
        "print(pesq_wb(preds=target, target=target, sample_rate=16000) > 4.6)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "True")


@pytest.mark.parametrize(("rate", "bands", "speech_mode"), [(48_000, 32, False), (16_000, 21, True)])
@pytest.mark.parametrize("seconds", [0.081, 0.4, 1.003])
def test_frames_side_by_side_give_the_same_bits(rate, bands, speech_mode, seconds):
    signal = AudioSignal(white(int(seconds * rate)).astype(np.float64), rate)
    theirs = GammatoneSpectrogramBuilder(bands, 50.0, speech_mode=speech_mode)
    ours = SideBySideSpectrogramBuilder(bands, 50.0, speech_mode=speech_mode)
    window = AnalysisWindow(rate)
    np.testing.assert_array_equal(ours.build(signal, window).data, theirs.build(signal, window).data)
    np.testing.assert_array_equal(
        ours.build(signal, window).center_freq_bands, theirs.build(signal, window).center_freq_bands
    )


def test_a_signal_of_one_window_is_refused_as_the_package_does():
    signal, window = AudioSignal(np.ones(1280), RATE), AnalysisWindow(RATE)
    for builder in (GammatoneSpectrogramBuilder, SideBySideSpectrogramBuilder):
        with pytest.raises(ValueError, match="Too few samples"):
            builder(21, 50.0, speech_mode=True).build(signal, window)


def test_dnsmos_is_what_its_network_and_polynomial_say():
    """Reddy 2022: the network's answer to 9.01 s, through the polynomial that the challenge published."""
    speechmos = pytest.importorskip("speechmos")
    from onnxruntime import InferenceSession

    clip = speech(9.01)
    (network,) = Path(speechmos.__path__[0]).glob("dnsmos_models/sig_bak_ovr.onnx")
    _, _, raw = InferenceSession(network).run(None, {"input_1": clip[None].astype(np.float32)})[0][0]
    expected = -0.06766283 * raw**2 + 1.11546468 * raw + 0.04602535
    assert dnsmos(preds=clip, sample_rate=RATE) == pytest.approx(expected, abs=1e-4)
    assert 1 <= dnsmos(preds=3 * speech(1.0), sample_rate=RATE) <= 5  # clipped and repeated


def test_without_its_package_dnsmos_does_not_apply(monkeypatch):
    monkeypatch.setattr(perceptual, "find_spec", lambda name: None)
    with pytest.raises(NotApplicable, match=r"pip install"):
        dnsmos(preds=speech(), sample_rate=RATE)
