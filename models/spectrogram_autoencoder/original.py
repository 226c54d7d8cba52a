"""The original's autoencoder: amplitude slices, each layer a third, the difference added to the input, Griffin-Lim."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from models.base import OPTIMISER_SPACE, Batch, Settings, SpeechModule
from models.search_space import Choice, SearchSpace
from models.whole_file import RECONSTRUCTION_SPACE, Reconstruction, WholeFileSpectrogram

REDUCTION = 3


@dataclass(frozen=True)
class SpectrogramAutoencoderOriginalSettings(Settings):
    """Hyper-parameters of :class:`SpectrogramAutoencoderOriginalModule`.

    Attributes:
        muon: off, since the original used Adam.
        weight_decay: small, since there was hardly any.
        n_fft: window in samples.
        reconstruction: the original's ``griffin_lim``, or another of `models.reconstruction.methods.METHODS`.
    """

    muon: bool = False
    weight_decay: float = 1e-3
    n_fft: int = 2048
    reconstruction: Reconstruction = "griffin_lim"


class SliceAutoencoder(nn.Module):
    """Three encoder and three decoder layers over one slice ``(..., bins)``; the output is added to the input."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        widths = [bins]
        for _ in range(3):
            widths.append(-(-widths[-1] // REDUCTION))
        widths += widths[-2::-1]
        layers: list[nn.Module] = []
        for width, next_width in itertools.pairwise(widths):
            layers += [nn.Linear(width, next_width), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, amplitudes: Tensor) -> Tensor:
        """Add the predicted difference."""
        return amplitudes + self.layers(amplitudes)


class SpectrogramAutoencoderOriginalModule(SpeechModule):
    """Training of the original's autoencoder."""

    name: ClassVar[str] = "spectrogram_autoencoder_original"
    settings_class: ClassVar[type[Settings]] = SpectrogramAutoencoderOriginalSettings
    search_space: ClassVar[SearchSpace] = {
        **OPTIMISER_SPACE,
        **RECONSTRUCTION_SPACE,
        "n_fft": Choice((512, 1024, 2048)),
    }
    network: WholeFileSpectrogram

    def __init__(self, sample_rate: int, settings: SpectrogramAutoencoderOriginalSettings) -> None:
        super().__init__(sample_rate, settings)
        self.latency_samples = None
        magnitudes = SliceAutoencoder(settings.n_fft // 2 + 1)
        self.network = WholeFileSpectrogram(
            magnitudes, settings.n_fft, settings.reconstruction, sample_rate=sample_rate
        )

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean squared error of amplitudes, as the original minimised."""
        return self.network.amplitude_error(batch, self.sample_rate)
