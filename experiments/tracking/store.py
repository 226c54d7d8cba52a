"""An MLflow store: the database in the folder for runs, or a server.

MLflow takes seconds to import, so it is imported when a store is used, never with this module.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.runs import held, without_credentials
from experiments.tracking.database import (
    ARTIFACTS_NAME,
    DATABASE_NAME,
    StoreAway,
    database_uri,
    first_line,
    prepare_database,
    require_unlocked,
)
from experiments.tracking.folder import RunRecord
from overtone.errors import OvertoneError

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCK_NAME = ".mlflow.lock"
KEY_TAG = "overtone.key"
NOTE_TAG = "mlflow.note.content"
# A view that MLflow's "Share" button would have saved: its only way to choose columns for somebody else.
VIEW_TAG, VIEW_KEY = "mlflow.sharedViewState.", "overtone"
CLASSIC_VIEW = "workflowType=machine_learning"  # without it pages open in their GenAI form, which shows no runs
RUN_LINK = re.compile(r"\[([^\]]+)\]\(run:([^\s/)]+)([^\s)]*)\)")
PROBE_SECONDS = 2.0
SILENT_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # the GenAI job workers take 2 GB
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
# MLflow's own retries would hold a training up for minutes; its folder keeps all that a server misses.
CALLS = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "60"}
# MLflow refuses longer tags.
EXPERIMENT_TAG_LENGTH = 20_000


def shortened(text: str, length: int) -> str:
    """Cut a text to a length, marked by an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


class MlflowStore:
    """The store itself; its methods raise what MLflow raises.

    Args:
        runs_dir: the folder for runs.
        uri: address of a server; None for the database in the folder for runs.

    Attributes:
        is_new: whether the database was made by this store.
    """

    def __init__(self, runs_dir: Path, uri: str | None = None) -> None:
        self.runs_dir = runs_dir
        self.uri = uri
        self.is_new = False
        for name, value in (SILENT_ENVIRONMENT | CALLS).items():  # some are read at the import
            os.environ.setdefault(name, value)
        self._client: MlflowClient | None = None
        self._experiments: dict[str, str] = {}

    @property
    def place(self) -> str:
        """The store in words: its address without a password, or the folder for runs."""
        return str(self.runs_dir) if self.uri is None else without_credentials(self.uri)

    @property
    def may_answer_later(self) -> bool:
        """Whether it is worth while to wait for a store that does not answer: a server, or a database that is there."""
        return self.uri is not None or (self.runs_dir / DATABASE_NAME).is_file()

    @property
    def slug(self) -> str:
        """The store in a file's name."""
        return re.sub(r"[^A-Za-z0-9.-]+", "_", self.place.partition("://")[2].strip("/")) if self.uri else "local"

    @property
    def client(self) -> MlflowClient:
        """MLflow's client; made, and with it the database, at the first use."""
        if self._client is None:
            from mlflow import MlflowClient

            uri = self.uri
            if uri is None:
                logging.getLogger("mlflow.store.db").setLevel(logging.CRITICAL)  # we say ourselves what went wrong
                (self.runs_dir / ARTIFACTS_NAME).mkdir(parents=True, exist_ok=True)
                with self.locked():
                    self.is_new = prepare_database(self.runs_dir)
                uri = database_uri(self.runs_dir / DATABASE_NAME)
            self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        return self._client

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder for runs."""
        with held(self.runs_dir / LOCK_NAME):
            yield

    def require_answer(self) -> None:
        """Ask, within two seconds, whether the store answers and can be written.

        Raises:
            StoreAway: it does not.
            OvertoneError: the database is damaged.
        """
        if self.uri is None:
            require_unlocked(self.runs_dir)
            return
        import requests

        try:
            status = requests.get(f"{self.uri.rstrip('/')}/health", timeout=PROBE_SECONDS).status_code
        except requests.RequestException as error:
            raise StoreAway(reason(error)) from None
        if status >= 500:
            raise StoreAway(f"it answers with status {status}")

    def find_run(self, experiment: str, key: str) -> str:
        """Return the id of the earliest run with a key, empty where there is none."""
        quote = '"' if "'" in key else "'"
        found = self.client.search_runs([self.experiment_id(experiment)], f"tags.`{KEY_TAG}` = {quote}{key}{quote}")
        first = min(found, key=lambda run: (run.info.start_time, run.info.run_id), default=None)
        return str(first.info.run_id) if first else ""

    def run_id(self, record: RunRecord) -> str:
        """Return the id of the run of a record, which is created if need be.

        Processes that share the folder for runs create it once. Two machines at the same moment may both create it;
        whoever looks for it later finds the earlier one.
        """
        experiment_id = self.experiment_id(record.experiment)  # opens the store, which takes the lock itself
        with self.locked():
            found = self.find_run(record.experiment, record.key)
            if found:
                return found
            created = self.client.create_run(experiment_id, record.started, {KEY_TAG: record.key}, record.name or None)
        return str(created.info.run_id)

    def experiment_id(self, name: str) -> str:
        """Return the id of an experiment, which is created if need be."""
        if name not in self._experiments:
            self._experiments[name] = self._found_experiment(name)
        return self._experiments[name]

    def _found_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(name)
        if found is None:
            location = None if self.uri else (self.runs_dir / ARTIFACTS_NAME).as_uri()
            try:
                return str(self.client.create_experiment(name, artifact_location=location))
            except MlflowException as error:  # another process was faster
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return self._found_experiment(name)
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def tag_experiment(self, name: str, tags: Mapping[str, str]) -> None:
        """Set tags of an experiment."""
        for tag, value in tags.items():
            value = shortened(value, EXPERIMENT_TAG_LENGTH)
            put(self.client.set_experiment_tag, self.experiment_id(name), tag, value)

    def linked(self, markdown: str, experiment: str) -> str:
        """Return Markdown whose addresses ``run:KEY/...`` lead to that run of an experiment in this store.

        Runs have other ids in every store, so that texts in folders name their keys. Where there is no such run, the
        words of the link stay.
        """

        def resolved(match: re.Match[str]) -> str:
            words, key, rest = match.groups()
            run_id = self.find_run(experiment, key)
            return f"[{words}](#/experiments/{self.experiment_id(experiment)}/runs/{run_id}{rest})" if run_id else words

        return RUN_LINK.sub(resolved, markdown)

    def experiment_fragment(self, experiment_id: str) -> str:
        """Return what follows the server's address to open an experiment's table of runs."""
        view = VIEW_TAG + VIEW_KEY in self.client.get_experiment(experiment_id).tags
        shown = f"&viewStateShareKey={VIEW_KEY}" if view else ""
        return f"/#/experiments/{experiment_id}/runs?{CLASSIC_VIEW}{shown}"

    def latest_fragment(self) -> str:
        """Return the fragment of the experiment with the newest run; of the list of experiments if none."""
        experiments = [found.experiment_id for found in self.client.search_experiments()]
        newest = self.client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=1)
        return self.experiment_fragment(newest[0].info.experiment_id) if newest else "/#/experiments"


def open_store(kind: str, runs_dir: Path) -> MlflowStore | None:
    """Return the store that ``--tracking`` names, None for none; nothing is asked of it yet.

    Args:
        kind: ``mlflow``, ``none``, or the ``http://HOST:PORT`` of an MLflow server.
        runs_dir: the folder for runs.
    """
    if kind == "none":
        return None
    return MlflowStore(runs_dir.resolve(), None if kind == "mlflow" else kind.rstrip("/"))


def put(write: Callable[..., object], *values: str) -> None:
    """Set a tag or an alias of what several machines share.

    The store looks for it and inserts it if it is not there. Where another machine inserts it in between, the database
    refuses the second one, and a second attempt finds it.

    Args:
        write: the client's method, which sets the same whoever calls it.
        values: what it takes.

    Raises:
        MlflowException: the store refuses it again, or for another reason.
    """
    from mlflow.exceptions import MlflowException

    try:
        write(*values)
    except MlflowException as error:
        if "IntegrityError" not in str(error) and "UniqueViolation" not in str(error):
            raise
        write(*values)


def store_errors() -> tuple[type[Exception], ...]:
    """Return the kinds of errors that calls of MLflow end in when its server or database cannot be used."""
    import requests
    from alembic.util import CommandError
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return StoreAway, requests.RequestException, MlflowException, SQLAlchemyError, CommandError, sqlite3.Error, OSError


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


@contextmanager
def one_line(store: MlflowStore) -> Iterator[None]:
    """Turn an error of MLflow's into one line for the user.

    Raises:
        OvertoneError: MLflow's server or database cannot be used.
    """
    try:
        yield
    except store_errors() as error:
        what, advice = "store", "Make the folder writable or free some space, choose another with --runs DIR"
        if store.uri is not None:
            what, advice = "server", "Start it and run the same command again, name another with --tracking"
        raise OvertoneError(
            f"{store.place}: the tracking {what} cannot be used ({reason(error)}). {advice}, or pass --tracking none."
        ) from error
