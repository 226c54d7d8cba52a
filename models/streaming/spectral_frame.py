"""The frame around the causal magnitude models: causal spectra in, features, phase that streams, causal spectra out."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.base import Settings
from models.search_space import Choice, FloatRange, SearchSpace
from models.streaming.causal_layers import Analysis, Excitation, History, StreamingNetwork, Synthesis, running_mean

LEVEL_SECONDS = 1.0
FINE_HZ = 4000.0  # harmonics are told apart up to here
LEVEL_FLOOR = 2e-4  # about -118 dB below a full-scale sine in a 512-sample window
MAGNITUDE_FLOOR = 3e-4  # of the running level
QUIET = 3e-5
MATERIAL_FLOOR = 1e-3  # of generated material, whose magnitudes are about 1
SLIGHT = 0.1  # natural logarithm of amplitudes, 0.9 dB
SPECTRAL_SPACE: SearchSpace = {
    "window_ms": Choice((16.0, 24.0, 32.0)),
    "overlap": Choice((2, 4)),
    "coarse_hz": FloatRange(30.0, 600.0, log=True),
}


@dataclass(frozen=True)
class SpectralSettings(Settings):
    """Hyper-parameters of every :class:`SpectralFrame`; each architecture adds its own.

    Attributes:
        window_ms: analysis window, which is the latency.
        overlap: hops per window.
        coarse_hz: width of the groups of bins above `FINE_HZ` that have one answer each.
    """

    window_ms: float = 32.0
    overlap: int = 2
    coarse_hz: float = 160.0


def log_magnitude(spectra: Tensor) -> Tensor:
    """Return the natural logarithm of the magnitude above the floor."""
    return torch.log(spectra.abs() + MAGNITUDE_FLOOR)


def unless_slight(change: Tensor) -> Tensor:
    """Return a change of log-magnitude that all but vanishes below `SLIGHT` and is whole above.

    A network's answer is never quite 0. Cubed where it is small, it lets through exactly what needs no change.
    """
    squared = change.square()
    return change * squared / (squared + SLIGHT**2)


def compressed(material: Tensor) -> Tensor:
    """Return spectra with the square root of their magnitudes and their own phase.

    Noise under a window has bins near 0 that no speech of that level has there, and peaks above it. The square root
    halves both in decibels, which lowers the log-spectral distance; smaller exponents gain nothing more.
    """
    return material * torch.rsqrt(material.abs() + MATERIAL_FLOOR)


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
        return running_mean(power, self.frames, history).sqrt() + LEVEL_FLOOR


class FrequencyScale:
    """The points along frequency that a network works on: every bin up to `FINE_HZ`, groups of bins above.

    What is missing above is an envelope. A network that answers it bin by bin answers noise that no speech has, and
    learns slower: grouped, it is as good after a fifth of the examples. The Nyquist bin stays alone.

    Args:
        sample_rate: in Hz.
        n_fft: window in samples.
        coarse_hz: width of a group, at least one bin.
    """

    def __init__(self, sample_rate: int, n_fft: int, coarse_hz: float) -> None:
        bin_hz, bins = sample_rate / n_fft, n_fft // 2 + 1
        self.group = max(round(coarse_hz / bin_hz), 1)
        self.groups = max(bins - 1 - round(FINE_HZ / bin_hz), 0) // self.group
        self.fine = bins - 1 - self.groups * self.group
        self.points = self.fine + self.groups + 1

    def pooled(self, x: Tensor) -> Tensor:
        """Return means over groups: ``(batch, channels, bins, frames)`` to ``(batch, channels, points, frames)``."""
        fine, grouped, last = x.split([self.fine, self.groups * self.group, 1], dim=2)
        return torch.cat([fine, grouped.unflatten(2, (self.groups, self.group)).mean(dim=3), last], dim=2)

    def spread(self, x: Tensor) -> Tensor:
        """Give each bin its group's value: ``(batch, channels, points, frames)`` to ``(..., bins, frames)``."""
        fine, groups, last = x.split([self.fine, self.groups, 1], dim=2)
        grouped = groups[:, :, :, None].expand(-1, -1, -1, self.group, -1).flatten(2, 3)
        return torch.cat([fine, grouped, last], dim=2)


class SpectralFrame(StreamingNetwork):
    """A magnitude network between a causal transform and its inverse.

    The network sees log-magnitudes of the narrowband and of its rectified excitation on a :class:`FrequencyScale`,
    ``(batch, 2, points, frames)``, and answers four maps of the same size, which :meth:`combine` turns into spectra.
    What is generated has phase and fine structure of the excitation's harmonics and of noise, in a mixture that the
    network chooses: both come from the stream, so that nothing has to be inverted iteratively. Magnitudes of 1 in all
    bins would be nearer to any target by the log-spectral distance, and flatter than any speech.

    Everything is relative to the level of the second before, and the network never learns that level: the same speech
    24 dB quieter gets the same band. Recordings differ more in level than voices do.

    Args:
        sample_rate: in Hz.
        settings: window, hops and groups of bins.
    """

    def __init__(self, sample_rate: int, settings: SpectralSettings) -> None:
        super().__init__()
        n_fft = window_samples(sample_rate, settings.window_ms, settings.overlap)
        hop_length = n_fft // settings.overlap
        self.bins = n_fft // 2 + 1
        self.scale = FrequencyScale(sample_rate, n_fft, settings.coarse_hz)
        self.noise_gain = (2 / n_fft) ** 0.5  # noise of unit variance under this window becomes noise of unit power
        self.hop_samples = hop_length
        self.delay_samples = n_fft - hop_length
        self.level = RunningLevel(max(round(LEVEL_SECONDS * sample_rate / hop_length), 1))
        self.excitation = Excitation()
        self.analysis = Analysis(n_fft, hop_length)
        self.synthesis = Synthesis(n_fft, hop_length)

    def process(self, waveform: Tensor, history: History) -> Tensor:
        """Enhance a block of whole hops."""
        harmonics, noise = self.excitation(waveform, history)
        spectra, harmonic_spectra, noise_spectra = (self.analysis(one, history) for one in (waveform, harmonics, noise))
        return self.synthesis(self.enhance_spectra(spectra, harmonic_spectra, noise_spectra, history), history)

    def enhance_spectra(
        self, spectra: Tensor, harmonic_spectra: Tensor, noise_spectra: Tensor, history: History
    ) -> Tensor:
        """Enhance a block of frames, without the transforms; exported graphs hold this part.

        Args:
            spectra: of the narrowband, complex ``(batch, bins, frames)``.
            harmonic_spectra: of its harmonics, in the same shape.
            noise_spectra: of noise of unit variance, in the same shape; one noise for the whole batch is enough.
            history: the past of the network's layers.

        Returns:
            The enhanced spectra, in the shape of ``spectra``.
        """
        # Digital silence in, digital silence out: generated energy needs some input to hang on.
        magnitude = spectra.abs().mean(dim=1, keepdim=True)
        audible = magnitude / (magnitude + QUIET)
        level = self.level(spectra, history)
        relative = spectra / level
        features = self._features(relative, harmonic_spectra / level)
        maps = self.scale.spread(self.predict(self.scale.pooled(features), history))
        voicing = torch.sigmoid(maps[:, 2])
        material = voicing * self._whitened(harmonic_spectra) + (1 - voicing) * (noise_spectra * self.noise_gain)
        return level * self.combine(relative, audible * compressed(material), maps)

    def _whitened(self, spectra: Tensor) -> Tensor:
        """Divide spectra by the mean magnitude of each group of bins: what is left is their fine structure."""
        around = self.scale.spread(self.scale.pooled(spectra.abs()[:, None]))[:, 0]
        return spectra / (around + 1e-8)

    def _features(self, spectra: Tensor, harmonic_spectra: Tensor) -> Tensor:
        """Return log-magnitudes of about unit variance; the Nyquist bin, which holds no speech, says nothing."""
        features = torch.stack([log_magnitude(spectra), log_magnitude(harmonic_spectra)], dim=1)
        return nn.functional.pad((features[:, :, :-1] + 2.0) / 3.0, (0, 0, 0, 1))

    def predict(self, features: Tensor, history: History) -> Tensor:
        """Answer features with four maps.

        Args:
            features: log-magnitudes ``(batch, 2, points, frames)`` of the narrowband and of its harmonics.
            history: the past of the network's layers.

        Returns:
            Maps ``(batch, 4, points, frames)``; the third, through a sigmoid, is the share of harmonics.
        """
        raise NotImplementedError

    def combine(self, spectra: Tensor, material: Tensor, maps: Tensor) -> Tensor:
        """Return the enhanced spectra ``(batch, bins, frames)``, relative to the running level as both arguments are.

        Args:
            spectra: of the narrowband, ``(batch, bins, frames)``.
            material: spectra of about unit magnitude to fill a missing band with, ``(batch, bins, frames)``.
            maps: the network's answer, ``(batch, 4, bins, frames)``.
        """
        raise NotImplementedError


def window_samples(sample_rate: int, window_ms: float, overlap: int) -> int:
    """Return the window in samples, rounded to a multiple of twice the overlap.

    Args:
        sample_rate: in Hz.
        window_ms: wanted length of the window.
        overlap: hops per window.
    """
    unit_samples = 2 * overlap
    return max(round(sample_rate * window_ms / 1000 / unit_samples), 1) * unit_samples
