"""How each kind of entry reaches MLflow; sent twice, an entry leaves what it leaves when it is sent once."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from experiments.tracking.entries import PARENT_TAG, Entry, Identity

if TYPE_CHECKING:
    from experiments.tracking.store import MlflowStore

PARAMETERS_PER_CALL = 100
# MLflow refuses longer tags.
RUN_TAG_LENGTH, EXPERIMENT_TAG_LENGTH = 8000, 20_000


def shortened(text: str, length: int) -> str:
    """Cut a text to a length, marked by an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _send_open(store: MlflowStore, identity: Identity, entry: Entry) -> None:
    tags = dict(entry.values["tags"])
    if identity.parent is not None:
        tags[PARENT_TAG] = store.run_id(identity.parent)
    run_id = store.run_id(identity)
    store.client.update_run(run_id, status="RUNNING", name=identity.name)
    _send_tags(store, run_id, tags)


def _send_tags(store: MlflowStore, run_id: str, tags: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    store.client.log_batch(
        run_id, tags=[RunTag(name, shortened(str(value), RUN_TAG_LENGTH)) for name, value in tags.items()]
    )


def _send_batch(store: MlflowStore, identity: Identity, entry: Entry) -> None:
    from mlflow.entities import Metric, Param

    run_id, values = store.run_id(identity), entry.values
    if parameters := values.get("parameters"):  # MLflow's cannot change: the first value stays
        known = store.client.get_run(run_id).data.params
        new = [Param(name, value) for name, value in parameters.items() if name not in known]
        for start in range(0, len(new), PARAMETERS_PER_CALL):
            store.client.log_batch(run_id, params=new[start : start + PARAMETERS_PER_CALL])
    if metrics := values.get("metrics"):
        at, step = values["at"], values["step"]
        store.client.log_batch(run_id, metrics=[Metric(name, value, at, step) for name, value in metrics.items()])
    if tags := values.get("tags"):
        _send_tags(store, run_id, tags)


def _send_artifact(store: MlflowStore, identity: Identity, entry: Entry) -> None:
    run_id, path = store.run_id(identity), PurePosixPath(entry.values["path"])
    folder = str(path.parent) if path.parent.name else None
    if isinstance(entry.content, Path) and entry.content.name == path.name:
        store.client.log_artifact(run_id, str(entry.content), folder)
        return
    assert entry.content is not None
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / path.name
        file.write_bytes(entry.content if isinstance(entry.content, bytes) else entry.content.read_bytes())
        store.client.log_artifact(run_id, str(file), folder)


def _send_table(store: MlflowStore, identity: Identity, entry: Entry) -> None:
    # MlflowClient.log_table appends to a table that exists, which doubles the rows of a continued run.
    _send_artifact(store, identity, entry)
    tag, run_id = "mlflow.loggedArtifacts", store.run_id(identity)
    listed = json.loads(store.client.get_run(run_id).data.tags.get(tag, "[]"))
    listing = {"path": entry.values["path"], "type": "table"}
    if listing not in listed:
        store.client.set_tag(run_id, tag, json.dumps([*listed, listing]))


def _send_dataset(store: MlflowStore, identity: Identity, entry: Entry) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    tags = [InputTag("mlflow.data.context", entry.values["context"])]
    store.client.log_inputs(store.run_id(identity), [DatasetInput(Dataset(**entry.values["dataset"]), tags)])


def _send_status(store: MlflowStore, identity: Identity, entry: Entry) -> None:
    store.client.set_terminated(store.run_id(identity), entry.values["status"], entry.values["at"])


def _send_experiment(store: MlflowStore, identity: Identity, entry: Entry) -> None:
    with store.locked():
        experiment_id = store.experiment_id(identity.experiment)
    for name, value in entry.values["tags"].items():
        store.client.set_experiment_tag(experiment_id, name, shortened(str(value), EXPERIMENT_TAG_LENGTH))


SENDERS: Mapping[str, Callable[[MlflowStore, Identity, Entry], None]] = {
    "open": _send_open,
    "batch": _send_batch,
    "artifact": _send_artifact,
    "table": _send_table,
    "dataset": _send_dataset,
    "status": _send_status,
    "experiment": _send_experiment,
}
