"""What stands before the application: who may ask, how much may come and how slowly, and what every answer says."""

import logging
from http import HTTPStatus

from overtone.serve.bodies import Bodies, discard
from overtone.serve.limits import Limits
from overtone.serve.origins import require_own_host, require_own_page
from overtone.serve.refusals import (
    Application,
    Message,
    Receive,
    Refused,
    Scope,
    Send,
    answer_refused,
    headers_of,
    raw_headers,
    refuse_websocket,
)

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
log = logging.getLogger(__name__)


class Gate:
    """An ASGI application before two others: the page with the HTTP interface, and live streams.

    Uploads are read here, whole and within their limits, so that slow clients hold no worker of the application.

    Args:
        pages: answers HTTP requests.
        streams: answers WebSockets.
        limits: what may come.
        loopback: whether only this machine is served; names of other hosts are refused then.
    """

    def __init__(self, pages: Application, streams: Application, limits: Limits, *, loopback: bool) -> None:
        self._pages = pages
        self._streams = streams
        self._bodies = Bodies(limits)
        self._loopback = loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        secured = _Secured(send)
        if scope["type"] == "http":
            await self._serve_page(scope, receive, secured)
            return
        try:
            self._require_allowed("GET", scope, websocket=True)
        except Refused as refused:
            await refuse_websocket(refused, scope, receive, secured)
            return
        await self._streams(scope, receive, secured)

    async def _serve_page(self, scope: Scope, receive: Receive, send: "_Secured") -> None:
        try:
            self._require_allowed(scope["method"], scope)
            async with self._bodies.read(scope, receive) as body:
                await self._pages(_with_length(scope, len(body)), _replayed(body, receive), send)
        except Refused as refused:
            if refused.status != HTTPStatus.REQUEST_TIMEOUT:
                await discard(scope, receive)
            await answer_refused(refused, send)
        except Exception:
            log.exception("%s %s", scope["method"], scope["path"])
            if send.started:
                raise
            sentence = "The server failed at this one; its log says why."
            await answer_refused(Refused(HTTPStatus.INTERNAL_SERVER_ERROR, sentence), send)

    def _require_allowed(self, method: str, scope: Scope, *, websocket: bool = False) -> None:
        headers = headers_of(scope)
        require_own_host(headers, loopback=self._loopback)
        require_own_page(method, headers, websocket=websocket)


class _Secured:
    """A send that adds the security headers to whatever is answered."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self.started = True
            message["headers"] = [*message["headers"], *raw_headers(SECURITY_HEADERS)]
        await self._send(message)


def _with_length(scope: Scope, length: int) -> Scope:
    """A request whose body's length is known, as WSGI wants it, also where it came in chunks."""
    kept = [(name, value) for name, value in scope["headers"] if name not in BODY_HEADERS]
    return {**scope, "headers": [*kept, (b"content-length", str(length).encode())]}


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A receive that gives the body in one piece, then what comes later."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
