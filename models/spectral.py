"""The frame around the plain magnitude models: causal spectra in, features, phase that streams, causal spectra out."""

import torch
from torch import Tensor, nn

from models.streaming import Analysis, Excitation, History, StreamingNetwork, Synthesis

LEVEL_SECONDS = 1.0
LEVEL_FLOOR = 1e-3  # about -104 dB below a full-scale sine in a 512-sample window
MAGNITUDE_FLOOR = 3e-4  # of the running level
QUIET = 1e-4


def unit(spectra: Tensor) -> Tensor:
    """Return spectra with all magnitudes 1, keeping the phase."""
    return spectra / (spectra.abs() + 1e-8)


def log_magnitude(spectra: Tensor) -> Tensor:
    """Return the natural logarithm of the magnitude above the floor."""
    return torch.log(spectra.abs() + MAGNITUDE_FLOOR)


class RunningLevel(nn.Module):
    """Root mean square of a stream's spectra over the last frames, or over those that there were since its start.

    Args:
        frames: how far it looks back, the current frame included.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames

    def forward(self, spectra: Tensor, history: History) -> Tensor:
        """Return ``(batch, 1, frames)``, at least `LEVEL_FLOOR`, for spectra ``(batch, bins, frames)``."""
        power = spectra.abs().square().mean(dim=1, keepdim=True)
        heard = self._mean(torch.ones_like(power), history)
        return (self._mean(power, history) / heard).sqrt() + LEVEL_FLOOR

    def _mean(self, x: Tensor, history: History) -> Tensor:
        return nn.functional.avg_pool1d(history.extend(x, self.frames - 1), self.frames, stride=1)


class SpectralFrame(StreamingNetwork):
    """A magnitude network between a causal transform and its inverse.

    The network sees log-magnitudes of the narrowband and of its rectified excitation, ``(batch, 2, bins, frames)``,
    and answers four maps of the same size, ``(batch, 4, bins, frames)``, which :meth:`combine` turns into spectra.
    The phase of what is generated is that of the excitation's harmonics and of noise in a mixture that the network
    chooses: both come from the stream, so that nothing has to be inverted iteratively.

    Everything is relative to the level of the second before, so that the network need not learn speech at each level
    anew: recordings differ more in it than voices do.

    Args:
        sample_rate: in Hz.
        n_fft: window in samples, which is the latency.
        hop_length: samples between frames, a divisor of ``n_fft``.
    """

    def __init__(self, sample_rate: int, n_fft: int, hop_length: int) -> None:
        super().__init__()
        self.bins = n_fft // 2 + 1
        self.hop_samples = hop_length
        self.delay_samples = n_fft - hop_length
        self.level = RunningLevel(max(round(LEVEL_SECONDS * sample_rate / hop_length), 1))
        self.excitation = Excitation()
        self.analysis = Analysis(n_fft, hop_length)
        self.synthesis = Synthesis(n_fft, hop_length)

    def process(self, waveform: Tensor, history: History) -> Tensor:
        """Enhance a block of whole hops."""
        harmonics, noise = self.excitation(waveform, history)
        spectra = self.analysis(waveform, history)
        harmonic_spectra = self.analysis(harmonics, history)
        noise_spectra = self.analysis(noise, history)
        # Digital silence in, digital silence out: generated energy needs some input to hang on.
        magnitude = spectra.abs().mean(dim=1, keepdim=True)
        audible = magnitude / (magnitude + QUIET)
        level = self.level(spectra, history)
        relative = spectra / level
        maps = self.predict(self._features(relative, harmonic_spectra / level, level), history)
        voicing = torch.sigmoid(maps[:, 2])
        phase = unit(voicing * unit(harmonic_spectra) + (1 - voicing) * unit(noise_spectra))
        return self.synthesis(level * self.combine(relative, audible * phase, maps), history)

    def _features(self, spectra: Tensor, harmonic_spectra: Tensor, level: Tensor) -> Tensor:
        """Return log-magnitudes of about unit variance; at the Nyquist bin, which holds no speech, the level itself."""
        features = torch.stack([log_magnitude(spectra), log_magnitude(harmonic_spectra)], dim=1)
        levels = torch.log(level)[:, None].expand(-1, 2, -1, -1)
        return (torch.cat([features[:, :, :-1], levels], dim=2) + 2.0) / 3.0

    def predict(self, features: Tensor, history: History) -> Tensor:
        """Return four maps ``(batch, 4, bins, frames)`` for features ``(batch, 2, bins, frames)``."""
        raise NotImplementedError

    def combine(self, spectra: Tensor, phase: Tensor, maps: Tensor) -> Tensor:
        """Return the enhanced spectra from the narrowband's, a phase of magnitude 1 or less, and the maps.

        Both spectra are relative to the running level.
        """
        raise NotImplementedError
