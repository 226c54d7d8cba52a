"""Downloads of large files that survive cut connections, moody servers and a stopped program.

Own code on urllib3, because what a corpus of 40 GB needs is what the usual helpers lack: pooch and parfive start a cut
download from its first byte, torch.hub knows neither mirrors nor retries, and none of them asks whether the file on
the server is still the one whose beginning lies on disk (If-Range, RFC 9110).
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import urllib3

from datamodules.fetching.mirror_requests import (
    GiveUp,
    Patience,
    TryAgain,
    read_some,
    send,
    wait_asked_for,
    whole_number,
)
from overtone.errors import OvertoneError, in_words
from overtone.files import written_whole

_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
_GZIP_SUFFIXES = (".gz", ".tgz")

Report = Callable[[str, int, int | None], None]


class DownloadError(OvertoneError):
    """A file that no mirror gave; the message says what each of them did."""


@dataclass(frozen=True)
class Expectation:
    """What is known about a file beforehand.

    Attributes:
        size: bytes, None where nobody published it.
        checksum: ``md5:`` or ``sha256:`` and the hexadecimal digest, None where nobody published it.
    """

    size: int | None = None
    checksum: str | None = None


def download(
    urls: Sequence[str],
    target: Path,
    expected: Expectation,
    report: Report | None = None,
    patience: Patience | None = None,
) -> None:
    """Download a file from the first of several mirrors that gives it, whole and verified.

    What has arrived lies in ``target`` with the suffix ``.part`` until all of it is there and verified; a later call
    continues there. A target that is there and intact is not downloaded again.

    Args:
        urls: the same file on its mirrors, asked in this order.
        target: where it goes.
        expected: its size and checksum, as far as they are known.
        report: called with ("download" or "verify", bytes that are done, bytes in all or None).
        patience: how long a server is put up with.

    Raises:
        DownloadError: no mirror gave the file, or it cannot be written.
    """
    failures: dict[str, list[str]] = {}
    try:
        if target.is_file() and _fault_of(target, expected, report) is None:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        for url in urls:
            try:
                _Transfer(url, target, expected, report, patience or Patience()).run()
                return
            except GiveUp as reason:
                failures.setdefault(str(reason), []).append(urlsplit(url).netloc or url)
    except OSError as error:
        raise DownloadError(in_words(error)) from None
    reasons = "; ".join(f"{', '.join(servers)} {reason}" for reason, servers in failures.items())
    raise DownloadError(
        f"{target.name}: not downloaded: {reasons}. Try again later, or name a mirror with --mirror; "
        "what has arrived is kept."
    )


def probe_size(urls: Sequence[str], patience: Patience | None = None) -> int | None:
    """Return the bytes of a file as the first mirror that answers states them (HEAD), None where none does."""
    for url in urls:
        try:
            with send("HEAD", url, {}, patience or Patience()) as response:
                if response.status == 200 and (size := whole_number(response.headers.get("Content-Length"))):
                    return size
        except (GiveUp, TryAgain):
            continue
    return None


def _fault_of(path: Path, expected: Expectation, report: Report | None) -> str | None:
    """Return what is wrong with a finished file, None where size and checksum are as expected."""
    size = path.stat().st_size
    if expected.size is not None and size != expected.size:
        return f"gave {size} bytes; expected {expected.size}"
    if expected.checksum is None:
        return None
    kind, digest = expected.checksum.split(":")
    found, done = hashlib.new(kind, usedforsecurity=False), 0
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
            done += len(chunk)
            if report is not None:
                report("verify", done, size)
    return None if found.hexdigest() == digest else f"gave a file with {kind} {found.hexdigest()}; expected {digest}"


class _Transfer:
    """One file from one mirror."""

    def __init__(
        self, url: str, target: Path, expected: Expectation, report: Report | None, patience: Patience
    ) -> None:
        self._url, self._target, self._expected = url, target, expected
        self._report, self._patience = report, patience
        self._part = target.with_name(f"{target.name}.part")
        self._origin = target.with_name(f"{target.name}.part.json")
        self._may_resume = True
        self._pieced = self._arrived() > 0

    def run(self) -> None:
        """Try until the file is there, or until ``patience`` is at its end."""
        failures, best = 0, self._arrived()
        while True:
            try:
                self._try()
                return
            except TryAgain as reason:
                arrived = self._arrived()
                worth_mentioning = min(1 << 20, (self._known_size() or 1 << 27) // 100 + 1)
                failures = 1 if arrived >= best + worth_mentioning else failures + 1
                best = max(best, arrived) if failures == 1 else best
                wait = self._patience.first_wait * 2 ** (failures - 1) if reason.wait is None else reason.wait
                if failures >= self._patience.tries:
                    raise GiveUp(f"{reason} ({failures} tries)") from None
                if wait > self._patience.longest_wait and reason.wait is not None:
                    raise GiveUp(f"{reason} and wants {wait:.0f} s of waiting") from None
                self._patience.sleep(min(wait, self._patience.longest_wait))

    def _arrived(self) -> int:
        return self._part.stat().st_size if self._part.is_file() else 0

    def _known_size(self) -> int | None:
        return self._expected.size or whole_number(self._read_origin().get("size"))

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._origin.unlink(missing_ok=True)

    def _try(self) -> None:
        headers = self._resume_headers()
        if not headers:
            self._discard()
        if self._expected.size is None or self._arrived() < self._expected.size:
            with send("GET", self._url, headers, self._patience) as response:
                self._receive(response)
        self._finish()

    def _resume_headers(self) -> dict[str, str]:
        """Ask for the rest of the file, if it is still the same one; nothing where the beginning is of no use."""
        arrived = self._arrived()
        if arrived == 0 or not self._may_resume or (self._expected.size is not None and arrived > self._expected.size):
            return {}
        origin = self._read_origin()
        validator = origin.get("etag") if origin.get("url") == self._url else None
        validator = validator or origin.get("modified")
        if validator is None and self._expected.checksum is None:
            return {}
        # A mirror of its own has its own ETag: there the published checksum is what proves the pieces fit.
        own = origin.get("url") == self._url or self._expected.checksum is None
        return {"Range": f"bytes={arrived}-"} | ({"If-Range": validator} if validator and own else {})

    def _read_origin(self) -> dict[str, str]:
        try:
            origin = json.loads(self._origin.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(origin, dict):
            return {}
        return {key: value for key, value in origin.items() if isinstance(value, str)}

    def _write_origin(self, response: urllib3.BaseHTTPResponse, total: int | None) -> None:
        etag = response.headers.get("ETag", "")
        origin = {
            "url": self._url,
            "etag": None if etag.startswith("W/") else etag or None,  # a weak one says nothing about single bytes
            "modified": response.headers.get("Last-Modified"),
            "size": None if total is None else str(total),
        }
        with written_whole(self._origin) as temporary:
            temporary.write_text(json.dumps(origin), encoding="utf-8")

    def _receive(self, response: urllib3.BaseHTTPResponse) -> None:
        status = response.status
        if status in _BUSY:
            raise TryAgain(f"answered {status} {response.reason or ''}".rstrip(), wait_asked_for(response))
        if status == 416:
            arrived = self._arrived()
            if response.headers.get("Content-Range") == f"bytes */{arrived}" and self._known_size() in {None, arrived}:
                return  # all of it was there; only its final name was missing
            self._start_again("has nothing after what is there")
        if status not in {200, 206}:
            raise GiveUp(f"answered {status} {response.reason or ''}".rstrip())
        self._refuse_other_content(response)
        total = self._total_of_rest(response) if status == 206 else self._total_of_all(response)
        if status == 200:
            self._discard()
            self._pieced = False
            self._write_origin(response, total)
        self._append(response, total)

    def _start_again(self, reason: str) -> NoReturn:
        self._discard()
        raise TryAgain(reason, wait=0.0)

    def _refuse_other_content(self, response: urllib3.BaseHTTPResponse) -> None:
        kind = response.headers.get("Content-Type", "").split(";")[0].strip().lower()
        if kind in {"text/html", "application/xhtml+xml"}:
            raise GiveUp("gave a web page instead of the file")
        coding = response.headers.get("Content-Encoding", "identity").strip().lower()
        # Servers label a .tar.gz as gzip-coded and send it as it is; anything else was packed on the way.
        if coding != "identity" and not self._target.name.endswith(_GZIP_SUFFIXES):
            raise GiveUp(f"packed the file with {coding} on the way although asked not to")

    def _total_of_all(self, response: urllib3.BaseHTTPResponse) -> int | None:
        total = whole_number(response.headers.get("Content-Length"))
        if total is not None and self._expected.size not in {None, total}:
            raise GiveUp(f"offers {total} bytes; expected {self._expected.size}")
        return self._expected.size if total is None else total

    def _total_of_rest(self, response: urllib3.BaseHTTPResponse) -> int:
        stated = response.headers.get("Content-Range", "")
        unit, _, rest = stated.partition(" ")
        span, _, total_text = rest.partition("/")
        total = whole_number(total_text)
        if unit != "bytes" or total is None or whole_number(span.partition("-")[0]) != self._arrived():
            self._may_resume = False
            self._start_again(f"sent another range than asked for ({stated or 'unnamed'})")
        known = self._known_size()
        if known not in {None, total}:
            self._start_again(f"has another file now: {total} bytes, {known} before")
        return total

    def _append(self, response: urllib3.BaseHTTPResponse, total: int | None) -> None:
        arrived = self._arrived()
        window_start, window_bytes = time.monotonic(), 0
        with self._part.open("ab") as part:
            while chunk := read_some(response, total):
                arrived += len(chunk)
                window_bytes += len(chunk)
                if total is not None and arrived > total:
                    self._start_again(f"sent more than the {total} bytes it announced")
                part.write(chunk)
                if self._report is not None:
                    self._report("download", arrived, total)
                if time.monotonic() - window_start > self._patience.slow_seconds:
                    if window_bytes < self._patience.slow_bytes:
                        raise GiveUp(f"sent only {window_bytes} bytes in {self._patience.slow_seconds:.0f} s")
                    window_start, window_bytes = time.monotonic(), 0
        if total is not None and arrived < total:
            raise TryAgain(f"ended the connection after {arrived} of {total} bytes")

    def _finish(self) -> None:
        fault = _fault_of(self._part, self._expected, self._report)
        if fault is not None:
            if self._pieced:
                self._pieced = False
                self._start_again(fault)
            self._discard()
            raise GiveUp(fault)
        self._part.replace(self._target)
        self._origin.unlink(missing_ok=True)
