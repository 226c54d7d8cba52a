"""Packages of small networks of every streaming architecture, exported once.

``python tests/support/exported_models.py FOLDER`` writes all of them for tests where torch is not installed.
"""

import dataclasses
import json
import shutil
import sys
from functools import cache
from pathlib import Path

import numpy as np
import torch
from packages import RATE, ROOT, STREAMING

from experiments.export.package import export_package
from experiments.export.source import ModelSource
from experiments.registry import build_model
from models.base import StreamingModule
from models.export.graphs import export_graph
from overtone.model_package import CONFIGURATION, FORMAT, FORMAT_VERSION, GRAPH, NOISE, SPECTRAL, WINDOW, write_sums

SMALL = {
    "dnn_fft": {"hidden": 16, "layers": 1},
    "spectrogram_autoencoder": {"channels": 4, "memory": 8},
    "wavegan": {"channels": [4, 8], "bands": 6, "memory_layers": 1},
}


def small_module(name, sample_rate=16000):
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
    module, folder = small_module(name), ROOT / f"exported-{name}"
    parity = export_package(ModelSource(module, "a test", "tiny"), folder)
    return module, folder, parity


def write_untrained(folder, sample_rate):
    """A package of a network as it starts, slightly changed."""
    torch.manual_seed(0)
    network = build_model("dnn_fft", sample_rate, {"hidden": 8, "layers": 1}).eval().network
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.002 * torch.randn_like(parameter))
    folder.mkdir(parents=True)
    graph = export_graph(network, folder / GRAPH)
    assert graph.front_end == SPECTRAL
    np.save(folder / NOISE, network.excitation.noise.numpy())
    np.save(folder / WINDOW, network.analysis.window.numpy())
    configuration = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": "dnn_fft",
        "sample_rate": sample_rate,
        "hop_samples": network.hop_samples,
        "delay_samples": network.delay_samples,
        "front_end": {"kind": SPECTRAL, "n_fft": network.hop_samples + network.delay_samples},
        "states": [dataclasses.asdict(state) for state in graph.states],
    }
    (folder / CONFIGURATION).write_text(json.dumps(configuration))
    write_sums(folder)
    return folder


def write_packages(folder):
    shutil.rmtree(folder, ignore_errors=True)
    for name in STREAMING:
        shutil.copytree(exported(name)[1], folder / name)
    write_untrained(folder / "untrained", RATE)


if __name__ == "__main__":
    write_packages(Path(sys.argv[1]))
