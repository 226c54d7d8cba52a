"""Runs' folders become MLflow's runs: as they are written, at the next command, or by `overtone publish`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from experiments.runs import held
from experiments.tracking.database import say
from experiments.tracking.folder import (
    CURVES_NAME,
    EXPERIMENT_NAME,
    RECORD_NAME,
    TRACKED_NAME,
    RunFolder,
    RunRecord,
    Stamp,
    read_json,
    run_folders,
    write_json,
)
from experiments.tracking.store import NOTE_TAG, MlflowStore, one_line, open_store, reason, shortened, store_errors
from overtone.errors import OvertoneError
from overtone.progress import console

MARKERS_NAME = ".published"
LOCK_NAME = ".publish.lock"
PARENT_TAG = "mlflow.parentRunId"
PAUSE_SECONDS = 30.0  # between two looks whether a store that was away answers again
# MLflow refuses longer tags, and more in one call.
RUN_TAG_LENGTH = 8000
PER_CALL, POINTS_PER_CALL = 100, 1000

_Item = TypeVar("_Item")


class View:
    """What a store shows of a run's folder.

    Args:
        store: where it is shown.
        folder: the run's.

    Attributes:
        run_id: MLflow's; empty until the run is found or made there, and after an error.
    """

    def __init__(self, store: MlflowStore, folder: RunFolder) -> None:
        self.store, self.folder = store, folder
        self.run_id = ""
        self._sent: dict[str, Stamp] = {}
        self._read = 0
        self._marker = folder.path / MARKERS_NAME / f"{store.slug}.json"  # notes what the store has

    @property
    def pending(self) -> bool:
        """Whether the folder was changed since it was last published as a whole."""
        return self.folder.stamps() != read_json(self._marker).get("files")

    def update(self) -> None:
        """Send what the store lacks. What it has already is not doubled: points are the same by time and value."""
        try:
            with held(self.folder.path / LOCK_NAME):  # MLflow refuses a point that two processes send at once
                self._update()
        except Exception:
            self.run_id = ""  # it may have been deleted: look again the next time
            raise

    def publish(self) -> None:
        """Send what the store lacks, and note that it has it, so that the next command need not ask."""
        self.update()
        write_json(self._marker, {"run": self.run_id, "files": self._sent})

    def _update(self) -> None:
        stamps = self.folder.stamps()
        if not self.run_id:
            self._find(stamps)
        changed = {path: stamp for path, stamp in stamps.items() if self._sent.get(path) != stamp}
        record = self.folder.read() if RECORD_NAME in changed else None
        if record is not None:
            self._send_record(record)
        if CURVES_NAME in changed:
            self._send_points()
        for path in sorted(changed.keys() - {RECORD_NAME, CURVES_NAME}):
            parent = PurePosixPath(path).parent
            self.store.client.log_artifact(
                self.run_id, str(self.folder.path / path), str(parent) if parent.name else None
            )
        if record is not None:
            self._send_status(record)
        self._sent = stamps

    def _find(self, stamps: Mapping[str, Stamp]) -> None:
        """Find or make the run, and which of its files the store has."""
        self.run_id, self._read = self.store.run_id(self.folder.read()), 0
        marker = read_json(self._marker)
        marked = marker.get("files", {}) if marker.get("run") == self.run_id else None
        sizes: dict[str, int | None] = {}
        for parent in {str(PurePosixPath(path).parent) for path in stamps}:
            listed = self.store.client.list_artifacts(self.run_id, None if parent == "." else parent)
            sizes |= {file.path: file.file_size for file in listed}
        self._sent = {
            path: stamp
            for path, stamp in stamps.items()
            if sizes.get(path) == stamp[0] and (marked is None or marked.get(path) == stamp)
        }

    def _send_record(self, record: RunRecord) -> None:
        from mlflow.entities import Param, RunTag

        client, tags = self.store.client, dict(record.tags)
        if record.parent:
            name, key = record.parent
            tags[PARENT_TAG] = self.store.run_id(RunRecord(record.experiment, name, key, started=record.started))
        if NOTE_TAG in tags:
            tags[NOTE_TAG] = self.store.linked(tags[NOTE_TAG], record.experiment)
        for some in _batches(tags.items(), PER_CALL):
            client.log_batch(self.run_id, tags=[RunTag(name, shortened(text, RUN_TAG_LENGTH)) for name, text in some])
        known = client.get_run(self.run_id).data.params  # MLflow's cannot change: the first value stays
        new = ((name, value) for name, value in record.params.items() if name not in known)
        for some in _batches(new, PER_CALL):
            client.log_batch(self.run_id, params=[Param(name, value) for name, value in some])
        if record.datasets:
            client.log_inputs(self.run_id, [_dataset_input(plain) for plain in record.datasets])

    def _send_points(self) -> None:
        from mlflow.entities import Metric

        points, end = self.folder.points(self._read)
        for some in _batches(points, POINTS_PER_CALL):
            metrics = [Metric(point.name, point.value, point.time, point.step) for point in some]
            self.store.client.log_batch(self.run_id, metrics=metrics)
        self._read = end

    def _send_status(self, record: RunRecord) -> None:
        if record.status == "RUNNING":
            self.store.client.update_run(self.run_id, status="RUNNING", name=record.name)
        else:
            self.store.client.update_run(self.run_id, name=record.name)
            self.store.client.set_terminated(self.run_id, record.status, record.ended)


class Feed:
    """Keeps a store up to date while runs are written, and never holds them up for long.

    Args:
        store: what is kept up to date.
    """

    def __init__(self, store: MlflowStore) -> None:
        self.store = store
        self._retry_at = 0.0  # not 0 while the store is away

    def attempt(self, action: Callable[[], None], at_once: bool = False) -> None:
        """Do something with the store, unless it is away.

        Args:
            action: raises what MLflow raises.
            at_once: whether the store is asked even if it did not answer a moment ago.
        """
        away = self._retry_at > 0
        if time.monotonic() < self._retry_at and not at_once:
            return
        try:
            if away:
                self.store.require_answer()
            action()
            if away:
                publish_changed(self.store)
        except store_errors() as error:
            self.note(error)
            return
        if away:
            say(f"{self.store.place}: tracking answers; what it missed is published.")
        self._retry_at = 0.0

    def note(self, error: BaseException) -> None:
        """Note that the store is away, and leave it alone for a while."""
        if not self._retry_at:
            say(
                f"{self.store.place}: tracking does not answer ({reason(error)}). Runs are kept in "
                f"{_tracked(self.store)}; the next command, or overtone publish, brings them there."
            )
        self._retry_at = time.monotonic() + PAUSE_SECONDS


def publish_experiment(folder: Path, store: MlflowStore) -> None:
    """Bring the words and the table's columns of an experiment to a store.

    Args:
        folder: the experiment's.
        store: what gets them.
    """
    content = read_json(folder / EXPERIMENT_NAME)
    if content:
        tags = dict(content["tags"])
        if NOTE_TAG in tags:
            tags[NOTE_TAG] = store.linked(tags[NOTE_TAG], content["name"])
        store.tag_experiment(content["name"], tags)


def publish_changed(store: MlflowStore) -> None:
    """Bring to a store what was changed since it was published; to a new database, everything.

    Raises:
        StoreAway: the store does not answer.
    """
    folders = [folder for folder in run_folders(_tracked(store)) if store.is_new or View(store, folder).pending]
    for failure in _publish_all(folders, store):
        say(failure)
    store.is_new = False


def publish_command(folders: Sequence[Path], runs: Path, tracking: str) -> None:
    """Publish runs, whatever was noted of them, and say how many.

    Args:
        folders: of runs, or folders around them; none for all of the folder for runs.
        runs: the folder for runs.
        tracking: where to: mlflow, or the address of an MLflow server.

    Raises:
        OvertoneError: a folder holds no run, a run cannot be published, or MLflow does not answer.
    """
    store = open_store(tracking, runs)
    if store is None:
        raise OvertoneError("--tracking none: nothing to publish to; expected mlflow, or the address of a server.")
    found = []
    for root in folders or [_tracked(store)]:
        below = run_folders(root)
        if folders and not below:
            raise OvertoneError(f"{root}: holds no {RECORD_NAME}, expected the folder of a run, or one around runs.")
        found += below
    with one_line(store):
        store.require_answer()
        failures = _publish_all(found, store)
    if failures:
        raise OvertoneError(f"{len(failures)} of {len(found)} runs are not published. {failures[0]}")
    console.print(f"{len(found)} runs are in MLflow: {store.place}", soft_wrap=True, highlight=False, markup=False)


def _publish_all(folders: Sequence[RunFolder], store: MlflowStore) -> list[str]:
    """Publish runs and their experiments' words; one that fails does not keep the others from it.

    Returns:
        What failed, a line each.
    """
    failures = []
    errors: tuple[type[Exception], ...] = (OvertoneError, *store_errors())
    for folder in folders:
        try:
            View(store, folder).publish()
        except errors as error:
            store.require_answer()
            failures.append(f"{folder.path}: cannot be published ({reason(error)}).")
    for experiment in sorted({folder.path.parent for folder in folders}):
        publish_experiment(experiment, store)
    return failures


def _tracked(store: MlflowStore) -> Path:
    return store.runs_dir / TRACKED_NAME


def _batches(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    rest = iter(items)
    while some := list(islice(rest, size)):
        yield some


def _dataset_input(plain: Mapping[str, Any]) -> Any:  # noqa: ANN401 (MLflow's DatasetInput)
    from mlflow.entities import Dataset, DatasetInput, InputTag

    columns = [{"type": kind, "name": name, "required": True} for name, kind in plain["columns"].items()]
    dataset = Dataset(
        name=plain["name"],
        digest=plain["digest"][:36],  # the column's width in MLflow's database
        source_type="local",
        source=json.dumps({"uri": plain["name"]}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps({"num_rows": plain["rows"], "num_elements": plain["rows"] * len(columns)}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", plain["context"])])
