"""The frame around the plain magnitude models: causal spectra in, features, phase that streams, causal spectra out."""

import torch
from torch import Tensor

from models.streaming import Analysis, Excitation, History, StreamingNetwork, Synthesis

MAGNITUDE_FLOOR = 1e-3  # about -104 dB below a full-scale sine in a 512-sample window
QUIET = 1e-4


def unit(spectra: Tensor) -> Tensor:
    """Return spectra with all magnitudes 1, keeping the phase."""
    return spectra / (spectra.abs() + 1e-8)


def log_magnitude(spectra: Tensor) -> Tensor:
    """Return the natural logarithm of the magnitude above the floor."""
    return torch.log(spectra.abs() + MAGNITUDE_FLOOR)


class SpectralFrame(StreamingNetwork):
    """A magnitude network between a causal transform and its inverse.

    The network sees log-magnitudes of the narrowband and of its rectified excitation, ``(batch, 2, bins, frames)``,
    and answers four maps of the same size, ``(batch, 4, bins, frames)``, which :meth:`combine` turns into spectra.
    The phase of what is generated is that of the excitation's harmonics and of noise in a mixture that the network
    chooses: both come from the stream, so that nothing has to be inverted iteratively.

    Args:
        n_fft: window in samples, which is the latency.
        hop_length: samples between frames, a divisor of ``n_fft``.
    """

    def __init__(self, n_fft: int, hop_length: int) -> None:
        super().__init__()
        self.bins = n_fft // 2 + 1
        self.hop_samples = hop_length
        self.delay_samples = n_fft - hop_length
        self.excitation = Excitation()
        self.analysis = Analysis(n_fft, hop_length)
        self.synthesis = Synthesis(n_fft, hop_length)

    def process(self, waveform: Tensor, history: History) -> Tensor:
        """Enhance a block of whole hops."""
        harmonics, noise = self.excitation(waveform, history)
        spectra = self.analysis(waveform, history)
        harmonic_spectra = self.analysis(harmonics, history)
        noise_spectra = self.analysis(noise, history)
        features = torch.stack([log_magnitude(spectra), log_magnitude(harmonic_spectra)], dim=1)
        maps = self.predict((features + 2.0) / 3.0, history)
        voicing = torch.sigmoid(maps[:, 2])
        phase = unit(voicing * unit(harmonic_spectra) + (1 - voicing) * unit(noise_spectra))
        # Digital silence in, digital silence out: generated energy needs some input to hang on.
        level = spectra.abs().mean(dim=1, keepdim=True)
        audible = level / (level + QUIET)
        return self.synthesis(self.combine(spectra, audible * phase, maps), history)

    def predict(self, features: Tensor, history: History) -> Tensor:
        """Return four maps ``(batch, 4, bins, frames)`` for features ``(batch, 2, bins, frames)``."""
        raise NotImplementedError

    def combine(self, spectra: Tensor, phase: Tensor, maps: Tensor) -> Tensor:
        """Return the enhanced spectra from the narrowband's, a phase of magnitude 1 or less, and the maps."""
        raise NotImplementedError
