"""`overtone.load` and what it gives: examples, errors, files, and one model shared by threads and streams."""

import doctest
import importlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from waveforms import speech_like

import overtone

STREAMS, BLOCK = 50, 480
RATES = [8000, 16000, 44100, 48000]
MOST_BYTES_PER_STREAM = 2 * 2**20


@pytest.fixture(scope="module")
def model():
    return overtone.load("telephone")


@pytest.fixture(scope="module")
def sounds():
    """Fifty, of four rates, of one and two channels."""
    rates = [RATES[number % len(RATES)] for number in range(STREAMS)]
    return [
        (rate, np.stack([speech_like(rate, rate // 5, seed + 99 * side) for side in range(1 + seed % 2)], axis=1))
        for seed, rate in enumerate(rates)
    ]


def opened(model, sound):
    rate, samples = sound
    return model.stream(rate, samples.shape[1])


def blocks_of(sound):
    return [sound[1][start : start + BLOCK] for start in range(0, len(sound[1]), BLOCK)]


def streamed(model, sound):
    stream = opened(model, sound)
    return np.concatenate([*(stream.push(block) for block in blocks_of(sound)), stream.flush()])


@pytest.fixture(scope="module")
def expected(model, sounds):
    """What each stream gives while there is no other."""
    return [streamed(model, sound) for sound in sounds]


def test_fifty_streams_in_eight_threads_give_what_each_gives_alone(model, sounds, expected):
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(lambda sound: streamed(model, sound), sounds))
    for one, alone in zip(together, expected, strict=True):
        np.testing.assert_array_equal(one, alone)


def test_streams_whose_blocks_take_turns_give_what_each_gives_alone(model, sounds, expected):
    streams = [opened(model, sound) for sound in sounds]
    heard = [[] for _ in sounds]
    for turn in range(max(len(blocks_of(sound)) for sound in sounds)):
        for stream, sound, parts in zip(streams, sounds, heard, strict=True):
            parts.extend(stream.push(block) for block in blocks_of(sound)[turn : turn + 1])
    for stream, parts, alone in zip(streams, heard, expected, strict=True):
        np.testing.assert_array_equal(np.concatenate([*parts, stream.flush()]), alone)


def test_whole_arrays_in_threads_give_what_they_give_alone(model, sounds):
    def enhanced(sound):
        return model.enhance(sound[1], sound[0])[0]

    some = sounds[:12]
    with ThreadPoolExecutor(6) as threads:
        for one, sound in zip(threads.map(enhanced, some), some, strict=True):
            np.testing.assert_array_equal(one, enhanced(sound))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of a process from /proc")
def test_a_stream_takes_less_than_2_mb(model):
    samples = np.stack([speech_like(44100, 22050, seed) for seed in range(2)], axis=1)
    streams = []
    before = resident_bytes()
    for _ in range(STREAMS):
        streams.append(model.stream(44100, 2))
        streams[-1].push(samples)
    assert (resident_bytes() - before) / STREAMS < MOST_BYTES_PER_STREAM


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("name", ["overtone", "overtone.enhancer", "overtone.serve.uploads"])
def test_the_examples_in_the_docstrings_are_true(name):
    failed, tried = doctest.testmod(importlib.import_module(name))
    assert tried
    assert not failed


def test_there_are_no_other_examples():
    folder = Path(overtone.__file__).parent
    holders = {path.relative_to(folder).as_posix() for path in folder.rglob("*.py") if ">>> " in path.read_text()}
    assert holders == {"__init__.py", "enhancer.py", "serve/uploads.py"}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda model: model.enhance(np.zeros((2, 16000)), 16000),
            r"\(2, 16000\), which has more channels than samples",
        ),
        (lambda model: model.enhance(np.zeros(100), 3999), "4000 to 192000 Hz, got 3999"),
        (lambda model: model.enhance(np.zeros(100), 192_001), "4000 to 192000 Hz, got 192001"),
        (lambda model: model.enhance(np.zeros(100, np.int64), 8000), "floating-point or int16 samples, got int64"),
        (lambda model: model.enhance_file("nowhere.wav", "new.wav"), "nowhere.wav: No such file or directory"),
        (lambda model: model.enhance_file(__file__, "new.wav"), "not readable as audio"),
        (lambda model: overtone.load("narrow"), "narrow: no such model folder. Expected fullband, live, telephone"),
    ],
)
def test_what_cannot_be_done_is_an_overtone_error_with_one_sentence(model, call, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(overtone.OvertoneError, match=words) as caught:
        call(model)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_file_is_enhanced_as_its_samples_are_and_never_over_itself(model, tmp_path):
    samples = speech_like(8000, 8000)
    soundfile.write(tmp_path / "old.wav", samples, 8000, subtype="FLOAT")
    result = model.enhance_file(str(tmp_path / "old.wav"), str(tmp_path / "new.wav"))
    written, rate = soundfile.read(tmp_path / "new.wav", dtype="float32")
    np.testing.assert_allclose(written, model.enhance(samples, 8000)[0], atol=1e-6)
    assert (rate, result.seconds) == (16000, 1.0)
    with pytest.raises(overtone.OvertoneError, match="is the input"):
        model.enhance_file(tmp_path / "old.wav", tmp_path / "old.wav")
    with pytest.raises(overtone.OvertoneError, match="expected a file of one of"):
        model.enhance_file(tmp_path / "old.wav", tmp_path / "new.doc")
