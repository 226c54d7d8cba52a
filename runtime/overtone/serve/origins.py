"""Who may ask: requests of other sites' pages, and names that were made to point here, are refused."""

import ipaddress
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from overtone.serve.refusals import Refused

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
OWN_SITES = frozenset({"same-origin", "none"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_loopback(host: str) -> bool:
    """Say whether an address to listen on is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_own_host(headers: Mapping[str, str], *, loopback: bool) -> None:
    """Refuse names other than this machine's where only this machine is served.

    A page elsewhere can have its own name resolve to 127.0.0.1 and would then be of the same origin as this server.

    Raises:
        Refused: the Host header is missing or names another host.
    """
    name = _host_name(headers.get("host", ""))
    if not name or (loopback and name not in LOOPBACK_NAMES and not is_loopback(name)):
        raise Refused(
            HTTPStatus.FORBIDDEN,
            f"The server was asked for as '{name}', but serves this machine only. Open it as 127.0.0.1 or localhost.",
        )


def require_own_page(method: str, headers: Mapping[str, str], *, websocket: bool = False) -> None:
    """Refuse what a page of another site has sent; programs such as curl name no site and are served.

    Raises:
        Refused: the request changes or costs something and comes from another site.
    """
    if method in SAFE_METHODS and not websocket:
        return
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    foreign_origin = origin is not None and urlsplit(origin).netloc != headers.get("host", "")
    if foreign_origin or (site is not None and site not in OWN_SITES):
        raise Refused(
            HTTPStatus.FORBIDDEN, "The request comes from another site's page. Open this server's own page instead."
        )


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
