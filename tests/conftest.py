"""A small corpus and preset that the tests of whole commands share."""

import contextlib
import csv
import functools
import os
import shutil
import signal
import sqlite3
import tempfile

import numpy as np
import pytest
import soundfile
import yaml

from experiments.tracking.database import make_database

SPLIT_OF = {"ada": "train", "ben": "train", "cleo": "val", "dan": "val", "eve": "test", "finn": "test"}

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a background job, which everything it starts inherits
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    """Give all processes that run these tests one folder for packages that take seconds to make."""
    if "OVERTONE_SHARED_PACKAGES" not in os.environ:
        folder = os.environ["OVERTONE_SHARED_PACKAGES"] = tempfile.mkdtemp(prefix="overtone-packages-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


def pytest_collection_modifyitems(items):
    """Begin with files whose tests start whole commands, so that no process is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    long = {"experiments", "benchmarks"}
    items.sort(key=lambda item: (item.path not in slow, not long.intersection(item.path.parts)))


# Reasons to skip a test that hold even where every component is installed.
ALWAYS_OPTIONAL = ("OVERTONE_DATA", "root may", "too busy")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Fail a test that is skipped for want of a component, where OVERTONE_NO_SKIPS says that all are installed."""
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    """Fail a module that is skipped as a whole in the same way."""
    return _refuse_skip((yield))


def _refuse_skip(report):
    if report.skipped and os.environ.get("OVERTONE_NO_SKIPS") and not hasattr(report, "wasxfail"):
        *_, reason = report.longrepr
        if not any(name in reason for name in ALWAYS_OPTIONAL):
            report.outcome, report.longrepr = "failed", f"Expected every component to be installed. {reason}"
    return report


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory):
    """A function that gives an empty MLflow database, made once: its fifty migrations take a second of processor."""
    path = tmp_path_factory.mktemp("database") / "empty.db"

    @functools.cache
    def made():
        make_database(path, path.parent)
        return path

    return made


@pytest.fixture(autouse=True)
def databases_are_copies(monkeypatch, empty_database):
    """Copy the empty database where a test's own process needs a new one; `test_database` makes its own."""

    def copied(path, artifacts):
        shutil.copyfile(empty_database(), path)
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("UPDATE experiments SET artifact_location = ?", (f"{artifacts.as_uri()}/0",))

    monkeypatch.setattr("experiments.tracking.database.make_database", copied)


@pytest.fixture(scope="session")
def tiny_corpus(tmp_path_factory):
    """Six speakers of synthetic syllables with a manifest."""
    root = tmp_path_factory.mktemp("corpus")
    rows = []
    for number, (speaker, split) in enumerate(SPLIT_OF.items()):
        rng = np.random.default_rng(number)
        for clip in range(3):
            time = np.arange(24000) / 16000
            pitch = (100 + 25 * number) * (1 + 0.1 * np.sin(3 * time + clip))
            phase = 2 * np.pi * np.cumsum(pitch) / 16000
            voiced = sum(np.sin(k * phase) / k for k in range(1, int(7600 / 250)))
            hiss = np.diff(rng.standard_normal(24001))
            syllables = np.sin(2 * np.pi * (2.5 + 0.3 * clip) * time)
            speech = 0.1 * np.maximum(syllables, 0) * voiced + 0.05 * np.maximum(-syllables, 0) * hiss
            speech += 1e-3 * rng.standard_normal(24000)
            path = root / speaker / f"{speaker}{clip}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, speech.astype(np.float32), 16000)
            rows.append({"path": path.relative_to(root), "speaker": speaker, "split": split, "kind": "speech"})
    with (root / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return root


@pytest.fixture(scope="session")
def tiny_settings():
    """What a preset holds that trains in a second; copy it before changing it."""
    telephone = {"steps": [{"resample": {"rate": 8000}}]}
    return {
        "name": "tiny",
        "sample_rate": 16000,
        "data": {
            "crop_seconds": 0.5,
            "batch_size": 4,
            "joined_seconds": 1.2,
            "train_conditions": {"telephone": telephone},
            "test_conditions": {"telephone": telephone, "mp3": {"steps": [{"mp3": {"kbps": 32}}]}},
            "val_utterances_per_speaker": 1,
            "test_utterances_per_speaker": 1,
        },
        "budget": {"examples": 16, "epochs": 2, "threads": 1},
        "models": {"dnn_fft": {"hidden": 16, "layers": 1}, "wavegan_original": {"channels": 2}},
    }


@pytest.fixture
def tiny_preset(tiny_settings, tmp_path):
    """A preset that trains in a second."""
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_settings))
    return path


@pytest.fixture
def one_core(monkeypatch):
    """A machine that trains and scores one thing after the other, the latter without starting processes."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0}, raising=False)
