"""Bias and spread over frequency of systems, from their score tables."""

import numpy as np
import pandas as pd
import pytest
from score_tables import GOOD, cost_table, findings_of, score_table

from experiments.comparison.publication import score_metrics
from experiments.export.card import scores_section
from experiments.export.source import ModelSource
from experiments.ranking.band_levels import band_level_rows, over_conditions
from experiments.ranking.primary import add_primary
from experiments.report.markdown import leaderboard_markdown
from experiments.report.page import write_report
from experiments.report.sections import sections

LOW, HIGH = "4000_5040", "5040_6350"


def with_levels(rows, low, high):
    """Fill in the levels that a score table has: none where no band is missing, or where a score failed."""
    rows = rows.copy()
    for band, (bias, spread) in ((LOW, low), (HIGH, high)):
        there = rows["cutoff_hz"].notna() & (rows["failures"] == "")
        rows[f"band_bias_db_{band}"] = np.where(there, bias, np.nan)
        rows[f"band_spread_db_{band}"] = np.where(there, spread, np.nan)
    return rows


@pytest.fixture
def scores():
    table = score_table({"model": GOOD}, spread=0.03)
    model, nothing = (table[table["system"] == name] for name in ("model", "unprocessed"))
    return pd.concat(
        [with_levels(model, (-3.0, 7.0), (2.0, 8.0)), with_levels(nothing, (-58.0, 4.0), (-60.0, 0.5))],
        ignore_index=True,
    )


def test_rows_are_means_over_speakers_of_their_means(scores):
    two = scores["file"].isin(["anna/1.wav", "anna/2.wav"]) & scores["cutoff_hz"].notna()
    scores.loc[two, f"band_bias_db_{LOW}"] = 3.0
    rows = band_level_rows(scores[scores["system"] == "model"])
    assert list(rows["condition"].unique()) == ["telephone", "telephone_noise"]  # mp3_32k misses no band
    first = rows.iloc[0]
    assert (first["low_hz"], first["high_hz"], first["speakers"]) == (4000, 5040, 4)
    assert first["bias_db"] == pytest.approx((1.0 - 3.0 - 3.0 - 3.0) / 4)
    assert first["spread_db"] == pytest.approx(7.0)


def test_a_failed_score_is_not_dropped_from_a_mean(scores):
    failed = (scores["file"] == "ben/1.wav") & (scores["condition"] == "telephone") & (scores["system"] == "model")
    columns = [name for name in scores if name.startswith(("band_bias", "band_spread"))]
    scores.loc[failed, "failures"] = "lsd: estimate holds NaN or infinite samples"
    scores.loc[failed, columns] = np.nan
    rows = band_level_rows(scores).set_index(["system", "condition", "low_hz"])["bias_db"]
    assert np.isnan(rows["model", "telephone", 4000]) and rows["model", "telephone_noise", 4000] == -3.0
    means = over_conditions(band_level_rows(scores)).set_index(["system", "low_hz"])["bias_db"]
    assert np.isnan(means["model", 4000]) and means["unprocessed", 4000] == -58.0


def test_a_band_beyond_some_targets_has_the_speakers_that_reach_it(scores):
    short = scores["speaker"].isin(["anna", "ben"])
    scores.loc[short, "band_hz"] = 5500.0
    scores.loc[short, [f"band_bias_db_{HIGH}", f"band_spread_db_{HIGH}"]] = np.nan
    rows = over_conditions(band_level_rows(scores)).set_index(["system", "low_hz"])
    assert rows.loc[("model", 5040), "speakers"] == 2 and rows.loc[("model", 4000), "speakers"] == 4
    assert rows.loc[("model", 5040), "bias_db"] == 2.0


def test_tables_without_levels_have_no_rows_and_no_section():
    table = score_table({"model": GOOD}, spread=0.03)
    assert band_level_rows(table).empty and over_conditions(band_level_rows(table)).empty
    titles = [section.title for section in sections(findings_of(table, cost_table(model=1e6)))]
    assert "Level over frequency" not in titles


def test_report_shows_every_system_beside_the_controls(scores, tmp_path):
    findings = findings_of(scores, cost_table(model=1e6))
    text = leaderboard_markdown(findings)
    assert "| system | 4–5 kHz | 5–6.3 kHz |" in text
    assert "| model | -3.0 ± 7.0 | +2.0 ± 8.0 |" in text and "| unprocessed | -58.0 ± 4.0 | -60.0 ± 0.5 |" in text
    write_report(findings, tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "model: 4–5 kHz -3.0 ± 7.0, 5–6.3 kHz +2.0 ± 8.0; unprocessed: 4–5 kHz -58.0 ± 4.0" in html
    (section,) = (one for one in sections(findings) if one.title == "Level over frequency")
    svg = section.parts[1].svg()
    assert ">model<" in svg and ">unprocessed<" in svg and "▼ -60 dB" in svg


def test_metrics_and_card_have_the_means(scores):
    model = add_primary(scores)[lambda rows: rows["system"] == "model"]
    metrics = score_metrics(model)
    assert metrics[f"band_bias_db_{LOW}"] == -3.0 and metrics[f"band_spread_db_{HIGH}"] == 8.0
    card = scores_section(ModelSource(None, "tiny", None, scores=model))
    assert "| 4–5 | -3.0 ± 7.0 | 4 |" in card and "| 5–6.3 | +2.0 ± 8.0 | 4 |" in card
    older = model.drop(columns=[name for name in model if name.startswith(("band_bias", "band_spread"))])
    assert "too loud (+)" not in scores_section(ModelSource(None, "tiny", None, scores=older))
