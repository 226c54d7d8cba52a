"""The page that shows the laboratory in a notebook runs from top to bottom; the notebook holds the same."""

import os
import subprocess
import sys

import pytest
from project import PROJECT

from benchmarks.pages.notebook import PAGE, code_cells, notebook


def test_the_notebook_is_the_page():
    whole = PAGE.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert whole == notebook(PAGE.read_text(encoding="utf-8")), "run python -m benchmarks.pages.notebook"


@pytest.mark.slow
def test_all_cells_run_and_do_what_the_page_says(tmp_path):
    pytest.importorskip("espeakng_loader")
    script = tmp_path / "cells.py"
    script.write_text("\n".join(code_cells(PAGE.read_text(encoding="utf-8"))), encoding="utf-8")
    places = os.pathsep.join([str(PROJECT), str(PROJECT / "runtime")])
    environment = {**os.environ, "PYTHONPATH": places, "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "480 clips; {'train': 280, 'val': 80, 'test': 120}" in done.stdout
    assert "'narrowband': (8, 16000)" in done.stdout
    assert "NaN" not in done.stdout
    assert (tmp_path / "bias.png").stat().st_size > 10_000
    assert {"model.onnx", "card.md", "SHA256SUMS"} <= {file.name for file in (tmp_path / "my-model").iterdir()}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "bias.png",
        "cells.py",
        "corpora",
        "mine.pt",
        "my-model",
    ]
