"""Requests to servers that may be slow, busy, gone or hostile: what to try again, and what to give up."""

import re
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ReadTimeoutError,
    SSLError,
)

_CHUNK_BYTES = 1 << 18
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True)
class Patience:
    """How long a server is put up with.

    Attributes:
        tries: failures in a row, without anything worth mentioning having arrived, before the next mirror is asked.
        first_wait: seconds before the second try; each further wait is twice as long.
        longest_wait: seconds that a wait never exceeds; a server that asks for more (Retry-After) is given up.
        connect_seconds: until a connection stands.
        stall_seconds: without a single byte.
        slow_seconds: over which at least ``slow_bytes`` have to arrive.
        slow_bytes: see ``slow_seconds``.
        redirects: followed for one request.
        sleep: waits, replaced in tests.
    """

    tries: int = 5
    first_wait: float = 1.0
    longest_wait: float = 120.0
    connect_seconds: float = 15.0
    stall_seconds: float = 60.0
    slow_seconds: float = 60.0
    slow_bytes: int = 60_000
    redirects: int = 8
    sleep: Callable[[float], None] = time.sleep


class TryAgain(Exception):
    """This try failed; a later one may not. ``wait``: the seconds that the server asks for, None where it does not."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class GiveUp(Exception):
    """This mirror will not give the file."""


def send(method: str, url: str, headers: dict[str, str], patience: Patience) -> urllib3.BaseHTTPResponse:
    """Send a request and follow redirects: to http or https only, and never from https to http.

    Raises:
        TryAgain: the server cannot be reached or breaks off.
        GiveUp: its name is unknown, its certificate wrong, or its redirects lead nowhere.
    """
    seen = [url]
    sent = {"Accept-Encoding": "identity", "User-Agent": "overtone"} | headers
    timeout = urllib3.Timeout(connect=patience.connect_seconds, read=patience.stall_seconds)
    while True:
        here = seen[-1]
        try:
            response = _pool_for(here).request(
                method, here, headers=sent, timeout=timeout, redirect=False, retries=False, preload_content=False
            )
        except (NameResolutionError, SSLError, LocationValueError) as error:
            raise GiveUp(_reason(error)) from None
        except HTTPError as error:
            raise TryAgain(_reason(error)) from None
        if response.status not in _REDIRECTS:
            return response
        response.close()
        seen.append(_next_address(response.headers.get("Location", ""), seen, patience))


def _next_address(location: str, seen: Sequence[str], patience: Patience) -> str:
    here = seen[-1]
    try:
        there = urljoin(here, location)
        scheme = urlsplit(there).scheme
    except ValueError:
        raise GiveUp(f"redirects to {location[:100]!r}, which is no address") from None
    if scheme not in {"http", "https"} or (scheme == "http" and urlsplit(here).scheme == "https"):
        raise GiveUp(f"redirects to {there[:100]!r}, which is no https address")
    if there in seen:
        raise GiveUp("redirects in a circle")
    if len(seen) > patience.redirects:
        raise GiveUp(f"redirects more than {patience.redirects} times")
    return there


def _pool_for(url: str) -> urllib3.PoolManager:
    """Return a connection that honours the proxies of the environment, as curl does."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        return urllib3.ProxyManager(proxy)
    return urllib3.PoolManager()


def _reason(error: HTTPError) -> str:
    """Return the last and plainest part of an error of urllib3, without its objects and numbers."""
    if isinstance(error, NameResolutionError):
        return "cannot be found by name (no network?)"
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return "does not answer"
    words = re.sub(r"\[Errno -?\d+\] ", "", str(error).rsplit(": ", 1)[-1]).strip("()").replace("\n", " ")
    return f"failed ({words[:100] or type(error).__name__})"


def wait_asked_for(response: urllib3.BaseHTTPResponse) -> float | None:
    """Return the seconds that a response asks to wait (Retry-After, a number or a date), None where it does not."""
    stated = response.headers.get("Retry-After", "").strip()
    if not stated:
        return None
    if stated.isascii() and stated.isdigit():
        return float(stated)
    try:
        until = parsedate_to_datetime(stated)
    except ValueError:
        return None
    return max(0.0, (until - datetime.now(until.tzinfo or UTC)).total_seconds()) if until.tzinfo else None


def whole_number(text: str | None) -> int | None:
    """Return the number that a header states, None where it is missing or no number."""
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def read_some(response: urllib3.BaseHTTPResponse, total: int | None) -> bytes:
    """Return what is there, not a full chunk: a trickling server must not be given a whole chunk's time.

    Empty at the end, also at an early one where ``total`` is known, so that the caller can tell what is missing.

    Raises:
        TryAgain: the server went silent, or broke off where ``total`` is None.
    """
    try:
        return response.read1(_CHUNK_BYTES, decode_content=False)
    except ReadTimeoutError:
        raise TryAgain("went silent") from None
    except ProtocolError as error:
        if total is not None:
            return b""
        raise TryAgain(_reason(error)) from None
    except HTTPError as error:
        raise TryAgain(_reason(error)) from None
