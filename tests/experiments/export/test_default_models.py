"""Models that come with the package: found, fit to be packed, and part of the wheel."""

import json
import shutil
import subprocess
import sys
import zipfile

import pytest
from packages import package
from project import PROJECT

from experiments.cli.main import main
from overtone import packed_models
from overtone.errors import OvertoneError
from overtone.model_package import CONFIGURATION, load_model, write_sums
from overtone.packed_models import PROFILES, default_model

LARGEST_BYTES = 20_000_000


@pytest.fixture
def nothing_packed(tmp_path, monkeypatch):
    folder = tmp_path / "packed"
    monkeypatch.setattr(packed_models, "packed_folder", lambda: folder)
    return folder


def exported(folder, **configuration):
    """A package that says of itself what is asked for."""
    shutil.copytree(package(), folder)
    path = folder / CONFIGURATION
    path.write_text(json.dumps({**json.loads(path.read_text()), "preset": "fullband", **configuration}))
    write_sums(folder)
    return folder


def test_every_packed_model_is_fit_to_be_packed():
    for profile, sample_rate in PROFILES.items():
        folder = packed_models.packed_folder() / profile
        if folder.is_dir():
            model = load_model(folder)
            assert model.sample_rate == sample_rate
            assert model.configuration["preset"] not in (None, "demo")
            assert b"models/export" not in (folder / "model.onnx").read_bytes(), "where it was exported is nobody's"
            assert sum(file.stat().st_size for file in folder.iterdir()) <= LARGEST_BYTES


def test_without_a_packed_model_the_commands_say_how_to_name_one(nothing_packed, tmp_path, capsys):
    assert main(["enhance", "a.wav", "--out", str(tmp_path / "b.wav")]) == 1
    said = capsys.readouterr().err
    assert "--model DIR" in said and said.count("\n") == 1


def test_a_packed_model_is_found(nothing_packed):
    exported(nothing_packed / "fullband")
    assert default_model("fullband") == nothing_packed / "fullband"


def test_an_unknown_profile_is_refused():
    with pytest.raises(OvertoneError, match="expected one of fullband, live, telephone"):
        default_model("music")


def test_the_wheel_holds_packed_models_and_the_runtime(tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    leave_out = shutil.ignore_patterns("packed", "__pycache__", "*.egg-info", "build")
    shutil.copytree(PROJECT / "runtime", tmp_path, ignore=leave_out, dirs_exist_ok=True)
    exported(tmp_path / "overtone" / "packed" / "fullband")
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('dist'))"
    done = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True, check=True)
    with zipfile.ZipFile(tmp_path / "dist" / done.stdout.splitlines()[-1]) as wheel:
        names = set(wheel.namelist())
    assert {
        "overtone/enhancer.py",
        "overtone/packed/fullband/model.onnx",
        "overtone/packed/fullband/SHA256SUMS",
    } <= names
