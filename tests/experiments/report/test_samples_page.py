"""The samples page: what is on it is what was given, and nothing is loaded from anywhere."""

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from experiments.pages.samples import Sample, write_samples_page
from experiments.pages.spectrograms import spectrogram_db
from overtone.errors import OvertoneError

RATE = 16_000


def tone(frequency: float, amplitude: float = 0.5, samples: int = RATE) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * frequency / RATE * np.arange(samples))).astype(np.float32)


def write(path: Path, *samples: Sample, title: str = "Title", introduction: str = "") -> str:
    write_samples_page(path, samples, title, introduction)
    return path.read_text(encoding="utf-8")


def clips_of(page: str) -> list[tuple[np.ndarray, int]]:
    encoded = re.findall(r"data:audio/flac;base64,([A-Za-z0-9+/=]+)", page)
    return [soundfile.read(io.BytesIO(base64.b64decode(text)), dtype="float32") for text in encoded]


def test_a_full_scale_sine_is_zero_decibels_at_its_own_frequency():
    spectrogram = spectrogram_db(tone(1000, amplitude=1.0), RATE)
    loudest = spectrogram[:, spectrogram.shape[1] // 2]
    assert loudest.max() == pytest.approx(0, abs=0.3)
    assert loudest.argmax() * RATE / 2 / (len(loudest) - 1) == pytest.approx(1000, abs=20)


def test_clips_come_back_in_order_and_at_their_level(tmp_path: Path):
    clips = {"narrowband": tone(300), "enhanced": tone(300, 0.25), "target": tone(3000)}
    page = write(tmp_path / "samples.html", Sample("a.wav", "telephone", clips, RATE, cutoff_hz=4000))
    heard = clips_of(page)
    assert [rate for _, rate in heard] == [RATE] * 3
    for (waveform, _), given in zip(heard, clips.values(), strict=True):
        np.testing.assert_allclose(waveform, given, atol=1 / 32768)
    assert page.index(">narrowband<") < page.index(">enhanced<") < page.index(">target<")
    assert 'class="cutoff" style="bottom:50.0%"' in page


def test_loud_clips_share_one_gain(tmp_path: Path):
    page = write(tmp_path / "samples.html", Sample("a", "", {"quiet": tone(300, 0.5), "loud": tone(300, 2.0)}, RATE))
    peaks = [np.abs(waveform).max() for waveform, _ in clips_of(page)]
    assert peaks == pytest.approx([0.25, 1.0], abs=1e-3)


def test_nothing_is_loaded_from_anywhere(tmp_path: Path):
    page = write(tmp_path / "samples.html", Sample("a", "", {"target": tone(300)}, RATE), introduction="**bold**")
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources and all(source.startswith("data:") for source in sources)
    assert not re.search(r"https?://|url\(|@import|fetch\(", page)
    assert "<strong>bold</strong>" in page


def test_names_are_escaped(tmp_path: Path):
    attack = '"><script>alert(1)</script>'
    sample = Sample(attack, attack, {attack: tone(300)}, RATE)
    page = write(tmp_path / "samples.html", sample, title=attack, introduction=attack)
    assert page.count("<script>") == 1
    assert "alert(1)" not in page.split("<script>")[1]


def test_a_name_with_a_dollar_sign_is_no_placeholder(tmp_path: Path):
    assert "$style" in write(tmp_path / "samples.html", title="$style")


def test_ten_clips_of_three_seconds_stay_small(tmp_path: Path):
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 3 * RATE).astype(np.float32)
    samples = [Sample(f"clip {i}", "", dict.fromkeys(("low", "enhanced", "target"), noise), RATE) for i in range(10)]
    write(tmp_path / "samples.html", *samples)
    assert (tmp_path / "samples.html").stat().st_size < 6e6


def test_an_empty_clip_is_refused_and_nothing_is_written(tmp_path: Path):
    empty = Sample("broken.wav", "", {"target": np.zeros(0, np.float32)}, RATE)
    with pytest.raises(OvertoneError, match=r"broken\.wav"):
        write(tmp_path / "samples.html", empty)
    assert list(tmp_path.iterdir()) == []


def test_a_silent_and_a_tiny_clip_are_shown(tmp_path: Path):
    clips = {"silent": np.zeros(RATE, np.float32), "tiny": np.zeros(1, np.float32)}
    assert len(clips_of(write(tmp_path / "samples.html", Sample("a", "", clips, RATE)))) == 2
