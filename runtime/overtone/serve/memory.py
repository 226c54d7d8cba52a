"""How many bytes of uploads and answers are in memory at the same time."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus

from overtone.serve.refusals import Refused

AGAIN_SECONDS = 5
Take = Callable[[int], None]  # counts so many bytes more as held by a request, or raises Refused


class Memory:
    """Counts what all requests hold, each from the first byte of its upload to the last one of its answer.

    Args:
        most: bytes that may be held at the same time.
    """

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._lock = threading.Lock()

    @contextmanager
    def of_a_request(self) -> Iterator[Take]:
        """Yield what takes bytes for one request, from any thread; all of them are free again at the end."""
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            with self._lock:
                if taken + count > self._most:
                    raise Refused(
                        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                        f"The audio and its answer take more than {self._most / 2**20:g} MiB. Cut it, ask for a lower "
                        "rate, or use `overtone enhance`, which has no limit.",
                    )
                if self._held + count > self._most:
                    raise Refused(
                        HTTPStatus.SERVICE_UNAVAILABLE,
                        f"The server holds too much audio of others. Try again in {AGAIN_SECONDS} seconds.",
                        AGAIN_SECONDS,
                    )
                self._held += count
                taken += count

        try:
            yield take
        finally:
            with self._lock:
                self._held -= taken
