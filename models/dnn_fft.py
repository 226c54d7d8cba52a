"""DNN on FFT frames (Li & Lee 2015): log-magnitudes with context to log-magnitudes of all frequencies.

What the original lacked: context frames, a logarithmic scale, a loss on the waveform that comes out, the narrowband's
own spectrum kept where it is sound, and a phase.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.base import LOSS_SPACE, OPTIMISER_SPACE, Settings, StreamingModule
from models.search_space import Choice, IntRange, SearchSpace
from models.spectral import SpectralFrame
from models.streaming import CausalConv1d, History


@dataclass(frozen=True)
class DnnFftSettings(Settings):
    """Hyper-parameters of :class:`DnnFftModule`.

    Attributes:
        window_ms: analysis window, which is the latency.
        overlap: hops per window.
        context_frames: frames that the first layer sees, the current one included.
        hidden: width of the hidden layers.
        layers: hidden layers, each with a view of two frames.
    """

    window_ms: float = 32.0
    overlap: int = 4
    context_frames: int = 5
    hidden: int = 320
    layers: int = 4


class FrameNetwork(SpectralFrame):
    """Fully connected layers over a frame and its past; residual, as depth 2015 did not have."""

    def __init__(self, sample_rate: int, settings: DnnFftSettings) -> None:
        n_fft = window_samples(sample_rate, settings.window_ms, settings.overlap)
        super().__init__(n_fft, n_fft // settings.overlap)
        hidden = settings.hidden
        self.first = CausalConv1d(2 * self.bins, hidden, settings.context_frames)
        self.hidden = nn.ModuleList(CausalConv1d(hidden, hidden, 2) for _ in range(settings.layers))
        self.activations = nn.ModuleList(nn.PReLU(hidden) for _ in range(settings.layers + 1))
        self.last = nn.Conv1d(hidden, 4 * self.bins, 1)
        nn.init.normal_(self.last.weight, std=1e-3)
        with torch.no_grad():
            self.last.get_parameter("bias").view(4, self.bins)[3] = (
                2.0  # keep the narrowband until there is a reason not to
            )

    def predict(self, features: Tensor, history: History) -> Tensor:
        """Run the layers over frames."""
        batch, _, _, frames = features.shape
        hidden = self.activations[0](self.first(features.reshape(batch, -1, frames), history))
        for layer, activation in zip(self.hidden, self.activations[1:], strict=True):
            hidden = hidden + activation(layer(hidden, history))
        return self.last(hidden).view(batch, 4, self.bins, frames)

    def combine(self, spectra: Tensor, phase: Tensor, maps: Tensor) -> Tensor:
        """Blend the narrowband, under a gain, with the predicted amplitudes of all frequencies."""
        keep = torch.sigmoid(maps[:, 3])
        gain = torch.exp(maps[:, 0].clamp(-6, 6))
        amplitude = torch.exp((3.0 * maps[:, 1] - 2.0).clamp(-14, 7))  # full scale is window / 2: e^6.6 at 48 kHz
        return keep * gain * spectra + (1 - keep) * amplitude * phase


class DnnFftModule(StreamingModule):
    """Training of :class:`FrameNetwork`."""

    name: ClassVar[str] = "dnn_fft"
    settings_class: ClassVar[type[Settings]] = DnnFftSettings
    search_space: ClassVar[SearchSpace] = {
        **OPTIMISER_SPACE,
        **LOSS_SPACE,
        "window_ms": Choice((16.0, 24.0, 32.0)),
        "overlap": Choice((2, 4)),
        "context_frames": IntRange(1, 9),
        "hidden": IntRange(128, 512, step=64),
        "layers": IntRange(2, 6),
    }

    def __init__(self, sample_rate: int, settings: DnnFftSettings) -> None:
        super().__init__(sample_rate, settings, FrameNetwork(sample_rate, settings))


def window_samples(sample_rate: int, window_ms: float, overlap: int) -> int:
    """Return the window in samples, rounded to a multiple of twice the overlap."""
    unit_samples = 2 * overlap
    return max(round(sample_rate * window_ms / 1000 / unit_samples), 1) * unit_samples
