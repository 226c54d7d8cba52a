"""Loudness after ITU-R BS.1770-4, measured block by block."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import sosfilt

from overtone.audio import Waveform

HOP_SECONDS, HOPS_PER_BLOCK = 0.1, 4
ABSOLUTE_GATE_LUFS, RELATIVE_GATE_LU = -70.0, -10.0
_OFFSET_LUFS = -0.691


class LoudnessMeter:
    """Integrated loudness of one channel, of which blocks of any length arrive one after the other.

    ITU-R BS.1770-4: K-weighting, blocks of 400 ms every 100 ms, an absolute gate at -70 LUFS and a relative one
    10 LU below the mean. A recording shorter than 400 ms is one block.

    Args:
        sample_rate: in Hz, at least 4 000.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._filter = k_weighting(sample_rate)
        self._state = np.zeros((len(self._filter), 2))
        self._energies: list[NDArray[np.float64]] = []
        self._rest = np.zeros(0)
        self._hops = 0

    def add(self, block: Waveform) -> None:
        """Take the next samples ``(samples,)``."""
        weighted, self._state = sosfilt(self._filter, block.astype(np.float64), zi=self._state)
        waiting = np.concatenate([self._rest, weighted]) if len(self._rest) else weighted
        ends = self._next_ends(len(waiting))
        if len(ends):
            self._energies.append(np.add.reduceat(waiting[: ends[-1]] ** 2, np.concatenate([[0], ends[:-1]])))
            self._hops += len(ends)
            waiting = waiting[ends[-1] :]
        self._rest = waiting.copy()

    def _next_ends(self, samples: int) -> NDArray[np.intp]:
        """Return where the next hops end, counted from the last one's end: a hop need not be a whole number long."""
        hop = HOP_SECONDS * self._sample_rate
        most = int(samples / hop) + 2
        ends = np.round(hop * (self._hops + 1 + np.arange(most))) - round(hop * self._hops)
        return ends[ends <= samples].astype(np.intp)

    @property
    def lufs(self) -> float | None:
        """The integrated loudness, None where no block reaches the absolute gate."""
        energies = np.concatenate(self._energies) if self._energies else np.zeros(0)
        if len(energies) >= HOPS_PER_BLOCK:
            sums = np.convolve(energies, np.ones(HOPS_PER_BLOCK), mode="valid")
            blocks = sums / (HOPS_PER_BLOCK * HOP_SECONDS * self._sample_rate)
        else:
            samples = round(HOP_SECONDS * self._sample_rate * self._hops) + len(self._rest)
            blocks = np.array([(energies.sum() + (self._rest**2).sum()) / max(samples, 1)])
        heard = blocks[blocks > _power(ABSOLUTE_GATE_LUFS)]
        if not len(heard):
            return None
        gated = heard[heard > heard.mean() * 10 ** (RELATIVE_GATE_LU / 10)]
        return float(_OFFSET_LUFS + 10 * np.log10(gated.mean()))


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET_LUFS) / 10))


@lru_cache(maxsize=16)
def k_weighting(sample_rate: int) -> NDArray[np.float64]:
    """Return the K-weighting as second-order sections ``(2, 6)``: a shelf for the head, and the RLB high-pass.

    The standard gives coefficients for 48 kHz only; these are its analogue prototypes after Brecht De Man,
    "Evaluation of implementations of the EBU R128 loudness measurement" (2018), which meet them to five digits.
    """
    gain, centre_hz, quality = 3.999843853973347, 1681.974450955533, 0.7071752369554196
    slope, high = np.tan(np.pi * centre_hz / sample_rate), 10 ** (gain / 20)
    middle = high**0.4996667741545416
    scale = 1 + slope / quality + slope**2
    shelf = [
        (high + middle * slope / quality + slope**2) / scale,
        2 * (slope**2 - high) / scale,
        (high - middle * slope / quality + slope**2) / scale,
        1.0,
        2 * (slope**2 - 1) / scale,
        (1 - slope / quality + slope**2) / scale,
    ]
    centre_hz, quality = 38.13547087602444, 0.5003270373238773
    slope = np.tan(np.pi * centre_hz / sample_rate)
    scale = 1 + slope / quality + slope**2
    high_pass = [1.0, -2.0, 1.0, 1.0, 2 * (slope**2 - 1) / scale, (1 - slope / quality + slope**2) / scale]
    return np.array([shelf, high_pass])
