"""What live sound goes through, without devices: the model, the original at the same delay, the levels."""

import math

import numpy as np

from overtone.audio import Waveform, silenced
from overtone.enhancer import Enhancer
from overtone.limiter import softly_limited
from overtone.stream_resampler import StreamResampler

FADE_SECONDS = 0.02
FLOOR_DB = -100.0


class LevelMeter:
    """Holds the largest magnitude since it was last read."""

    def __init__(self) -> None:
        self._peak = 0.0

    def add(self, samples: Waveform) -> None:
        """Take samples into account."""
        self._peak = max(self._peak, float(np.abs(samples).max(initial=0.0)))

    def read(self) -> float:
        """Return the largest magnitude since the last call in dBFS, -100 where there was silence."""
        peak, self._peak = self._peak, 0.0
        return max(20 * math.log10(peak), FLOOR_DB) if peak > 0 else FLOOR_DB


class DelayedOriginal:
    """The input at the output's rate, as late as the enhanced signal is.

    Args:
        rate: of the input in Hz.
        output_rate: in Hz.
        delay_samples: how late the original comes, in samples of the output; at least the 5 ms of a resampling filter.
    """

    def __init__(self, rate: int, output_rate: int, delay_samples: int) -> None:
        self._rate, self._output_rate = rate, output_rate
        self._resampler = None if rate == output_rate else StreamResampler(1, rate, output_rate)
        own = 0 if self._resampler is None else round(self._resampler.delay * output_rate)
        self._pending = np.zeros(delay_samples - own, np.float32)
        self._taken = self._given = 0

    def push(self, block: Waveform) -> Waveform:
        """Take samples and return as many as `EnhancerStream.push` returns for them."""
        arrived = block if self._resampler is None else self._resampler(block[None])[0]
        self._taken += len(block)
        total = self._taken * self._output_rate // self._rate
        count, self._given = total - self._given, total
        ready = np.concatenate([self._pending, arrived])
        self._pending = ready[count:]
        return ready[:count]


class LiveProcessor:
    """Enhances one channel block by block; at any time the original can be heard instead, at the same delay.

    Args:
        enhancer: the model.
        rate: of the input in Hz.
        output_rate: of the output in Hz.

    Attributes:
        enhanced: whether the enhanced signal is heard, else the original; may be set from another thread.
        latency_seconds: how late the output is, in either case.
        input_level: of what came.
        output_level: of what went.
    """

    def __init__(self, enhancer: Enhancer, rate: int, output_rate: int) -> None:
        self._stream = enhancer.stream(rate, 1, output_rate)
        self._original = DelayedOriginal(rate, output_rate, self._stream.latency_samples)
        self._step = 1 / (FADE_SECONDS * output_rate)
        self._share = 1.0
        self.enhanced = True
        self.latency_seconds = self._stream.latency_seconds
        self.input_level, self.output_level = LevelMeter(), LevelMeter()

    def process(self, block: Waveform) -> Waveform:
        """Take ``(samples,)`` and return what is due at the output's rate, below full scale.

        Samples with which nothing can be computed, such as NaN and 1e30, are taken for silence: drivers may deliver
        them when a device appears.
        """
        block = silenced(block)
        self.input_level.add(block)
        enhanced, original = self._stream.push(block), self._original.push(block)
        if self._share != (goal := float(self.enhanced)):
            steps = self._step * np.arange(1, len(enhanced) + 1, dtype=np.float32)
            shares = np.clip(self._share + steps if goal else self._share - steps, 0, 1)
            self._share = float(shares[-1]) if len(shares) else self._share
            heard = shares * enhanced + (1 - shares) * original
        else:
            heard = enhanced if self.enhanced else original
        heard = softly_limited(heard)
        self.output_level.add(heard)
        return heard
