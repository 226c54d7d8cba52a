"""Where the packages come from, who imports whom, and what an import may not do."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("experiments", "models", "datamodules", "evaluation", "runtime", "webapp")


@pytest.mark.parametrize("name", PACKAGES)
def test_the_package_resolves_inside_the_repository(name):
    """Another distribution's `models` would otherwise shadow ours unseen."""
    module = importlib.import_module(name)
    assert Path(module.__file__).resolve() == ROOT / name / "__init__.py"


def test_the_import_layers_hold():
    result = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


def test_only_tracking_imports_mlflow_and_only_the_guard_torchaudio():
    importers = {"mlflow": [], "torchaudio": []}
    for path in (path for name in PACKAGES for path in (ROOT / name).rglob("*.py")):
        lines = [line.strip() for line in path.read_text().splitlines()]
        for library, found in importers.items():
            if any(line.startswith((f"import {library}", f"from {library}")) for line in lines):
                found.append(path.name)
    # `pyfunc_model.py` runs inside MLflow's own server.
    assert [name for name in importers["mlflow"] if not name.startswith("tracking") and name != "pyfunc_model.py"] == []
    assert importers["torchaudio"] == []


def test_torchaudio_loads_beside_this_torch():
    code = "from models.torchaudio_guard import GriffinLim, torchaudio; print(torchaudio.__version__, GriffinLim)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("2.11")


def test_the_runtime_needs_no_torch():
    code = "import runtime.audio, runtime.files, runtime.stream, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_module_is_short_enough_to_read():
    long = {
        str(path.relative_to(ROOT)): lines
        for name in PACKAGES
        for path in (ROOT / name).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 400
    }
    assert not long
