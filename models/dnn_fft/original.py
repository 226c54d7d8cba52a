"""The original's DNN: FFT amplitudes of a frame to amplitudes of all frequencies, mean squared error, no context."""

import itertools
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from models.base import OPTIMISER_SPACE, Batch, Settings, SpeechModule
from models.search_space import Choice, IntRange, SearchSpace
from models.whole_file import RECONSTRUCTION_SPACE, Reconstruction, WholeFileSpectrogram


@dataclass(frozen=True)
class DnnFftOriginalSettings(Settings):
    """Hyper-parameters of :class:`DnnFftOriginalModule`.

    Attributes:
        muon: off, since the original used Adam.
        weight_decay: small, since there was hardly any.
        n_fft: samples of a chunk.
        widening: width of the hidden layers in multiples of the number of bins.
        reconstruction: ``griffin_lim``, the original's ``inverse_fft`` without a phase, or another of
            `models.reconstruction.methods.METHODS`.
    """

    muon: bool = False
    weight_decay: float = 1e-3
    n_fft: int = 512
    widening: int = 2
    reconstruction: Reconstruction = "griffin_lim"


class DnnFftOriginalModule(SpeechModule):
    """Training of the original's multilayer perceptron."""

    name: ClassVar[str] = "dnn_fft_original"
    settings_class: ClassVar[type[Settings]] = DnnFftOriginalSettings
    search_space: ClassVar[SearchSpace] = {
        **OPTIMISER_SPACE,
        **RECONSTRUCTION_SPACE,
        "n_fft": Choice((256, 512, 1024)),
        "widening": IntRange(1, 3),
    }
    network: WholeFileSpectrogram

    def __init__(self, sample_rate: int, settings: DnnFftOriginalSettings) -> None:
        super().__init__(sample_rate, settings)
        self.latency_samples = None
        bins = settings.n_fft // 2 + 1
        widths = [bins, settings.widening * bins, 2 * settings.widening * bins, settings.widening * bins]
        layers: list[nn.Module] = []
        for width, next_width in itertools.pairwise(widths):
            layers += [nn.Linear(width, next_width), nn.ReLU()]
        magnitudes = nn.Sequential(*layers, nn.Linear(widths[-1], bins))
        self.network = WholeFileSpectrogram(
            magnitudes, settings.n_fft, settings.reconstruction, sample_rate=sample_rate
        )

    def loss(self, batch: Batch) -> Tensor:
        """Return the mean squared error of amplitudes, as the original minimised."""
        return self.network.amplitude_error(batch, self.sample_rate)
