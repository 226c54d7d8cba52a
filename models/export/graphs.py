"""Streaming networks as ONNX graphs: one call is a block of hops, and every memory is an input and an output."""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import onnx
import torch
from torch import Tensor, nn
from torch.export import Dim

from models.export.forms import ComplexPair, make_convolutions_products
from models.streaming.causal_layers import History, StreamingNetwork
from models.streaming.spectral_frame import SpectralFrame
from overtone.model_package import SPECTRAL, WAVEFORM, State

OPSET = 20
MOST_CHANNELS, MOST_HOPS = 256, 1 << 16
EXAMPLE_CHANNELS, EXAMPLE_HOPS = 2, 5  # neither 1, which the exporter takes for constant


@dataclass(frozen=True)
class Graph:
    """What the runtime must know of a graph.

    Attributes:
        front_end: ``spectral``, with inputs ``spectra``, ``harmonic_spectra`` ``(channels, hops, bins, 2)`` and
            ``noise_spectra`` ``(1, hops, bins, 2)``, real and imaginary part last; or ``waveform``, with the input
            ``waveform`` ``(channels, hops, hop_samples)``. ``output`` has the shape of the first input.
        states: inputs, each with an output ``next_<name>``.
    """

    front_end: str
    states: tuple[State, ...]


class NamedHistory(History):
    """A history that notes which layer keeps each of its tensors."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.names: list[str] = []
        self._asking: list[str] = []
        self._hooks = []
        for name, module in network.named_modules():
            self._hooks.append(module.register_forward_pre_hook(lambda *_, name=name: self._asking.append(name)))
            self._hooks.append(module.register_forward_hook(lambda *_: self._leave()))

    def _leave(self) -> None:
        self._asking.pop()

    def carry(self, state: Tensor) -> None:
        """Keep a state, and the name of the layer that asks."""
        layer = (self._asking[-1] if self._asking else "").replace(".", "_") or "network"
        self.names.append(f"past_{len(self.names)}_{layer}")
        super().carry(state)

    def close(self) -> None:
        """Remove what was hung into the network."""
        for hook in self._hooks:
            hook.remove()


class StepGraph(nn.Module):
    """A network's step as a function of its inputs and states; subclasses say what its inputs are."""

    network: StreamingNetwork

    def forward(self, inputs: Sequence[Tensor], states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the answer to a block of hops, and the states after it."""
        history = History(states)
        return self.answer(inputs, history), *history.next

    def answer(self, inputs: Sequence[Tensor], history: History) -> Tensor:
        """Return the answer to a block of hops, in the shape of the first input.

        Args:
            inputs: in the order of :class:`Graph`, ``(channels, hops, ...)``.
            history: the past of the network's layers.
        """
        raise NotImplementedError


class SpectralGraph(StepGraph):
    """A `SpectralFrame` from spectra to spectra: the runtime transforms."""

    def __init__(self, network: SpectralFrame) -> None:
        super().__init__()
        self.network: SpectralFrame = network

    def answer(self, inputs: Sequence[Tensor], history: History) -> Tensor:
        """Enhance frames, given their spectra, their harmonics' and the noise's."""
        # Pairs offer the operations of complex tensors that `enhance_spectra` uses.
        spectra, harmonics, noise = (cast(Tensor, ComplexPair(one.transpose(1, 2))) for one in inputs)
        enhanced = cast(ComplexPair, self.network.enhance_spectra(spectra, harmonics, noise, history))
        return enhanced.parts.transpose(1, 2)


class WaveformGraph(StepGraph):
    """Any streaming network from hops to hops."""

    def __init__(self, network: StreamingNetwork) -> None:
        super().__init__()
        self.network = network

    def answer(self, inputs: Sequence[Tensor], history: History) -> Tensor:
        """Run hops."""
        (waveform,) = inputs
        return self.network.process(waveform.flatten(1), history).view_as(waveform)


def export_graph(network: StreamingNetwork, path: Path) -> Graph:
    """Write a network as an ONNX graph with all weights inside.

    Args:
        network: in evaluation mode, on the CPU; a copy of it is exported.
        path: of the file.

    Returns:
        How to run it.
    """
    network = copy.deepcopy(network)
    make_convolutions_products(network)
    module, inputs = _step_graph(network)
    states = _states(module, list(inputs.values()))
    examples = [torch.from_numpy(state.initial(EXAMPLE_CHANNELS)) for state in states]
    channels, hops = Dim("channels", max=MOST_CHANNELS), Dim("hops", max=MOST_HOPS)
    shapes = [{1: hops} if name == "noise_spectra" else {0: channels, 1: hops} for name in inputs]
    axes = [None if one.channel_axis is None else {one.channel_axis: channels} for one in states]
    with _silent():
        torch.onnx.export(
            module,
            (list(inputs.values()), examples),
            path,
            input_names=[*inputs, *(state.name for state in states)],
            output_names=["output", *(f"next_{state.name}" for state in states)],
            dynamic_shapes=(shapes, axes),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            optimize=False,  # it takes 1e-8, which keeps a division finite, for 0; ONNX Runtime optimises anyway
        )
    _drop_notes(path)
    return Graph(SPECTRAL if isinstance(network, SpectralFrame) else WAVEFORM, tuple(states))


def _drop_notes(path: Path) -> None:
    """Remove what torch notes beside a graph: where its code lies on the machine of whoever exported it."""
    graph = onnx.load(path)
    for part in (*graph.graph.node, *graph.graph.value_info, *graph.graph.input, *graph.graph.output):
        part.ClearField("metadata_props")
    onnx.save(graph, path)


def _step_graph(network: StreamingNetwork) -> tuple[StepGraph, dict[str, Tensor]]:
    """Return the module to export, with examples of its inputs."""
    if not isinstance(network, SpectralFrame):
        return WaveformGraph(network), {"waveform": torch.randn(EXAMPLE_CHANNELS, EXAMPLE_HOPS, network.hop_samples)}
    spectra = torch.randn(EXAMPLE_CHANNELS, EXAMPLE_HOPS, network.bins, 2)
    inputs = {"spectra": spectra, "harmonic_spectra": spectra.clone(), "noise_spectra": spectra[:1].clone()}
    return SpectralGraph(network), inputs


@torch.no_grad()
def _states(module: StepGraph, inputs: Sequence[Tensor]) -> list[State]:
    """Learn which states the network keeps, and on which axis their channels are, by running two and one channels."""
    two = NamedHistory(module.network)
    module.answer(inputs, two)
    two.close()
    one = History()
    module.answer([tensor[:1] for tensor in inputs], one)
    return [_state(*kept) for kept in zip(two.names, two.next, one.next, strict=True)]


def _state(name: str, of_two: Tensor, of_one: Tensor) -> State:
    sizes = enumerate(zip(of_two.shape, of_one.shape, strict=True))
    channel_axis = next((axis for axis, (two, one) in sizes if two != one), None)
    return State(name, tuple(of_one.shape), channel_axis, str(of_one.dtype).removeprefix("torch."))


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep the exporter's progress and its remarks on absent optional packages from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
