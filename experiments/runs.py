"""Where runs lie on disk, under which keys, and who may write there."""

import ast
import fcntl
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from experiments.preset import Preset, digest
from experiments.registry import MODELS, model_class
from runtime.errors import OvertoneError
from runtime.files import written_whole

SOURCES = Path(__file__).parent.parent
HASHED_PACKAGES = ("models", "datamodules", "runtime")


def find_runs_folder(named: Path | None) -> Path:
    """Return the folder for runs, made if need be: the named one, else ``mlruns`` beside the nearest pyproject.toml.

    Raises:
        OvertoneError: it cannot be made or written.
    """
    here = Path.cwd()
    project = next((folder for folder in (here, *here.parents) if (folder / "pyproject.toml").is_file()), here)
    folder = (named or project / "mlruns").resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OvertoneError(
            f"{folder}: cannot write runs there ({error.strerror}). Name another with --runs."
        ) from None
    return folder


@contextmanager
def sole_use(folder: Path, what: str) -> Iterator[None]:
    """Hold a lock that the system releases when the process ends, however it ends.

    Raises:
        OvertoneError: another process holds it.
    """
    with (folder / ".compare.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OvertoneError(
                f"{folder}: another {what} is running there. Wait for it, stop it, or name another folder with --runs."
            ) from None
        yield


@dataclass(frozen=True)
class TrainingPlace:
    """A training's identity and its folder.

    Attributes:
        model: the registry's name.
        seed: of weights and order of examples.
        key: digest of configuration, data and code; equal keys are the same training.
        folder: where its files lie.
    """

    model: str
    seed: int
    key: str
    folder: Path

    @property
    def name(self) -> str:
        """The run's readable name."""
        return f"{self.model}-seed{self.seed}"

    @property
    def weights(self) -> Path:
        """The trained weights; there when the training is finished."""
        return self.folder / "model.pt"

    @property
    def record(self) -> Path:
        """What the training cost; written last."""
        return self.folder / "training.json"

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.record.is_file()


def training_place(runs: Path, preset: Preset, model: str, seed: int, data_digest: str) -> TrainingPlace:
    """Return the place of one training of a preset on a corpus."""
    model_class(model)
    key = digest(preset.training_configuration(model, seed), data_digest, code_digest(model))
    return TrainingPlace(model, seed, key, runs / "trainings" / f"{model}-seed{seed}-{key}")


def code_digest(model: str) -> str:
    """Return a digest of the sources that a model's training depends on: its module, what it imports, the data.

    What is said about the sources, in comments and docstrings, is no part of it: better words retrain nothing.
    """
    pending = [MODELS[model].partition(":")[0], "datamodules.speech_pairs"]
    seen: dict[str, str] = {}
    while pending:
        name = pending.pop()
        path = SOURCES.joinpath(*name.split(".")).with_suffix(".py")
        if name in seen or not path.is_file():
            continue
        tree = ast.parse(path.read_text())
        pending += [imported for imported in _imports(tree) if imported.split(".")[0] in HASHED_PACKAGES]
        seen[name] = hashlib.sha256(_statements(tree).encode()).hexdigest()
    return digest(seen)


@cache
def commit() -> str:
    """Return the commit of the sources, ``unknown`` where they are no git checkout; ``+`` marks uncommitted changes."""
    command = ["git", "-C", str(SOURCES), "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return "unknown"
    return described or "unknown"


def _statements(tree: ast.Module) -> str:
    """Return a source without comments, layout and docstrings; the last are taken out of the tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.unparse(tree)


def _imports(tree: ast.Module) -> list[str]:
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules = [node.module for node in nodes if node.module]
    return modules + [f"{node.module}.{alias.name}" for node in nodes for alias in node.names]


def count_test_use(runs: Path, data_digest: str, comparison_key: str) -> int:
    """Note that a comparison scores a corpus' test split; return how many different ones have done so."""
    path = runs / "test-uses.json"
    uses: dict[str, list[str]] = json.loads(path.read_text()) if path.is_file() else {}
    keys = uses.setdefault(data_digest, [])
    if comparison_key not in keys:
        keys.append(comparison_key)
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(uses, indent=2))
    return len(keys)
