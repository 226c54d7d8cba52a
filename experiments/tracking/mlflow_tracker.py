"""What a run leaves behind for a reviewer, in MLflow; with `tracking_*.py` the only modules that import it.

MLflow takes seconds to import, so it is imported when a store is opened, never with these modules.
"""
# ruff: noqa: D102 (the methods are described where they are declared, in Tracker)

from __future__ import annotations

import getpass
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from experiments.tracking.delivery import OUTBOX_NAME, Delivery
from experiments.tracking.entries import Entry, Identity
from experiments.tracking.errors import StoreAway, first_line, one_line_errors, trouble
from experiments.tracking.registered_models import Registry
from experiments.tracking.run import CLASSIC_VIEW, NOTE_TAG, MlflowRun
from experiments.tracking.store import DATABASE_NAME, KEY_TAG, MlflowStore
from experiments.tracking.tracker import NoTracker, RegisteredVersion, Run, Tracker
from overtone.errors import OvertoneError

if TYPE_CHECKING:
    from mlflow import MlflowClient


# A view that MLflow's "Share" button would have saved: its only way to choose columns for somebody else.
VIEW_TAG, VIEW_KEY = "mlflow.sharedViewState.", "overtone"
REGISTRATION_PATIENCE, REGISTRATION_PAUSE = 120.0, 2.0

_Result = TypeVar("_Result")


class MlflowTracker(Tracker):
    """An MLflow store: ``<runs_dir>/mlflow.db`` and ``<runs_dir>/artifacts``, or a server.

    What is logged while the store is away waits in ``<runs_dir>/outbox`` and is sent when it answers again, at the
    latest when a command opens the tracker the next time.

    Args:
        runs_dir: the runs folder.
        uri: address of a server; None for the database in the runs folder.
    """

    def __init__(self, runs_dir: Path, uri: str | None = None) -> None:
        self.runs_dir = runs_dir.resolve()
        self.store = MlflowStore(self.runs_dir, uri)
        self._delivery = Delivery(self.store, self.runs_dir)
        self._registry = Registry(self.store)
        self._open()

    @property
    def _client(self) -> MlflowClient:
        return self.store.client

    @one_line_errors
    def _open(self) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.store.require_answer()
            self.store.call(self.store.client.search_experiments, max_results=1)
        except StoreAway as away:
            if self.store.uri is None and not (self.runs_dir / DATABASE_NAME).is_file():
                raise
            self._delivery.note(away)
        except MlflowException as error:
            raise OvertoneError(
                f"{self.store.place}: does not answer as an MLflow server does ({first_line(error)}). "
                "Expected the http://HOST:PORT of one."
            ) from error
        else:
            self._delivery.start()

    @one_line_errors
    def run(
        self, experiment: str, name: str, tags: Mapping[str, str], key: str, parent: Run | None = None
    ) -> MlflowRun:
        identity = Identity(experiment, key, name, parent.identity if isinstance(parent, MlflowRun) else None)
        run = MlflowRun(self._delivery, identity)
        run.open(_origin_tags() | dict(tags))
        return run

    @one_line_errors
    def describe_experiment(self, experiment: str, markdown: str, tags: Mapping[str, str] | None = None) -> None:
        self._tag_experiment(experiment, {NOTE_TAG: markdown, **(tags or {})})

    @one_line_errors
    def show_columns(self, experiment: str, columns: Sequence[str], sort_by: str, ascending: bool = True) -> None:
        names = {column: "{}.`{}`".format(*column.split(".", 1)) for column in columns}
        widths = {name: 90 if name.startswith("tags.") else 130 for name in names.values()}
        widths = {"attributes.`Run Name`": 300, **widths}
        view = {
            "selectedColumns": list(names.values()),
            "columnOrder": list(widths),
            "columnWidths": widths,
            "orderByKey": names.get(sort_by, f"attributes.{sort_by}"),
            "orderByAsc": ascending,
        }
        self._tag_experiment(experiment, {VIEW_TAG + VIEW_KEY: json.dumps(view)})

    def _tag_experiment(self, experiment: str, tags: Mapping[str, str]) -> None:
        self._delivery.deliver(Identity(experiment), Entry("experiment", {"tags": dict(tags)}))

    @one_line_errors
    def experiment_fragment(self, experiment: str) -> str:
        try:
            return self.store.call(lambda: self._runs_table_fragment(self._experiment_id(experiment)))
        except StoreAway:
            return ""

    def _experiment_id(self, experiment: str) -> str:
        with self.store.locked():
            return self.store.experiment_id(experiment)

    @one_line_errors
    def latest_fragment(self) -> str:
        """Return the fragment of the experiment with the newest run; of the list of experiments if none."""
        experiments = [found.experiment_id for found in self._client.search_experiments()]
        newest = self._client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=1)
        return self._runs_table_fragment(newest[0].info.experiment_id) if newest else "/#/experiments"

    def _runs_table_fragment(self, experiment_id: str) -> str:
        view = VIEW_TAG + VIEW_KEY in self._client.get_experiment(experiment_id).tags
        shown = f"&viewStateShareKey={VIEW_KEY}" if view else ""
        return f"/#/experiments/{experiment_id}/runs?{CLASSIC_VIEW}{shown}"

    @one_line_errors
    def register(self, model_name: str, run: Run, folder: Path, tags: Mapping[str, str]) -> RegisteredVersion:
        assert isinstance(run, MlflowRun)
        tags = {KEY_TAG: run.key, **tags}

        def attempt() -> RegisteredVersion:
            return self._registry.register(model_name, self.store.run_id(run.identity), folder, tags)

        self._delivery.flush(at_once=True)
        return self._with_files(self._patiently(attempt, f"to register {model_name}"))

    @one_line_errors
    def champion(self, model_name: str) -> RegisteredVersion | None:
        version = self._registry.champion(model_name)
        return self._with_files(version) if version else None

    @one_line_errors
    def roll_back(self, model_name: str) -> RegisteredVersion:
        return self._with_files(self._registry.roll_back(model_name))

    def _with_files(self, version: RegisteredVersion) -> RegisteredVersion:
        return replace(version, fetch=lambda: self._fetched(version))

    @one_line_errors
    def _fetched(self, version: RegisteredVersion) -> Path:
        return version.fetch()

    def _patiently(self, action: Callable[[], _Result], purpose: str) -> _Result:
        """Wait some minutes for a store that is away: what is asked for needs its answer."""
        deadline, waiting = time.monotonic() + REGISTRATION_PATIENCE, False
        while True:
            try:
                return action()
            except Exception as error:
                away = trouble(error)
                if away is None or time.monotonic() > deadline:
                    raise
            if not waiting:
                print(f"overtone: {self.store.place}: waiting for tracking {purpose} ({away}).", file=sys.stderr)
                waiting = True
            time.sleep(REGISTRATION_PAUSE)


def open_tracker(kind: str, runs_dir: Path) -> Tracker:
    """Open the store in ``runs_dir``, that of a server, or one that keeps nothing.

    Args:
        kind: ``mlflow``, ``none``, or the ``http://HOST:PORT`` of an MLflow server.
        runs_dir: the runs folder.

    Raises:
        OvertoneError: the folder cannot be written, the address is no MLflow server's, or the kind is unknown.
    """
    if kind == "none":
        return NoTracker()
    if kind == "mlflow":
        return MlflowTracker(runs_dir)
    if kind.startswith(("http://", "https://")):
        return MlflowTracker(runs_dir, kind.rstrip("/"))
    raise OvertoneError(f"--tracking {kind}: unknown; expected mlflow, none, or an address such as http://HOST:5000.")


def send_what_waits(kind: str, runs_dir: Path) -> None:
    """Send what an earlier process could not, for a command that has nothing else to track."""
    if any((runs_dir / OUTBOX_NAME).glob("*/*.jsonl")):
        open_tracker(kind, runs_dir)


def _origin_tags() -> dict[str, str]:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]]).strip() or "python"
    return {"mlflow.user": getpass.getuser(), "mlflow.source.name": command, "mlflow.source.type": "LOCAL"}
