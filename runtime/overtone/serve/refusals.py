"""Requests that are not served: an HTTP status and a sentence, as ``{"error": sentence}``."""

import json
from http import HTTPStatus

from overtone.errors import OvertoneError


class Refused(OvertoneError):
    """A request that is not served.

    Args:
        status: the HTTP status.
        message: what was expected, what came, and what to do.
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
        """The body of the answer, JSON."""
        return json.dumps({"error": str(self)}).encode()


def whole_number(name: str, text: str, lowest: int, highest: int) -> int:
    """Read a number of a request: the one way in which they are read.

    A text of more digits than the largest value has is refused unread: numbers of thousands of digits take Python long,
    or too long for it to try.

    Args:
        name: of the value, for the message.
        text: as the request has it.
        lowest: smallest allowed value.
        highest: largest allowed value.

    Raises:
        Refused: not a whole number in that range.
    """
    if text.isascii() and text.isdigit() and len(text) <= len(str(highest)) and lowest <= int(text) <= highest:
        return int(text)
    expected = "1 or 0" if (lowest, highest) == (0, 1) else f"a whole number from {lowest} to {highest}"
    raise Refused(HTTPStatus.BAD_REQUEST, f"{name} is {expected}, got '{text[:20]}'.")
