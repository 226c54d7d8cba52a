"""Samples between the thread that enhances and the device that plays: just enough of them to bridge irregular times.

The two devices have clocks of their own. Where they drift apart, a few milliseconds are cut out or repeated under a
crossfade, instead of an overflow or a gap.
"""

import threading
from dataclasses import dataclass

import numpy as np

from overtone.audio import Waveform

FIRST_RESERVE, STEP, LONGEST_RESERVE = 0.020, 0.010, 0.200  # seconds
TOO_LITTLE, TOO_MUCH = 0.6, 1.3  # times the reserve: shows before a block is missing, which is half of the first
FADE = 0.005  # of a crossfade, and what is repeated in one
WATCH = 2.0  # seconds over which the least that remained is looked at
SMOOTHING = 0.02


@dataclass
class Tally:
    """What went wrong so far, over all devices of a session.

    Attributes:
        missed: blocks that did not arrive in time, or were lost before or after.
        corrections: crossfades that made up for clocks that drifted apart.
    """

    missed: int = 0
    corrections: int = 0


class Playout:
    """A queue of samples that begins to play when it holds a reserve, and holds a larger one after each gap.

    Args:
        rate: in Hz.
        tally: counts gaps and corrections.

    Attributes:
        age_seconds: how long ago what is heard now was captured, without the model's own delay; smoothed.
    """

    def __init__(self, rate: int, tally: Tally) -> None:
        self._rate, self._tally = rate, tally
        self._lock = threading.Lock()
        self._queue = np.zeros(0, np.float32)
        self._reserve = FIRST_RESERVE
        self._playing = False
        self._captured_until = 0.0
        self._least, self._watched = np.inf, 0.0
        self.age_seconds = 0.0

    def put(self, samples: Waveform, captured_until: float) -> None:
        """Append samples.

        Args:
            samples: ``(samples,)``.
            captured_until: when the last of them was captured, in seconds of the clock that `take` uses.
        """
        with self._lock:
            self._queue = np.concatenate([self._queue, samples])
            self._captured_until = captured_until
            if self._watched >= WATCH:
                self._correct()
                self._least, self._watched = np.inf, 0.0

    def take(self, count: int, played_at: float) -> Waveform:
        """Return ``count`` samples, silence where there are none.

        Args:
            count: how many.
            played_at: when the first of them will be heard, in seconds of the clock that `put` uses.
        """
        with self._lock:
            enough = count + round(self._reserve * self._rate)
            if not self._playing and len(self._queue) < enough:
                return np.zeros(count, np.float32)
            if not self.age_seconds:  # the first: what came while the output was still being opened is left out
                self._queue = self._queue[-enough:]
            held = len(self._queue)
            if not self._playing or held < count:
                self._least, self._watched = np.inf, 0.0
            self._playing = held >= count
            if not self._playing:
                self._tally.missed += 1
                self._reserve = min(self._reserve + STEP, LONGEST_RESERVE)
            age = played_at - (self._captured_until - held / self._rate)
            self.age_seconds += (age - self.age_seconds) * (SMOOTHING if self.age_seconds else 1)
            samples, self._queue = self._queue[:count], self._queue[count:]
            self._least = min(self._least, len(self._queue) / self._rate)
            self._watched += count / self._rate
            return np.pad(samples, (0, count - len(samples)))

    def _correct(self) -> None:
        if self._least > TOO_MUCH * self._reserve:
            self._jump(round((self._least - self._reserve) * self._rate))
        elif self._least < TOO_LITTLE * self._reserve:
            self._jump(-round(FADE * self._rate))

    def _jump(self, count: int) -> None:
        """Leave out ``count`` samples, or repeat as many where it is negative, under a crossfade."""
        queue, fade = self._queue, round(FADE * self._rate)
        if len(queue) < abs(count) + fade:
            return
        away, towards = (0, count) if count > 0 else (-count, 0)
        rising = np.linspace(0, 1, fade, dtype=np.float32)
        blend = (1 - rising) * queue[away : away + fade] + rising * queue[towards : towards + fade]
        self._queue = np.concatenate([queue[:away], blend, queue[towards + fade :]])
        self._tally.corrections += 1
