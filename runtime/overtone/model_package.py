"""A model as it is shipped: a folder with an ONNX graph, plain configuration and checksums; nothing is unpickled."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from overtone.errors import OvertoneError
from overtone.packed_models import PROFILES

FORMAT, FORMAT_VERSION = "overtone-model", 1
GRAPH, CONFIGURATION, CARD, CHECKSUMS = "model.onnx", "config.json", "card.md", "SHA256SUMS"
NOISE, WINDOW = "noise.npy", "window.npy"
SPECTRAL, WAVEFORM = "spectral", "waveform"
STATE_TYPES = {"float32": np.float32, "int64": np.int64}


class ModelPackageError(OvertoneError):
    """A folder that is no usable model; the message names it and says what to do."""


@dataclass(frozen=True)
class State:
    """A tensor that a graph hands from one step to the next; zero before the first.

    Attributes:
        name: of the graph's input; the output that follows it is ``next_<name>``.
        shape: with 1 on the axis of the channels.
        channel_axis: None where all channels share the state.
        type: ``float32`` or ``int64``.
    """

    name: str
    shape: tuple[int, ...]
    channel_axis: int | None
    type: str

    def initial(self, channels: int) -> NDArray[Any]:
        """Return the state before the first step."""
        shape = list(self.shape)
        if self.channel_axis is not None:
            shape[self.channel_axis] = channels
        return np.zeros(shape, STATE_TYPES[self.type])


@dataclass(frozen=True)
class Model:
    """A loaded package. One model serves any number of streams, from any number of threads.

    Attributes:
        folder: where it was loaded from.
        name: the architecture's registered name.
        sample_rate: in Hz, of what it takes and gives.
        hop_samples: blocks are multiples of this.
        delay_samples: how late the graph's output is against its input.
        widest_input_hz: the widest band that it was trained to extend; infinite where nobody stated it.
        front_end: ``spectral`` (the runtime transforms, the graph sees spectra) or ``waveform``.
        states: what the graph hands from step to step.
        configuration: everything that config.json holds.
        noise: the fixed noise ``(period,)`` that a spectral front end reads, empty for a waveform model.
        window: of a spectral front end ``(n_fft,)``, the model's own to the last bit: at its edges, in single
            precision, a square-root Hann window is known to two digits only. Empty for a waveform model.
        session: the graph.
    """

    folder: Path
    name: str
    sample_rate: int
    hop_samples: int
    delay_samples: int
    widest_input_hz: float
    front_end: str
    states: tuple[State, ...]
    configuration: Mapping[str, Any]
    noise: NDArray[np.float32]
    window: NDArray[np.float32]
    session: onnxruntime.InferenceSession


class GraphRun:
    """One stream through a model's graph: remembers the states between steps."""

    def __init__(self, model: Model, channels: int) -> None:
        self._session = model.session
        self._states = {state.name: state.initial(channels) for state in model.states}
        self._outputs = ["output", *(f"next_{name}" for name in self._states)]

    def __call__(self, **inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the hops that follow those of the last call."""
        output, *states = self._session.run(self._outputs, inputs | self._states)
        self._states = dict(zip(self._states, states, strict=True))
        return np.asarray(output, dtype=np.float32)


def load_model(folder: Path | str) -> Model:
    """Load a package that ``overtone export`` wrote, after checking that it is whole.

    Args:
        folder: with model.onnx, config.json and SHA256SUMS.

    Returns:
        The model, whose graph runs on one thread.

    Raises:
        ModelPackageError: the folder is missing, is no package, was changed or cut off, or was written by a newer
            version.
    """
    folder = Path(folder)
    check_sums(folder)
    configuration = _configuration(folder / CONFIGURATION)
    session = open_graph(folder / GRAPH)
    try:
        model = Model(
            folder=folder,
            name=str(configuration["model"]),
            sample_rate=int(configuration["sample_rate"]),
            hop_samples=int(configuration["hop_samples"]),
            delay_samples=int(configuration["delay_samples"]),
            widest_input_hz=float(configuration.get("widest_input_hz") or inf),
            front_end=str(configuration["front_end"]["kind"]),
            states=tuple(
                State(one["name"], tuple(one["shape"]), one["channel_axis"], one["type"])
                for one in configuration["states"]
            ),
            configuration=configuration,
            noise=_array(folder / NOISE),
            window=_array(folder / WINDOW),
            session=session,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelPackageError(f"{folder / CONFIGURATION}: unusable ({error!r}). Export the model again.") from None
    if model.front_end == SPECTRAL and not (len(model.window) and len(model.noise)):
        raise ModelPackageError(f"{folder}: {NOISE} or {WINDOW} is missing. Export or copy the model again.")
    return model


def open_graph(path: Path) -> onnxruntime.InferenceSession:
    """Open a graph for one thread that sleeps, instead of spinning, while it has nothing to do.

    Raises:
        ModelPackageError: ONNX Runtime refuses it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of many classes, which ONNX Runtime does not export
        reason = " ".join(str(error).split())[:200]
        raise ModelPackageError(
            f"{path}: ONNX Runtime {onnxruntime.__version__} refuses it ({reason}). "
            "Install a newer onnxruntime, or export the model again."
        ) from None


def check_sums(folder: Path) -> dict[str, str]:
    """Check every file of a package against its SHA256SUMS.

    Args:
        folder: of the package.

    Returns:
        The checksum of each file, by its name.

    Raises:
        ModelPackageError: a file is missing or differs.
    """
    listing = folder / CHECKSUMS
    if not folder.is_dir():
        raise ModelPackageError(
            f"{folder}: no such model folder. Expected {', '.join(PROFILES)}, or a folder that `overtone export` wrote."
        )
    if not listing.is_file():
        raise ModelPackageError(
            f"{folder}: no model package, it has no {CHECKSUMS}. Write one with `overtone export --out DIR`."
        )
    try:
        lines = [line.split(maxsplit=1) for line in listing.read_text().splitlines() if line]
        sums = {name: digest for digest, name in lines}
    except (ValueError, UnicodeDecodeError):
        raise ModelPackageError(f"{listing}: not a list of checksums. Export or copy the model again.") from None
    for name in {GRAPH, CONFIGURATION, *sums}:
        path = folder / name
        if name not in sums or Path(name).name != name:
            raise ModelPackageError(f"{listing}: does not vouch for {name}. Export or copy the model again.")
        if not path.is_file():
            raise ModelPackageError(f"{folder}: {name} is missing. Export or copy the model again.")
        if file_digest(path) != sums[name]:
            raise ModelPackageError(f"{path}: differs from its checksum. Export or copy the model again.")
    return sums


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS over all files of a folder, in the form that ``sha256sum --check`` reads."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != CHECKSUMS)
    (folder / CHECKSUMS).write_text("".join(f"{file_digest(path)}  {path.name}\n" for path in files))


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _array(path: Path) -> NDArray[np.float32]:
    return np.load(path, allow_pickle=False) if path.is_file() else np.zeros(0, np.float32)


def _configuration(path: Path) -> dict[str, Any]:
    try:
        configuration = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelPackageError(f"{path}: not readable ({error}). Export or copy the model again.") from None
    if not isinstance(configuration, dict) or configuration.get("format") != FORMAT:
        raise ModelPackageError(f"{path}: not an Overtone model. Write one with `overtone export --out DIR`.")
    if (version := configuration.get("format_version")) != FORMAT_VERSION:
        raise ModelPackageError(
            f"{path}: expected package version {FORMAT_VERSION}, received {version}. "
            "Update Overtone, or export the model with this version."
        )
    return configuration
