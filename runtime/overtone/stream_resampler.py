"""Resampling of streams with a short, exact delay: a polyphase filter that remembers its past.

soxr, which resamples files, holds 175 ms back in its stream form.
"""

from fractions import Fraction
from functools import lru_cache
from math import ceil, floor, gcd

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from overtone.short_time import Samples

LONGEST_DELAY = Fraction(5, 1000)  # seconds
USUAL_DELAY = Fraction(25, 10000)
ATTENUATION_DB, LEAST_ATTENUATION_DB = 90.0, 60.0
WIDEST_TRANSITION = 0.1  # of the lower Nyquist frequency
KAISER_SLOPE = 2.285 * 2 * np.pi  # dB per (Hz of transition times seconds of filter), Kaiser 1974
OUTPUTS_AT_ONCE = 512  # their windows and coefficients stay in the processor's cache
MOST_PHASES = 1024  # of the filter between two samples of the lower rate; what lies between them is interpolated


class FilterDesign:
    """A Kaiser-windowed low-pass between two rates.

    Its stop band begins at the lower of the two Nyquist frequencies with 90 dB of attenuation, and its pass band ends
    at 0.9 of it or higher. Its delay is 2.5 ms, or up to 5 ms where that needs more (below 23 kHz). Where 5 ms are not
    enough (below 12 kHz) the attenuation gives way first, down to 60 dB (65 dB at 8 kHz), then the stop band (from
    7.3 kHz down; it begins at 1.08 of the lower Nyquist frequency at 4 kHz). Ripple in the pass band is that of the
    stop band: under 0.01 dB at 60 dB.

    Args:
        lower_rate: the lower of the two rates in Hz.

    Attributes:
        half_seconds: half the filter's length, which is its delay.
        pass_hz: end of the pass band.
        stop_hz: begin of the stop band.
        attenuation_db: of the stop band.
    """

    def __init__(self, lower_rate: int, longest: Fraction = LONGEST_DELAY) -> None:
        nyquist = lower_rate / 2
        narrowest = WIDEST_TRANSITION * nyquist
        wanted = (ATTENUATION_DB - 8) / (KAISER_SLOPE * narrowest) / 2
        self.half_seconds = min(longest, max(USUAL_DELAY, Fraction(wanted)))
        length = 2 * float(self.half_seconds)
        transition = min((ATTENUATION_DB - 8) / (KAISER_SLOPE * length), narrowest)
        self.attenuation_db = min(ATTENUATION_DB, max(LEAST_ATTENUATION_DB, 8 + KAISER_SLOPE * length * transition))
        transition = max(transition, (self.attenuation_db - 8) / (KAISER_SLOPE * length))
        self.pass_hz = nyquist - min(transition, narrowest)
        self.stop_hz = self.pass_hz + transition

    def __call__(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the impulse response at times around its centre."""
        middle = (self.pass_hz + self.stop_hz) / 2
        beta = 0.1102 * (self.attenuation_db - 8.7)
        position = seconds / float(self.half_seconds)
        inside = np.maximum(1 - position**2, 0)
        window = np.where(np.abs(position) <= 1, np.i0(beta * np.sqrt(inside)) / np.i0(beta), 0)
        return np.sinc(2 * middle * seconds) * window


class StreamResampler:
    """Resamples a stream of several channels: ``(channels, samples)`` at one rate to as many as are due at another.

    Output sample ``m`` is the input at the time ``m / to_rate - delay``, for which no input after ``m / to_rate`` is
    needed. It is the same to the last bit for any sizes of the blocks that come.

    An output sample needs the filter at one of ``to_rate / gcd`` phases. Up to 1024 of them are a table. Where there
    are more, as between 44 099 and 48 000 Hz, an output is interpolated between those of the two next phases in a table
    of 1024 for each sample of the lower rate. Against the exact filter that is an error of -123 dB or less for white
    noise and of -122 dB for a tone at the end of the pass band. The table takes at most 1 MB up to a lower rate of
    48 kHz, where one of all phases took up to 185 MB, and 4 GB while it was made.

    Args:
        channels: of the stream.
        from_rate: in Hz.
        to_rate: in Hz.
        past_delay: what the stream is late by already, in seconds; the sum with the own delay becomes a whole number
            of output samples.

    Attributes:
        delay: own delay in seconds, at most 5 ms.
        pass_hz: end of the pass band.
    """

    def __init__(self, channels: int, from_rate: int, to_rate: int, past_delay: Fraction = Fraction(0)) -> None:
        common = gcd(from_rate, to_rate)
        self._up, self._down = to_rate // common, from_rate // common
        # Half an output sample is left for rounding the delay up.
        design = _design(min(from_rate, to_rate), LONGEST_DELAY - Fraction(1, to_rate))
        self.pass_hz = design.pass_hz
        unit = Fraction(1, from_rate * self._up)
        half = floor(design.half_seconds / unit)
        whole = ceil((past_delay + half * unit) * to_rate)
        self.delay = Fraction(whole, to_rate) - past_delay
        self._spare = int(self.delay / unit) - half
        self._coefficients = _coefficients(from_rate, to_rate, half)
        self._phases = len(self._coefficients) - 1
        self._taps = self._coefficients.shape[1]
        before = self._taps + self._spare // self._up + 1
        self._line = np.zeros((channels, before), np.float32)
        self._line_start = -before
        self._produced = 0

    def __call__(self, block: Samples) -> Samples:
        """Take the samples that follow those of the last call and return all that are due."""
        self._line = np.concatenate([self._line, block], axis=1)
        received = self._line_start + self._line.shape[1]
        due = -((-received * self._up - self._spare) // self._down)
        output = np.zeros((len(block), due - self._produced), np.float32)
        for start in range(0, output.shape[1], OUTPUTS_AT_ONCE):
            self._fill(output[:, start : start + OUTPUTS_AT_ONCE], self._produced + start)
        self._produced = due
        kept_from = (due * self._down - self._spare) // self._up - self._taps + 1
        self._line = self._line[:, kept_from - self._line_start :]
        self._line_start = kept_from
        return output

    def _fill(self, output: Samples, first: int) -> None:
        positions = np.arange(first, first + output.shape[1]) * self._down - self._spare
        newest, phase = np.divmod(positions, self._up)
        row, beyond = np.divmod(phase * self._phases, self._up)
        share = (beyond / self._up).astype(np.float32)
        coefficients = self._coefficients[row]
        following = self._coefficients[row + 1] if self._phases != self._up else None
        oldest = newest - self._taps + 1 - self._line_start
        for channel, line in zip(output, self._line, strict=True):
            windows = sliding_window_view(line, self._taps)[oldest]
            channel[:] = np.vecdot(windows, coefficients)
            if following is not None:
                channel += share * (np.vecdot(windows, following) - channel)


@lru_cache(maxsize=16)
def _design(lower_rate: int, longest: Fraction) -> FilterDesign:
    return FilterDesign(lower_rate, longest)


@lru_cache(maxsize=16)
def _coefficients(from_rate: int, to_rate: int, half: int) -> NDArray[np.float32]:
    """Return ``(phases + 1, taps)``, oldest tap first, the last phase one input sample after the first.

    Each phase has unit gain at 0 Hz. There are as many as the rates need, but no more than the filter's own fineness.
    """
    up, lower_rate = to_rate // gcd(from_rate, to_rate), min(from_rate, to_rate)
    taps = 2 * half // up + 1
    phases = up if up <= MOST_PHASES else ceil(Fraction(MOST_PHASES * lower_rate, from_rate))
    offsets = np.arange(taps)[::-1] + np.arange(phases + 1)[:, None] / phases - half / up
    response = _design(lower_rate, LONGEST_DELAY - Fraction(1, to_rate))(offsets / from_rate)
    return (response / response.sum(axis=1, keepdims=True)).astype(np.float32)
