"""A run in an MLflow store: what is logged becomes an entry, which is sent, or waits."""
# ruff: noqa: D102 (the methods are described where they are declared, in Run)

from __future__ import annotations

import io
import json
import math
import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from experiments.tracking.delivery import Delivery
from experiments.tracking.entries import Entry, Identity, Kind, now_ms
from experiments.tracking.errors import one_line_errors
from experiments.tracking.senders import shortened
from experiments.tracking.tracker import Run, Status

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

NOTE_TAG = "mlflow.note.content"
CLASSIC_VIEW = "workflowType=machine_learning"  # without it pages open in their GenAI form, which shows no runs
# A parameter is read in a table cell: cut far earlier than at MLflow's 6000.
PARAMETER_LENGTH = 500


def _legal_name(name: str) -> str:
    """Replace the characters that MLflow refuses in names of metrics and parameters."""
    return "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in name)


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
            flat[_legal_name(dotted)] = shortened(text, PARAMETER_LENGTH)
    return flat


class MlflowRun(Run):
    """A run in an MLflow store."""

    keeps = True

    def __init__(self, delivery: Delivery, identity: Identity) -> None:
        self._delivery = delivery
        self.store = delivery.store
        self.identity = identity
        self.key = identity.key

    @property
    def id(self) -> str:  # type: ignore[override]
        """The run's identifier; empty as long as it waits to be created."""
        return self.store.known_run_id(self.identity)

    @property
    def url_fragment(self) -> str:  # type: ignore[override]
        """What follows the server's address to open the run; empty as long as it waits to be created."""
        if not self.id:
            return ""
        experiment_id = self.store.experiment_id(self.identity.experiment)
        return f"/#/experiments/{experiment_id}/runs/{self.id}?{CLASSIC_VIEW}"

    @one_line_errors
    def _deliver(self, kind: Kind, content: bytes | Path | None = None, **values: Any) -> None:  # noqa: ANN401
        self._delivery.deliver(self.identity, Entry(kind, values, content))

    def open(self, tags: Mapping[str, str]) -> None:
        """Create the run, or continue it."""
        self._deliver("open", tags=dict(tags))

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        self._deliver("batch", parameters=flat_parameters(parameters))

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        numbers = {_legal_name(name): float(value) for name, value in metrics.items()}
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        self._deliver("batch", metrics=finite, step=step, at=now_ms())

    def log_figure(self, figure: Figure, path: str) -> None:
        drawn = io.BytesIO()
        figure.savefig(drawn, format=PurePosixPath(path).suffix[1:])
        self._deliver("artifact", drawn.getvalue(), path=path)

    def log_image(self, image: NDArray[np.uint8] | Figure, key: str, step: int = 0) -> None:
        from mlflow.tracking.multimedia import compress_image_size, convert_to_pil_image

        from experiments.pages.spectrograms import figure_array

        pixels = convert_to_pil_image(image if isinstance(image, np.ndarray) else figure_array(image))
        # The names that MlflowClient.log_image gives; it draws a new one at each call, so that twice is two images.
        name = f"images/{re.sub('/', '~', key)}+step+{step}+timestamp+{now_ms()}+{uuid.uuid4()}"
        for suffix, picture in ((".png", pixels), ("+compressed.webp", compress_image_size(pixels))):
            encoded = io.BytesIO()
            picture.save(encoded, format=suffix.rpartition(".")[2])
            self._deliver("artifact", encoded.getvalue(), path=f"{name}{suffix}")
        self.set_tags({"mlflow.loggedImages": "True"})

    def log_table(self, table: pd.DataFrame, path: str) -> None:
        self._deliver("table", table.to_json(orient="split", index=False, double_precision=6).encode(), path=path)

    def log_text(self, text: str, path: str) -> None:
        self._deliver("artifact", text.encode(), path=path)

    def log_file(self, file: Path, artifact_path: str | None = None) -> None:
        self._deliver("artifact", file, path=str(PurePosixPath(artifact_path or "") / file.name))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        self._deliver("batch", tags={name: str(value) for name, value in tags.items()})

    def describe(self, markdown: str) -> None:
        self.set_tags({NOTE_TAG: markdown})

    def log_dataset(self, table: pd.DataFrame, name: str, digest: str, context: str) -> None:
        columns = [{"type": str(kind), "name": column, "required": True} for column, kind in table.dtypes.items()]
        dataset = {
            "name": name,
            "digest": digest[:36],  # the column's width in MLflow's database
            "source_type": "local",
            "source": json.dumps({"uri": name}),
            "schema": json.dumps({"mlflow_colspec": columns}),
            "profile": json.dumps({"num_rows": len(table), "num_elements": int(table.size)}),
        }
        self._deliver("dataset", dataset=dataset, context=context)

    def finish(self, status: Status = "FINISHED") -> None:
        self._deliver("status", status=status, at=now_ms())
        if self._delivery.outbox:  # what other processes have left, too
            self._delivery.flush(at_once=True)
