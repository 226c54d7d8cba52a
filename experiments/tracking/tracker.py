"""Where the programs keep their runs and registered models."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from experiments.runs import users_command
from experiments.tracking.database import first_line
from experiments.tracking.folder import RunRecord, run_folder, tag_experiment
from experiments.tracking.publish import Feed, publish_changed, publish_experiment
from experiments.tracking.registered_models import RegisteredVersion, Registry, Words
from experiments.tracking.run import Run
from experiments.tracking.store import (
    KEY_TAG,
    NOTE_TAG,
    VIEW_KEY,
    VIEW_TAG,
    MlflowStore,
    one_line,
    open_store,
    store_errors,
)
from overtone.errors import OvertoneError

# What MLflow answers when the address is right and the server in trouble.
PASSING_CODES = {"TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"}

NO_WORDS = Words()


class Tracker:
    """Keeps runs in ``<runs>/tracked``, a folder each, and shows them in MLflow.

    What MLflow misses while it does not answer is published when it answers again, at the latest when a command opens
    the tracker the next time.

    Args:
        store: MLflow's database in the folder for runs, or a server; None keeps nothing (``--tracking none``).

    Raises:
        OvertoneError: the folder cannot be written, the database is damaged, or the address is no MLflow server's.
    """

    def __init__(self, store: MlflowStore | None = None) -> None:
        self._feed = Feed(store) if store else None
        if store is None:
            return
        from mlflow.exceptions import MlflowException

        with one_line(store):
            try:
                store.require_answer()
                store.client.search_experiments(max_results=1)
            except store_errors() as error:
                if isinstance(error, MlflowException) and store.uri and error.error_code not in PASSING_CODES:
                    raise OvertoneError(
                        f"{store.place}: does not answer as an MLflow server does ({first_line(error)}). "
                        "Expected the http://HOST:PORT of one."
                    ) from error
                if not store.may_answer_later:
                    raise
                self.feed.note(error)
            else:
                publish_changed(store)

    @property
    def keeps(self) -> bool:
        """Whether anything is kept."""
        return self._feed is not None

    @property
    def feed(self) -> Feed:
        """What keeps the store up to date, of a tracker that keeps anything."""
        assert self._feed is not None
        return self._feed

    @property
    def store(self) -> MlflowStore:
        """MLflow's store, of a tracker that keeps anything."""
        return self.feed.store

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
        if not self.keeps:
            return Run()
        above = parent.folder.read() if parent and parent.folder else None
        record = RunRecord(experiment, name, key, [above.name, above.key] if above else [])
        record.tags = _origin_tags()
        run = Run(run_folder(self.store.runs_dir, experiment, name, key), self._feed, key)
        run.open(record, tags)
        return run

    def describe_experiment(self, experiment: str, markdown: str, tags: Mapping[str, str] | None = None) -> None:
        """Set the Markdown text of an experiment, and its tags."""
        self._tag_experiment(experiment, {NOTE_TAG: markdown, **(tags or {})})

    def show_columns(self, experiment: str, columns: Sequence[str], sort_by: str, ascending: bool = True) -> None:
        """Choose what the experiment's table of runs shows when it is opened by its fragment.

        Args:
            experiment: name of the experiment.
            columns: ``metrics.NAME``, ``params.NAME`` or ``tags.NAME``, in this order.
            sort_by: one of them; or ``start_time``, under which alone MLflow folds children up under their parents.
            ascending: whether the smallest comes first.
        """
        names = {column: "{}.`{}`".format(*column.split(".", 1)) for column in columns}
        # The first two columns beside name and time are in sight on a screen of 1024 pixels.
        widths = {name: 150 if name.startswith("tags.") else 110 for name in names.values()}
        widths = {"attributes.`Run Name`": 250, "runDateAndNestInfo": 110, **widths}
        view = {
            "selectedColumns": list(names.values()),
            "columnOrder": list(widths),
            "columnWidths": widths,
            "orderByKey": names.get(sort_by, f"attributes.{sort_by}"),
            "orderByAsc": ascending,
        }
        self._tag_experiment(experiment, {VIEW_TAG + VIEW_KEY: json.dumps(view)})

    def _tag_experiment(self, experiment: str, tags: Mapping[str, str]) -> None:
        if self.keeps:
            folder = tag_experiment(self.store.runs_dir, experiment, tags)
            self.feed.attempt(lambda: publish_experiment(folder, self.store))

    def latest_fragment(self) -> str:
        """Return the fragment of the experiment with the newest run.

        Raises:
            OvertoneError: MLflow does not answer.
        """
        with one_line(self.store):
            return self.store.latest_fragment()

    def register(
        self, model_name: str, run: Run, folder: Path, tags: Mapping[str, str], words: Words = NO_WORDS
    ) -> RegisteredVersion | None:
        """Register ``folder`` as the model's champion; the champion until now becomes ``previous``.

        Registering the same run key again (tag ``overtone.key``, else the run's own) changes nothing.

        Args:
            model_name: the registered name, ``overtone-<preset>``.
            run: that the model came from.
            folder: the files to register.
            tags: the evidence.
            words: what is said of the model and the version; links to runs as `MlflowStore.linked` takes them.

        Returns:
            The version; None where nothing is kept.

        Raises:
            OvertoneError: MLflow does not answer.
        """
        if run.view is None:
            return None
        with one_line(self.store):
            run.view.update()
            tags = {KEY_TAG: run.key, **tags}
            said = replace(words, version=self.store.linked(words.version, run.view.folder.read().experiment))
            return Registry(self.store).register(model_name, run.id, folder, tags, said)

    def champion(self, model_name: str) -> RegisteredVersion | None:
        """Return the registered champion, None when there is none.

        Raises:
            OvertoneError: MLflow does not answer.
        """
        if not self.keeps:
            return None
        with one_line(self.store):
            return Registry(self.store).champion(model_name)

    def roll_back(self, model_name: str) -> RegisteredVersion:
        """Swap the aliases ``champion`` and ``previous`` and return the new champion.

        Raises:
            OvertoneError: there is no previous version, or MLflow does not answer.
        """
        if not self.keeps:
            raise OvertoneError(
                f"{model_name}: nothing is registered with --tracking none; expected --tracking mlflow."
            )
        with one_line(self.store):
            return Registry(self.store).roll_back(model_name)


def open_tracker(kind: str, runs_dir: Path) -> Tracker:
    """Open the store in ``runs_dir``, that of a server, or one that keeps nothing.

    Args:
        kind: ``mlflow``, ``none``, or the ``http://HOST:PORT`` of an MLflow server.
        runs_dir: the folder for runs.

    Raises:
        OvertoneError: the folder cannot be written, or the address is no MLflow server's.
    """
    return Tracker(open_store(kind, runs_dir))


def _origin_tags() -> dict[str, str]:
    return {"mlflow.user": _user(), "mlflow.source.name": users_command(), "mlflow.source.type": "LOCAL"}


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry in passwd
        return str(os.getuid())
