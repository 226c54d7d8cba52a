"""The process in which an ONNX file or a Python callable from outside runs: a folder of inputs in, estimates out."""

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from overtone.audio import Waveform, write_audio

Enhance = Callable[[Waveform, int], Any]


def main(arguments: Sequence[str]) -> int:
    """Enhance each file of a folder; one that fails costs no other.

    Args:
        arguments: the system as JSON, with the fields of `experiments.presets.external.External`; the folder of
            inputs; the folder of estimates.
    """
    plain, given, made = arguments
    external = json.loads(plain)
    enhance = _graph(external["onnx"], external["input_name"]) if external["onnx"] else _function(external["callable"])
    failed = ""
    for path in sorted(Path(given).glob("*.wav")):
        waveform, rate = soundfile.read(path, dtype="float32")
        try:
            estimate, own_rate = _estimate(enhance(waveform, rate), external["output_sample_rate"] or rate)
            write_audio(Path(made) / path.name, estimate, own_rate, "FLOAT")
        except Exception as error:
            failed = f"{path.stem}: {type(error).__name__}: {' '.join(str(error).split())}"
            print(failed, flush=True)
    if failed:
        print(failed, flush=True)  # last, for the message
    return 1 if failed else 0


def _estimate(returned: object, rate: int) -> tuple[Waveform, int]:
    """Return samples and rate of what a system returned, the samples' axes of length 1 removed."""
    samples, own_rate = returned if isinstance(returned, tuple) else (returned, rate)
    waveform = np.asarray(samples, dtype=np.float32).squeeze()
    if waveform.ndim != 1:
        raise ValueError(f"expected samples of one channel, got shape {np.shape(samples)}")
    return waveform, int(own_rate)


def _function(what: str) -> Enhance:
    module, _, name = what.partition(":")
    function: Enhance = getattr(importlib.import_module(module), name)
    return function


def _graph(path: str, input_name: str | None) -> Enhance:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs = {one.name: one for one in session.get_inputs()}
    name = input_name or next(iter(inputs))
    if name not in inputs:
        raise SystemExit(f"{path}: has no input {name}, but {', '.join(inputs)}")
    axes = len(inputs[name].shape)

    def enhance(waveform: Waveform, _: int) -> Waveform:
        batch = waveform.reshape((1,) * (axes - 1) + (-1,))
        (estimate, *_others) = session.run(None, {name: batch})
        return np.asarray(estimate)

    return enhance


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
