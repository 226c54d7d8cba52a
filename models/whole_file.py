"""The frame around the first published magnitude models: whole-file spectrogram in, magnitudes out, then a phase."""

import torch
from torch import Tensor, nn

from models.base import Batch
from models.batch_share import mean_over_shares
from models.losses import band_mask
from models.reconstruction.methods import METHODS, reconstruct
from models.search_space import Choice, SearchSpace
from overtone.errors import OvertoneError

Reconstruction = str  # "griffin_lim", "inverse_fft", or another name in `models.reconstruction.methods.METHODS`
# What the original called Griffin-Lim was librosa's, which has momentum unless told otherwise.
_SEED_NAMES = {"griffin_lim": "fast_griffin_lim"}
# The original's two, and those that make use of the narrowband's phase at little cost.
RECONSTRUCTION_SPACE: SearchSpace = {
    "reconstruction": Choice(
        ("griffin_lim", "inverse_fft", "fast_griffin_lim_from_narrowband", "folded_phase", "low_phase_kept_copied")
    )
}


class WholeFileSpectrogram(nn.Module):
    """A magnitude network per frame between a centred STFT and a reconstruction of the waveform.

    Args:
        magnitudes: maps ``(batch, frames, bins)`` to the same shape, amplitudes in and out.
        n_fft: window in samples; hops are a quarter.
        reconstruction: ``griffin_lim`` with momentum, ``inverse_fft`` of the amplitudes as they are, without a phase,
            which is what the original's first model did, or another of `models.reconstruction.methods.METHODS`.
        iterations: of methods that iterate.
        sample_rate: in Hz, for methods that need to know where the narrowband ends, which is then measured.

    Raises:
        OvertoneError: there is no such reconstruction.
    """

    window: Tensor

    def __init__(
        self,
        magnitudes: nn.Module,
        n_fft: int,
        reconstruction: Reconstruction = "griffin_lim",
        iterations: int = 32,
        sample_rate: int | None = None,
    ) -> None:
        super().__init__()
        self.magnitudes = magnitudes
        self.n_fft, self.hop_length = n_fft, n_fft // 4
        self.reconstruction = _SEED_NAMES.get(reconstruction, reconstruction)
        if self.reconstruction not in METHODS:
            raise OvertoneError(f"Unknown reconstruction {reconstruction!r}. Known: {', '.join(METHODS)}.")
        self.iterations, self.sample_rate = iterations, sample_rate
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def amplitudes(self, waveform: Tensor) -> Tensor:
        """Return the magnitude spectrogram ``(batch, frames, bins)`` of ``(batch, samples)``."""
        padded = nn.functional.pad(waveform, (0, max(self.n_fft - waveform.shape[-1], 0)))
        spectra = torch.stft(padded, self.n_fft, self.hop_length, window=self.window, return_complex=True)
        return spectra.abs().transpose(1, 2)

    def forward(self, narrowband: Tensor) -> Tensor:
        """Enhance whole waveforms ``(batch, samples)``."""
        predicted = self.magnitudes(self.amplitudes(narrowband)).transpose(1, 2).clamp_min(0)
        return reconstruct(
            predicted,
            self.reconstruction,
            n_fft=self.n_fft,
            hop_length=self.hop_length,
            narrowband=narrowband,
            sample_rate=self.sample_rate,
            iterations=self.iterations,
        )

    def amplitude_error(self, batch: Batch, sample_rate: int) -> Tensor:
        """Return the mean squared error of predicted amplitudes within each clip's band, a scalar.

        Args:
            batch: pairs with ``narrowband``, ``wideband`` and ``band_hz``.
            sample_rate: of the pairs, in Hz.
        """
        predicted = self.magnitudes(self.amplitudes(batch["narrowband"]))
        mask = band_mask(batch["band_hz"], predicted.shape[-1], sample_rate).transpose(1, 2)
        difference = mask * (predicted - self.amplitudes(batch["wideband"]))
        return difference.square().sum() / (mean_over_shares(mask.sum()) * predicted.shape[1])
