"""Bodies of requests, read whole within limits of size, time and memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from overtone.serve.limits import Limits
from overtone.serve.refusals import Receive, Refused, Scope, headers_of

AGAIN_SECONDS = 5
FORM_BYTES = 1 << 16  # what a multipart form may add to its file
DISCARD_SECONDS = 2.0


class Bodies:
    """All bodies that the server holds at a time."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held_bytes = 0

    @asynccontextmanager
    async def read(self, scope: Scope, receive: Receive) -> AsyncIterator[bytes]:
        """Yield a request's body; it counts as held until the block ends.

        Raises:
            Refused: too large (before it is read, where it says so), too slow, broken off, or too many at once.
        """
        body = bytearray()
        held = 0
        try:
            async for part in self._parts(scope, receive):
                self._require_room(len(part))
                self._held_bytes += len(part)
                held += len(part)
                body += part
            whole = bytes(body)
            body.clear()
            yield whole
        finally:
            self._held_bytes -= held

    async def _parts(self, scope: Scope, receive: Receive) -> AsyncIterator[bytes]:
        most = self._limits.upload_bytes + FORM_BYTES
        if _declared_length(scope) > most:
            raise self._too_large()
        begun = asyncio.get_running_loop().time()
        patience = self._limits.body_seconds
        received = 0
        while True:
            try:
                async with asyncio.timeout_at(begun + patience + received / self._limits.body_bytes_a_second):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow() from None
            if message["type"] != "http.request":
                raise Refused(HTTPStatus.BAD_REQUEST, "The upload broke off. Send it again.")
            part = message.get("body", b"")
            received += len(part)
            if received > most:
                raise self._too_large()
            yield part
            if not message.get("more_body", False):
                return

    def _require_room(self, more: int) -> None:
        if self._held_bytes + more > self._limits.held_bytes:
            raise Refused(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"The server is receiving too many uploads. Try again in {AGAIN_SECONDS} seconds.",
                AGAIN_SECONDS,
            )

    def _too_large(self) -> Refused:
        return Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"The upload is larger than {self._limits.upload_bytes / 2**20:g} MiB. "
            "Cut it, send FLAC, or use `overtone enhance`, which has no limit.",
        )

    def _too_slow(self) -> Refused:
        return Refused(
            HTTPStatus.REQUEST_TIMEOUT,
            f"The upload came slower than {self._limits.body_bytes_a_second / 1000:g} kB a second. "
            "Send it again over a better connection, or smaller as FLAC.",
        )


async def discard(scope: Scope, receive: Receive) -> None:
    """Take in and drop the rest of a refused body for a moment: many clients read no answer before all is sent."""
    if "expect" in headers_of(scope) or not _declared_length(scope):
        return
    try:
        async with asyncio.timeout(DISCARD_SECONDS):
            while (await receive()).get("more_body", False):
                pass
    except TimeoutError:
        pass


def _declared_length(scope: Scope) -> int:
    """The body's length as its header says, -1 where a chunked body says none, 0 without a body."""
    headers = headers_of(scope)
    if "transfer-encoding" in headers:
        return -1
    return int(headers.get("content-length", "0"))
