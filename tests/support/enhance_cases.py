"""What is given to `overtone enhance` by mistake or by bad luck: the table of docs/enhancing.md, row by row."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from project import PROJECT
from waveforms import breathing_speech, speech_like

DOCUMENT = PROJECT / "docs" / "enhancing.md"
RATE = 16000


@dataclass(frozen=True)
class Case:
    """A call, and how it is to end.

    Attributes:
        name: in the table.
        arguments: makes the files in a folder and returns the command's arguments.
        code: exit code.
        message: part of what is said, empty where there is nothing to say.
        outputs: files that are to be there afterwards, below ``out``.
    """

    name: str
    arguments: Callable[[Path], list[str]]
    code: int
    message: str = ""
    outputs: tuple[str, ...] = ()


def speech(seconds=0.5, rate=RATE, channels=1, seed=0):
    """Speech-like noise ``(samples, channels)``."""
    return np.stack([speech_like(rate, round(seconds * rate), seed + one) for one in range(channels)], axis=1)


def write(path, samples=None, rate=RATE, **how):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, speech(rate=rate) if samples is None else samples, rate, **how)
    return path


def _one(name, *options, **how):
    """Arguments for one file, written as described."""
    return lambda folder: [str(write(folder / "in" / name, **how)), "--out", str(folder / "out") + "/", *options]


def _bytes(name, make):
    def arguments(folder):
        path = folder / "in" / name
        path.parent.mkdir()
        path.write_bytes(make(folder))
        return [str(path), "--out", str(folder / "out") + "/"]

    return arguments


def _cut(name, **how):
    return _bytes(
        name, lambda folder: _half(write(folder / f"whole{Path(name).suffix}", speech(4.0), **how).read_bytes())
    )


def _half(data):
    return data[: len(data) // 2]


def _with_nan():
    samples = speech()
    samples[77] = np.nan
    return samples


def _locked(folder):
    path = write(folder / "in" / "locked.wav")
    path.chmod(0)
    return [str(path), "--out", str(folder / "out") + "/"]


def _empty_folder(folder):
    (folder / "in" / "folder.wav").mkdir(parents=True)
    return [str(folder / "in" / "folder.wav"), "--out", str(folder / "out") + "/"]


def _loop(folder):
    write(folder / "in" / "deep" / "a.wav")
    os.symlink(folder / "in", folder / "in" / "deep" / "again")
    return [str(folder / "in"), "--out", str(folder / "out")]


def _one_bad_among_good(folder):
    write(folder / "in" / "a.wav")
    (folder / "in" / "b.wav").write_text("no sound")
    write(folder / "in" / "c.wav")
    return [str(folder / "in"), "--out", str(folder / "out")]


def _existing(folder):
    write(folder / "out.wav")
    return [str(write(folder / "in" / "a.wav")), "--out", str(folder / "out.wav")]


def _existing_in_batch(folder):
    write(folder / "out" / "a.wav")
    write(folder / "in" / "a.wav")
    return [str(folder / "in"), "--out", str(folder / "out")]


def _onto_itself(folder):
    path = write(folder / "in" / "a.wav")
    return [str(path), "--out", str(path), "--overwrite"]


def _into_itself(folder):
    write(folder / "in" / "a.wav")
    return [str(folder / "in"), "--out", str(folder / "in"), "--overwrite"]


def _two_to_a_file(folder):
    return [str(write(folder / f"{name}.wav")) for name in "ab"] + ["--out", str(folder / "out.wav")]


def _same_name(folder):
    return [str(write(folder / name / "a.wav")) for name in "xy"] + ["--out", str(folder / "out") + "/"]


def _same_stem(folder):
    write(folder / "in" / "a.wav")
    write(folder / "in" / "a.mp3")
    return [str(folder / "in"), "--out", str(folder / "out"), "--format", "wav"]


def _loud(folder):
    square = np.sign(speech()).astype(np.float32)
    return [str(write(folder / "in" / "loud.wav", square, 48000)), "--out", str(folder / "out") + "/", "--denoise"]


def _complete(folder):
    path = write(folder / "in" / "a.wav", breathing_speech(48000, 4.0, 0), 48000)
    return [str(path), "--out", str(folder / "out") + "/"]


def _pattern(folder):
    return [str(folder / "*.wav"), "--out", str(folder / "out")]


CASES = (
    Case("no samples", _one("a.wav", samples=np.zeros((0, 1))), 1, "holds no samples"),
    Case("one sample", _one("a.wav", samples=np.full((1, 1), 0.5)), 0, outputs=("a.wav",)),
    Case("NaN or infinite samples", _one("a.wav", samples=_with_nan(), subtype="FLOAT"), 1, "Sample 77 is NaN"),
    Case("8 bits", _one("a.wav", subtype="PCM_U8"), 0, outputs=("a.wav",)),
    Case("192 kHz", _one("a.wav", rate=192000), 0, outputs=("a.wav",)),
    Case("384 kHz", _one("a.wav", rate=384000), 1, "Expected an input rate of 4000 to 192000 Hz"),
    Case("2 kHz", _one("a.wav", rate=2000), 1, "Expected an input rate of 4000 to 192000 Hz"),
    Case("5.1 channels", _one("a.wav", samples=speech(channels=6), format="WAVEX"), 0, outputs=("a.wav",)),
    Case("cut off WAV", _cut("a.wav"), 1, "before its stated end; what is there is in", ("a.wav",)),
    Case("cut off FLAC", _cut("a.flac"), 1, "before its stated end; what is there is in", ("a.flac",)),
    Case("cut off MP3", _cut("a.mp3"), 1, "before its stated end; what is there is in", ("a.flac",)),
    Case("MP3 named .wav", _bytes("a.wav", lambda folder: write(folder / "a.mp3").read_bytes()), 0, outputs=("a.wav",)),
    Case("not audio", _bytes("a.wav", lambda folder: b"Dear Sir or Madam"), 1, "not readable as audio"),
    Case("one bad file in a batch", _one_bad_among_good, 1, "1 of 3 inputs failed", ("a.wav", "c.wav")),
    Case("no such file", lambda folder: [str(folder / "a.wav"), "--out", "out/"], 1, "no such file or folder"),
    Case("a pattern without matches", _pattern, 1, "matches no file"),
    Case("no permission to read", _locked, 1, "Permission denied"),
    Case("an empty folder named .wav", _empty_folder, 1, "no audio file there"),
    Case("a link back to its own folder", _loop, 0, outputs=("deep/a.wav",)),
    Case("a.wav and a.mp3 with --format wav", _same_stem, 0, outputs=("a.mp3.wav", "a.wav.wav")),
    Case("x/a.wav and y/a.wav into one folder", _same_name, 1, "both would become"),
    Case("several files to one", _two_to_a_file, 1, "is a file, for 2 inputs"),
    Case("the output is the input", _onto_itself, 1, "which is never overwritten"),
    Case("the output folder is the input folder", _into_itself, 1, "is the input folder"),
    Case("the output exists", _existing, 1, "exists. Replace it with --overwrite"),
    Case("an output of a batch exists", _existing_in_batch, 0, "1 output existed and stayed", ("a.wav",)),
    Case("peaks beyond full scale", _loud, 0, "so that its peaks do not clip", ("loud.wav",)),
    Case("a full band already", _complete, 0, "of it reaches beyond what this model extends", ("a.wav",)),
    Case("an unknown format", _one("a.wav", "--format", "doc"), 1, "--format doc: unknown"),
    Case("MP3 at 96 kHz", _one("a.wav", "--format", "mp3", "--rate", "96000"), 1, "refuses 1 channels at 96000 Hz"),
    Case("an output rate of 1 MHz", _one("a.wav", "--rate", "1000000"), 1, "Expected an output rate of 4000 to 192000"),
    Case("a model folder that is none", _one("a.wav", "--model", "/"), 1, "no model package"),
)
