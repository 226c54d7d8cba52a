"""Folders of audio and runs of `overtone evaluate` that its tests share."""

import numpy as np
import pandas as pd
import soundfile

from experiments.cli.main import main
from experiments.scoring.folder_job import low_passed
from models.baselines import CONTROLS

RATE = 16000
LAST = ("failures", "not_applicable", "notes")
LSD = ("--measures", "lsd")
UNTRAINED = [name for name in CONTROLS if name != "ridge_envelope"]


def syllables(seed=0, seconds=0.9, rate=RATE):
    """Noise that comes and goes five times a second, over a faint steady one; under 1 s, so that ViSQOL rests."""
    rng = np.random.default_rng(seed)
    samples = int(seconds * rate)
    envelope = np.maximum(np.sin(2 * np.pi * 5 * np.arange(samples) / rate), 0.0)
    return (0.1 * envelope * rng.standard_normal(samples) + 1e-4 * rng.standard_normal(samples)).astype(np.float32)


def write(path, waveform, rate=RATE, subtype="FLOAT"):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, rate, subtype=subtype)
    return path


def low_passed_pair(folder):
    """A reference of two files, the same as an estimate, and low-passed inputs."""
    for number, stem in enumerate(("one", "two")):
        waveform = syllables(number)
        write(folder / "reference" / f"{stem}.wav", waveform)
        write(folder / "same" / f"{stem}.wav", waveform)
        write(folder / "input" / f"{stem}.wav", low_passed(waveform, RATE, 4000))
    return folder


def run(folders, *options, estimates=("same",), out="table.csv"):
    named = [f"{name}={folders / name}" if "=" not in name else name for name in estimates]
    required = ["--reference", str(folders / "reference"), "--estimate", *named, "--out", str(folders / out)]
    return main(["evaluate", *required, "--workers", "1", *options])


def table(folders):
    return pd.read_csv(folders / "table.csv", keep_default_na=True)


def words(capsys):
    """What was printed, whatever the width that it was folded to."""
    return " ".join(capsys.readouterr().out.split())


def refused(folders, capsys, *options, estimates=("same",), out="table.csv"):
    """The one line on standard error of a refused command that wrote nothing."""
    before = sorted(folders.rglob("*"))
    assert run(folders, *options, estimates=estimates, out=out) == 1
    error = capsys.readouterr().err
    assert error.startswith("overtone: ")
    assert error.count("\n") == 1
    assert sorted(folders.rglob("*")) == before
    return error
