"""WebSockets with a deadline for every state and bounded queues, around those of uvicorn.

uvicorn neither answers nor closes a handshake that its parser refuses (a header line above 8 KiB, a body), fails at its
end where there is one, and answers pings of a client that reads nothing for as long as they come. Of its protocol only
the constructor is used, and what every protocol of asyncio has.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from overtone.serve.refusals import Refused

UNANSWERED = Refused(
    HTTPStatus.BAD_REQUEST,
    "The handshake is none. Expected at most 128 headers, each of at most 8 KiB as is the address, and no body.",
)
READER, WRITER = "reader", "writer"


class BoundedSocket(asyncio.Protocol):
    """The protocol of one WebSocket, as uvicorn makes it.

    A handshake that uvicorn neither refuses nor hands to the application is refused. While the client does not read,
    nothing is read of it, pings included; after some seconds of that it is dropped.

    Args:
        unread_seconds: for how long a client need not read.
        given: what uvicorn gives to its own protocol.
    """

    def __init__(self, unread_seconds: float, **given: Any) -> None:  # noqa: ANN401
        self._inner = WebSocketsSansIOProtocol(**given)
        self._tasks = given["server_state"].tasks
        self._begun = False
        self._unread_seconds = unread_seconds
        self._loop = asyncio.get_running_loop()
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._transport = _HeldTransport(transport)
        self._inner.connection_made(self._transport)  # type: ignore[arg-type]

    def data_received(self, data: bytes) -> None:
        """Hand on what came: first the whole head of the handshake, then frames."""
        tasks = len(self._tasks)
        self._inner.data_received(data)
        if not self._begun and not self._transport.wrote and len(self._tasks) == tasks:
            self._refuse()
        self._begun = True

    def eof_received(self) -> None:
        """Hand on that no more comes."""
        self._inner.eof_received()

    def pause_writing(self) -> None:
        """Read nothing of a client that does not read, for some time."""
        self._transport.hold(WRITER)
        self._deadline = self._loop.call_later(self._unread_seconds, self._transport.abort)
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Go on with a client that reads again."""
        self._forget_deadline()
        self._transport.free(WRITER)
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand on that the client is gone."""
        self._forget_deadline()
        self._inner.connection_lost(exc)

    def _refuse(self) -> None:
        body = UNANSWERED.body()
        head = f"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
        self._transport.write(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        self._transport.close()

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()


class _HeldTransport:
    """A transport that reads while nobody holds it: neither the reader of messages, nor the writer of answers."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._holders: set[str] = set()
        self.wrote = False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self.wrote = True
        self._transport.write(data)

    def pause_reading(self) -> None:
        self.hold(READER)

    def resume_reading(self) -> None:
        self.free(READER)

    def hold(self, who: str) -> None:
        self._holders.add(who)
        self._transport.pause_reading()

    def free(self, who: str) -> None:
        self._holders.discard(who)
        if not self._holders:
            self._transport.resume_reading()
