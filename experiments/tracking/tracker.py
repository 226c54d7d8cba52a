"""What the programs say about their runs, and the tracker that keeps nothing; no MLflow here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from overtone.errors import OvertoneError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Status = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a registered model.

    Attributes:
        model_name: the registered name, ``overtone-<preset>``.
        version: MLflow's version number, as text.
        run_id: the run that the version came from.
        tags: the evidence given at registration.
        fetch: brings the registered files to this machine, unless they are here, and returns their folder.
    """

    model_name: str
    version: str
    run_id: str
    tags: dict[str, str]
    fetch: Callable[[], Path] = field(compare=False, repr=False)

    @property
    def folder(self) -> Path:
        """Where the registered files lie; a server's are downloaded at the first use.

        Raises:
            OvertoneError: the server does not answer.
        """
        return self.fetch()


class Run:
    """One tracked run. This base keeps nothing, which is what ``--tracking none`` asks for.

    Used as a context manager it finishes itself: FAILED when the block raises, KILLED on Ctrl-C.

    Attributes:
        id: the run's identifier, empty where nothing is kept, and as long as the store that shall keep it is away.
        key: the run key under which a restarted program finds this run again.
        url_fragment: what follows the server's address to open the run, empty where `id` is.
        keeps: whether anything is kept; what takes long to make is not made for a run that drops it.
    """

    keeps: bool = False
    id: str = ""
    key: str = ""
    url_fragment: str = ""

    def log_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Log a nested configuration as dotted names; a name already logged keeps its first value."""

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Log numbers at a step; NaN and infinite ones are left out."""

    def log_figure(self, figure: Figure, path: str) -> None:
        """Keep a matplotlib figure under ``path`` (``figures/name.png``)."""

    def log_image(self, image: NDArray[np.uint8] | Figure, key: str, step: int = 0) -> None:
        """Add an image ``(height, width, 3)`` or a figure to the image grid ``key``."""

    def log_table(self, table: pd.DataFrame, path: str) -> None:
        """Keep a table under ``path`` (``tables/name.json``), where it can be compared across runs."""

    def log_text(self, text: str, path: str) -> None:
        """Keep a text under ``path``; the suffix decides how it is shown (.html, .yaml, .md)."""

    def log_file(self, file: Path, artifact_path: str | None = None) -> None:
        """Keep a copy of a file in the folder ``artifact_path`` of the run."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Set tags, replacing those of the same name."""

    def describe(self, markdown: str) -> None:
        """Set the Markdown text at the top of the run's page."""

    def log_dataset(self, table: pd.DataFrame, name: str, digest: str, context: str) -> None:
        """Name the data used, a row of ``table`` a clip; context is training, validation or test."""

    def finish(self, status: Status = "FINISHED") -> None:
        """Close the run."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
        else:
            self.finish("KILLED" if issubclass(kind, KeyboardInterrupt) else "FAILED")


class Tracker:
    """Where runs are kept. This base keeps nothing."""

    def run(self, experiment: str, name: str, tags: Mapping[str, str], key: str, parent: Run | None = None) -> Run:
        """Open the run with this key, or create it.

        A run that was killed, or finished earlier, is continued instead of doubled.

        Args:
            experiment: name of the experiment, created when missing.
            name: the run's name, such as ``wavegan-seed0``.
            tags: the run's tags, set again when it is continued.
            key: the run key: equal keys are the same run.
            parent: the run under which it stands in the table of runs.
        """
        return Run()

    def describe_experiment(self, experiment: str, markdown: str, tags: Mapping[str, str] | None = None) -> None:
        """Set the Markdown text of an experiment, and its tags."""

    def show_columns(self, experiment: str, columns: Sequence[str], sort_by: str, ascending: bool = True) -> None:
        """Choose what the experiment's table of runs shows when it is opened by its fragment.

        Args:
            experiment: name of the experiment.
            columns: ``metrics.NAME``, ``params.NAME`` or ``tags.NAME``, in this order.
            sort_by: one of them; or ``start_time``, under which alone MLflow folds children up under their parents.
            ascending: whether the smallest comes first.
        """

    def experiment_fragment(self, experiment: str) -> str:
        """Return what follows the server's address to open the experiment's table of runs."""
        return ""

    def register(self, model_name: str, run: Run, folder: Path, tags: Mapping[str, str]) -> RegisteredVersion | None:
        """Register ``folder`` as the model's champion; the champion until now becomes ``previous``.

        Registering the same run key again (tag ``overtone.key``, else the run's own) changes nothing.

        Returns:
            The version; None where nothing is kept.
        """
        return None

    def champion(self, model_name: str) -> RegisteredVersion | None:
        """Return the registered champion, None when there is none."""
        return None

    def roll_back(self, model_name: str) -> RegisteredVersion:
        """Swap the aliases ``champion`` and ``previous`` and return the new champion.

        Raises:
            OvertoneError: there is no previous version.
        """
        raise OvertoneError(f"{model_name}: nothing is registered with --tracking none; expected --tracking mlflow.")


class NoTracker(Tracker):
    """``--tracking none``: everything works, nothing is kept."""
