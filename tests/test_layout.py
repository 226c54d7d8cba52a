"""Where the packages come from, who imports whom, and what an import may not do."""

import importlib
import re
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest
from project import PROJECT

FOLDERS = {name: name for name in ("experiments", "models", "datamodules", "evaluation")} | {
    "overtone": "runtime/overtone"
}
MOST_LINES, MOST_MODULES = 400, 15


@pytest.mark.parametrize(("name", "folder"), FOLDERS.items())
def test_the_package_resolves_inside_the_repository(name, folder):
    """Another distribution's `models` would otherwise shadow ours unseen."""
    module = importlib.import_module(name)
    assert Path(module.__file__).resolve() == PROJECT / folder / "__init__.py"


def test_the_import_layers_hold():
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def modules():
    return [path for folder in (*FOLDERS.values(), "benchmarks") for path in (PROJECT / folder).rglob("*.py")]


def test_nothing_imports_torchaudio_but_the_guard():
    lines = {path: path.read_text().splitlines() for path in modules()}
    importers = [
        path for path, text in lines.items() if any(re.match(r"\s*(import|from) torchaudio", line) for line in text)
    ]
    assert importers == []


def test_torchaudio_loads_beside_this_torch():
    code = (
        "from models.reconstruction.torchaudio_guard import GriffinLim as g, torchaudio as t; print(t.__version__, g)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("2.11")


def test_the_runtime_needs_no_torch():
    code = "import overtone.enhance.enhance, overtone.serve.serve, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_module_is_short_enough_to_read():
    long = {path: lines for path in modules() if (lines := len(path.read_text().splitlines())) > MOST_LINES}
    assert not long


def test_no_folder_holds_more_modules_than_one_can_know():
    counts = Counter(path.parent for path in modules() if path.name != "__init__.py")
    assert not {folder: count for folder, count in counts.items() if count > MOST_MODULES}


def test_no_modules_import_each_other_in_a_circle():
    graph = grimp.build_graph(*FOLDERS, exclude_type_checking_imports=True)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    tuple(TopologicalSorter(imports).static_order())  # raises where there is a circle


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_the_runtime_uses_nothing_that_a_system_or_python_3_10_lacks(platform, tmp_path):
    """The standard library's stubs say what exists where; what is guarded by `sys.platform` or `hasattr` passes."""
    options = ["--python-version", "3.10", "--platform", platform, "--no-site-packages", "--ignore-missing-imports"]
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file=", *options, "--cache-dir", str(tmp_path), "-p", "overtone"],
        cwd=PROJECT / "runtime",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "checked" in result.stdout or "no issues" in result.stdout, result.stdout + result.stderr
    assert [line for line in result.stdout.splitlines() if re.search(r"error: (Module|Cannot find)", line)] == []
