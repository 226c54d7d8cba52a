"""No sound is lost without a word: joined, cut, damaged, unfinished files, and lengths that headers only guess."""

import io
import os
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from enhance_cases import speech

from overtone.audio import AudioError
from overtone.audio_files.recordings import Recording, read_audio
from overtone.audio_files.wave_pipes import HeaderReader, PipeForm, SampleForm

RATE = 16000
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "rf64": ("RF64", "PCM_16"),
    "adpcm": ("WAV", "IMA_ADPCM"),
    "gsm": ("WAV", "GSM610"),
    "vorbis": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
JOINABLE = ("wav", "flac", "vorbis", "opus", "mp3")


def encoded(name, seconds=4.0, seed=0, **how):
    container, subtype = FORMATS[name]
    file = io.BytesIO()
    samples = speech(seconds, seed=seed)
    soundfile.write(file, samples, RATE, format=container, subtype=subtype, **how)
    return file.getvalue()


def read(data, frames=RATE):
    """All samples, and what is missing."""
    with Recording(data, "x") as recording:
        blocks = list(recording.blocks(frames))
    assert all(len(block) == frames for block in blocks[:-1])
    return np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32), recording.loss


def unknown_length(flac):
    """As programs write it that do not know yet how long it will be: no number of samples in the header."""
    return flac[:21] + bytes([flac[21] & 0xF0]) + bytes(4) + flac[26:]


def without_length(mp3):
    """Without the frame that holds the length; where the next one begins shows in the same three bytes."""
    return mp3[mp3.index(mp3[:2], 4) :]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("frames", [160, 48000])
def test_blocks_of_any_size_are_the_whole_file(name, frames):
    data = encoded(name)
    whole, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    samples, loss = read(data, frames)
    assert loss == ""
    np.testing.assert_allclose(samples, whole, atol=1e-6)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("share", [0.5, 0.97])
def test_a_cut_file_is_read_as_far_as_it_goes_and_said(name, share):
    data = encoded(name)
    samples, loss = read(data[: round(share * len(data))])
    assert "end" in loss
    assert len(samples) > (share - 0.3) * 4 * RATE  # lossy bit rates vary, and a page of Ogg is all or nothing


@pytest.mark.parametrize("name", ["flac", "vorbis", "opus", "mp3"])
def test_a_hole_is_said(name):
    data = encoded(name)
    middle = len(data) // 2
    assert read(data[:middle] + bytes(1500) + data[middle + 1500 :])[1]
    assert read(data[:middle] + data[middle + 3000 :])[1]


@pytest.mark.parametrize("name", JOINABLE)
@pytest.mark.parametrize("count", [2, 3])
def test_joined_files_are_read_to_the_last(name, count):
    parts = [encoded(name, seconds, seed) for seed, seconds in enumerate((2.0, 1.5, 1.0)[:count])]
    samples, loss = read(b"".join(parts))
    assert loss == ""
    np.testing.assert_allclose(samples, np.concatenate([read(part)[0] for part in parts]), atol=1e-6)


@pytest.mark.parametrize("name", JOINABLE)
def test_what_goes_on_at_another_rate_is_said(name):
    other = io.BytesIO()
    container, subtype = FORMATS[name]
    soundfile.write(other, speech(1.0, 48000), 48000, format=container, subtype=subtype)
    samples, loss = read(encoded(name, 2.0) + other.getvalue())
    assert "channels at 48000 Hz, which was not read" in loss
    assert abs(len(samples) - 2 * RATE) <= 512


def test_a_tag_at_the_end_is_no_sound():
    for name in ("mp3", "flac", "vorbis", "opus"):
        assert read(encoded(name) + b"TAG" + b"a title".ljust(125, b"\0"))[1] == "", name


def test_a_flac_of_unknown_length_is_read_to_its_end(tmp_path):
    data = encoded("flac")
    samples, loss = read(unknown_length(data))
    np.testing.assert_array_equal(samples, read(data)[0])
    assert loss == ""
    (tmp_path / "a.flac").write_bytes(unknown_length(data))
    np.testing.assert_array_equal(read_audio(tmp_path / "a.flac", start=4000, frames=200)[0], samples[4000:4200, 0])
    assert "is damaged at" in read(unknown_length(data)[: len(data) // 2])[1]


def test_an_mp3_without_a_stated_length_is_read_to_its_end():
    """The estimate from the first frames is wrong where the bit rate varies, in either direction."""
    samples = np.concatenate([speech(2.0), 1e-3 * speech(20.0, seed=1)])
    for order in (samples, samples[::-1]):
        file = io.BytesIO()
        soundfile.write(file, order, RATE, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="VARIABLE")
        found, loss = read(without_length(file.getvalue()))
        assert len(samples) <= len(found) <= len(samples) + 4 * 576 and loss == ""
        both, loss = read(file.getvalue() + without_length(file.getvalue()))
        assert len(both) >= 2 * len(samples) - 576 and loss == ""


@pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF])
def test_a_wav_whose_recorder_was_killed_holds_its_samples(riff, tmp_path):
    data = encoded("wav")
    assert data[36:40] == b"data"
    killed = data[:4] + riff.to_bytes(4, "little") + data[8:40] + bytes(4) + data[44:]
    samples, loss = read(killed)
    np.testing.assert_array_equal(samples, read(data)[0])
    assert loss == ""
    (tmp_path / "a.wav").write_bytes(killed)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0], samples[:, 0])


@pytest.mark.parametrize("excess", [36, 44])
def test_a_header_that_was_counted_as_samples_is_no_loss(excess):
    data = encoded("wav")
    samples, loss = read(data[:40] + (len(data) - 44 + excess).to_bytes(4, "little") + data[44:])
    assert loss == "" and len(samples) == 4 * RATE


def test_a_wav_of_very_many_empty_chunks_is_read_in_time():
    """In a time that grows with their number only, whether they come before the samples or behind them."""
    data, chunks = encoded("wav"), (b"junk" + bytes(4)) * 200_000
    started = time.process_time()
    samples, loss = read(data + chunks)
    form = HeaderReader(io.BytesIO(data[:36] + chunks + data[36:])).wave_form()
    with pytest.raises(AudioError, match="not readable as audio"):
        Recording(data[:36] + chunks + data[36:], "x")
    assert time.process_time() - started < 10
    assert loss == "" and len(samples) == 4 * RATE
    assert form == PipeForm(RATE, 1, SampleForm(16), 4 * RATE * 2)


def test_names_in_any_encoding_pipes_and_links(tmp_path):
    data = encoded("wav")
    latin = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")
    with open(latin, "wb") as file:
        file.write(data)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    for path in (type(tmp_path)(latin), pipe):
        with Recording(path) as recording:
            assert sum(map(len, recording.blocks(RATE))) == 4 * RATE
    writer.join()
    (tmp_path / "dangling.wav").symlink_to(tmp_path / "nothing")
    with pytest.raises(AudioError, match=r"dangling\.wav: is a link to .*nothing, which does not exist"):
        Recording(tmp_path / "dangling.wav")
    with pytest.raises(AudioError, match="is neither a file nor a pipe"):
        Recording(type(tmp_path)("/dev/null"))


def test_a_rate_of_0_is_named():
    data = encoded("wav")
    with pytest.raises(AudioError, match="x: its header says 0 Hz"):
        Recording(data[:24] + bytes(4) + data[28:], "x")


@pytest.mark.parametrize("name", ["wav", "flac", "vorbis", "opus", "mp3"])
def test_passages_are_those_of_the_whole_file(name, tmp_path):
    path = tmp_path / "a"
    path.write_bytes(encoded(name))
    whole, _ = read_audio(path)
    for start, end in pairwise([0, 1, 5000, 40000, 63000, 64000]):
        passage, rate = read_audio(path, start=start, frames=end - start)
        np.testing.assert_allclose(passage, whole[start:end], atol=1e-4)
        assert rate == RATE


def test_what_cannot_be_mixed_or_computed_with_is_refused(tmp_path):
    samples = speech(1.0)
    soundfile.write(tmp_path / "a.wav", np.hstack([samples, -samples]), RATE)
    with pytest.raises(AudioError, match=r"a\.wav: its channels cancel each other"):
        read_audio(tmp_path / "a.wav")
    for value, said in ((1e20, "is 1e\\+20"), (-1e30, "is -1e\\+30"), (np.inf, "is NaN or infinite")):
        samples[77] = value
        soundfile.write(tmp_path / "b.wav", samples, RATE, subtype="FLOAT")
        with pytest.raises(AudioError, match=rf"b\.wav: sample 77 {said}"):
            read_audio(tmp_path / "b.wav")


@pytest.mark.parametrize("name", ["wav", "aiff", "au", "w64", "rf64", "caf"])
def test_any_two_files_in_one_are_read_to_the_last(name):
    container, subtype = FORMATS.get(name, ("CAF", "PCM_16"))
    parts = []
    for seed, seconds in enumerate((1.0, 0.5)):
        file = io.BytesIO()
        soundfile.write(file, speech(seconds, seed=seed), RATE, format=container, subtype=subtype)
        parts.append(file.getvalue())
    samples, loss = read(parts[0] + parts[1])
    assert len(samples) == 1.5 * RATE and loss == ""


def test_samples_that_a_header_does_not_count_are_said():
    data = encoded("wav")
    fewer = data[:40] + (len(data) // 2).to_bytes(4, "little") + data[44:]
    samples, loss = read(fewer)
    assert len(samples) < 3 * RATE and "bytes behind its samples that its header does not count" in loss
    for harmless in (bytes(3000), b"TAG" + bytes(125), b"LIST\x04\0\0\0INFO"):
        assert read(data + harmless)[1] == ""
    flac = encoded("flac", 20.0)
    assert "which is its stated end" in read(flac[:22] + (8 * RATE).to_bytes(4, "big") + flac[26:])[1]


def test_an_mp3_whose_first_byte_is_damaged_is_read_to_its_end(tmp_path):
    """Its name says what it is; what libsndfile then says of its length is an estimate."""
    (tmp_path / "a.mp3").write_bytes(b"\xfe" + encoded("mp3")[1:])
    with Recording(tmp_path / "a.mp3") as recording:
        assert sum(map(len, recording.blocks(RATE))) >= 3.9 * RATE and recording.loss == ""
