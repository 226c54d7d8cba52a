"""What the server answers instead of doing as it was asked: a sentence and an HTTP status."""

import json
from http import HTTPStatus

from overtone.errors import OvertoneError


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
