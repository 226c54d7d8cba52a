"""Block-wise processing with a constant, stated latency, whatever the sizes of the blocks that come."""

from collections import deque
from typing import Protocol

import numpy as np

from overtone.audio import Waveform
from overtone.errors import OvertoneError


class Step(Protocol):
    """A causal system with a memory: hops go in, as many samples come out, ``delay_samples`` late."""

    hop_samples: int
    delay_samples: int

    def __call__(self, block: Waveform) -> Waveform:
        """Process ``(hops * hop_samples,)`` samples that follow those of the last call."""
        ...


def latency_samples(step: Step) -> int:
    """Return how late a sample leaves a stream: a hop must be complete before it is processed."""
    return step.hop_samples + step.delay_samples


class Stream:
    """Feeds a step with whole hops and gives back as many samples as were pushed.

    The output is the enhanced signal delayed by ``latency_samples``; before it come zeros. All that was pushed
    has left after ``flush``, so that ``concatenate([*pushed, flushed])[latency_samples:]`` is as long as the input.

    Examples:
        >>> class Double:
        ...     hop_samples, delay_samples = 4, 0
        ...     def __call__(self, block):
        ...         return 2 * block
        >>> stream = Stream(Double())
        >>> stream.push(np.ones(3, np.float32)), stream.push(np.ones(2, np.float32))
        (array([0., 0., 0.], dtype=float32), array([0., 2.], dtype=float32))
    """

    def __init__(self, step: Step) -> None:
        self.latency_samples = latency_samples(step)
        self._step = step
        self._pending = np.zeros(0, np.float32)
        self._ready: deque[Waveform] = deque([np.zeros(step.hop_samples, np.float32)])
        self._warm_up = step.delay_samples

    def push(self, block: Waveform) -> Waveform:
        """Take ``(samples,)`` and return ``(samples,)``, delayed by ``latency_samples``.

        Raises:
            OvertoneError: the block is not one-dimensional.
        """
        if block.ndim != 1:
            raise OvertoneError(f"A stream takes blocks of shape (samples,), got {block.shape}.")
        self._pending = np.concatenate([self._pending, block.astype(np.float32, copy=False)])
        whole = len(self._pending) - len(self._pending) % self._step.hop_samples
        if whole:
            self._ready.append(self._silence_warm_up(self._step(self._pending[:whole])))
            self._pending = self._pending[whole:]
        return self._take(len(block))

    def flush(self) -> Waveform:
        """Return the last ``latency_samples`` samples; the stream is spent afterwards."""
        return self.push(np.zeros(self.latency_samples, np.float32))

    def _silence_warm_up(self, output: Waveform) -> Waveform:
        """What a step says before its first real sample answers its own initial state, not the input."""
        silent = min(self._warm_up, len(output))
        self._warm_up -= silent
        if silent:
            output = output.copy()
            output[:silent] = 0.0
        return output

    def _take(self, count: int) -> Waveform:
        taken: list[Waveform] = []
        while count > 0:
            head = self._ready.popleft()
            if len(head) > count:
                self._ready.appendleft(head[count:])
                head = head[:count]
            taken.append(head)
            count -= len(head)
        return np.concatenate(taken) if taken else np.zeros(0, np.float32)
