"""Keys of trainings and scores: digests of configuration, data and the code that they depend on."""

import ast
import hashlib
import inspect
import json
import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import overtone
from evaluation.measures.declaration import own_measures
from experiments.registry import MODELS

SOURCES = Path(__file__).parent.parent
# Where each package that a training or a score may depend on is kept.
PACKAGES = {
    "models": SOURCES / "models",
    "datamodules": SOURCES / "datamodules",
    "evaluation": SOURCES / "evaluation",
    "experiments": SOURCES / "experiments",
    "overtone": Path(overtone.__file__).parent,
}


def digest(*parts: object) -> str:
    """Return a short digest of plain values; the same on every machine."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def file_stamp(path: str | Path) -> list[object]:
    """Return what changes when a file does: its path, its size and the time of its last change."""
    status = os.stat(path)
    return [str(path), status.st_size, status.st_mtime_ns]


def training_code(model: str) -> str:
    """Return a digest of the code that a training of a registered model depends on: its module and the DataModule."""
    return statements_reached_from(MODELS[model].partition(":")[0], "datamodules.speech_pairs")


def utterances_code() -> str:
    """Return a digest of the code that the utterances of a split depend on."""
    return statements_reached_from("datamodules.speech_pairs")


def scoring_code() -> str:
    """Return a digest of the code that scores depend on besides a trained model: harness, pairs and controls."""
    return digest_with_own_measures("evaluation.harness", "datamodules.speech_pairs", "models.baselines")


def digest_with_own_measures(*modules: str) -> str:
    """Return `statements_reached_from` modules that score, and where a user has measures of their own, their files too.

    Args:
        modules: full names of modules, such as ``evaluation.harness``.

    Raises:
        OvertoneError: the environment names a measure that cannot be imported.
    """
    own = sorted({inspect.getfile(measure.function) for measure in own_measures()})
    code = statements_reached_from(*modules)
    return digest(code, *(Path(path).read_text(encoding="utf-8") for path in own)) if own else code


@cache
def statements_reached_from(*modules: str) -> str:
    """Return a digest of all statements that some modules can reach by imports within this project.

    Comments, layout, docstrings, import lines and the names of modules are no part of it: better words and moves to
    other files change no key, and a changed constant or function does. Nor does how tables show a measure.

    Args:
        modules: full names of modules, such as ``evaluation.harness``.

    Returns:
        Twelve hexadecimal digits, the same on every machine.
    """
    pending = list(modules)
    seen: dict[Path, str] = {}
    while pending:
        path = _source(pending.pop())
        if path is None or path in seen:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        pending += _imports(tree)
        seen[path] = hashlib.sha256(_statements(tree).encode()).hexdigest()
    return digest(sorted(seen.values()))


@cache
def commit() -> str:
    """Return the commit of the sources, ``unknown`` where they are no git checkout; ``+`` marks uncommitted changes."""
    command = ["git", "-C", str(SOURCES), "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        described = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return "unknown"
    return described or "unknown"


def _source(name: str) -> Path | None:
    package, *parts = name.split(".")
    if package not in PACKAGES:
        return None
    path = PACKAGES[package].joinpath(*parts)
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yield every name that could be a module: of ``from a import b`` both ``a`` and ``a.b``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


class _Statements(ast.NodeTransformer):
    """Takes out import lines and texts that are no values, and of a measure's declaration all but key and function."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None

    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if isinstance(node.func, ast.Name) and node.func.id == "Measure":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg in ("key", "function")]
        return node


def _statements(tree: ast.Module) -> str:
    """Return a source without comments, layout, imports and docstrings, those of constants too."""
    return ast.unparse(_Statements().visit(tree))
