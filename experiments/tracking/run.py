"""A run: what is logged goes into its folder, and from there to MLflow."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from experiments.tracking.folder import Point, RunFolder, RunRecord, now_ms
from experiments.tracking.publish import Feed, View
from experiments.tracking.store import CLASSIC_VIEW, NOTE_TAG, shortened
from overtone.files import written_whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Status = Literal["FINISHED", "FAILED", "KILLED"]

# A parameter is read in a table cell: cut far earlier than at MLflow's 6000.
PARAMETER_LENGTH = 500


def flat_parameters(parameters: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten a nested mapping into dotted names and short texts.

    Args:
        parameters: plain values, nested as they like.
        prefix: what every name begins with.

    Examples:
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


def _legal_name(name: str) -> str:
    """Replace the characters that MLflow refuses in names of metrics and parameters."""
    return "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in name)


class Run:
    """One tracked run.

    Used as a context manager it finishes itself: FAILED when the block raises, KILLED on Ctrl-C.

    Args:
        folder: keeps what is logged; None keeps nothing, which is what ``--tracking none`` asks for.
        feed: brings it to MLflow.
        key: the run key under which a restarted program finds this run again.

    Attributes:
        folder: the same.
        key: the same.
    """

    def __init__(self, folder: RunFolder | None = None, feed: Feed | None = None, key: str = "") -> None:
        self.folder = folder
        self.key = key
        self._feed = feed
        self._ended: int | None = None
        self.view = View(feed.store, folder) if feed and folder else None
        # A training that was interrupted goes on from its last checkpoint and logs some points again.
        self._logged = {(name, step): value for _, step, name, value in folder.points()[0]} if folder else {}

    @property
    def keeps(self) -> bool:
        """Whether anything is kept; what takes long to make is not made for a run that drops it."""
        return self.folder is not None

    @property
    def id(self) -> str:
        """MLflow's identifier, empty where nothing is kept and as long as MLflow does not answer."""
        return self.view.run_id if self.view else ""

    @property
    def url_fragment(self) -> str:
        """What follows MLflow's address to open the run, empty where `id` is."""
        if not (self.view and self.folder and self.id):
            return ""
        experiment_id = self.view.store.experiment_id(self.folder.read().experiment)
        return f"/#/experiments/{experiment_id}/runs/{self.id}?{CLASSIC_VIEW}"

    def open(self, record: RunRecord, tags: Mapping[str, str]) -> None:
        """Begin the run, or go on with it. One that was finished keeps its end: what is added later took no time of it.

        Args:
            record: of a new run.
            tags: of any run, set again.
        """

        def begin(known: RunRecord) -> None:
            self._ended = known.ended if known.status == "FINISHED" else None
            known.name, known.parent = record.name, record.parent or known.parent
            known.status, known.ended = "RUNNING", None
            known.tags.update(tags)

        self._change(begin, record)

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log a nested configuration as dotted names; a name already logged keeps its first value."""
        if self.keeps:
            flat = flat_parameters(parameters)
            self._change(lambda record: record.params.update(flat | record.params))

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log numbers; NaN and infinite ones are left out.

        Args:
            metrics: by name.
            step: when, in batches, epochs or trials; a number logged again at its step with its value is logged once.
        """
        if self.folder is None:
            return
        numbers = {_legal_name(name): float(value) for name, value in metrics.items()}
        new = {
            (name, step): value
            for name, value in numbers.items()
            if math.isfinite(value) and self._logged.get((name, step)) != value
        }
        if new:
            now = now_ms()
            self.folder.append([Point(now, step, name, value) for (name, _), value in new.items()])
            self._logged |= new
            self._bring()

    def log_figure(self, figure: Figure, path: str) -> None:
        """Keep a matplotlib figure under ``path`` (``figures/name.png``)."""
        self._keep(path, lambda file: figure.savefig(file))

    def log_bytes(self, content: bytes, path: str) -> None:
        """Keep bytes under ``path``, such as a picture that is encoded already."""
        self._keep(path, lambda file: file.write_bytes(content), bring=False)

    def log_table(self, table: pd.DataFrame, path: str) -> None:
        """Keep a table under ``path`` (``tables/name.json``), where it can be compared across runs."""
        if self.keeps:
            text = table.to_json(orient="split", index=False, double_precision=6)
            self._keep(path, lambda file: file.write_text(text, encoding="utf-8"), bring=False)
            self._change(lambda record: _list_table(record, path))

    def log_text(self, text: str, path: str) -> None:
        """Keep a text under ``path``; the suffix decides how it is shown (.html, .yaml, .md)."""
        self._keep(path, lambda file: file.write_text(text, encoding="utf-8"))

    def log_file(self, file: Path, artifact_path: str | None = None) -> None:
        """Keep a copy of a file in the folder ``artifact_path`` of the run."""
        self._keep(str(PurePosixPath(artifact_path or "") / file.name), lambda copy: shutil.copyfile(file, copy))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, replacing those of the same name."""
        texts = {name: str(value) for name, value in tags.items()}
        self._change(lambda record: record.tags.update(texts))

    def describe(self, markdown: str) -> None:
        """Set the Markdown text at the top of the run's page."""
        self.set_tags({NOTE_TAG: markdown})

    def log_dataset(self, table: pd.DataFrame, name: str, digest: str, context: str) -> None:
        """Name the data used.

        Args:
            table: a row a clip.
            name: the corpus'.
            digest: of its content.
            context: training, validation or test.
        """
        columns = {str(column): str(kind) for column, kind in table.dtypes.items()}
        dataset = {"name": name, "digest": digest, "context": context, "rows": len(table), "columns": columns}
        self._change(lambda record: None if dataset in record.datasets else record.datasets.append(dataset))

    def finish(self, status: Status = "FINISHED") -> None:
        """Close the run."""

        def end(record: RunRecord) -> None:
            record.status, record.ended = status, self._ended or now_ms()

        self._change(end, last=True)

    def _change(self, change: Callable[[RunRecord], object], new: RunRecord | None = None, last: bool = False) -> None:
        if self.folder is not None:
            self.folder.change(change, new)
            self._bring(last)

    def _keep(self, path: str, write: Callable[[Path], object], bring: bool = True) -> None:
        if self.folder is not None:
            with written_whole(self.folder.path / path) as temporary:
                write(temporary)
            if bring:
                self._bring()

    def _bring(self, last: bool = False) -> None:
        if self._feed and self.view:
            self._feed.attempt(self.view.publish if last else self.view.update, at_once=last)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.finish("KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")


def _list_table(record: RunRecord, path: str) -> None:
    """Let MLflow's page know of a table, as MlflowClient.log_table does."""
    listed = json.loads(record.tags.get("mlflow.loggedArtifacts", "[]"))
    if path not in [one["path"] for one in listed]:
        record.tags["mlflow.loggedArtifacts"] = json.dumps([*listed, {"path": path, "type": "table"}])
