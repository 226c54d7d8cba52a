"""A queue of bounded length before a few workers."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from overtone.serve.limits import Limits
from overtone.serve.refusals import Refused

AGAIN_SECONDS = 5


class Places:
    """So many may work at once and so many wait; the others are told to come back."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._free = threading.Semaphore(limits.workers)
        self._lock = threading.Lock()
        self._inside = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Hold a place while the block runs.

        Raises:
            Refused: too many are waiting, or the wait took too long.
        """
        self._enter()
        try:
            if not self._free.acquire(timeout=self._limits.waiting_seconds):
                raise self._busy()
            try:
                yield
            finally:
                self._free.release()
        finally:
            with self._lock:
                self._inside -= 1

    def _enter(self) -> None:
        with self._lock:
            if self._inside >= self._limits.workers + self._limits.waiting:
                raise self._busy()
            self._inside += 1

    def _busy(self) -> Refused:
        return Refused(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"The server is busy with other uploads. Try again in {AGAIN_SECONDS} seconds.",
            AGAIN_SECONDS,
        )
