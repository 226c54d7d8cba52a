"""Model packages for tests, without torch: a graph made by hand, and what the laboratory exported beforehand."""

import atexit
import fcntl
import json
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from overtone.model_package import load_model, write_sums

STREAMING = ("dnn_fft", "wavegan", "spectrogram_autoencoder")
RATE = 48000  # of `package`
DELAY_RATE = 16000
ROOT = Path(tempfile.mkdtemp(prefix="overtone-tests-"))
atexit.register(shutil.rmtree, ROOT, ignore_errors=True)
# Exports take seconds: the processes that run the tests together make each once, in a folder that conftest gives them.
SHARED = Path(os.environ.get("OVERTONE_SHARED_PACKAGES", ROOT))
# Where torch is not installed: packages that `python -m exported_models` wrote where it is.
WRITTEN_BEFORE = os.environ.get("OVERTONE_TEST_PACKAGES")


def made_once(name, write):
    """A folder that is written, by a function of its path, unless another process of these tests has done so."""
    folder = SHARED / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            part = folder.with_suffix(".part")
            write(part)
            part.rename(folder)
    return folder


@cache
def exported_folder(name):
    """The package of a small network of an architecture, of 16 kHz."""
    if WRITTEN_BEFORE:
        return Path(WRITTEN_BEFORE) / name

    def write(folder):
        from exported_models import exported

        shutil.copytree(exported(name)[1], folder)

    return made_once(name, write)


@cache
def package():
    """A package of an untrained network of 48 kHz that changes what it hears."""
    if WRITTEN_BEFORE:
        return Path(WRITTEN_BEFORE) / "untrained"

    def write(folder):
        from exported_models import write_untrained

        write_untrained(folder, RATE)

    return made_once("untrained", write)


@cache
def exported_model(name):
    return load_model(exported_folder(name))


def delay_package(folder, sample_rate=DELAY_RATE, hop_samples=64, delay_samples=0, gain=1.0):
    """A package whose graph is a gain and a delay, so that everything around it can be told apart from a model."""
    tensor = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Shape", ["waveform"], ["shape"]),
        helper.make_node("Flatten", ["waveform"], ["flat"], axis=1),
        helper.make_node("Concat", ["past", "flat"], ["line"], axis=1),
        helper.make_node("Slice", ["line", "zero", "until", "axis"], ["late"]),
        helper.make_node("Slice", ["line", "from", "end", "axis"], ["next_past"]),
        helper.make_node("Mul", ["late", "gain"], ["scaled"]),
        helper.make_node("Reshape", ["scaled", "shape"], ["output"]),
    ]
    constants = {
        "zero": np.array([0]),
        "axis": np.array([1]),
        "end": np.array([2**62]),
        "until": np.array([-delay_samples if delay_samples else 2**62]),
        "from": np.array([-delay_samples if delay_samples else 2**62]),
        "gain": np.array(gain, np.float32),
    }
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "delay",
        [
            tensor("waveform", float32, ["channels", "hops", hop_samples]),
            tensor("past", float32, ["channels", delay_samples]),
        ],
        [
            tensor("output", float32, ["channels", "hops", hop_samples]),
            tensor("next_past", float32, ["channels", delay_samples]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    folder.mkdir(parents=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "model.onnx"
    )
    configuration = {
        "format": "overtone-model",
        "format_version": 1,
        "model": "delay",
        "sample_rate": sample_rate,
        "hop_samples": hop_samples,
        "delay_samples": delay_samples,
        "front_end": {"kind": "waveform"},
        "states": [{"name": "past", "shape": [1, delay_samples], "channel_axis": 0, "type": "float32"}],
    }
    (folder / "config.json").write_text(json.dumps(configuration))
    write_sums(folder)
    return folder


@cache
def delay_model(sample_rate=DELAY_RATE, hop_samples=64, delay_samples=0, gain=1.0):
    name = f"delay-{sample_rate}-{hop_samples}-{delay_samples}-{gain}"
    return load_model(delay_package(ROOT / name, sample_rate, hop_samples, delay_samples, gain))
