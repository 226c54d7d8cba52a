"""What a degradation step may use besides the waveform: a generator, and recordings of which only a part is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from overtone.audio import Waveform


class Recordings(Protocol):
    """Waveforms at one sample rate, of which only a part is read."""

    def __len__(self) -> int: ...

    def segment(self, index: int, rng: np.random.Generator, samples: int) -> Waveform:
        """Return ``(samples,)`` of recording ``index`` from a random point on, round and round where it is shorter.

        Args:
            index: of the recording.
            rng: source of random numbers.
            samples: how many, at the scene's rate.
        """
        ...

    def whole(self, index: int) -> Waveform:
        """Return recording ``index`` ``(its samples,)``: for impulse responses."""
        ...


class HeldRecordings:
    """`Recordings` over waveforms held in memory.

    Args:
        waveforms: each ``(samples,)``, at the scene's sample rate.

    Examples:
        >>> tones = HeldRecordings([np.ones(3, np.float32)])
        >>> tones.segment(0, np.random.default_rng(0), 5).shape
        (5,)
    """

    def __init__(self, waveforms: Sequence[Waveform]) -> None:
        self._waveforms = tuple(waveforms)

    def __len__(self) -> int:
        return len(self._waveforms)

    def segment(self, index: int, rng: np.random.Generator, samples: int) -> Waveform:
        """Return ``(samples,)`` of recording ``index`` from a random point on, round and round where it is shorter.

        Args:
            index: of the recording.
            rng: source of random numbers.
            samples: how many, at the scene's rate.
        """
        waveform = self._waveforms[index]
        if waveform.size == 0:
            return np.zeros(samples, np.float32)
        start = int(rng.integers(waveform.size))
        if start + samples <= waveform.size:
            return waveform[start : start + samples]
        return np.take(waveform, np.arange(start, start + samples), mode="wrap")

    def whole(self, index: int) -> Waveform:
        """Return recording ``index`` ``(its samples,)``."""
        return self._waveforms[index]


_NONE = HeldRecordings(())


@dataclass(frozen=True)
class Scene:
    """What a step may use besides the waveform.

    Attributes:
        sample_rate: of the waveform and of all recordings, in Hz.
        rng: draws whatever a step leaves to chance.
        noises: background noises; synthetic noise stands in where there are none.
        talkers: other speakers' speech; synthetic babble stands in where there is none.
        music: synthesised chords stand in where there is none.
        impulse_responses: measured rooms; simulated ones stand in where there are none.
    """

    sample_rate: int
    rng: np.random.Generator
    noises: Recordings = _NONE
    talkers: Recordings = _NONE
    music: Recordings = _NONE
    impulse_responses: Recordings = _NONE
