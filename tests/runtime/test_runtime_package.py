"""Packages: what is checked before a model is believed, and what a user reads when it cannot be."""

import json
import shutil

import numpy as np
import pytest
from packages import delay_package, exported_folder

from overtone.model_package import ModelPackageError, file_digest, load_model, write_sums


@pytest.fixture
def package(tmp_path):
    return delay_package(tmp_path / "model")


def changed(package, **values):
    """The package with other values in its configuration, and checksums that fit."""
    path = package / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    write_sums(package)


def refusal(package):
    with pytest.raises(ModelPackageError) as caught:
        load_model(package)
    message = str(caught.value)
    assert "\n" not in message
    assert str(package) in message
    return message


def test_a_package_tells_what_it_is():
    folder = exported_folder("dnn_fft")
    model = load_model(folder)
    assert (model.name, model.sample_rate, model.front_end) == ("dnn_fft", 16000, "spectral")
    assert model.hop_samples + model.delay_samples == len(model.window)
    assert [state.name for state in model.states] == ["past_0_level", "past_1_level", "past_2_layers_0"]
    assert model.configuration["preset"] == "tiny"
    assert {file.name for file in folder.iterdir()} == {
        "model.onnx", "config.json", "card.md", "parity.json", "parity.md", "noise.npy", "window.npy", "SHA256SUMS",
    }  # fmt: skip


def test_checksums_are_those_of_sha256sum(package):
    lines = (package / "SHA256SUMS").read_text().splitlines()
    assert lines == [f"{file_digest(package / name)}  {name}" for name in ("config.json", "model.onnx")]


def test_a_missing_folder_and_one_that_is_no_package(tmp_path):
    assert "no such model folder" in refusal(tmp_path / "nothing")
    (tmp_path / "text.txt").write_text("hello")
    assert "overtone export" in refusal(tmp_path)


def test_a_changed_file(package):
    with (package / "model.onnx").open("ab") as file:
        file.write(b"x")
    assert "model.onnx: differs from its checksum" in refusal(package)


def test_a_file_cut_off_with_new_checksums(package):
    graph = package / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:100])
    write_sums(package)
    assert "ONNX Runtime" in refusal(package)


def test_a_missing_file(package):
    (package / "model.onnx").unlink()
    assert "model.onnx is missing" in refusal(package)


def test_a_file_that_the_checksums_do_not_name(package):
    sums = package / "SHA256SUMS"
    sums.write_text(sums.read_text().splitlines()[0] + "\n")
    assert "does not vouch for model.onnx" in refusal(package)


@pytest.mark.parametrize("sums", ["garbage\n", "0 ../../etc/passwd\n", "\xff\xfe"])
def test_checksums_that_are_none(package, sums):
    (package / "SHA256SUMS").write_bytes(sums.encode("latin-1"))
    assert "SHA256SUMS" in refusal(package)


def test_a_newer_package(package):
    changed(package, format_version=2)
    message = refusal(package)
    assert "expected package version 1, received 2" in message
    assert "Update Overtone" in message


def test_another_programs_model(package):
    changed(package, format="something")
    assert "not an Overtone model" in refusal(package)


@pytest.mark.parametrize("values", [{"states": [{"name": "past"}]}, {"sample_rate": "many"}, {"front_end": None}])
def test_a_configuration_that_says_nonsense(package, values):
    changed(package, **values)
    assert "Export the model again" in refusal(package)


def test_a_spectral_model_without_its_window(tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(exported_folder("dnn_fft"), folder)
    (folder / "window.npy").unlink()
    write_sums(folder)
    assert "window.npy is missing" in refusal(folder)


def test_pickled_noise_is_not_opened(tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(exported_folder("dnn_fft"), folder)
    np.save(folder / "noise.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    write_sums(folder)
    assert "Export the model again" in refusal(folder)
