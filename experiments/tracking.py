"""What a run leaves behind for a reviewer, in MLflow; the only module that imports it.

MLflow takes seconds to import, so it is imported when a store is opened, never with this module.
"""
# ruff: noqa: D102 (the methods are described where they are declared, in Tracker and Run)

from __future__ import annotations

import fcntl
import getpass
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar
from urllib.parse import urlparse
from urllib.request import url2pathname

import numpy as np
from numpy.typing import NDArray

from experiments.tracker import NoTracker, RegisteredVersion, Run, Status, Tracker
from runtime.errors import OvertoneError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

DATABASE_NAME = "mlflow.db"
ARTIFACTS_NAME = "artifacts"
LOCK_NAME = ".mlflow.lock"
KEY_TAG = "overtone.key"
PROMOTED_TAG = "overtone.promoted"
CHAMPION_ALIAS, PREVIOUS_ALIAS = "champion", "previous"
CHAMPION_FOLDER = "champion"
NOTE_TAG = "mlflow.note.content"
# A view that MLflow's "Share" button would have saved: its only way to choose columns for somebody else.
VIEW_TAG, VIEW_KEY = "mlflow.sharedViewState.", "overtone"
CLASSIC_VIEW = "workflowType=machine_learning"  # without it pages open in their GenAI form, which shows no runs
# MLflow refuses longer tags. A parameter is read in a table cell: cut far earlier than at MLflow's 6000.
PARAMETER_LENGTH, RUN_TAG_LENGTH, EXPERIMENT_TAG_LENGTH = 500, 8000, 20_000
PARAMETERS_PER_CALL = 100
SILENT_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # the GenAI job workers take 2 GB
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
}


class _HasRunsDirectory(Protocol):
    runs_dir: Path


_Owner = TypeVar("_Owner", bound=_HasRunsDirectory)
_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def _one_line_errors(
    method: Callable[Concatenate[_Owner, _Parameters], _Result],
) -> Callable[Concatenate[_Owner, _Parameters], _Result]:
    """Turn a store that cannot be written into one line; mistakes in our own calls stay tracebacks."""

    @wraps(method)
    def wrapper(self: _Owner, *args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Result:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return method(self, *args, **kwargs)
        except (OSError, MlflowException, SQLAlchemyError) as error:
            code = getattr(error, "error_code", "INTERNAL_ERROR")
            if code not in {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "BAD_REQUEST"}:
                raise
            reason = str(error).strip().splitlines()[0]
            raise OvertoneError(
                f"{self.runs_dir}: the tracking store cannot be used ({reason}). Make the folder writable or "
                "free some space, choose another with --runs DIR, or pass --tracking none."
            ) from error

    return wrapper


def _legal_name(name: str) -> str:
    """Replace the characters that MLflow refuses in names of metrics and parameters."""
    return "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in name)


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def flat_parameters(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten a nested mapping into dotted names and short texts.

    Example:
        >>> flat_parameters({"model": {"width": 64, "rates": [8000, 16000]}})
        {'model.width': '64', 'model.rates': '[8000, 16000]'}
    """
    flat: dict[str, str] = {}
    for name, value in parameters.items():
        dotted = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            flat.update(flat_parameters(value, f"{dotted}."))
        else:
            text = json.dumps(value, default=str) if isinstance(value, Sequence | Mapping | None) else str(value)
            text = value if isinstance(value, str) else text
            flat[_legal_name(dotted)] = _shortened(text, PARAMETER_LENGTH)
    return flat


class MlflowRun(Run):
    """A run in an MLflow store."""

    def __init__(self, client: MlflowClient, runs_dir: Path, experiment_id: str, run_id: str, key: str) -> None:
        self._client = client
        self.runs_dir = runs_dir
        self.id = run_id
        self.key = key
        self.url_fragment = f"/#/experiments/{experiment_id}/runs/{run_id}?{CLASSIC_VIEW}"

    @_one_line_errors
    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        known = self._client.get_run(self.id).data.params
        new = [Param(k, v) for k, v in flat_parameters(parameters).items() if k not in known]
        for start in range(0, len(new), PARAMETERS_PER_CALL):
            self._client.log_batch(self.id, params=new[start : start + PARAMETERS_PER_CALL])

    @_one_line_errors
    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        numbers = {_legal_name(name): float(value) for name, value in metrics.items()}
        self._client.log_batch(
            self.id, metrics=[Metric(k, v, now, step) for k, v in numbers.items() if math.isfinite(v)]
        )

    @_one_line_errors
    def log_figure(self, figure: Figure, path: str) -> None:
        self._client.log_figure(self.id, figure, path)

    @_one_line_errors
    def log_image(self, image: NDArray[np.uint8] | Figure, key: str, step: int = 0) -> None:
        from experiments.spectrogram_figures import figure_array

        pixels = image if isinstance(image, np.ndarray) else figure_array(image)
        self._client.log_image(self.id, pixels, key=key, step=step, synchronous=True)

    @_one_line_errors
    def log_table(self, table: pd.DataFrame, path: str) -> None:
        # MlflowClient.log_table appends to a table that exists, which doubles the rows of a continued run.
        self._client.log_text(self.id, table.to_json(orient="split", index=False, double_precision=6), path)
        tag = "mlflow.loggedArtifacts"
        listed = json.loads(self._client.get_run(self.id).data.tags.get(tag, "[]"))
        entry = {"path": path, "type": "table"}
        if entry not in listed:
            self._client.set_tag(self.id, tag, json.dumps([*listed, entry]))

    @_one_line_errors
    def log_text(self, text: str, path: str) -> None:
        self._client.log_text(self.id, text, path)

    @_one_line_errors
    def log_file(self, file: Path, artifact_path: str | None = None) -> None:
        self._client.log_artifact(self.id, str(file), artifact_path)

    @_one_line_errors
    def set_tags(self, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        shortened = [RunTag(name, _shortened(str(value), RUN_TAG_LENGTH)) for name, value in tags.items()]
        self._client.log_batch(self.id, tags=shortened)

    def describe(self, markdown: str) -> None:
        self.set_tags({NOTE_TAG: markdown})

    @_one_line_errors
    def log_dataset(self, table: pd.DataFrame, name: str, digest: str, context: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        columns = [{"type": str(kind), "name": column, "required": True} for column, kind in table.dtypes.items()]
        dataset = Dataset(
            name=name,
            digest=digest[:36],  # the column's width in MLflow's database
            source_type="local",
            source=json.dumps({"uri": name}),
            schema=json.dumps({"mlflow_colspec": columns}),
            profile=json.dumps({"num_rows": len(table), "num_elements": int(table.size)}),
        )
        self._client.log_inputs(self.id, [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])])

    @_one_line_errors
    def finish(self, status: Status = "FINISHED") -> None:
        self._client.set_terminated(self.id, status)


class MlflowTracker(Tracker):
    """An MLflow store: ``<runs_dir>/mlflow.db`` and ``<runs_dir>/artifacts``.

    Any number of processes may log into it at once. What must happen once (creating the database, an
    experiment, a run under a key, a version) happens under a file lock that dies with its process.
    """

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir = runs_dir.resolve()
        for name, value in SILENT_ENVIRONMENT.items():  # read when MLflow is imported
            os.environ.setdefault(name, value)
        self._client = self._open_client()

    @_one_line_errors
    def run(self, experiment: str, name: str, tags: Mapping[str, str], key: str) -> MlflowRun:
        with self._locked():
            experiment_id = self._experiment_id(experiment)
            found = self._client.search_runs([experiment_id], f"tags.`{KEY_TAG}` = '{key}'", max_results=1)
            run_id = found[0].info.run_id if found else self._client.create_run(experiment_id).info.run_id
            self._client.update_run(run_id, status="RUNNING", name=name)
            run = MlflowRun(self._client, self.runs_dir, experiment_id, run_id, key)
            run.set_tags({**_origin_tags(), **tags, KEY_TAG: key})
        return run

    @_one_line_errors
    def describe_experiment(self, experiment: str, markdown: str, tags: Mapping[str, str] | None = None) -> None:
        with self._locked():
            experiment_id = self._experiment_id(experiment)
        for name, value in {NOTE_TAG: markdown, **(tags or {})}.items():
            self._client.set_experiment_tag(experiment_id, name, _shortened(value, EXPERIMENT_TAG_LENGTH))

    @_one_line_errors
    def show_columns(self, experiment: str, columns: Sequence[str], sort_by: str, ascending: bool = True) -> None:
        names = {column: "{}.`{}`".format(*column.split(".", 1)) for column in columns}
        widths = {name: 90 if name.startswith("tags.") else 130 for name in names.values()}
        widths = {"attributes.`Run Name`": 300, **widths}
        view = {
            "selectedColumns": list(names.values()),
            "columnOrder": list(widths),
            "columnWidths": widths,
            "orderByKey": names[sort_by],
            "orderByAsc": ascending,
        }
        with self._locked():
            experiment_id = self._experiment_id(experiment)
        self._client.set_experiment_tag(experiment_id, VIEW_TAG + VIEW_KEY, json.dumps(view))

    @_one_line_errors
    def experiment_fragment(self, experiment: str) -> str:
        with self._locked():
            return self._runs_table_fragment(self._experiment_id(experiment))

    @_one_line_errors
    def latest_fragment(self) -> str:
        """Return the fragment of the experiment with the newest run; of the list of experiments if none."""
        experiments = [found.experiment_id for found in self._client.search_experiments()]
        newest = self._client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=1)
        return self._runs_table_fragment(newest[0].info.experiment_id) if newest else "/#/experiments"

    @_one_line_errors
    def register(self, model_name: str, run: Run, folder: Path, tags: Mapping[str, str]) -> RegisteredVersion:
        key = tags.get(KEY_TAG, run.key)
        with self._locked():
            version = self._version_with_key(model_name, key)
            if version is None:
                self._client.log_artifacts(run.id, str(folder), CHAMPION_FOLDER)
                source = f"{self._client.get_run(run.id).info.artifact_uri}/{CHAMPION_FOLDER}"
                version = self._client.create_model_version(
                    model_name, source, run.id, tags={**tags, KEY_TAG: key}, await_creation_for=0
                )
            if PROMOTED_TAG not in version.tags:  # also finishes what a killed program began
                self._promote(model_name, version.version)
        return _registered(version)

    @_one_line_errors
    def champion(self, model_name: str) -> RegisteredVersion | None:
        version = self._aliased(model_name, CHAMPION_ALIAS)
        return _registered(version) if version else None

    @_one_line_errors
    def roll_back(self, model_name: str) -> RegisteredVersion:
        with self._locked():
            champion = self._aliased(model_name, CHAMPION_ALIAS)
            previous = self._aliased(model_name, PREVIOUS_ALIAS)
            if champion is None or previous is None:
                raise OvertoneError(f"{model_name}: no previous champion in {self.runs_dir}; nothing to roll back to.")
            self._client.set_registered_model_alias(model_name, PREVIOUS_ALIAS, champion.version)
            self._client.set_registered_model_alias(model_name, CHAMPION_ALIAS, previous.version)
        return _registered(previous)

    @_one_line_errors
    def _open_client(self) -> MlflowClient:
        from mlflow import MlflowClient

        (self.runs_dir / ARTIFACTS_NAME).mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{self.runs_dir / DATABASE_NAME}"
        with self._locked():
            client = MlflowClient(tracking_uri=uri, registry_uri=uri)
            client.search_experiments(max_results=1)  # the store is created at the first call
        return client

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.runs_dir / LOCK_NAME).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _experiment_id(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        location = (self.runs_dir / ARTIFACTS_NAME).as_uri()
        if found is None:
            return self._client.create_experiment(name, artifact_location=location)
        if found.artifact_location != location:
            raise OvertoneError(
                f"{self.runs_dir}: experiment {name} keeps its files in {found.artifact_location} "
                "(was the folder moved or copied?). Move it back, or choose another with --runs DIR."
            )
        if found.lifecycle_stage == "deleted":
            self._client.restore_experiment(found.experiment_id)
        return found.experiment_id

    def _runs_table_fragment(self, experiment_id: str) -> str:
        view = VIEW_TAG + VIEW_KEY in self._client.get_experiment(experiment_id).tags
        shown = f"&viewStateShareKey={VIEW_KEY}" if view else ""
        return f"/#/experiments/{experiment_id}/runs?{CLASSIC_VIEW}{shown}"

    def _version_with_key(self, model_name: str, key: str) -> ModelVersion | None:
        if not self._client.search_registered_models(f"name = '{model_name}'"):
            self._client.create_registered_model(model_name)
        versions = self._client.search_model_versions(f"name = '{model_name}'")
        return next((version for version in versions if version.tags.get(KEY_TAG) == key), None)

    def _promote(self, model_name: str, version: str) -> None:
        champion = self._aliased(model_name, CHAMPION_ALIAS)
        if champion is not None and champion.version != version:
            self._client.set_registered_model_alias(model_name, PREVIOUS_ALIAS, champion.version)
        self._client.set_registered_model_alias(model_name, CHAMPION_ALIAS, version)
        self._client.set_model_version_tag(model_name, version, PROMOTED_TAG, "true")

    def _aliased(self, model_name: str, alias: str) -> ModelVersion | None:
        models = self._client.search_registered_models(f"name = '{model_name}'")
        version = models[0].aliases.get(alias) if models else None
        return self._client.get_model_version(model_name, version) if version else None


def open_tracker(kind: Literal["mlflow", "none"], runs_dir: Path) -> Tracker:
    """Open the store in ``runs_dir``, or one that keeps nothing.

    Raises:
        OvertoneError: the folder cannot be written, or the kind is unknown.
    """
    if kind == "none":
        return NoTracker()
    if kind == "mlflow":
        return MlflowTracker(runs_dir)
    raise OvertoneError(f"--tracking {kind}: unknown; expected mlflow or none.")


def _origin_tags() -> dict[str, str]:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]]).strip() or "python"
    return {"mlflow.user": getpass.getuser(), "mlflow.source.name": command, "mlflow.source.type": "LOCAL"}


def _registered(version: ModelVersion) -> RegisteredVersion:
    folder = Path(url2pathname(urlparse(str(version.source)).path))
    tags = {name: value for name, value in version.tags.items() if name != PROMOTED_TAG}
    return RegisteredVersion(version.name, str(version.version), version.run_id or "", folder, tags)
