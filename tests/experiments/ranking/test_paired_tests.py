"""The family of a leaderboard's comparisons, and the differences that its test set can detect."""

import numpy as np
import pandas as pd
import pytest
from score_tables import GOOD, cost_table, score_table

from evaluation.statistics.hypothesis_tests import holm
from evaluation.statistics.intervals import paired_difference, speaker_differences
from experiments.presets.winner_rule import WinnerRule
from experiments.ranking.paired_tests import detectable_differences, paired_tests, reference_of, smallest_p_value
from experiments.ranking.primary import add_primary
from experiments.ranking.selection import choose

CANDIDATES = {"best": GOOD, "second": GOOD | {"extended_ber": 0.35}, "third": GOOD | {"extended_ber": 0.4}}
CONTROLS = {"ridge_envelope": GOOD | {"extended_ber": 0.45}}
COSTS = cost_table(best=1e6, second=1e6, third=1e6)


@pytest.fixture(scope="module")
def scores():
    return add_primary(score_table(CANDIDATES, CONTROLS, spread=0.02))


@pytest.fixture(scope="module")
def selection(scores):
    return choose(scores, COSTS, WinnerRule())


def test_the_family_is_candidates_by_controls_and_the_champion_against_the_others(scores, selection):
    tests = paired_tests(scores, selection)
    pairs = set(zip(tests["system"], tests["other"], strict=True))
    with_controls = {(name, control) for name in CANDIDATES for control in ("unprocessed", "ridge_envelope")}
    assert pairs == with_controls | {("best", "second"), ("best", "third")}
    assert len(tests) == len(pairs)
    assert tests["p_holm"].to_numpy() == pytest.approx(holm(tests["p_value"]))


def test_without_a_champion_the_best_on_val_is_compared(scores):
    nobody = choose(scores, COSTS, WinnerRule(rtf=0.01))
    assert nobody.winner is None and reference_of(list(CANDIDATES), nobody) == "best"


def test_a_row_agrees_with_the_statistics_behind_it(scores, selection):
    row = paired_tests(scores, selection).set_index(["system", "other"]).loc[("best", "unprocessed")]
    difference = paired_difference(scores, "best", "unprocessed", "primary")
    assert (row["difference"], row["low"], row["high"]) == pytest.approx(
        (difference.mean, difference.low, difference.high)
    )
    differences = speaker_differences(scores, "best", "unprocessed", "primary")
    assert row["difference"] == pytest.approx(differences.mean())
    assert row["d_z"] == pytest.approx(differences.mean() / differences.std(ddof=1))
    assert (row["rank_biserial"], row["p_value"]) == (-1.0, smallest_p_value(4))
    assert row["trainings_low"] <= row["difference"] <= row["trainings_high"]


def test_one_training_leaves_the_interval_over_trainings_open(scores, selection):
    once = scores[~(scores["seed"] == 1)]
    assert paired_tests(once, selection)[["trainings_low", "trainings_high"]].isna().all(axis=None)


def test_neighbours_have_a_detectable_difference_per_measure():
    scores = score_table(CANDIDATES, CONTROLS, spread=0.02)
    systems = ["best", "ridge_envelope", "unprocessed"]
    scores.loc[scores["system"] == "unprocessed", "extended_ber"] += 0.01 * (scores["speaker"] == "anna")
    table = detectable_differences(add_primary(scores), systems)
    assert table["system"].tolist() == systems
    assert table["next"].tolist() == ["ridge_envelope", "unprocessed", ""]
    assert (table["detectable_primary"].iloc[:2] > 0.0).all()
    assert table.iloc[-1].filter(like="detectable").isna().all()
    assert np.isnan(table["detectable_lsd"].iloc[-1]) and table["detectable_lsd"].iloc[0] == 0.0


def test_one_speaker_says_what_it_cannot(scores, selection):
    alone = scores[scores["speaker"] == "anna"]
    tests = paired_tests(alone, selection)
    assert tests[["p_value", "p_holm", "d_z", "detectable"]].isna().all(axis=None)
    assert tests["difference"].notna().all()
    assert np.isnan(smallest_p_value(1))


def test_without_candidates_the_family_is_empty():
    scores = add_primary(score_table({}))
    tests = paired_tests(scores, choose(scores, pd.DataFrame(), WinnerRule()))
    assert tests.empty and "p_holm" in tests
