"""The demo corpus: the same bytes when made again, speech in every file, no sentence or voice in two splits."""

import time
from dataclasses import replace

import numpy as np
import pytest

from datamodules.corpora.corpus import load_corpus
from datamodules.demo import demo_corpus
from overtone.audio_files.recordings import read_audio
from overtone.errors import OvertoneError

pytest.importorskip("espeakng_loader", reason="pip install 'overtone[demo]'")

VOICES = {voice.name: voice for voice in demo_corpus.VOICES}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def folder(cache):
    return demo_corpus.prepare_demo_corpus(cache)


@pytest.fixture(scope="module")
def corpus(folder):
    return load_corpus(folder)


def test_voices_say_the_same_bytes_again_a_second_later():
    # espeak-ng seeds breath noise with the clock, in seconds: a quick repetition would prove nothing.
    chosen = [VOICES["bea"], VOICES["max"]]
    first = [demo_corpus.speak(voice, demo_corpus.sentences_of(voice)[:3]) for voice in chosen]
    time.sleep(1.1)
    again = [demo_corpus.speak(voice, demo_corpus.sentences_of(voice)[:3]) for voice in chosen]
    for one, other in zip(first, again, strict=True):
        assert len(one) == 3
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)


def test_a_second_corpus_is_byte_identical(folder, tmp_path, monkeypatch):
    few = [VOICES["bea"], VOICES["gail"], VOICES["iris"], VOICES["abel"]]
    monkeypatch.setattr(demo_corpus, "VOICES", few)
    again = demo_corpus.prepare_demo_corpus(tmp_path)
    assert again.name != folder.name
    for voice in few:
        paths = sorted((again / "speech" / voice.name).iterdir())
        assert len(paths) == demo_corpus.SENTENCES_PER_VOICE
        for path in paths:
            assert path.read_bytes() == (folder / path.relative_to(again)).read_bytes()


def test_splits_share_neither_voices_nor_sentences():
    variants, sentences = {}, {}
    for voice in demo_corpus.VOICES:
        variants.setdefault(voice.split, set()).add(voice.espeak.split("+")[1])
        sentences.setdefault(voice.split, set()).update(demo_corpus.sentences_of(voice))
    assert {split: len(names) for split, names in variants.items()} == {"train": 14, "val": 4, "test": 6}
    assert not variants["train"] & (variants["val"] | variants["test"])
    assert not variants["val"] & variants["test"]
    assert not sentences["train"] & (sentences["val"] | sentences["test"])
    pool = demo_corpus.read_sentences()
    assert len(pool) == len(set(pool)) == 80


def test_the_corpus_holds_what_its_manifest_says(corpus):
    counts = {split: len(corpus.split(split)) for split in ("train", "val", "test")}
    assert counts == {"train": 14 * 20, "val": 4 * 20, "test": 6 * 20}
    assert not corpus.skipped
    assert not corpus.notes
    assert {clip.sample_rate for clip in (*corpus.clips, *corpus.noises)} == {22050}
    assert {clip.band_hz for clip in corpus.clips} == {11025}
    assert len(corpus.noises_for("train")) == 4
    assert len(corpus.noises_for("test")) == 2
    assert "CC0" in (corpus.root / "LICENSE.txt").read_text()


def test_every_clip_is_speech_with_a_room(corpus):
    for clip in corpus.clips[::7]:
        waveform, _ = read_audio(clip.path)
        assert 1.5 < clip.seconds < 6
        assert 0.1 < np.abs(waveform).max() < 1
        frames = waveform[: waveform.size // 441 * 441].reshape(-1, 441)
        levels = 20 * np.log10(frames.std(axis=1) + 1e-9)
        assert levels.max() > -30
        assert -80 < levels.min() < -50


def test_there_is_something_to_restore_above_the_telephone_band(corpus):
    for speaker in VOICES:
        waveform, rate = read_audio(next(clip.path for clip in corpus.clips if clip.speaker == speaker))
        power = np.abs(np.fft.rfft(waveform)) ** 2
        frequencies = np.fft.rfftfreq(waveform.size, 1 / rate)
        share = power[(frequencies > 4000) & (frequencies < 8000)].sum() / power.sum()
        assert 10 * np.log10(share) > -35


def test_pitch_differs_between_voices(corpus):
    def pitch(path):
        waveform, rate = read_audio(path)
        estimates = []
        for start in range(0, waveform.size - 2048, 1024):
            frame = waveform[start : start + 2048]
            correlation = np.correlate(frame, frame, "full")[2047:]
            lag = 60 + int(np.argmax(correlation[60:350]))
            if frame.std() > 0.02 and correlation[lag] > 0.5 * correlation[0]:
                estimates.append(rate / lag)
        return np.median(estimates)

    pitches = [pitch(next(c.path for c in corpus.clips if c.speaker == name)) for name in list(VOICES)[::3]]
    assert min(pitches) < 130
    assert max(pitches) > 170


def test_a_corpus_that_is_there_is_not_made_again(cache, folder, monkeypatch):
    monkeypatch.setattr(demo_corpus, "_write_corpus", None)
    assert demo_corpus.prepare_demo_corpus(cache) == folder
    assert [path.name for path in cache.iterdir()] == [folder.name]


def test_progress_counts_the_voices(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_corpus, "VOICES", [VOICES["abel"], VOICES["ivan"]])
    seen = []
    demo_corpus.prepare_demo_corpus(tmp_path, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    broken = replace(VOICES["abel"], espeak="en-us+nobody-of-this-name")
    monkeypatch.setattr(demo_corpus, "VOICES", [VOICES["ivan"], replace(broken, espeak="xx-nowhere")])
    with pytest.raises(OvertoneError, match="xx-nowhere"):
        demo_corpus.prepare_demo_corpus(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_missing_synthesiser_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(demo_corpus, "find_spec", lambda name: None)
    with pytest.raises(OvertoneError, match=r"pip install 'overtone\[demo\]'"):
        demo_corpus.prepare_demo_corpus(tmp_path)


def test_a_cache_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OvertoneError, match="cannot be written"):
        demo_corpus.prepare_demo_corpus(tmp_path / "file")
