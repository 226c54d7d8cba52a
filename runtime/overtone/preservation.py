"""What the input already holds stays as it is: below its bandwidth the input itself replaces the model's output."""

import math

import numpy as np
from numpy.typing import NDArray

from overtone.bandwidth import BandwidthTracker
from overtone.short_time import Spectra

MARGIN_HZ, FADE_HZ = 250.0, 250.0
FADE_SECONDS = 0.04
COMPLETE_SHARE, COMPLETE_HZ = 0.9, 19_000.0  # of the Nyquist frequency; what reaches so far up is complete
RAISED = (1.41, 2.0)  # times the input's power, 1.5 to 3 dB: what a model raises by so much was attenuated
LEVEL_SECONDS = 0.1  # codecs switch bands on and off from frame to frame
BEYOND_TRAINING = 1.25  # times the widest band that a model was trained to extend: filters' skirts reach as far


def complete_hz(sample_rate: int, widest_input_hz: float) -> float:
    """Return from which bandwidth on, in Hz, input leaves a model nothing to add.

    Args:
        sample_rate: of the model in Hz.
        widest_input_hz: the widest band that it was trained to extend.
    """
    return min(COMPLETE_SHARE * sample_rate / 2, COMPLETE_HZ, BEYOND_TRAINING * widest_input_hz)


class Preservation:
    """Blends a stream's enhanced spectra with those of its input, below the bandwidth found so far.

    Over frequency the blend fades within `FADE_HZ` that end `MARGIN_HZ` below the bandwidth; over time each bin fades
    within `FADE_SECONDS`. Input whose bandwidth reaches 19 kHz, 0.9 of a lower Nyquist frequency, or a quarter beyond
    what the model was trained on, is complete and passed on unchanged. Otherwise a bin that the model has raised over
    the last `LEVEL_SECONDS` stays as the model made it: filters without an edge attenuate far below the bandwidth, and
    codecs leave holes there.

    Args:
        channels: of the stream; each has a bandwidth of its own.
        sample_rate: in Hz.
        n_fft: window of the spectra.
        hop_samples: samples between them.
        upper_hz: what the bandwidth cannot exceed, such as the Nyquist frequency of the file.
        widest_input_hz: the widest band that the model was trained to extend.
    """

    def __init__(
        self, channels: int, sample_rate: int, n_fft: int, hop_samples: int, upper_hz: float, widest_input_hz: float
    ) -> None:
        self._tracker = BandwidthTracker(channels, sample_rate, n_fft, hop_samples, upper_hz)
        self._frequencies = np.arange(n_fft // 2 + 1, dtype=np.float32) * np.float32(sample_rate / n_fft)
        self._complete_hz = complete_hz(sample_rate, widest_input_hz)
        self._frames = self._complete_frames = 0
        self._most_change = np.float32(hop_samples / (FADE_SECONDS * sample_rate))
        self._forgetting = np.float32(math.exp(-hop_samples / (LEVEL_SECONDS * sample_rate)))
        self._powers = np.zeros((2, channels, n_fft // 2 + 1), np.float32)  # of enhanced and given
        self._weights = np.zeros((channels, n_fft // 2 + 1), np.float32)

    @property
    def bandwidth_hz(self) -> NDArray[np.float64]:
        """The bandwidth found in each channel ``(channels,)`` in Hz; 0 while there was nothing to find it in."""
        return self._tracker.bandwidth_hz

    @property
    def complete_share(self) -> float:
        """How much of the frames so far was complete, 0 to 1, over all channels."""
        return self._complete_frames / max(self._frames, 1)

    def __call__(self, enhanced: Spectra, given: Spectra) -> Spectra:
        """Blend the frames ``(channels, frames, bins)`` that follow those of the last call."""
        bandwidth_hz = self._tracker(given)
        complete = bandwidth_hz >= self._complete_hz
        self._frames += complete.size
        self._complete_frames += int(complete.sum())
        targets = self._targets(np.where(complete, np.inf, bandwidth_hz - MARGIN_HZ))
        weights = np.empty_like(targets)
        powers = np.stack([np.square(one.real) + np.square(one.imag) for one in (enhanced, given)])
        for frame in range(targets.shape[1]):
            self._powers = self._forgetting * self._powers + powers[:, :, frame]
            target = np.where(complete[:, frame, None], 1, targets[:, frame] * self._unraised())
            change = np.clip(target - self._weights, -self._most_change, self._most_change)
            self._weights = self._weights + change
            weights[:, frame] = self._weights
        if not weights.any():
            return enhanced
        return np.where(weights == 1, given, enhanced + weights * (given - enhanced))

    def _unraised(self) -> NDArray[np.float32]:
        """Return 1 for bins whose power the model has left as it was or lowered, 0 for those that it has raised."""
        enhanced, given = self._powers
        lowest, highest = (np.float32(times) * given for times in RAISED)
        raised = np.clip(enhanced - lowest, 0, highest - lowest) / np.maximum(highest - lowest, np.float32(1e-20))
        return (1 - raised).astype(np.float32)

    def _targets(self, edge_hz: NDArray[np.float64]) -> NDArray[np.float32]:
        below = (edge_hz[..., None] - self._frequencies) / FADE_HZ
        return np.clip(below, 0, 1).astype(np.float32)
