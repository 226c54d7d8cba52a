"""Measures of a user's own: named by the environment, found by every process that scores, refused in one line."""

import os
import subprocess
import sys

import pandas as pd
import pytest
from evaluation_runs import low_passed_pair
from project import PROJECT

from evaluation.measures.declaration import OWN_MEASURES, own_measures
from experiments.keys import scoring_code

MODULE = """
from evaluation.measures.declaration import Measure
def longest(preds, target):
    return float(max(len(preds), len(target)))
LONGEST = Measure("longest", True, "the longer of both", longest)
SCORER = Measure("scorer", True, "asks for words", lambda preds, transcript: 0.0)
NUMBER = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return tmp_path


def evaluate(folder, named, *options):
    command = [sys.executable, "-m", "experiments.cli.main", "evaluate", "--reference", "reference"]
    command += ["--estimate", "same=same", "--out", "table.csv", *options]
    environment = os.environ | {OWN_MEASURES: named, "PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_each_process_that_scores_knows_it(folder):
    low_passed_pair(folder)
    ended = evaluate(folder, "mine:LONGEST", "--measures", "snr,longest", "--workers", "2")
    assert ended.returncode == 0, ended.stderr
    table = pd.read_csv(folder / "table.csv")
    assert set(table["longest"]) == {0.9 * 16000}
    assert "longest" in ended.stdout
    refused = evaluate(folder, "mine:LONGER")
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"overtone: {OWN_MEASURES}: expected MODULE:NAME, mine:LONGER")
    assert refused.stderr.count("\n") == 1


def test_its_source_is_part_of_the_key_of_scores(folder, monkeypatch):
    without = scoring_code()
    monkeypatch.setenv(OWN_MEASURES, "mine:LONGEST")
    first = scoring_code()
    (folder / "mine.py").write_text(MODULE.replace("max", "min"))
    assert len({without, first, scoring_code()}) == 3


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("nowhere:X", "nowhere:X cannot be imported"),
        ("mine", "mine cannot be imported"),
        ("mine:NUMBER", "expected mine:NUMBER to be an evaluation.measures.declaration.Measure, got a int"),
        ("mine:LONGEST,mine:SCORER", "mine:SCORER asks for transcript; measures can have preds, target"),
    ],
)
def test_what_is_no_measure_is_named(folder, monkeypatch, named, words):
    monkeypatch.setenv(OWN_MEASURES, named)
    with pytest.raises(ValueError, match=OWN_MEASURES) as raised:
        list(own_measures())
    assert words in str(raised.value)
