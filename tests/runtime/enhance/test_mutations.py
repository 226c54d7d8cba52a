"""Files as chance damages them, names as people give them, what is no file: a sentence, an end, no sound lost."""

import io
import os
import signal
import socket
import threading

import numpy as np
import pytest
import soundfile
from enhance_cases import RATE, speech
from packages import delay_package

from overtone.cli.main import main

SECONDS = 2.0
HANGING_SECONDS = 60  # on a busy machine; a case takes some hundredths of a second
FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "adpcm.wav": ("WAV", "IMA_ADPCM"),
    "gsm.wav": ("WAV", "GSM610"),
    "rf64": ("RF64", "PCM_24"),
    "w64": ("W64", "PCM_16"),
    "aiff": ("AIFF", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
}
# Seconds that may be missing: 128 bytes, which may be a header that was counted as samples, and a frame of MP3.
SLACK = {"mp3": 1152 / RATE}
USUAL_SLACK = 0.025


def cut(data, rng):
    return data[: int(len(data) * rng.uniform(0.02, 0.98))]


def cut_by_a_little(data, rng):
    return data[: -int(rng.integers(1, 200))]


def flip_in_the_header(data, rng):
    return flipped(data, rng, 0, 64, 1)


def flip_in_the_body(data, rng):
    return flipped(data, rng, 256, len(data), 4)


def scramble(data, rng):
    start = int(rng.integers(256, len(data) - 400))
    return data[:start] + rng.bytes(400) + data[start + 400 :]


def insert_zeros(data, rng):
    start = int(rng.integers(256, len(data)))
    return data[:start] + bytes(1500) + data[start:]


def remove(data, rng):
    start = int(rng.integers(256, len(data) - 1500))
    return data[:start] + data[start + 1500 :]


def append_zeros(data, rng):
    return data + bytes(int(rng.integers(1, 5000)))


def double(data, rng):
    return data + data


def flipped(data, rng, start, end, count):
    damaged = bytearray(data)
    for place in rng.integers(start, end, count):
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


DAMAGES = {
    cut: 3,
    cut_by_a_little: 2,
    flip_in_the_header: 8,
    flip_in_the_body: 3,
    scramble: 2,
    insert_zeros: 2,
    remove: 2,
    append_zeros: 1,
    double: 1,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return delay_package(tmp_path_factory.mktemp("model") / "delay", RATE)


@pytest.fixture
def enhance(model, capfd, monkeypatch, tmp_path):
    """Run the command in the test's folder; return its exit code and what it said, not late, without a traceback."""
    monkeypatch.chdir(tmp_path)

    def late(number, frame):
        raise AssertionError(f"still at work after {HANGING_SECONDS} s")

    def run(*arguments):
        before = signal.signal(signal.SIGALRM, late)
        signal.alarm(HANGING_SECONDS)
        try:
            code = main(["enhance", *arguments, "--out", "out/", "--model", str(model), "--jobs", "1"])
        finally:
            signal.alarm(0)
            signal.signal(signal.SIGALRM, before)
        said = capfd.readouterr().err
        assert "Traceback" not in said and "Error:" not in said
        assert code in (0, 1) and (code == 0 or "overtone: " in said)
        return code, said

    return run


@pytest.fixture(scope="module")
def whole():
    samples = speech(SECONDS)
    found = {}
    for name, (container, subtype) in FORMATS.items():
        file = io.BytesIO()
        soundfile.write(file, samples, RATE, format=container, subtype=subtype)
        found[name] = file.getvalue()
    return found


def seconds_of_input(path, rate):
    """How many seconds of the undamaged input an output holds, whose input now says to be of a rate."""
    with soundfile.SoundFile(path) as file:
        return file.frames * file.channels / file.samplerate * rate / RATE


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", FORMATS)
def test_a_damaged_file_is_whole_or_said_to_be_damaged(name, damage, whole, enhance, tmp_path):
    problems = []
    for seed in range(DAMAGES[damage]):
        rng = np.random.default_rng(seed)
        data = damage(whole[name], rng)
        (tmp_path / f"{seed}.{name}").write_bytes(data)
        code, said = enhance(f"{seed}.{name}")
        if code or " Hz" in said:
            continue
        (output,) = (tmp_path / "out").glob(f"{seed}*")
        header_damaged = damage is flip_in_the_header
        got = seconds_of_input(output, soundfile.info(f"{seed}.{name}").samplerate if header_damaged else RATE)
        if got < SECONDS * (2 if damage is double else 1) - SLACK.get(name, USUAL_SLACK):
            problems.append((seed, got, said))
    assert not problems


# Names: as they are given, and in a folder.

ODD_NAMES = (
    "caf\udce9.wav",
    "\udcff\udcfe.wav",
    "\udce4\udcf6\udcfc.wav",
    "\u00e9.wav",
    "e\u0301.wav",
    "\u6f22\u5b57.wav",
    "\u05e9\u05dc\u05d5\u05dd.wav",
    "\u202egnp.wav",
    "\U0001f600.wav",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467.wav",
    "\ufeffa.wav",
    "a" * 246 + ".wav",
    "a" * 251 + ".wav",
    "\u6f22" * 83 + ".wav",
    "\U0001f600" * 62 + ".wav",
    "a\nb.wav",
    "\n.wav",
    "a\rb.wav",
    "a\tb.wav",
    "a\x1b[31mb.wav",
    "a\x07.wav",
    "a\x7f.wav",
    " .wav",
    " a.wav",
    "a .wav",
    "a..wav",
    "a.b.c.wav",
    "a.mp3.wav",
    "A.WAV",
    "-.wav",
    "-o.wav",
    "--out.wav",
    "-1.wav",
    "*.wav",
    "?.wav",
    "[a].wav",
    "[!a].wav",
    "**.wav",
    "{a,b}.wav",
    "~.wav",
    "$HOME.wav",
    "%20.wav",
    "%s%n.wav",
    "a'b\"c.wav",
    "a\\b.wav",
    "a&b;c|d.wav",
    "<a>.wav",
    "#a?b=c.wav",
    "a:b.wav",
    "file:a.wav",
    "con.wav",
)
WITHOUT_SUFFIX = ("a.wav.", "a.wav ", "a", "a.", "-x", "\U0001f600", "a.doc")


def make(path, whole):
    with open(path, "wb") as file:
        file.write(whole["wav"])


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_a_file_of_any_name_is_enhanced(name, whole, enhance, tmp_path):
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / name, whole)
    for number, given in enumerate(("in", f"in/{name}")):
        assert enhance(given)[0] == 0
        (output,) = (tmp_path / "out").iterdir()
        assert output.name == name
        with output.open("rb") as file:
            assert soundfile.info(file).duration == SECONDS
        (output if number == 0 else tmp_path / "in" / name).unlink()


@pytest.mark.parametrize("name", WITHOUT_SUFFIX, ids=ascii)
def test_a_name_that_says_no_format_is_looked_into_where_it_is_given(name, whole, enhance, tmp_path):
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / name, whole)
    code, said = enhance("in")
    assert code == 1 and "no audio file there" in said
    assert enhance(f"in/{name}")[0] == 0
    (output,) = (tmp_path / "out").iterdir()
    assert soundfile.info(output).duration == SECONDS


# Kinds: what lies where a file is expected.

CONTENTS = {
    "nothing": b"",
    "a byte": b"R",
    "zeros": bytes(5000),
    "ones": b"\xff" * 5000,
    "text": b"Dear Sir or Madam\n" * 50,
    "HTML": b"<!DOCTYPE html><html><body>404</body></html>",
    "JSON": b'{"error": "not found"}',
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(500),
    "gzip": b"\x1f\x8b\x08\x00" + bytes(500),
    "ZIP": b"PK\x03\x04" + bytes(500),
    "PDF": b"%PDF-1.7\n" + bytes(500),
    "a program": b"\x7fELF\x02\x01\x01" + bytes(500),
    "MIDI": b"MThd\x00\x00\x00\x06\x00\x01\x00\x01\x00\x60MTrk" + bytes(50),
    "a play list": b"#EXTM3U\n/etc/passwd\n",
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "RIFF of something else": b"RIFF\x00\x10\x00\x00AVI LIST" + bytes(500),
    "WAV without chunks": b"RIFF\x04\x00\x00\x00WAVE",
    "WAV of empty chunks": b"RIFF\xff\xff\xff\xffWAVE" + b"junk\x00\x00\x00\x00" * 2000,
    "a chunk that contains itself": b"RIFF\x00\x00\x00\x00" * 500,
    "FLAC without a stream": b"fLaC",
    "Ogg without a stream": b"OggS" * 50,
    "a tag alone": b"ID3\x04\x00\x00\x00\x00\x02\x00" + bytes(256),
    "a tag of 256 MB": b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + bytes(256),
    "AIFF without chunks": b"FORM\x00\x00\x00\x04AIFF",
    "W64 of length 0": b"riff.\x91\xcf\x11\xa5\xd6(\xdb\x04\xc1\x00\x00" + bytes(500),
    "AU of no bytes": b".snd\x00\x00\x00\x18\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x3e\x80\x00\x00\x00\x01",
    "CAF without chunks": b"caff\x00\x01\x00\x00",
    "MPEG-4 without sound": b"\x00\x00\x00\x20ftypM4A " + bytes(100),
    "Matroska without sound": b"\x1a\x45\xdf\xa3" + bytes(500),
}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=list(CONTENTS))
def test_what_is_no_audio_is_said_to_be_none(content, enhance, tmp_path):
    (tmp_path / "in").mkdir()
    for suffix in ("wav", "mp3"):
        (tmp_path / "in" / f"a.{suffix}").write_bytes(content)
    code, said = enhance("in")
    assert code == 1 and said.count("\n  in/a.") == 2 and "Make room" not in said
    assert not list(tmp_path.glob("out/*"))


def pipe(path):
    os.mkfifo(path)


def pipe_with_nothing(path):
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(b"",), daemon=True).start()


def link_to_nothing(path):
    path.symlink_to("nowhere")


def link_to_itself(path):
    path.symlink_to(path.name)


def link_to_a_device(path):
    path.symlink_to("/dev/zero")


def unix_socket(path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def folder(path):
    path.mkdir()


def sparse_file(path):
    with path.open("wb") as file:
        file.truncate(2**28)


NO_FILES = (link_to_nothing, link_to_itself, link_to_a_device, unix_socket, folder, sparse_file)
DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/full", "/dev/tty", "/proc/self/mem", "/proc/cpuinfo")


@pytest.mark.parametrize("kind", [pipe, *NO_FILES], ids=lambda kind: kind.__name__)
def test_what_is_no_file_does_not_hold_up_a_folder(kind, whole, enhance, tmp_path):
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / "a.wav", whole)
    kind(tmp_path / "in" / "b.wav")
    code, said = enhance("in")
    assert code == 0 or "in/b.wav: " in said
    assert [output.name for output in (tmp_path / "out").iterdir()] == ["a.wav"]


@pytest.mark.parametrize("kind", [pipe_with_nothing, *NO_FILES], ids=lambda kind: kind.__name__)
def test_what_is_no_file_is_said_to_be_none_where_it_is_given(kind, enhance, tmp_path):
    kind(tmp_path / "b.wav")
    code, said = enhance("b.wav")
    assert code == 1 and "b.wav: " in said and "Make room" not in said


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_is_no_audio(device, enhance):
    assert enhance(device)[0] == 1
