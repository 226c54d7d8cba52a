"""An MLflow store: a database in the runs folder, or a server; what may be in its way, and what must happen once.

MLflow takes seconds to import, so it is imported when a store is used, never with this module.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import urlsplit

from experiments.tracking.entries import Entry, Identity
from experiments.tracking.errors import ABSENT_CODES, EntryRefused, StoreAway, first_line, trouble
from experiments.tracking.senders import SENDERS
from overtone.errors import OvertoneError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as StoredRun

DATABASE_NAME = "mlflow.db"
ARTIFACTS_NAME = "artifacts"
LOCK_NAME = ".mlflow.lock"
KEY_TAG = "overtone.key"
CLAIM_TAG = "overtone.claim"
CLAIM_SECONDS = 5.0
PROBE_SECONDS = 2.0
CALL_SECONDS, LONG_CALL_SECONDS = "10", "120"
SILENT_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # the GenAI job workers take 2 GB
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
# MLflow would retry for minutes while a training waits; the outbox is more patient, and holds nobody up.
IMPATIENT_ENVIRONMENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": CALL_SECONDS}
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


class MlflowStore:
    """The store itself, without patience: every method may raise `StoreAway`.

    Any number of processes on any number of machines may use it at once. What must happen once (creating the
    database, an experiment, a run under a key, a version) happens under a file lock among those that share the runs
    folder; among the others, whoever finds that somebody was first takes his.

    Args:
        runs_dir: the runs folder.
        uri: address of a server; None for the database in the runs folder.
    """

    def __init__(self, runs_dir: Path, uri: str | None = None) -> None:
        self.runs_dir = runs_dir
        self.uri = uri
        for name, value in (SILENT_ENVIRONMENT | IMPATIENT_ENVIRONMENT).items():  # some are read at the import
            os.environ.setdefault(name, value)
        self._client: MlflowClient | None = None
        self._experiments: dict[str, str] = {}
        self._runs: dict[Identity, str] = {}
        self._claim = uuid.uuid4().hex

    @property
    def place(self) -> str:
        """The store in words: its address without a password, or the runs folder."""
        if self.uri is None:
            return str(self.runs_dir)
        parts = urlsplit(self.uri)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @property
    def client(self) -> MlflowClient:
        """MLflow's client; made, and with it the database, at the first use."""
        if self._client is None:
            from mlflow import MlflowClient

            if self.uri is not None:
                self._client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            else:
                (self.runs_dir / ARTIFACTS_NAME).mkdir(parents=True, exist_ok=True)
                uri = f"sqlite:///{self.runs_dir / DATABASE_NAME}"
                logging.getLogger("mlflow.store.db").setLevel(logging.CRITICAL)  # we say ourselves what went wrong
                with self.locked():
                    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
                    client.search_experiments(max_results=1)  # the database is created at the first call
                self._client = client
        return self._client

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the runs folder."""
        self.runs_dir.mkdir(parents=True, exist_ok=True)
        with (self.runs_dir / LOCK_NAME).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def require_answer(self) -> None:
        """Ask, within two seconds, whether the store answers and can be written.

        Raises:
            StoreAway: it does not.
        """
        if self.uri is None:
            self._require_unlocked()
            return
        import requests

        try:
            status = requests.get(f"{self.uri.rstrip('/')}/health", timeout=PROBE_SECONDS).status_code
        except requests.RequestException as error:
            raise trouble(error) or StoreAway(first_line(error)) from None
        if status >= 500:
            raise StoreAway(f"it answers with status {status}")

    def _require_unlocked(self) -> None:
        path = self.runs_dir / DATABASE_NAME
        if not path.is_file():
            return
        try:
            with closing(sqlite3.connect(path, timeout=PROBE_SECONDS)) as connection:
                connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            raise StoreAway(first_line(error)) from None

    def call(
        self, action: Callable[_Parameters, _Result], *args: _Parameters.args, **kwargs: _Parameters.kwargs
    ) -> _Result:
        """Call something of the client's.

        Raises:
            StoreAway: the store is in no state to answer; mistakes in our own calls are raised as they are.
        """
        try:
            return action(*args, **kwargs)
        except Exception as error:
            away = trouble(error)
            if away is None:
                raise
            raise away from error

    def send(self, identity: Identity, entry: Entry) -> None:
        """Send an entry of a run, which is created if need be.

        Raises:
            StoreAway: the store is in no state to take it.
        """
        self.call(SENDERS[entry.kind], self, identity, entry)

    def send_late(self, identity: Identity, entry: Entry) -> None:
        """Send an entry that has waited, and of which nobody hears any more if it is wrong.

        Raises:
            StoreAway: the store is in no state to take it.
            EntryRefused: it never will.
        """
        from mlflow.exceptions import MlflowException

        try:
            try:
                self.send(identity, entry)
            except MlflowException as error:
                if error.error_code not in ABSENT_CODES or identity not in self._runs:
                    raise
                del self._runs[identity]  # somebody has deleted it: what it had logged is gone, what waits is not
                self.send(identity, entry)
        except MlflowException as error:
            raise EntryRefused(first_line(error)) from error

    def known_run_id(self, identity: Identity) -> str:
        """Return a run's id, empty when it is not known yet."""
        return self._runs.get(identity, "")

    def run_id(self, identity: Identity) -> str:
        """Return the id of the run with a key, which is created if need be."""
        if identity not in self._runs:
            with self.locked():
                self._runs[identity] = self._claimed_run(self.experiment_id(identity.experiment), identity)
        return self._runs[identity]

    def _claimed_run(self, experiment_id: str, identity: Identity) -> str:
        """Find or create the run with a key so that all machines end with the same one.

        Nothing in MLflow forbids two runs with one tag. So a new run is marked as a claim, and becomes settled when
        its maker, looking again, sees no other. Of claims that see each other all but the oldest withdraw; one that
        sees a settled run withdraws; and a claim whose maker died is settled by the next who waits for it.
        """
        deadline = time.monotonic() + CLAIM_SECONDS
        while True:
            found = self._runs_with_key(experiment_id, identity.key)
            settled = [run for run in found if CLAIM_TAG not in run.data.tags]
            mine = [run for run in found if run.data.tags.get(CLAIM_TAG) == self._claim]
            if settled:
                self._withdraw(mine)
                return str(settled[0].info.run_id)
            if not found:
                tags = {KEY_TAG: identity.key, CLAIM_TAG: self._claim}
                self.client.create_run(experiment_id, identity.started, tags, identity.name or None)
                continue
            if found == mine or time.monotonic() > deadline:
                run_id = str(found[0].info.run_id)
                self.client.delete_tag(run_id, CLAIM_TAG)
                self._withdraw(found[1:])
                return run_id
            if mine and mine[0] != found[0]:
                self._withdraw(mine)
            time.sleep(0.1)

    def _runs_with_key(self, experiment_id: str, key: str) -> list[StoredRun]:
        quote = '"' if "'" in key else "'"
        found = self.client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = {quote}{key}{quote}")
        return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))

    def _withdraw(self, runs: list[StoredRun]) -> None:
        for run in runs:
            self.client.delete_run(run.info.run_id)

    def experiment_id(self, name: str) -> str:
        """Return the id of an experiment, which is created if need be.

        Raises:
            OvertoneError: its files lie elsewhere, since the runs folder was moved.
        """
        if name not in self._experiments:
            self._experiments[name] = self._found_experiment(name)
        return self._experiments[name]

    def _found_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        location = None if self.uri else (self.runs_dir / ARTIFACTS_NAME).as_uri()
        found = self.client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(self.client.create_experiment(name, artifact_location=location))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self.client.get_experiment_by_name(name)
                assert found is not None
        if location and not str(found.artifact_location).startswith(location):
            raise OvertoneError(
                f"{self.runs_dir}: experiment {name} keeps its files in {found.artifact_location} "
                "(was the folder moved or copied?). Move it back, or choose another with --runs DIR."
            )
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)


@contextmanager
def long_calls() -> Iterator[None]:
    """Let calls take as long as large files need."""
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    before = os.environ[name]
    os.environ[name] = LONG_CALL_SECONDS if before == CALL_SECONDS else before
    try:
        yield
    finally:
        os.environ[name] = before
