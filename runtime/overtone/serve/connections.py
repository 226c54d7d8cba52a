"""HTTP connections that wait neither for a request that never ends nor for a reader that never reads."""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from overtone.serve.limits import Limits

LOOKS_A_PATIENCE = 4


def guarded_protocol(limits: Limits) -> type[H11Protocol]:
    """Return uvicorn's HTTP protocol with deadlines for a request's head and for reading the answer."""

    class GuardedProtocol(H11Protocol):
        """Cuts off connections that ask for nothing in time, and such that do not take their answer."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._idle_since = self._moved_at = self.loop.time()
            self._unsent = 0
            self._look_again()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_looking()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, event: h11.Request) -> None:
            self._stop_looking()
            super().handle_websocket_upgrade(event)

        def on_response_complete(self) -> None:
            self._idle_since = self.loop.time()
            super().on_response_complete()

        def _look_again(self) -> None:
            pause = min(limits.header_seconds, limits.stalled_seconds) / LOOKS_A_PATIENCE
            self._look: asyncio.TimerHandle | None = self.loop.call_later(pause, self._look_after)

        def _stop_looking(self) -> None:
            if self._look is not None:
                self._look.cancel()
                self._look = None

        def _look_after(self) -> None:
            now = self.loop.time()
            unsent = self.transport.get_write_buffer_size()
            if not unsent or unsent < self._unsent:
                self._moved_at = now
            self._unsent = unsent
            answering = self.cycle is not None and not self.cycle.response_complete
            asks_nothing = not answering and not unsent and now - self._idle_since > limits.header_seconds
            if asks_nothing or now - self._moved_at > limits.stalled_seconds:
                self.transport.abort()
            else:
                self._look_again()

    return GuardedProtocol
