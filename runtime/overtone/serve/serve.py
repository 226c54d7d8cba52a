"""`overtone serve`: one process, an asyncio server before a pool of threads, until Ctrl-C or SIGTERM."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, cast

import uvicorn
from a2wsgi import WSGIMiddleware

from overtone.errors import OvertoneError
from overtone.serve.application import create_app
from overtone.serve.enhancement import Enhancement
from overtone.serve.gate import Application, Gate, is_loopback, origin_of
from overtone.serve.limits import Limits
from overtone.serve.live import LiveStreams
from overtone.serve.sockets import BoundedSocket

BACKLOG = 128
HEAD_BYTES = 16 * 1024
STREAM_MESSAGE_BYTES = 1 << 20
SPARE_THREADS = 8  # for pages, while all others wait for a place
STOP_SECONDS = 5
KEEP_ALIVE_SECONDS = 15


def serve(
    model_dir: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    public_url: str = "",
    announce: Callable[[str], None] = print,
) -> None:
    """Serve the page and its interface until Ctrl-C or SIGTERM.

    Args:
        model_dir: an exported package.
        host: address to listen on; there is no login, so other machines are served only where this says so.
        port: port to listen on; 0 for any free one.
        limits: what users get at most.
        public_url: address of a reverse proxy before this server, such as ``https://speech.example``; empty for none.
        announce: takes the lines for the user, the address among them.

    Raises:
        OvertoneError: the package does not load, an address is none, or the port is taken.
    """
    limits = limits or Limits()
    public_origin = origin_of(public_url) if public_url else ""
    with _listening(host, port) as listener:
        enhancement = Enhancement(model_dir, limits)
        server = uvicorn.Server(_config(application(enhancement, is_loopback(host), public_origin), limits))
        address = f"[{host}]" if ":" in host else host
        announce(f"Overtone: http://{address}:{listener.getsockname()[1]}/  ({enhancement.name})")
        if public_url:
            announce(f"Pages of {public_origin} may use it: the proxy there passes their requests on.")
        if not is_loopback(host):
            announce(
                f"Warning: everyone who reaches {host} may use it; there is no login and no encryption, and browsers "
                "give pages the microphone only over HTTPS or from this machine. Put a proxy with both before it."
            )
        announce("Ctrl-C stops it.")
        _run(server, listener)


def application(enhancement: Enhancement, loopback: bool, public_origin: str = "") -> Gate:
    """Return the whole ASGI application: page, HTTP interface and live streams behind the gate.

    Args:
        enhancement: the model with its limits.
        loopback: whether this machine only is served.
        public_origin: of a reverse proxy's page; empty where there is none.
    """
    limits = enhancement.limits
    threads = limits.workers + limits.waiting + SPARE_THREADS
    pages = WSGIMiddleware(create_app(enhancement), workers=threads)  # type: ignore[arg-type]
    return Gate(
        cast(Application, pages), LiveStreams(enhancement), limits, loopback=loopback, public_origin=public_origin
    )


def _config(gate: Gate, limits: Limits) -> uvicorn.Config:
    return uvicorn.Config(
        cast(Any, gate),
        http="h11",
        ws=cast(Any, partial(BoundedSocket, limits.idle_seconds)),
        ws_max_size=STREAM_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # samples hardly shrink, and a small message must not become a large one
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=HEAD_BYTES,
    )


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    if not host.strip():
        raise OvertoneError("--host: is empty. Expected an address, such as 127.0.0.1, or 0.0.0.0 for all machines.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named by its number, TCP is sent without delay by asyncio, which matters to live streams.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(BACKLOG)
        except (OSError, OverflowError, ValueError, TypeError) as error:  # whatever the two are made of
            reason = getattr(error, "strerror", None) or error
            raise OvertoneError(
                f"{host!r}, port {port}: cannot listen there ({reason}). Choose another --port or --host."
            ) from None
        yield listener


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    """Run until a signal; uvicorn raises it again when it has stopped."""
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # says "invalid request" for every port scan
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        server.run(sockets=[listener])
    except (KeyboardInterrupt, asyncio.CancelledError):
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
