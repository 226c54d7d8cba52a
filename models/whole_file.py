"""The frame around the seed's magnitude models: whole-file spectrogram in, magnitudes out, Griffin-Lim."""

from typing import Literal

import torch
from torch import Tensor, nn

from models.base import Batch
from models.losses import band_mask
from models.torchaudio_guard import GriffinLim

Reconstruction = Literal["griffin_lim", "inverse_fft"]


class WholeFileSpectrogram(nn.Module):
    """A magnitude network per frame between a centred STFT and a reconstruction of the waveform.

    Args:
        magnitudes: maps ``(batch, frames, bins)`` to the same shape, amplitudes in and out.
        n_fft: window in samples; hops are a quarter.
        reconstruction: ``griffin_lim`` (Griffin & Lim 1984), or ``inverse_fft`` of the amplitudes as they are, without
            a phase, which is what the original's first model did.
        iterations: of Griffin-Lim.
    """

    window: Tensor

    def __init__(
        self,
        magnitudes: nn.Module,
        n_fft: int,
        reconstruction: Reconstruction = "griffin_lim",
        iterations: int = 32,
    ) -> None:
        super().__init__()
        self.magnitudes = magnitudes
        self.n_fft, self.hop_length = n_fft, n_fft // 4
        self.reconstruction = reconstruction
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        # A phase that starts at zero makes the same waveform each time; a random one would not.
        self.griffin_lim = GriffinLim(n_fft, iterations, n_fft, self.hop_length, power=1.0, rand_init=False)

    def amplitudes(self, waveform: Tensor) -> Tensor:
        """Return the magnitude spectrogram ``(batch, frames, bins)`` of ``(batch, samples)``."""
        padded = nn.functional.pad(waveform, (0, max(self.n_fft - waveform.shape[-1], 0)))
        spectra = torch.stft(padded, self.n_fft, self.hop_length, window=self.window, return_complex=True)
        return spectra.abs().transpose(1, 2)

    def forward(self, narrowband: Tensor) -> Tensor:
        """Enhance whole waveforms ``(batch, samples)``."""
        samples = narrowband.shape[-1]
        predicted = self.magnitudes(self.amplitudes(narrowband)).transpose(1, 2).clamp_min(0)
        if self.reconstruction == "griffin_lim":
            waveform = self.griffin_lim(predicted)
        else:
            waveform = torch.istft(predicted.to(torch.complex64), self.n_fft, self.hop_length, window=self.window)
        return nn.functional.pad(waveform, (0, max(samples - waveform.shape[-1], 0)))[..., :samples]

    def amplitude_error(self, batch: Batch, sample_rate: int) -> Tensor:
        """Return the mean squared error of predicted amplitudes within each clip's band, a scalar."""
        predicted = self.magnitudes(self.amplitudes(batch["narrowband"]))
        mask = band_mask(batch["band_hz"], predicted.shape[-1], sample_rate).transpose(1, 2)
        difference = mask * (predicted - self.amplitudes(batch["wideband"]))
        return difference.square().sum() / (mask.sum() * predicted.shape[1])
