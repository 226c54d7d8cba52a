"""Where the input's own content ends, found while it comes."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from overtone.short_time import Spectra, root_hann

BAND_HZ = 250.0
SMOOTHING_SECONDS = 0.02
FLOOR_RISE_DB, PEAK_FALL_DB = 6.0, 3.0  # per second
ROUNDING_MARGIN = 6.0
CLIFF_HZ, ABSENT_HZ, GAP_HZ, SLOPE_HZ = 3000.0, 4500.0, 4000.0, 1000.0
COMPANY_HZ, COMPANY_SHARE = 1000.0, 0.7
SURE_SECONDS, FORGOTTEN_SECONDS, REMEMBERED_SECONDS = 0.064, 0.016, 0.24
ABSENCE_WEIGHT = np.float32(0.25)

Bands = NDArray[Any]  # (channels, frames, bands), or (channels, bands) of one frame


def _power(decibels: float) -> np.float32:
    return np.float32(10 ** (decibels / 10))


ABOVE_FLOOR, FIRST_FLOOR, CLIFF, ABSENT, SLOPE, DEPTH = (
    _power(decibels) for decibels in (7.0, -6.0, -26.0, -50.0, -10.0, -70.0)
)


class BandwidthTracker:
    """Finds, without look-ahead, up to which frequency each channel of a stream has content.

    Powers are taken in bands of 250 Hz. A band has content in a frame if its power

    - is 7 dB above the lowest that the band has had, which is forgotten by 6 dB a second: sound comes and goes, hiss
      and dither stay;
    - is more than rounding to 16 bits adds;
    - lies within 26 dB of the loudest band in the 3 kHz below, and within 70 dB of the loudest so far: what a
      resampler or an encoder leaves above its cutoff lies deeper;

    and if most of the 1 kHz below has content too. A band belongs to the bandwidth after 64 ms with content, unless
    its recent peak lies 10 dB below that of the 1 kHz below, as on the skirt of a filter, or there is a gap of 4 kHz
    below it. It leaves when frames have shown the opposite, no power (50 dB below its neighbours) where the 4.5 kHz
    below have content, for four times as long as they had shown content, at most 1 s. Silence shows nothing.

    The answer errs on the low side: too low leaves the model to write what the input had, too high leaves a hole.

    Args:
        channels: of the stream.
        sample_rate: of the spectra in Hz.
        n_fft: their window, a square-root Hann window.
        hop_samples: samples between them.
        upper_hz: what the bandwidth cannot exceed.

    Attributes:
        bandwidth_hz: found so far in each channel ``(channels,)``, 0 while nothing was found.
    """

    def __init__(self, channels: int, sample_rate: int, n_fft: int, hop_samples: int, upper_hz: float) -> None:
        bins = max(round(BAND_HZ * n_fft / sample_rate), 1)
        self._width_hz = bins * sample_rate / n_fft
        self._upper_hz = upper_hz
        self._starts = np.arange(0, n_fft // 2, bins)
        count = len(self._starts)
        seconds = hop_samples / sample_rate
        self._smoothing = np.float32(min(seconds / SMOOTHING_SECONDS, 1.0))
        self._rise = _power(FLOOR_RISE_DB * seconds)
        self._fall = _power(-PEAK_FALL_DB * seconds)
        self._rounding = np.float32(ROUNDING_MARGIN * bins * float((root_hann(n_fft) ** 2).sum()) * 2.0**-30 / 12)
        self._sure, self._forgotten = SURE_SECONDS / seconds, FORGOTTEN_SECONDS / seconds
        self._most = np.float32(REMEMBERED_SECONDS / seconds)
        self._cliff, self._absence, self._slope = (
            _reach(count, hz, self._width_hz, beside=1) for hz in (CLIFF_HZ, ABSENT_HZ, SLOPE_HZ)
        )
        self._gap, self._company = (_reach(count, hz, self._width_hz, beside=0) for hz in (GAP_HZ, COMPANY_HZ))
        self._settling = n_fft / hop_samples + 2 * SMOOTHING_SECONDS / seconds
        self._heard = np.zeros((channels, 1))
        self._power = np.zeros((channels, count), np.float32)
        self._floor = np.full((channels, count), np.inf, np.float32)
        self._peak = np.zeros((channels, count), np.float32)
        self._evidence = np.zeros((channels, count), np.float32)
        self._belongs = np.zeros((channels, count), bool)
        self.bandwidth_hz: NDArray[np.float64] = np.zeros(channels)

    def __call__(self, spectra: Spectra) -> NDArray[np.float64]:
        """Return the bandwidths ``(channels, frames)`` after each frame of ``(channels, frames, bins)``."""
        frames = np.add.reduceat(spectra.real**2 + spectra.imag**2, self._starts, axis=2)
        power, floor, peak = self._followed(frames)
        power = np.minimum(power, frames)  # smoothed, a click would last
        active = power > ABOVE_FLOOR * (floor + self._rounding)
        active &= power >= CLIFF * _largest(power, self._cliff)
        active &= power >= DEPTH * peak.max(axis=2, keepdims=True)
        active &= active.take(self._company, axis=-1).mean(axis=-1) >= COMPANY_SHARE
        absent = power < ABSENT * _largest(np.where(active, power, 0), self._absence)
        belongs = self._remembered(active - ABSENCE_WEIGHT * absent)
        belongs &= ~_above_a_gap(belongs, self._gap) & (peak >= SLOPE * _largest(peak, self._slope))
        ends = np.where(belongs.any(axis=2), belongs.shape[2] - np.argmax(belongs[:, :, ::-1], axis=2), 0)
        found = np.minimum(ends * self._width_hz, self._upper_hz)
        self.bandwidth_hz = found[:, -1]
        return found

    def _followed(self, frames: Bands) -> tuple[Bands, Bands, Bands]:
        """Return smoothed powers, their lowest values, and their highest.

        The lowest are not looked for while a window fills after digital silence: until then sound seems to rise.
        """
        smoothed, floors, peaks = np.empty_like(frames), np.empty_like(frames), np.empty_like(frames)
        for frame in range(frames.shape[1]):
            self._power = self._power + self._smoothing * (frames[:, frame] - self._power)
            self._peak = np.maximum(self._peak * self._fall, self._power)
            silent = frames[:, frame].max(axis=1, keepdims=True) <= self._rounding
            self._heard = np.where(silent, 0, self._heard + 1)
            first = np.where(np.isinf(self._floor), FIRST_FLOOR, np.float32(1))
            lowest = np.minimum(self._floor * self._rise, self._power * first)
            self._floor = np.where(self._heard > self._settling, lowest, self._floor)
            smoothed[:, frame], floors[:, frame], peaks[:, frame] = self._power, self._floor, self._peak
        return smoothed, floors, peaks

    def _remembered(self, votes: Bands) -> NDArray[np.bool_]:
        """Return which bands have content after each frame, by what frames so far have said."""
        belongs = np.empty(votes.shape, bool)
        for frame in range(votes.shape[1]):
            self._evidence = np.minimum(np.maximum(self._evidence + votes[:, frame], 0), self._most)
            self._belongs = self._evidence >= np.where(self._belongs, self._forgotten, self._sure)
            belongs[:, frame] = self._belongs
        return belongs


def _reach(bands: int, hz: float, width_hz: float, *, beside: int) -> NDArray[np.intp]:
    """Return for each band the indices of those within some Hz below it, and of itself where ``beside`` is 1."""
    count = max(round(hz / width_hz), 1) + beside
    return np.maximum(np.arange(bands)[:, None] - np.arange(count), 0)


def _largest(bands: Bands, reach: NDArray[np.intp]) -> Bands:
    """Return the largest value within each band's reach."""
    return bands.take(reach, axis=-1).max(axis=-1)


def _above_a_gap(belongs: NDArray[np.bool_], reach: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Return which bands lie above neighbours of which none belongs, themselves above one that does."""
    filled = belongs | ~np.logical_or.accumulate(belongs, axis=2)
    return np.logical_or.accumulate(~_largest(filled, reach), axis=2)
