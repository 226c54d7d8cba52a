"""Short-time transforms of several channels at once, block by block: frames that end with each hop, and overlap-add."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Window = NDArray[np.float32]  # (n_fft,)
Samples = NDArray[np.float32]  # (channels, samples)
Frames = NDArray[np.float32]  # (channels, frames, n_fft)
Spectra = NDArray[np.complex64]  # (channels, frames, bins)


def root_hann(n_fft: int) -> Window:
    """Return the square root of a periodic Hann window ``(n_fft,)``."""
    return np.sin(np.pi * np.arange(n_fft) / n_fft).astype(np.float32)


class Delay:
    """Holds samples back: ``(channels, samples)`` in and out, late by ``samples``."""

    def __init__(self, channels: int, samples: int) -> None:
        self._held = np.zeros((channels, samples), np.float32)

    def __call__(self, block: Samples) -> Samples:
        """Delay the block that follows that of the last call."""
        line = np.concatenate([self._held, block], axis=1)
        self._held = line[:, block.shape[1] :]
        return line[:, : block.shape[1]]


class Analysis:
    """Spectra of a causal stream: ``(channels, hops * hop_samples)`` to ``(channels, hops, bins)``.

    One frame per hop; the frame's window ends with the hop. Silence is before the first.
    """

    def __init__(self, channels: int, window: Window, hop_samples: int) -> None:
        self._past = np.zeros((channels, len(window) - hop_samples), np.float32)
        self._hop_samples = hop_samples
        self._window = window

    def __call__(self, block: Samples) -> Spectra:
        """Transform the hops that follow those of the last call; in single precision, as numpy 2 does."""
        line = np.concatenate([self._past, block], axis=1)
        self._past = line[:, block.shape[1] :]
        frames = sliding_window_view(line, len(self._window), axis=1)[:, :: self._hop_samples]
        return np.fft.rfft(frames * self._window).astype(np.complex64, copy=False)


class Synthesis:
    """The inverse of :class:`Analysis`: ``(channels, hops, bins)`` to ``(channels, hops * hop_samples)``.

    Takes the window of the analysis, a square-root Hann window. Late by ``n_fft - hop_samples`` against what the
    analysis took: a sample is complete when its last frame has come.
    """

    def __init__(self, channels: int, window: Window, hop_samples: int) -> None:
        self._overlap = len(window) // hop_samples
        self._hop_samples = hop_samples
        self._window = window * np.float32(2 / self._overlap)
        self._unfinished = np.zeros((channels, self._overlap - 1, hop_samples), np.float32)

    def __call__(self, spectra: Spectra) -> Samples:
        """Invert the frames that follow those of the last call."""
        channels, count, _ = spectra.shape
        frames = np.fft.irfft(spectra, len(self._window)) * self._window
        segments = frames.reshape(channels, count, self._overlap, self._hop_samples)
        hops = np.zeros((channels, count + self._overlap - 1, self._hop_samples), np.float32)
        hops[:, : self._overlap - 1] = self._unfinished
        for age in range(self._overlap):
            hops[:, age : age + count] += segments[:, :, age]
        self._unfinished = hops[:, count:]
        return hops[:, :count].reshape(channels, -1)
