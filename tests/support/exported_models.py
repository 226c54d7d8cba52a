"""Packages for tests: small models of every streaming architecture, exported once, and graphs made by hand."""

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

from experiments.export.package import export_package
from experiments.export.source import ModelSource
from experiments.registry import MODELS, build_model
from models.base import StreamingModule
from overtone.model_package import load_model, write_sums

SMALL = {
    "dnn_fft": {"hidden": 16, "layers": 1},
    "spectrogram_autoencoder": {"channels": 4, "memory": 8},
    "wavegan": {"channels": [4, 8], "bands": 6, "memory_layers": 1},
}
STREAMING = [name for name in MODELS if not name.endswith("_seed")]
RATE = 16000
ROOT = Path(tempfile.mkdtemp(prefix="overtone-tests-"))
atexit.register(shutil.rmtree, ROOT, ignore_errors=True)


def small_module(name, sample_rate=RATE):
    """A module whose every weight counts: layers that start near zero would hide an error behind them."""
    torch.manual_seed(0)
    module = build_model(name, sample_rate, SMALL.get(name, {}))
    with torch.no_grad():
        for parameter in module.network.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    assert isinstance(module, StreamingModule)
    return module.eval()


@cache
def exported(name):
    """The module, its package, and the proof."""
    module, folder = small_module(name), ROOT / name
    parity = export_package(ModelSource(module, "a test", "tiny"), folder)
    return module, folder, parity


@cache
def exported_model(name):
    return load_model(exported(name)[1])


def delay_package(folder, sample_rate=RATE, hop_samples=64, delay_samples=0, gain=1.0):
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
def delay_model(sample_rate=RATE, hop_samples=64, delay_samples=0, gain=1.0):
    name = f"delay-{sample_rate}-{hop_samples}-{delay_samples}-{gain}"
    return load_model(delay_package(ROOT / name, sample_rate, hop_samples, delay_samples, gain))
