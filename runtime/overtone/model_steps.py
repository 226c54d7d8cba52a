"""A model's graph as a causal step over waveforms of several channels, with what belongs to it outside the graph."""

from math import lcm, log2
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from overtone.model_package import SPECTRAL, GraphRun, Model
from overtone.preservation import Preservation
from overtone.short_time import Analysis, Delay, Samples, Synthesis, root_hann

BLEND_SECONDS, BLEND_OVERLAP = 0.0213, 4


class ChannelStep(Protocol):
    """A causal system with a memory over several channels.

    Attributes:
        hop_samples: blocks are multiples of this.
        delay_samples: how late the output is against the input.
        preservation: what keeps the input's own content; None where it is not kept.
    """

    hop_samples: int
    delay_samples: int
    preservation: Preservation | None

    def __call__(self, block: Samples) -> Samples:
        """Process ``(channels, hops * hop_samples)`` samples that follow those of the last call."""
        ...


def open_step(model: Model, channels: int, upper_hz: float, *, preserve: bool) -> ChannelStep:
    """Return the step of a new stream.

    Args:
        model: what enhances.
        channels: of the stream.
        upper_hz: what the input's bandwidth cannot exceed.
        preserve: whether the input's own content replaces the model's output.
    """
    step = SpectralStep if model.front_end == SPECTRAL else WaveformStep
    return step(model, channels, upper_hz, preserve=preserve)


class SpectralStep:
    """The step of a model between a transform and its inverse: the graph sees spectra.

    The transforms are numpy's: in the graph, as a product with a matrix or as ONNX Runtime's own transform, they take
    several times as long as the network. They follow `models.streaming.spectral_frame` exactly, the noise included.
    """

    def __init__(self, model: Model, channels: int, upper_hz: float, *, preserve: bool) -> None:
        self.hop_samples, self.delay_samples = model.hop_samples, model.delay_samples
        n_fft, hop_samples = len(model.window), model.hop_samples
        self.preservation = (
            Preservation(channels, model.sample_rate, n_fft, hop_samples, upper_hz, model.widest_input_hz)
            if preserve
            else None
        )
        self._graph = GraphRun(model, channels)
        self._noise, self._position = model.noise, 0
        self._rectified = np.zeros((channels, 1), np.float32)
        self._analysis = Analysis(2 * channels + 1, model.window, hop_samples)
        self._synthesis = Synthesis(channels, model.window, hop_samples)

    def __call__(self, block: Samples) -> Samples:
        """Enhance whole hops."""
        channels = len(block)
        spectra = self._analysis(np.concatenate([block, self._harmonics(block), self._noise_of(block.shape[1])]))
        parts = spectra.view(np.float32).reshape(*spectra.shape, 2)
        answered = self._graph(spectra=parts[:channels], harmonic_spectra=parts[channels:-1], noise_spectra=parts[-1:])
        enhanced = answered.view(np.complex64)[..., 0]
        if self.preservation is not None:
            enhanced = self.preservation(enhanced, spectra[:channels])
        return self._synthesis(enhanced)

    def _harmonics(self, block: Samples) -> Samples:
        """Return the rectified waveform without direct current, as `models.streaming.causal_layers.Excitation`."""
        line = np.concatenate([self._rectified, np.abs(block)], axis=1)
        self._rectified = line[:, -1:]
        return np.diff(line, axis=1)

    def _noise_of(self, samples: int) -> Samples:
        index = (self._position + np.arange(samples)) % len(self._noise)
        self._position = (self._position + samples) % len(self._noise)
        return self._noise[index][None]


class WaveformStep:
    """The step of a model whose graph sees waveforms.

    Where the input's own content is kept, both are transformed in a short window (21 ms at 48 kHz, overlap 4), blended
    and transformed back, which adds that window to the delay.
    """

    def __init__(self, model: Model, channels: int, upper_hz: float, *, preserve: bool) -> None:
        self._graph, self._graph_hop = GraphRun(model, channels), model.hop_samples
        self.hop_samples, self.delay_samples = model.hop_samples, model.delay_samples
        self.preservation: Preservation | None = None
        if preserve:
            n_fft = 2 ** round(log2(BLEND_SECONDS * model.sample_rate))
            hop_samples = n_fft // BLEND_OVERLAP
            self.hop_samples = lcm(model.hop_samples, hop_samples)
            self.delay_samples += n_fft - hop_samples
            self.preservation = Preservation(
                channels, model.sample_rate, n_fft, hop_samples, upper_hz, model.widest_input_hz
            )
            self._delay, self._warm_up = Delay(channels, model.delay_samples), model.delay_samples
            self._analysis = Analysis(2 * channels, root_hann(n_fft), hop_samples)
            self._synthesis = Synthesis(channels, root_hann(n_fft), hop_samples)

    def __call__(self, block: Samples) -> Samples:
        """Enhance whole hops."""
        channels = len(block)
        enhanced: NDArray[np.float32] = self._graph(waveform=block.reshape(channels, -1, self._graph_hop))
        enhanced = enhanced.reshape(channels, -1)
        if self.preservation is None:
            return enhanced
        silent = min(self._warm_up, block.shape[1])
        self._warm_up -= silent
        enhanced[:, :silent] = 0  # an answer to the graph's own initial state, which the windows would spread
        spectra = self._analysis(np.concatenate([enhanced, self._delay(block)]))
        return self._synthesis(self.preservation(spectra[:channels], spectra[channels:]))
