"""Where studies are kept: any database that Optuna knows, with patience for one that is restarted."""

import threading
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from overtone.errors import OvertoneError

CONNECT_SECONDS = 10
BUSY_SECONDS = 60
RETRY_SECONDS = 2.0
CREATION_ATTEMPTS = 5

optuna.logging.set_verbosity(optuna.logging.ERROR)
# Heartbeats are "experimental" since Optuna 2.9.
warnings.filterwarnings("ignore", category=ExperimentalWarning, module="(optuna|experiments)")


# What an operation raises during which the database went away; the next one waits, or raises `StorageGone`.
BROKEN = (StorageInternalError, SQLAlchemyError)


class StorageGone(OvertoneError):
    """The database has not answered for longer than anybody's patience."""


class PatientStorage(RDBStorage):
    """An Optuna storage that waits for its database to come back, and whose heart beats on meanwhile.

    Connecting is where it waits: a broken connection is noticed when it is taken from the pool. An operation during
    which the database goes away fails with Optuna's `StorageInternalError`; the trial is then tried again.

    In SQLite, transactions begin by taking the lock. By default reading takes none, so two workers could both see a
    trial waiting and both take it; Optuna's ``SELECT ... FOR UPDATE``, which prevents that elsewhere, is nothing there.

    Args:
        url: of the database.
        say: told in a line that the database does not answer, and that it does again.
        heartbeat_seconds: how often a running trial says that it lives; None for a storage in which none runs.
        grace_seconds: silence after which it counts as dead.
        patience_seconds: how long to wait for the database, 0 for not at all; may be changed later.
    """

    def __init__(
        self,
        url: str,
        say: Callable[[str], None] = lambda line: None,
        heartbeat_seconds: int | None = None,
        grace_seconds: int | None = None,
        patience_seconds: float = 0.0,
    ) -> None:
        self.patience_seconds = patience_seconds
        self._say = say
        self._telling = threading.Lock()
        self._thread = threading.local()
        super().__init__(
            url,
            engine_kwargs={
                "pool_pre_ping": True,
                "pool_size": 1,  # kept: a server has a hundred for all workers of all machines
                "max_overflow": 4,
                "connect_args": _connect_arguments(parse_url(url)),
            },
            heartbeat_interval=heartbeat_seconds,
            grace_period=grace_seconds,
        )
        if self.engine.dialect.name == "sqlite":  # not before: while Optuna makes its tables it nests transactions
            self.engine.dispose()
            sqlalchemy.event.listen(self.engine, "connect", _leave_transactions_to_us)
            sqlalchemy.event.listen(self.engine, "begin", _begin_with_the_lock)

    @property
    def engine(self) -> Engine:
        """The connections; Optuna makes and uses them at once, so the waiting is hung in when they are set."""
        return self._engine

    @engine.setter
    def engine(self, engine: Engine) -> None:
        sqlalchemy.event.listen(engine, "do_connect", self._connect)
        self._engine = engine

    def record_heartbeat(self, trial_id: int) -> None:
        """Say that a trial lives; a beat that is lost must not end or hold up the thread that beats."""
        self._thread.impatient = True
        try:
            with suppress(*BROKEN):
                super().record_heartbeat(trial_id)
        finally:
            self._thread.impatient = False

    def begin_heartbeats(self, trial_ids: Sequence[int]) -> None:
        """Beat once for running trials that never did.

        Whoever dies between getting a trial and its first beat would leave one that Optuna never counts as dead.
        """
        with self.engine.connect() as connection:
            beating = set(connection.execute(sqlalchemy.text("SELECT trial_id FROM trial_heartbeats")).scalars())
        for trial_id in trial_ids:
            if trial_id not in beating:
                self.record_heartbeat(trial_id)

    def _connect(self, dialect: Any, record: Any, arguments: Any, options: Any) -> Any:  # noqa: ANN401 - SQLAlchemy's
        deadline = time.monotonic() + self.patience_seconds
        telling = False
        try:
            while True:
                try:
                    connection = dialect.connect(*arguments, **options)
                except dialect.loaded_dbapi.OperationalError as error:
                    if not self.patience_seconds or getattr(self._thread, "impatient", False):
                        raise
                    if time.monotonic() >= deadline:
                        raise StorageGone(_gone(self.patience_seconds, error)) from None
                    if not telling and self._telling.acquire(blocking=False):
                        telling = True
                        self._say(f"The database does not answer, waiting: {_first_line(error)}")
                    time.sleep(RETRY_SECONDS)
                else:
                    if telling:
                        self._say("The database answers again.")
                    return connection
        finally:
            if telling:
                self._telling.release()


def _gone(seconds: float, error: Exception) -> str:
    return (
        f"The database has not answered for {seconds:.0f} s ({_first_line(error)}). Start it, then the same command "
        "again; it continues where it was."
    )


def _leave_transactions_to_us(connection: Any, record: object) -> None:  # noqa: ANN401 - a driver's connection
    connection.isolation_level = None


def _begin_with_the_lock(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _connect_arguments(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"timeout": BUSY_SECONDS}
    return {"connect_timeout": CONNECT_SECONDS} if url.get_backend_name() in ("postgresql", "mysql") else {}


def without_password(url: str) -> str:
    """Return a URL without its password."""
    return parse_url(url).render_as_string(hide_password=True)


def parse_url(url: str) -> URL:
    """Return the parts of a database's URL.

    Raises:
        OvertoneError: it is none.
    """
    try:
        return make_url(url)
    except ArgumentError:
        raise OvertoneError(
            f"--storage: expected a database URL such as postgresql+psycopg://user@host/name or sqlite:///optuna.db, "
            f"got {url!r}."
        ) from None


def open_storage(
    url: str,
    say: Callable[[str], None] = lambda line: None,
    heartbeat_seconds: int | None = None,
    grace_seconds: int | None = None,
    patience_seconds: float = 0.0,
    must_exist: bool = False,
) -> PatientStorage:
    """Return the storage of a URL; its tables are made where they are missing.

    Args:
        url: of the database.
        say: see `PatientStorage`.
        heartbeat_seconds: see `PatientStorage`.
        grace_seconds: see `PatientStorage`.
        patience_seconds: see `PatientStorage`.
        must_exist: whether a missing SQLite file is a mistake instead of made.

    Raises:
        OvertoneError: the URL is none, its driver is not installed, or the database does not answer.
    """
    parsed = parse_url(url)
    where = without_password(url)
    if must_exist and parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
        raise OvertoneError(f"{where}: no such database. Sweep first, or name the sweep's with --storage.")
    for attempt in range(1, CREATION_ATTEMPTS + 1):
        try:
            return PatientStorage(url, say, heartbeat_seconds, grace_seconds, patience_seconds)
        except (NoSuchModuleError, ImportError):
            raise OvertoneError(f"{where}: {_missing_driver(parsed)}") from None
        except (SQLAlchemyError, StorageInternalError) as error:
            # Two who make the tables of a new database at the same time: the second finds them the next time.
            if _is_connection_failure(error) or attempt == CREATION_ATTEMPTS:
                raise OvertoneError(
                    f"{where}: the database cannot be opened ({_first_line(error)}). Start it, or correct --storage."
                ) from None
            time.sleep(0.2 * attempt)
    raise AssertionError


def _is_connection_failure(error: Exception) -> bool:
    cause = error if isinstance(error, DBAPIError) else error.__cause__
    return isinstance(cause, DBAPIError) and "exist" not in str(cause) and "unique" not in str(cause).lower()


def _missing_driver(url: URL) -> str:
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        return "the driver is not installed. Install it: pip install 'overtone[postgresql]'."
    return (
        f"no driver for {url.drivername!r} is installed. Install the one that SQLAlchemy names for it, or use "
        "postgresql+psycopg://..."
    )


def _first_line(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig else error.__cause__ or error
    if isinstance(cause, DBAPIError) and cause.orig:
        cause = cause.orig
    return next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
