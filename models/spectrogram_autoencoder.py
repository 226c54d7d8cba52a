"""Spectrogram autoencoder: amplitude slices through three contractions to a third and three expansions.

The answer is the difference between the high-quality and the low-quality spectrogram, added to the input, as in the
original. What it lacked: a logarithmic scale, skip connections, memory over frames, and a phase.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.base import Settings, StreamingModule
from models.dnn_fft import window_samples
from models.spectral import MAGNITUDE_FLOOR, SpectralFrame
from models.streaming import History

LAYERS = 3
REDUCTION = 3
KERNEL = 5  # bins that a contraction to one third sees


@dataclass(frozen=True)
class SpectrogramAutoencoderSettings(Settings):
    """Hyper-parameters of :class:`SpectrogramAutoencoderModule`.

    Attributes:
        window_ms: analysis window, which is the latency.
        overlap: hops per window.
        channels: channels of the first encoder layer; each further one doubles them.
        frames: frames that each encoder layer sees, the current one included.
        memory: width of the recurrent layer between encoder and decoder.
    """

    window_ms: float = 32.0
    overlap: int = 4
    channels: int = 16
    frames: int = 2
    memory: int = 160


class Contraction(nn.Module):
    """Three bins become one: ``(batch, channels, bins, frames)`` to ``(batch, out, bins / 3, frames)``.

    A convolution with stride 3 along frequency that also sees past frames, written as a product with the unfolded
    slices, which is several times faster on a CPU at these shapes.
    """

    def __init__(self, in_channels: int, out_channels: int, frames: int) -> None:
        super().__init__()
        self.past = frames - 1
        self.layer = nn.Conv2d(in_channels * KERNEL * frames, out_channels, 1)
        self.activation = nn.PReLU(out_channels)

    def forward(self, x: Tensor, history: History) -> Tensor:
        """Contract a block of frames after its past."""
        count = x.shape[-1]
        extended = history.extend(x, self.past)
        past_and_now = [extended[..., start : start + count] for start in range(self.past + 1)]
        stacked = nn.functional.pad(torch.cat(past_and_now, dim=1), (0, 0, 1, 1))
        slices = stacked.unfold(2, KERNEL, REDUCTION).permute(0, 1, 4, 2, 3)
        return self.activation(self.layer(slices.flatten(1, 2)))


class Expansion(nn.Module):
    """One bin becomes three: ``(batch, channels, bins, frames)`` to ``(batch, out, 3 bins, frames)``."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(in_channels, REDUCTION * out_channels, 1)
        self.activation = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Expand a block of frames."""
        batch, _, bins, frames = x.shape
        expanded = self.layer(x).view(batch, -1, REDUCTION, bins, frames).transpose(2, 3)
        return self.activation(expanded.reshape(batch, -1, REDUCTION * bins, frames))


class SliceNetwork(SpectralFrame):
    """Three encoder and three decoder layers with skip connections, a recurrent layer between them."""

    def __init__(self, sample_rate: int, settings: SpectrogramAutoencoderSettings) -> None:
        n_fft = window_samples(sample_rate, settings.window_ms, settings.overlap)
        super().__init__(n_fft, n_fft // settings.overlap)
        self.padding = -self.bins % REDUCTION**LAYERS
        channels = [settings.channels * 2**layer for layer in range(LAYERS)]
        self.encoder = nn.ModuleList(Contraction(a, b, settings.frames) for a, b in itertools.pairwise([2, *channels]))
        code = channels[-1] * ((self.bins + self.padding) // REDUCTION**LAYERS)
        self.memory = nn.GRU(code, settings.memory, batch_first=True)
        self.recall = nn.Linear(settings.memory, code)
        outputs = [*channels[-2::-1], settings.channels // 2]
        self.decoder = nn.ModuleList(Expansion(2 * a, b) for a, b in zip(channels[::-1], outputs, strict=True))
        self.last = nn.Conv2d(outputs[-1] + 2, 4, 1)
        self.offset = nn.Parameter(torch.zeros(1, 4, self.bins, 1))
        nn.init.normal_(self.last.weight, std=1e-2)

    def predict(self, features: Tensor, history: History) -> Tensor:
        """Contract, remember, expand."""
        x = nn.functional.pad(features, (0, 0, 0, self.padding))
        skips = []
        for contraction in self.encoder:
            x = contraction(x, history)
            skips.append(x)
        x = x + self._remember(x, history)
        for expansion in self.decoder:
            x = expansion(torch.cat([x, skips.pop()], dim=1))
        x = torch.cat([x[:, :, : self.bins], features], dim=1)
        return self.last(x) + self.offset

    def _remember(self, code: Tensor, history: History) -> Tensor:
        batch, channels, slices, frames = code.shape
        flat = code.reshape(batch, channels * slices, frames).transpose(1, 2)
        recalled, state = self.memory(flat, history.carried(code.new_zeros(1, batch, self.memory.hidden_size)))
        history.carry(state)
        return self.recall(recalled).transpose(1, 2).reshape(code.shape)

    def combine(self, spectra: Tensor, phase: Tensor, maps: Tensor) -> Tensor:
        """Add the difference to the input's log-magnitude; where the input is silent, the phase is generated."""
        difference = torch.exp((3.0 * maps[:, 1]).clamp(-9, 14))
        return (spectra + MAGNITUDE_FLOOR * phase) * difference


class SpectrogramAutoencoderModule(StreamingModule):
    """Training of :class:`SliceNetwork`."""

    name: ClassVar[str] = "spectrogram_autoencoder"
    settings_class: ClassVar[type[Settings]] = SpectrogramAutoencoderSettings

    def __init__(self, sample_rate: int, settings: SpectrogramAutoencoderSettings) -> None:
        super().__init__(sample_rate, settings, SliceNetwork(sample_rate, settings))
