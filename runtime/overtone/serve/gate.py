"""ASGI middleware before the page and the live streams: own host and origin only, bounded bodies, security headers."""

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, urlsplit

from overtone.errors import OvertoneError
from overtone.serve.limits import Limits
from overtone.serve.memory import Memory, Take
from overtone.serve.refusals import Refused, whole_number

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "media-src 'self' blob:; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=(), display-capture=(), usb=(), payment=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
BODY_HEADERS = (b"content-length", b"transfer-encoding")
FORM_BYTES = 1 << 16  # what a multipart form may add to its file
MOST_ANNOUNCED = 1 << 63  # bytes; what is beyond is no size, but nonsense
PART_BYTES = 1 << 16
TAKE = "overtone.take"  # what counts a request's bytes, in its scope
DISCARD_SECONDS = 2.0
OWN_SITES = ("same-origin", "none")
USUAL_PORTS = {"http": 80, "https": 443}
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
log = logging.getLogger(__name__)


class Gate:
    """An ASGI application before two others.

    Uploads are read whole here, on the event loop, and answers are sent from here, so that a slow client holds no
    thread of the page. What both hold of the memory is counted until the last byte was sent.

    Args:
        pages: answers HTTP requests.
        streams: answers WebSockets.
        limits: size, time and memory of uploads.
        loopback: whether only this machine is served; names of other hosts are refused then.
        public_origin: what browsers know a reverse proxy before this server by, such as ``https://speech.example``;
            empty where there is none.
    """

    def __init__(
        self, pages: Application, streams: Application, limits: Limits, *, loopback: bool, public_origin: str = ""
    ) -> None:
        self._pages = pages
        self._streams = streams
        self._limits = limits
        self._loopback = loopback
        self._public_origin = public_origin
        self._memory = Memory(limits.held_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket.

        Args:
            scope: the request, as ASGI describes it.
            receive: gives the next message of the client.
            send: takes a message to the client.
        """
        answered = False

        async def secured(message: Message) -> None:
            nonlocal answered
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                answered = True
                message["headers"] = [*message["headers"], *_raw(SECURITY_HEADERS)]
            if message["type"] == "http.response.body":
                await asyncio.wait_for(_send_parts(message, send), self._limits.body_seconds)
            else:
                await send(message)

        try:
            require_own_page(scope, loopback=self._loopback, public_origin=self._public_origin)
            if scope["type"] == "websocket":
                await self._streams(scope, receive, secured)
            else:
                await self._serve_page(scope, receive, secured)
        except Refused as refused:
            await refuse(refused, scope, receive, secured)
        except OSError:
            raise  # the client is gone, or did not read in time; the connection is closed
        except Exception:
            log.exception("%s", scope["path"])
            if answered or scope["type"] == "websocket":
                raise
            sentence = "The server failed on this request. Its log says why."
            await refuse(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, sentence), scope, receive, secured)

    async def _serve_page(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._memory.of_a_request() as take:
            body = await self._read(scope, receive, take)
            length = (b"content-length", str(len(body)).encode())  # WSGI needs it, also where the body came in chunks
            headers = [*(header for header in scope["headers"] if header[0] not in BODY_HEADERS), length]
            messages = [{"type": "http.request", "body": body, "more_body": False}]
            del body

            async def replay() -> Message:
                return messages.pop() if messages else await receive()

            await self._pages({**scope, "headers": headers, TAKE: take}, replay, send)

    async def _read(self, scope: Scope, receive: Receive, take: Take) -> bytes:
        """Return a request's body, whose bytes are taken while they come."""
        announced = _headers(scope).get("content-length", "0")
        if whole_number("Content-Length", announced, 0, MOST_ANNOUNCED) > self._limits.upload_bytes + FORM_BYTES:
            raise self._too_large()
        try:
            return await asyncio.wait_for(self._read_parts(receive, take), self._limits.body_seconds)
        except asyncio.TimeoutError:
            raise Refused(
                HTTPStatus.REQUEST_TIMEOUT,
                f"The upload did not arrive within {self._limits.body_seconds:g} seconds. "
                "Send it again over a better connection, or smaller as FLAC.",
            ) from None

    async def _read_parts(self, receive: Receive, take: Take) -> bytes:
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise Refused(HTTPStatus.BAD_REQUEST, "The upload broke off. Send it again.")
            part = message.get("body", b"")
            if len(body) + len(part) > self._limits.upload_bytes + FORM_BYTES:
                raise self._too_large()
            take(len(part))
            body += part
            more = message.get("more_body", False)
        return bytes(body)

    def _too_large(self) -> Refused:
        return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._limits.too_large)


def is_loopback(host: str) -> bool:
    """Say whether an address to listen on is reached from this machine only."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_own_page(scope: Scope, *, loopback: bool, public_origin: str = "") -> None:
    """Raise for requests of other sites' pages, and for host names that were made to point here.

    A page elsewhere can let its own name resolve to 127.0.0.1 and would then have the same origin as this server.
    Programs such as curl name no site and are served.

    Args:
        scope: the request.
        loopback: whether this machine only is served.
        public_origin: of a reverse proxy's page, which is this server's own; empty where there is none.

    Raises:
        Refused: the Host header is missing or names another host, or another site's page asks for more than to read.
    """
    headers = _headers(scope)
    host = headers.get("host", "")
    name = (_address(f"//{host}").hostname or "").lower()
    if not name or (loopback and not is_loopback(name) and name != _address(public_origin).hostname):
        raise Refused(
            HTTPStatus.FORBIDDEN,
            f"The server was asked for as '{name}', but serves this machine only. Open it as 127.0.0.1 or localhost.",
        )
    origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
    own = origin is None or _address(origin).netloc == host or (origin.lower() == public_origin != "")
    if (site not in OWN_SITES or not own) and scope.get("method") not in SAFE_METHODS:  # a WebSocket has no method
        raise Refused(
            HTTPStatus.FORBIDDEN, "The request comes from another site's page. Open this server's own page instead."
        )


def origin_of(public_url: str) -> str:
    """Return the origin that browsers send for pages at an address, in lower case, without a usual port.

    Args:
        public_url: such as ``https://speech.example/``.

    Raises:
        OvertoneError: it is no http or https address of a host alone.
    """
    parts = _address(public_url)
    try:
        port, host = parts.port, parts.hostname
    except ValueError:
        port, host = None, None
    if parts.scheme not in USUAL_PORTS or not host or parts.path not in ("", "/") or parts.query or parts.username:
        raise OvertoneError(
            f"--public-url: expected https:// (or http) and a host, such as https://speech.example, got '{public_url}'."
        )
    address = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{address}" + (f":{port}" if port not in (None, USUAL_PORTS[parts.scheme]) else "")


def _address(text: str) -> SplitResult:
    """Return an address in its parts, all of them empty where it is none, such as ``http://[``."""
    try:
        return urlsplit(text)
    except ValueError:
        return urlsplit("")


async def _send_parts(message: Message, send: Send) -> None:
    """Send a part of an answer as fast as it is read: whole, all of it would wait for the reader inside the server."""
    body = memoryview(message.get("body", b""))
    ends = range(PART_BYTES, len(body), PART_BYTES)
    for end in ends:
        await send({"type": message["type"], "body": bytes(body[end - PART_BYTES : end]), "more_body": True})
    await send({**message, "body": bytes(body[len(ends) * PART_BYTES :])})


async def refuse(refused: Refused, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or the opening handshake of a WebSocket, by a status and a sentence, and close.

    Args:
        refused: the answer.
        scope: the request.
        receive: gives what is left of the request.
        send: takes the answer.
    """
    kind = "http"
    headers = refused.headers()
    if scope["type"] == "websocket":
        kind = "websocket.http"
        await receive()
    else:
        headers |= {"Content-Length": str(len(refused.body())), "Connection": "close"}
        if refused.status != HTTPStatus.REQUEST_TIMEOUT:
            await _discard(scope, receive)
    await send({"type": f"{kind}.response.start", "status": int(refused.status), "headers": _raw(headers)})
    await send({"type": f"{kind}.response.body", "body": refused.body()})


async def _discard(scope: Scope, receive: Receive) -> None:
    """Read and drop the rest of a refused body for a moment: many clients read no answer before all is sent."""
    headers: Mapping[str, str] = _headers(scope)
    if "expect" in headers or not {"content-length", "transfer-encoding"} & set(headers):
        return

    async def drop() -> None:
        while (await receive()).get("more_body", False):
            pass

    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(drop(), DISCARD_SECONDS)


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin1").lower(): value.decode("latin1") for name, value in scope["headers"]}


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin1"), value.encode("latin1")) for name, value in headers.items()]
