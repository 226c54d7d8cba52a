"""Downloads of large files: several mirrors, retries, resumed where they were cut, verified before they count."""

import hashlib
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from overtone.errors import OvertoneError, in_words

_CHUNK_BYTES = 1 << 18
_BUSY = (408, 425, 429, 500, 502, 503, 504)
_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "overtone"}

Report = Callable[[str, int, int | None], None]


class DownloadError(OvertoneError):
    """A file that no mirror gave; the message says what each of them did."""


class _Unfit(Exception):
    """This mirror does not give the file."""


@dataclass(frozen=True)
class Expectation:
    """What is known about a file before it is downloaded.

    Attributes:
        size: in bytes; None where its publisher does not say.
        checksum: ``md5:`` or ``sha256:`` and the hexadecimal digest; None where its publisher does not say.
    """

    size: int | None = None
    checksum: str | None = None


@dataclass(frozen=True)
class Patience:
    """How long a mirror is tried.

    Attributes:
        tries: requests without progress before the next mirror is asked.
        first_wait: seconds before the second try; each further wait is twice as long. ``Retry-After`` is honoured.
        longest_wait: seconds that no wait exceeds.
        stall_seconds: seconds without a byte after which a try has failed.
    """

    tries: int = 5
    first_wait: float = 1.0
    longest_wait: float = 120.0
    stall_seconds: float = 60.0

    def retry(self) -> urllib3.Retry:
        """Return the policy for one request: connections, redirects and servers that are busy."""
        return urllib3.Retry(
            total=self.tries - 1,
            redirect=8,
            status_forcelist=_BUSY,
            backoff_factor=self.first_wait,
            backoff_max=self.longest_wait,
            retry_after_max=round(self.longest_wait),
            raise_on_status=False,
        )


def download(
    urls: Sequence[str],
    target: Path,
    expected: Expectation,
    report: Report | None = None,
    patience: Patience | None = None,
) -> None:
    """Download a file from the first of several mirrors that gives it, whole and verified.

    What has arrived is kept as ``target`` with the suffix ``.part`` until all of it is there and verified; a later call
    continues there. A target that is there and intact is not downloaded again.

    Args:
        urls: the same file on its mirrors, asked in this order.
        target: where it goes.
        expected: its size and checksum, as far as they are known.
        report: called with ("download" or "verify", bytes that are done, bytes in all or None).
        patience: how long a mirror is tried.

    Raises:
        DownloadError: no mirror gave the file.
        OvertoneError: it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_file() and _fault_of(target, expected, report) is None:
            return
        failures = []
        for url in urls:
            try:
                _Transfer(url, target, expected, report, patience or Patience()).run()
                return
            except _Unfit as reason:
                failures.append(f"{urlsplit(url).netloc} {reason}")
    except OSError as error:
        raise OvertoneError(in_words(error)) from None
    raise DownloadError(f"{target.name}: not downloaded: {'; '.join(failures)}.")


def probe_size(urls: Sequence[str], patience: Patience | None = None) -> int | None:
    """Return the bytes of a file as the first mirror that says so declares them; None where none does.

    Args:
        urls: the same file on its mirrors.
        patience: how long a mirror is tried.
    """
    for url in urls:
        try:
            response = _request("HEAD", url, {}, patience or Patience())
        except _Unfit:
            continue
        if response.status == 200 and (size := _whole_number(response.headers.get("Content-Length"))) is not None:
            return size
    return None


class _Transfer:
    """One file from one mirror."""

    def __init__(
        self, url: str, target: Path, expected: Expectation, report: Report | None, patience: Patience
    ) -> None:
        self._url, self._target, self._expected = url, target, expected
        self._report, self._patience = report, patience
        self._part = target.with_name(f"{target.name}.part")
        self._validator = target.with_name(f"{target.name}.part.validator")
        self._resumed = self._arrived() > 0

    def run(self) -> None:
        """Request the file, and its rest where it is cut, until it is whole."""
        failures = 0
        while True:
            before = self._arrived()
            try:
                self._receive()
                break
            except HTTPError as error:
                failures = 1 if self._arrived() > before else failures + 1
                if failures >= self._patience.tries:
                    raise _Unfit(f"broke off {failures} times ({_reason(error)})") from None
        fault = _fault_of(self._part, self._expected, self._report)
        if fault is not None:
            self._discard()
            if self._resumed:  # the pieces are of different files: once more from the beginning
                self._resumed = False
                return self.run()
            raise _Unfit(fault)
        self._part.replace(self._target)
        self._validator.unlink(missing_ok=True)

    def _arrived(self) -> int:
        return self._part.stat().st_size if self._part.is_file() else 0

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._validator.unlink(missing_ok=True)

    def _receive(self) -> None:
        """Append what is missing, or begin again where the file is another one now."""
        headers = self._range_headers()
        arrived = self._arrived()
        if arrived and arrived == self._expected.size:
            return
        response = _request("GET", self._url, headers, self._patience)
        with response:
            if response.status == 416 or (response.status == 206 and not _continues(response, arrived)):
                self._discard()
                response = _request("GET", self._url, {}, self._patience)
            if response.status not in {200, 206}:
                raise _Unfit(f"answered {response.status} {response.reason or ''}".rstrip())
            if response.headers.get("Content-Type", "").startswith(("text/html", "application/xhtml")):
                raise _Unfit("gave a web page instead of the file")
            if response.status == 200:
                self._discard()
                self._resumed = False
                self._validator.write_text(f"{self._url}\n{_validator_of(response)}")
            self._append(response)

    def _range_headers(self) -> dict[str, str]:
        """Return the headers that ask for the rest, where a validator or a checksum can tell whether it fits."""
        arrived = self._arrived()
        note = self._validator.read_text(errors="replace") if self._validator.is_file() else ""
        url, _, validator = note.partition("\n")
        validator = validator if url == self._url and validator.isprintable() else ""  # another mirror has its own
        too_long = self._expected.size is not None and arrived > self._expected.size
        if not arrived or too_long or not (validator or self._expected.checksum):
            self._discard()
            return {}
        return {"Range": f"bytes={arrived}-"} | ({"If-Range": validator} if validator else {})

    def _append(self, response: urllib3.BaseHTTPResponse) -> None:
        arrived = self._arrived()
        rest = _whole_number(response.headers.get("Content-Length"))
        total = self._expected.size if rest is None else arrived + rest
        if self._expected.size not in {None, total}:
            self._discard()
            raise _Unfit(f"offers {total} bytes; expected {self._expected.size}")
        with self._part.open("ab") as part:
            for chunk in response.stream(_CHUNK_BYTES, decode_content=False):
                part.write(chunk)
                arrived += len(chunk)
                if self._report is not None:
                    self._report("download", arrived, total)
        if total is not None and arrived < total:
            raise urllib3.exceptions.IncompleteRead(arrived, total - arrived)


def _request(method: str, url: str, headers: dict[str, str], patience: Patience) -> urllib3.BaseHTTPResponse:
    """Send a request; an https address never ends at an http one.

    Raises:
        _Unfit: there is no answer.
    """
    timeout = urllib3.Timeout(connect=15.0, read=patience.stall_seconds)
    try:
        response = _pool_for(url).request(
            method, url, headers=_HEADERS | headers, timeout=timeout, retries=patience.retry(), preload_content=False
        )
    except (HTTPError, ValueError) as error:  # a ValueError is an address that is none
        raise _Unfit(f"cannot be reached ({_reason(error)})") from None
    if url.startswith("https:") and (response.geturl() or url).startswith("http:"):
        response.close()
        raise _Unfit("redirects from https to http")
    return response


def _pool_for(url: str) -> urllib3.PoolManager:
    """Return connections that honour the proxies of the environment, as curl does."""
    parts = urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        return urllib3.ProxyManager(proxy)
    return urllib3.PoolManager()


def _continues(response: urllib3.BaseHTTPResponse, arrived: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {arrived}-")


def _validator_of(response: urllib3.BaseHTTPResponse) -> str:
    """Return what tells whether a later answer is of the same file (RFC 9110): a strong ETag, else its date."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _reason(error: Exception) -> str:
    """Return the plainest part of an error of urllib3, without its objects."""
    cause = getattr(error, "reason", None) or error
    return str(cause).rsplit(": ", 1)[-1].strip("()")[:100] or type(error).__name__


def _whole_number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _fault_of(path: Path, expected: Expectation, report: Report | None) -> str | None:
    """Return what is wrong with a file, None where it is as expected."""
    size = path.stat().st_size if path.is_file() else 0
    if expected.size not in {None, size}:
        return f"gave {size} bytes; expected {expected.size}"
    if expected.checksum is None:
        return None
    kind, _, digest = expected.checksum.partition(":")
    found, done = hashlib.new(kind, usedforsecurity=False), 0
    for chunk in _chunks(path):
        found.update(chunk)
        done += len(chunk)
        if report is not None:
            report("verify", done, size)
    return None if found.hexdigest() == digest else f"gave a file with {kind} {found.hexdigest()}; expected {digest}"
