"""Requests that are not served: a sentence, an HTTP status, and how an ASGI application answers them."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

from overtone.errors import OvertoneError

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Refused(OvertoneError):
    """A request that is not served.

    Attributes:
        status: the HTTP status.
        retry_after: after how many seconds to ask again; None where asking again does not help.
    """

    def __init__(self, status: HTTPStatus, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after

    def headers(self) -> dict[str, str]:
        """The headers of the answer."""
        again = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return {"Content-Type": "application/json", "Cache-Control": "no-store", **again}

    def body(self) -> bytes:
        """The answer: ``{"error": sentence}``."""
        return json.dumps({"error": str(self)}).encode()


def headers_of(scope: Scope) -> dict[str, str]:
    """The request's headers, names in lower case."""
    return {name.decode("latin1").lower(): value.decode("latin1") for name, value in scope["headers"]}


def raw_headers(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """Headers as ASGI wants them."""
    return [(name.lower().encode("latin1"), value.encode("latin1")) for name, value in headers.items()]


async def answer_refused(refused: Refused, send: Send) -> None:
    """Answer a request by a status and a sentence, and end the connection: its body may not have been read."""
    body = refused.body()
    headers = raw_headers({**refused.headers(), "Content-Length": str(len(body)), "Connection": "close"})
    await send({"type": "http.response.start", "status": int(refused.status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def refuse_websocket(refused: Refused, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a WebSocket's opening handshake by a status and a sentence instead of a connection."""
    await receive()
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = raw_headers(refused.headers())
    await send({"type": "websocket.http.response.start", "status": int(refused.status), "headers": headers})
    await send({"type": "websocket.http.response.body", "body": refused.body()})
