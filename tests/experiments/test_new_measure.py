"""A measure that is added to the catalogue while the program runs is found wherever measures are listed."""

import numpy as np
import pandas as pd
import pytest
from score_tables import GOOD, cost_table, findings_of, score_table
from utterances import utterance

from evaluation.measures.catalogue import MEASURES
from evaluation.measures.declaration import Measure, Shown
from experiments.comparison.publication import score_metrics
from experiments.export.card import scores_section
from experiments.export.source import ModelSource
from experiments.ranking.primary import add_primary
from experiments.report.markdown import leaderboard_markdown
from experiments.report.page import write_report
from experiments.scoring.rows import score_pairs

TRAININGS = pd.DataFrame({"system": ["model"], "seconds": [60.0], "examples": [20_000]})


def clicks(*, preds: np.ndarray, sample_rate: int) -> float:
    return 7.25


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    measure = Measure(
        key="clicks",
        higher_is_better=True,
        meaning="clicks that remain",
        unit="per second",
        function=clicks,
        name="Clicks",
        decimals=1,
        weakness="deaf to hum",
        shown=Shown.COMPACT,
        version=3,
    )
    monkeypatch.setitem(MEASURES, "clicks", measure)


@pytest.fixture
def scores():
    return add_primary(score_table({"model": GOOD | {"clicks": 7.25}}, {"noise": GOOD | {"clicks": 1.0}}, spread=0.03))


def test_it_is_a_column_of_every_score_table():
    one = utterance()
    table = score_pairs([(one, one.narrowband)], "any", ["clicks", "snr"])
    assert table["clicks"].tolist() == [7.25] and table["failures"].tolist() == [""]


def test_it_stands_in_the_leaderboard_and_the_report(scores, tmp_path):
    findings = findings_of(scores, cost_table(model=1e6), trainings=TRAININGS)
    text = leaderboard_markdown(findings)
    assert "| Clicks ↑ |" in text and "| 7.2 |" in text
    assert "### Clicks ↑" in text
    write_report(findings, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert all(words in html for words in ("Clicks ↑", "clicks that remain, per second", "deaf to hum"))


def test_it_is_logged_and_stands_in_the_model_card(scores):
    model = scores[scores["system"] == "model"]
    assert score_metrics(model)["clicks"] == 7.25
    card = scores_section(ModelSource(None, "tiny", None, scores=model[model["condition"] == "telephone"]))
    assert "| telephone | clicks | 7.250 | 7.250 to 7.250 |" in card
    assert "- `clicks` (version 3): clicks that remain, per second" in card
