"""Chromaprint through ctypes: parity with fpcalc, and what happens where the library is absent."""

import json
import os
import shutil
import subprocess
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluation.measures import chromaprint
from evaluation.measures.chromaprint import chromaprint_bit_error_rate, raw_fingerprint
from evaluation.measures.stft import NotApplicable

RATE = 16_000
needs_library = pytest.mark.skipif(find_library("chromaprint") is None, reason="libchromaprint is not installed")


def melody(seed: int, seconds: float = 6.0, rate: int = RATE) -> np.ndarray:
    """Chords that change four times a second, with a little noise."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    chord = (time * 4).astype(int)
    waveform = 0.01 * generator.standard_normal(len(time))
    for _ in range(3):
        pitch = 110 * 2 ** (generator.integers(0, 36, chord.max() + 1) / 12)
        waveform += 0.1 * np.sin(2 * np.pi * np.cumsum(pitch[chord]) / rate)
    return waveform.astype(np.float32)


def fpcalc(path) -> list[int]:
    # No check of the exit status: version 1.5.1 with FFmpeg 5 takes the end of a file for an error, and prints as ever.
    printed = subprocess.run(["fpcalc", "-raw", "-json", "-length", "0", path], capture_output=True)
    return json.loads(printed.stdout)["fingerprint"]


@needs_library
@pytest.mark.skipif(shutil.which("fpcalc") is None, reason="fpcalc is not installed")
@pytest.mark.parametrize("rate", [11_025, 16_000, 48_000])
def test_items_are_those_of_fpcalc(tmp_path, rate):
    waveform = melody(0, rate=rate)
    soundfile.write(tmp_path / "a.wav", np.rint(waveform * 32767).astype(np.int16), rate)
    assert np.array_equal(raw_fingerprint(waveform, rate), fpcalc(tmp_path / "a.wav"))


@needs_library
@pytest.mark.skipif(shutil.which("fpcalc") is None, reason="fpcalc is not installed")
@pytest.mark.skipif("OVERTONE_DATA" not in os.environ, reason="OVERTONE_DATA names no corpus of real speech")
def test_items_of_real_speech_are_those_of_fpcalc(tmp_path):
    compared = 0
    for clip in sorted(Path(os.environ["OVERTONE_DATA"]).rglob("*.flac")):
        waveform, rate = soundfile.read(clip, dtype="float32", frames=4 * 48_000)
        if waveform.ndim > 1 or len(waveform) < 3 * rate:
            continue
        soundfile.write(tmp_path / "a.wav", np.rint(waveform * 32767).astype(np.int16), rate)
        items = fpcalc(tmp_path / "a.wav")
        assert np.array_equal(raw_fingerprint(waveform, rate), items), clip
        compared += 1
        if compared == 50:
            return
    pytest.fail(f"expected 50 clips of 3 s or more, found {compared}")


@needs_library
def test_identity_gain_and_other_music():
    target = melody(0, seconds=12.0)
    assert chromaprint_bit_error_rate(preds=target, target=target, sample_rate=RATE) == 0.0
    assert chromaprint_bit_error_rate(preds=0.99 * target, target=target, sample_rate=RATE) < 0.02
    other = chromaprint_bit_error_rate(preds=melody(1, seconds=12.0), target=target, sample_rate=RATE)
    assert 0.3 < other < 0.6


@needs_library
def test_the_rate_counts_differing_bits(monkeypatch):
    prints = iter([np.array([0b1011, 0], np.uint32), np.array([0b0001, 0xFFFFFFFF], np.uint32)])
    monkeypatch.setattr(chromaprint, "raw_fingerprint", lambda *_: next(prints))
    assert chromaprint_bit_error_rate(preds=[0.0], target=[0.0], sample_rate=RATE) == (2 + 32) / 64


@needs_library
def test_it_hears_noise_more_and_more():
    target, noise = melody(0), np.random.default_rng(0).standard_normal(6 * RATE)
    scores = [
        chromaprint_bit_error_rate(preds=target + level * noise, target=target, sample_rate=RATE)
        for level in (0.01, 0.1, 1.0)
    ]
    assert scores == sorted(scores)


@needs_library
def test_a_short_utterance_has_no_item():
    with pytest.raises(NotApplicable, match="shorter"):
        chromaprint_bit_error_rate(preds=melody(0, 2.0), target=melody(0, 2.0), sample_rate=RATE)


def test_without_the_library_it_does_not_apply(monkeypatch):
    monkeypatch.setattr(chromaprint, "_library", lambda: None)
    with pytest.raises(NotApplicable, match="libchromaprint"):
        chromaprint_bit_error_rate(preds=melody(0), target=melody(0), sample_rate=RATE)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        chromaprint_bit_error_rate(preds=np.zeros(4), target=np.zeros(5), sample_rate=RATE)
