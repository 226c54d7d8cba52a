"""DNN on FFT frames (Li & Lee 2015): log-magnitudes with context to log-magnitudes of all frequencies.

What the original lacked: context frames, a logarithmic scale, a loss on the waveform that comes out, the narrowband's
own spectrum kept where it is sound, and a phase.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from models.base import LOSS_SPACE, OPTIMISER_SPACE, Settings, StreamingModule
from models.search_space import IntRange, SearchSpace
from models.streaming.causal_layers import History
from models.streaming.spectral_frame import SPECTRAL_SPACE, SpectralFrame, SpectralSettings, unless_slight


@dataclass(frozen=True)
class DnnFftSettings(SpectralSettings):
    """Hyper-parameters of :class:`DnnFftModule`.

    Attributes:
        hidden: width of the hidden layers.
        layers: hidden layers; each looks back twice as far as the one before, the first by one frame.
    """

    hidden: int = 256
    layers: int = 6


class TimeDelayLayer(nn.Module):
    """A residual layer over a frame and the one ``delay`` frames before it (Peddinti 2015, section 3.1).

    With doubled delays the context grows exponentially with depth, and each frame still costs two products of matrices.
    """

    def __init__(self, hidden: int, delay: int) -> None:
        super().__init__()
        self.delay = delay
        self.norm = nn.LayerNorm(hidden)
        self.pair = nn.Linear(2 * hidden, hidden)
        self.mix = nn.Linear(hidden, hidden)
        nn.init.normal_(self.mix.weight, std=0.01)

    def forward(self, x: Tensor, history: History) -> Tensor:
        """Add what the layer finds to a block of frames ``(batch, frames, hidden)``."""
        now = self.norm(x)
        past = history.extend(now, self.delay, dim=1)[:, : x.shape[1]]
        return x + self.mix(nn.functional.gelu(self.pair(torch.cat([past, now], dim=-1))))


class FrameNetwork(SpectralFrame):
    """Fully connected layers over a frame and its past; residual, as depth 2015 did not have."""

    def __init__(self, sample_rate: int, settings: DnnFftSettings) -> None:
        super().__init__(sample_rate, settings)
        hidden, points = settings.hidden, self.scale.points
        self.first = nn.Linear(2 * points, hidden)
        self.layers = nn.ModuleList(TimeDelayLayer(hidden, 2**layer) for layer in range(settings.layers))
        self.norm = nn.LayerNorm(hidden)
        self.last = nn.Linear(hidden, 4 * points)
        nn.init.normal_(self.last.weight, std=1e-3)
        with torch.no_grad():  # keep the narrowband until there is a reason not to
            self.last.get_parameter("bias").view(4, points)[3] = 2.2

    def predict(self, features: Tensor, history: History) -> Tensor:
        """Run the layers over frames."""
        batch, _, _, frames = features.shape
        x = self.first(features.reshape(batch, -1, frames).transpose(1, 2))
        for layer in self.layers:
            x = layer(x, history)
        maps = self.last(nn.functional.gelu(self.norm(x)))
        return maps.transpose(1, 2).reshape(batch, 4, self.scale.points, frames)

    def combine(self, spectra: Tensor, material: Tensor, maps: Tensor) -> Tensor:
        """Fill the narrowband, under a gain, up to the predicted amplitudes; what is sound passes as it is.

        Above `FINE_HZ` a group of bins has one answer, and the cutoff lies within a group. So the fill looks at each
        bin: all of the amplitude where nothing is, the less the more is there, and no hole beside the cutoff.
        """
        keep = (1.1 * torch.sigmoid(maps[:, 3])).clamp_max(1.0)
        gain = torch.exp(unless_slight(maps[:, 0].clamp(-6, 6)))
        amplitude = torch.exp((3.0 * maps[:, 1] - 2.0).clamp(-14, 7))  # full scale is window / 2: e^6.6 at 48 kHz
        kept = gain * spectra
        return kept + (1 - keep) * amplitude.square() / (amplitude + kept.abs()) * material


class DnnFftModule(StreamingModule):
    """Training of :class:`FrameNetwork`."""

    name: ClassVar[str] = "dnn_fft"
    settings_class: ClassVar[type[Settings]] = DnnFftSettings
    search_space: ClassVar[SearchSpace] = {
        **OPTIMISER_SPACE,
        **LOSS_SPACE,
        **SPECTRAL_SPACE,
        "hidden": IntRange(128, 512, step=64),
        "layers": IntRange(3, 7),
    }

    def __init__(self, sample_rate: int, settings: DnnFftSettings) -> None:
        super().__init__(sample_rate, settings, FrameNetwork(sample_rate, settings))
