"""What an error of MLflow's says, in one line."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from overtone.errors import OvertoneError


class _Place(Protocol):
    @property
    def uri(self) -> str | None: ...

    @property
    def place(self) -> str: ...


class StoreAway(Exception):
    """MLflow does not answer, or cannot be written; the message is the reason."""


def say(line: str) -> None:
    """Print a line for the user beside what the command prints."""
    print(f"overtone: {line}", file=sys.stderr, flush=True)


def store_errors() -> tuple[type[Exception], ...]:
    """Return the kinds of errors that calls of MLflow end in when its server or database cannot be used."""
    import requests
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return StoreAway, requests.RequestException, MlflowException, SQLAlchemyError, sqlite3.Error, OSError


def reason(error: BaseException) -> str:
    """Return why MLflow cannot be used, in one line and without the address, which may hold a password."""
    import requests
    from sqlalchemy.exc import DBAPIError

    one: BaseException | None = error
    while one is not None:
        if isinstance(one, requests.ConnectionError):
            return "no connection"
        if isinstance(one, requests.Timeout):
            return "no answer in time"
        if isinstance(one, DBAPIError):
            return first_line(one.orig or one)
        one = one.__cause__ or one.__context__
    return (isinstance(error, OSError) and error.strerror) or first_line(error)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def one_line(store: _Place) -> Iterator[None]:
    """Turn an error of MLflow's into one line for the user.

    Raises:
        OvertoneError: MLflow's server or database cannot be used.
    """
    try:
        yield
    except store_errors() as error:
        if store.uri is not None:
            raise OvertoneError(
                f"{store.place}: the tracking server cannot be used ({reason(error)}). Start it and run the same "
                "command again, name another with --tracking, or pass --tracking none."
            ) from error
        raise OvertoneError(
            f"{store.place}: the tracking store cannot be used ({reason(error)}). Make the folder writable or free "
            "some space, choose another with --runs DIR, or pass --tracking none."
        ) from error
