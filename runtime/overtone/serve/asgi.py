"""The shapes of an ASGI application, and its answers to what is refused."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from overtone.serve.refusals import Refused

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


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
