"""The process in which an ONNX file or a Python callable from outside runs: a folder of inputs in, estimates out."""

import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from overtone.audio import Waveform, write_audio

Enhance = Callable[[Waveform, int], Any]


@dataclass(frozen=True)
class Hosted:
    """What runs here.

    Attributes:
        kind: ``onnx`` or ``callable``.
        what: the file, or ``module:function``.
        sample_rate: that it is given, in Hz.
        output_sample_rate: of what it returns, where it does not say so itself; None for the same.
        input_name: of the waveform in an ONNX file; None for its first input.
    """

    kind: str
    what: str
    sample_rate: int
    output_sample_rate: int | None
    input_name: str | None

    @property
    def arguments(self) -> list[str]:
        """What the process is started with, before the two folders."""
        return [json.dumps(asdict(self))]


def main(arguments: Sequence[str]) -> int:
    """Enhance each file of a folder; one that fails costs no other.

    Args:
        arguments: those of `Hosted`, the folder of inputs, and the folder of estimates.
    """
    plain, given, made = arguments
    hosted = Hosted(**json.loads(plain))
    enhance = _graph(hosted) if hosted.kind == "onnx" else _function(hosted)
    failed = ""
    for path in sorted(Path(given).glob("*.wav")):
        waveform, rate = soundfile.read(path, dtype="float32")
        try:
            estimate, own_rate = _estimate(enhance(waveform, rate), hosted.output_sample_rate or rate)
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


def _function(hosted: Hosted) -> Enhance:
    module, _, name = hosted.what.partition(":")
    function: Enhance = getattr(importlib.import_module(module), name)
    return function


def _graph(hosted: Hosted) -> Enhance:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(hosted.what, options, providers=["CPUExecutionProvider"])
    inputs = {one.name: one for one in session.get_inputs()}
    name = hosted.input_name or next(iter(inputs))
    if name not in inputs:
        raise SystemExit(f"{hosted.what}: has no input {name}, but {', '.join(inputs)}")
    axes = len(inputs[name].shape)

    def enhance(waveform: Waveform, _: int) -> Waveform:
        batch = waveform.reshape((1,) * (axes - 1) + (-1,))
        (estimate, *_others) = session.run(None, {name: batch})
        return np.asarray(estimate)

    return enhance


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
