"""Registered champions in an MLflow store, and where their files lie."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlparse
from urllib.request import url2pathname

from experiments.tracking.pyfunc import pyfunc_folder
from experiments.tracking.store import KEY_TAG, MlflowStore, one_line, put
from overtone.errors import OvertoneError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

PROMOTED_TAG = "overtone.promoted"
CHAMPION_ALIAS, PREVIOUS_ALIAS = "champion", "previous"
CHAMPION_FOLDER = "champion"
DOWNLOADS_NAME = "registered"


@dataclass(frozen=True)
class Words:
    """What MLflow's registry says in Markdown, of a model and of one version of it; empty for nothing."""

    model: str = ""
    version: str = ""


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


class Registry:
    """The registered models of a store; every method may raise what MLflow raises."""

    def __init__(self, store: MlflowStore) -> None:
        self._store = store

    def register(
        self, model_name: str, run_id: str, folder: Path, tags: Mapping[str, str], words: Words
    ) -> RegisteredVersion:
        """Register a run's folder under the key in ``tags`` unless it is known, and promote it once.

        Args:
            model_name: the registered name.
            run_id: MLflow's id of the run that gets the files.
            folder: the files.
            tags: the evidence, with the key.
            words: what is said of the model and the version.
        """
        with self._store.locked():
            version = self._version_with_key(model_name, tags[KEY_TAG])
            if version is None:
                version = self._created(model_name, run_id, folder, tags)
            if PROMOTED_TAG not in version.tags:  # also finishes what a killed program began
                self._promote(model_name, str(version.version))
            if words.model:
                self._store.client.update_registered_model(model_name, words.model)
            if words.version:
                self._store.client.update_model_version(model_name, str(version.version), words.version)
        return self._registered(version)

    def champion(self, model_name: str) -> RegisteredVersion | None:
        """Return the registered champion."""
        version = self._aliased(model_name, CHAMPION_ALIAS)
        return self._registered(version) if version else None

    def roll_back(self, model_name: str) -> RegisteredVersion:
        """Swap champion and previous.

        Raises:
            OvertoneError: there is no previous version.
        """
        client = self._store.client
        with self._store.locked():
            champion = self._aliased(model_name, CHAMPION_ALIAS)
            previous = self._aliased(model_name, PREVIOUS_ALIAS)
            if champion is None or previous is None:
                raise OvertoneError(
                    f"{model_name}: no previous champion in {self._store.place}; nothing to roll back to."
                )
            put(client.set_registered_model_alias, model_name, PREVIOUS_ALIAS, champion.version)
            put(client.set_registered_model_alias, model_name, CHAMPION_ALIAS, previous.version)
        return self._registered(previous)

    def _created(self, model_name: str, run_id: str, folder: Path, tags: Mapping[str, str]) -> ModelVersion:
        """Create a version; where another machine has been faster, withdraw it and return the other's.

        Versions are numbered in the order in which they reach the database: who looks again and finds a lower number
        is the later one.
        """
        client = self._store.client
        with pyfunc_folder(folder) as model:
            client.log_artifacts(run_id, str(model), CHAMPION_FOLDER)
        source = f"{client.get_run(run_id).info.artifact_uri}/{CHAMPION_FOLDER}"
        mine = client.create_model_version(model_name, source, run_id, tags=dict(tags), await_creation_for=0)
        first = self._version_with_key(model_name, tags[KEY_TAG])
        if first is None or str(first.version) == str(mine.version):
            return mine
        client.delete_model_version(model_name, str(mine.version))
        return first

    def _version_with_key(self, model_name: str, key: str) -> ModelVersion | None:
        from mlflow.exceptions import MlflowException

        client = self._store.client
        if not client.search_registered_models(f"name = '{model_name}'"):
            try:
                client.create_registered_model(model_name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
        versions = client.search_model_versions(f"name = '{model_name}'")
        same = [version for version in versions if version.tags.get(KEY_TAG) == key]
        return min(same, key=lambda version: int(version.version), default=None)

    def _promote(self, model_name: str, version: str) -> None:
        client = self._store.client
        champion = self._aliased(model_name, CHAMPION_ALIAS)
        if champion is not None and str(champion.version) != version:
            put(client.set_registered_model_alias, model_name, PREVIOUS_ALIAS, champion.version)
        put(client.set_registered_model_alias, model_name, CHAMPION_ALIAS, version)
        put(client.set_model_version_tag, model_name, version, PROMOTED_TAG, "true")

    def _aliased(self, model_name: str, alias: str) -> ModelVersion | None:
        models = self._store.client.search_registered_models(f"name = '{model_name}'")
        version = models[0].aliases.get(alias) if models else None
        return self._store.client.get_model_version(model_name, version) if version else None

    def _registered(self, version: ModelVersion) -> RegisteredVersion:
        tags = {name: value for name, value in version.tags.items() if name != PROMOTED_TAG}
        source, number, run_id = str(version.source), str(version.version), version.run_id or ""
        if self._store.uri is None or source.startswith("file:"):
            local = Path(url2pathname(urlparse(source).path))
            return RegisteredVersion(version.name, number, run_id, tags, lambda: local)
        return RegisteredVersion(
            version.name, number, run_id, tags, lambda: self._downloaded(version.name, number, run_id)
        )

    def _downloaded(self, model_name: str, number: str, run_id: str) -> Path:
        """Fetch a version's files, once; the folder appears when it is whole."""
        folder = self._store.runs_dir / DOWNLOADS_NAME / f"{model_name}-{number}-{run_id[:8]}"
        if folder.is_dir():
            return folder
        temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        temporary.mkdir(parents=True, exist_ok=True)
        try:
            with one_line(self._store):
                self._store.client.download_artifacts(run_id, CHAMPION_FOLDER, str(temporary))
            with self._store.locked():
                if not folder.is_dir():
                    (temporary / CHAMPION_FOLDER).replace(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return folder
