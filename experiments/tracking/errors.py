"""What an error says of a store: away for a while, wrong in itself, or a mistake in our own call."""

from __future__ import annotations

import errno
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from overtone.errors import OvertoneError

PASSING_ERRNOS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EAGAIN,
    errno.EIO,
    errno.ESTALE,
    errno.ETIMEDOUT,
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
}
UNCLEAR_CODES = {"INTERNAL_ERROR", "BAD_REQUEST", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"}
ABSENT_CODES = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class _Place(Protocol):
    @property
    def uri(self) -> str | None: ...

    @property
    def place(self) -> str: ...


class StoreAway(Exception):
    """The store cannot take anything at the moment; the message is the reason, in one line."""


class StoreUnclear(StoreAway):
    """The store answered with an error of its own: another entry may pass."""


class EntryRefused(Exception):
    """The store will never take this entry."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def trouble(error: Exception) -> StoreAway | None:
    """Return what an error says of the store: away, or an error of its own; None for a mistake in our call."""
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import OperationalError, SQLAlchemyError

    if isinstance(error, StoreAway):
        return error
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for one in chain:
        if isinstance(one, requests.ConnectionError | requests.Timeout):
            return StoreAway("no connection" if isinstance(one, requests.ConnectionError) else "no answer in time")
        if isinstance(one, OperationalError):
            return StoreAway(first_line(one.orig or one))
        if isinstance(one, OSError) and one.errno in PASSING_ERRNOS:
            return StoreAway(one.strerror or first_line(one))
    if isinstance(error, requests.HTTPError):
        status = error.response.status_code if error.response is not None else 500
        return StoreUnclear(first_line(error)) if status >= 500 or status in (408, 429) else None
    if isinstance(error, MlflowException):
        if error.error_code == "TEMPORARILY_UNAVAILABLE":
            return StoreAway(first_line(error))
        return StoreUnclear(first_line(error)) if error.error_code in UNCLEAR_CODES else None
    return StoreUnclear(first_line(error)) if isinstance(error, SQLAlchemyError) else None


def one_line_errors(
    method: Callable[Concatenate[Any, _Parameters], _Result],
) -> Callable[Concatenate[Any, _Parameters], _Result]:
    """Turn a store that cannot be used into one line; mistakes in our own calls stay tracebacks.

    For methods of what has a `store`.
    """

    @wraps(method)
    def wrapper(self: Any, *args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:  # noqa: ANN401
        try:
            return method(self, *args, **kwargs)
        except OvertoneError:
            raise
        except Exception as error:
            reason = trouble(error) or (error if isinstance(error, OSError) else None)
            if reason is None:
                raise
            raise unusable(self.store, reason) from error

    return wrapper


def unusable(store: _Place, reason: Exception) -> OvertoneError:
    """Return the line that says why a store cannot be used, and what to do."""
    if store.uri:
        return OvertoneError(
            f"{store.place}: the tracking server cannot be used ({first_line(reason)}). Start it and run the same "
            "command again, name another with --tracking, or pass --tracking none."
        )
    return OvertoneError(
        f"{store.place}: the tracking store cannot be used ({first_line(reason)}). Make the folder writable or "
        "free some space, choose another with --runs DIR, or pass --tracking none."
    )
