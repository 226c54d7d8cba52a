"""Databases of studies: SQLite on one machine, PostgreSQL or another server for several."""

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from experiments.presets.preset import SweepSettings
from overtone.errors import OvertoneError

TIMEOUTS = {"sqlite": {"timeout": 60}, "postgresql": {"connect_timeout": 10}}  # seconds, under the drivers' own names
DATABASE_ERRORS = (StorageInternalError, SQLAlchemyError)

optuna.logging.set_verbosity(optuna.logging.ERROR)
# Optuna calls heartbeats and retries experimental.
warnings.filterwarnings("ignore", category=ExperimentalWarning)


def default_storage(runs: Path) -> str:
    """Return the URL of the database in a folder for runs."""
    return f"sqlite:///{runs / 'optuna.db'}"


def without_password(url: str) -> str:
    """Return a URL without its password."""
    return _parsed(url).render_as_string(hide_password=True)


def absolute_url(url: str) -> str:
    """Return a database's URL as it is understood from any working folder.

    Raises:
        OvertoneError: it is not a URL, or names a database in memory, which other processes cannot see.
    """
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        return url
    if not parsed.database or parsed.database == ":memory:":
        raise OvertoneError(f"--storage {url}: a database in memory cannot be shared. Name a file: sqlite:///optuna.db")
    return parsed.set(database=str(Path(parsed.database).resolve())).render_as_string(hide_password=False)


def open_storage(url: str, sweep: SweepSettings | None = None, must_exist: bool = False) -> RDBStorage:
    """Return the storage of a URL; its tables are made where they are missing.

    Args:
        url: of the database.
        sweep: declares heartbeat, grace and retries of the trials that run; None for a storage that is only read.
        must_exist: whether a missing SQLite file is an error instead of made.

    Raises:
        OvertoneError: the URL is not one, its driver is not installed, or the database does not answer.
    """
    parsed, where = _parsed(url), without_password(url)
    if must_exist and parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise OvertoneError(f"{where}: no such database. Sweep first, or name the sweep's with --storage.")
    options: dict[str, Any] = {
        "engine_kwargs": {"pool_pre_ping": True, "connect_args": TIMEOUTS.get(parsed.get_backend_name(), {})}
    }
    if sweep is not None:
        options |= {"heartbeat_interval": sweep.heartbeat_seconds, "grace_period": sweep.grace_seconds}
        options["heartbeat_stale_trial_callback"] = retries(sweep.max_retries)
    try:
        try:
            return RDBStorage(url, **options)
        except DATABASE_ERRORS:  # another machine makes the tables of a new database at the same time
            time.sleep(1)
            return RDBStorage(url, **options)
    except (NoSuchModuleError, ImportError):
        raise OvertoneError(
            f"{where}: no driver for {parsed.drivername!r} is installed. For postgresql+psycopg://... it comes with "
            "pip install 'overtone[postgresql]'; for others, install the one that SQLAlchemy names."
        ) from None
    except DATABASE_ERRORS as error:
        raise OvertoneError(
            f"{where}: the database cannot be opened ({_cause(error)}). Start it, or correct --storage."
        ) from None


def retries(most: int | None) -> RetryHeartbeatStaleTrialCallback:
    """Return what puts a trial in its study's queue again, to continue from its checkpoint.

    Args:
        most: how often a trial may be repeated; None for any number of times.
    """
    return RetryHeartbeatStaleTrialCallback(most, inherit_intermediate_values=True)


@contextmanager
def one_line_errors(url: str) -> Iterator[None]:
    """Turn the error of a database that stops answering into one that the user understands.

    Raises:
        OvertoneError: the database does not answer.
    """
    try:
        yield
    except OvertoneError:
        raise
    except Exception as error:
        found: BaseException | None = error
        while found and not isinstance(found, DATABASE_ERRORS):  # in a trial Optuna hides it behind an error of its own
            found = found.__context__
        if found is None:
            raise
        raise OvertoneError(
            f"{without_password(url)}: the database does not answer ({_cause(found)}). Start it, then the same command "
            "again; it continues where it was."
        ) from None


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except ArgumentError:
        raise OvertoneError(
            f"--storage: expected a database URL such as postgresql+psycopg://user@host/name or sqlite:///optuna.db, "
            f"got {url!r}."
        ) from None


def _cause(error: BaseException) -> str:
    """Return the first line of the error that the database's driver raised."""
    while cause := getattr(error, "orig", None) or error.__cause__:
        error = cause
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
