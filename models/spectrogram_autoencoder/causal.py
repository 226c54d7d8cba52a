"""Spectrogram autoencoder: amplitude slices through three contractions to a third and three expansions.

The answer is the difference between the high-quality and the low-quality spectrogram, added to the input, as in the
original. What it lacked: a logarithmic scale, skip connections, memory over frames, and a phase.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.base import LOSS_SPACE, OPTIMISER_SPACE, Settings, StreamingModule
from models.search_space import IntRange, SearchSpace
from models.streaming.causal_layers import History
from models.streaming.spectral_frame import (
    MAGNITUDE_FLOOR,
    SPECTRAL_SPACE,
    SpectralFrame,
    SpectralSettings,
    unless_slight,
)

LAYERS = 3
REDUCTION = 3
SPEECH_ABOVE_FLOOR = 5.0  # natural logarithm of amplitudes


@dataclass(frozen=True)
class SpectrogramAutoencoderSettings(SpectralSettings):
    """Hyper-parameters of :class:`SpectrogramAutoencoderModule`.

    Attributes:
        learning_rate: weights that are shared along frequency allow a higher rate than those of one bin.
        channels: channels of the first encoder layer; each further one doubles them.
        frames: frames that each encoder layer sees, the current one included.
        memory: width of the recurrent layer between encoder and decoder.
    """

    learning_rate: float = 5e-3
    overlap: int = 4
    channels: int = 16
    frames: int = 2
    memory: int = 192


class Contraction(nn.Module):
    """Three bins become one: ``(batch, frames, bins, channels)`` to ``(batch, frames, bins / 3, out)``.

    A convolution with kernel and stride 3 along frequency that also sees past frames; with channels last it is one
    product of matrices, which is several times faster on a CPU than a convolution of these shapes.
    """

    def __init__(self, in_channels: int, out_channels: int, bins: int, frames: int) -> None:
        super().__init__()
        self.past = frames - 1
        self.layer = nn.Linear(in_channels * REDUCTION * frames, out_channels)
        self.place = place_code(bins // REDUCTION, out_channels)

    def forward(self, x: Tensor, history: History) -> Tensor:
        """Contract a block of frames after its past."""
        batch, frames, bins, channels = x.shape
        slices = x.reshape(batch, frames, bins // REDUCTION, REDUCTION * channels)
        extended = history.extend(slices, self.past, dim=1)
        past_and_now = [extended[:, start : start + frames] for start in range(self.past + 1)]
        return nn.functional.gelu(self.layer(torch.cat(past_and_now, dim=-1)) + self.place)


class Expansion(nn.Module):
    """One bin becomes three: ``(batch, frames, bins, channels)`` to ``(batch, frames, 3 bins, out)``."""

    def __init__(self, in_channels: int, out_channels: int, bins: int) -> None:
        super().__init__()
        self.layer = nn.Linear(in_channels, REDUCTION * out_channels)
        self.place = place_code(bins, REDUCTION * out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Expand a block of frames."""
        batch, frames, bins, _ = x.shape
        return nn.functional.gelu(self.layer(x) + self.place).view(batch, frames, REDUCTION * bins, -1)


def place_code(bins: int, channels: int) -> nn.Parameter:
    """Return a learned offset per bin: the weights are shared along frequency, but speech differs along it.

    Args:
        bins: along frequency.
        channels: values per bin.
    """
    return nn.Parameter(0.1 * torch.randn(bins, channels))


class SliceNetwork(SpectralFrame):
    """Three encoder and three decoder layers with skip connections, a recurrent layer between them."""

    def __init__(self, sample_rate: int, settings: SpectrogramAutoencoderSettings) -> None:
        super().__init__(sample_rate, settings)
        points = self.scale.points
        self.padding = -points % REDUCTION**LAYERS
        channels = [settings.channels * 2**layer for layer in range(LAYERS)]
        bins = [(points + self.padding) // REDUCTION**layer for layer in range(LAYERS + 1)]
        self.encoder = nn.ModuleList(
            Contraction(a, b, width, settings.frames)
            for (a, b), width in zip(itertools.pairwise([2, *channels]), bins, strict=False)
        )
        code = channels[-1] * bins[-1]
        self.memory = nn.GRU(code, settings.memory, batch_first=True)
        self.recall = nn.Linear(settings.memory, code)
        outputs = [*channels[-2::-1], settings.channels // 2]
        self.decoder = nn.ModuleList(
            Expansion(2 * a, b, width) for a, b, width in zip(channels[::-1], outputs, bins[:0:-1], strict=True)
        )
        self.last = nn.Linear(outputs[-1] + 2, 4)
        self.offset = nn.Parameter(torch.zeros(points, 4))
        nn.init.normal_(self.last.weight, std=1e-2)

    def predict(self, features: Tensor, history: History) -> Tensor:
        """Contract, remember, expand."""
        slices = features.permute(0, 3, 2, 1)
        x = nn.functional.pad(slices, (0, 0, 0, self.padding))
        skips = []
        for contraction in self.encoder:
            x = contraction(x, history)
            skips.append(x)
        recalled, state = self.memory(x.flatten(2), history.carried(self._nothing(x)))
        history.carry(state)
        x = x + self.recall(recalled).view_as(x)
        for expansion in self.decoder:
            x = expansion(torch.cat([x, skips.pop()], dim=-1))
        x = torch.cat([x[:, :, : self.scale.points], slices], dim=-1)
        return (self.last(x) + self.offset).permute(0, 3, 2, 1)

    def _nothing(self, x: Tensor) -> Tensor:
        return x.new_zeros(1, x.shape[0], self.memory.hidden_size)

    def combine(self, spectra: Tensor, material: Tensor, maps: Tensor) -> Tensor:
        """Add the difference to the input's log-magnitude; where the input is empty, material is generated.

        There the difference starts from the usual distance of speech to the floor instead of having to learn it.
        """
        emptiness = MAGNITUDE_FLOOR / (spectra.abs() + MAGNITUDE_FLOOR)
        difference = unless_slight(3.0 * maps[:, 1]) + emptiness * (SPEECH_ABOVE_FLOOR + 3.0 * maps[:, 3])
        return (spectra + MAGNITUDE_FLOOR * material) * torch.exp(difference.clamp(-9, 14))


class SpectrogramAutoencoderModule(StreamingModule):
    """Training of :class:`SliceNetwork`."""

    name: ClassVar[str] = "spectrogram_autoencoder"
    settings_class: ClassVar[type[Settings]] = SpectrogramAutoencoderSettings
    search_space: ClassVar[SearchSpace] = {
        **OPTIMISER_SPACE,
        **LOSS_SPACE,
        **SPECTRAL_SPACE,
        "channels": IntRange(8, 24, step=4),
        "frames": IntRange(1, 4),
        "memory": IntRange(64, 256, step=32),
    }

    def __init__(self, sample_rate: int, settings: SpectrogramAutoencoderSettings) -> None:
        super().__init__(sample_rate, settings, SliceNetwork(sample_rate, settings))
