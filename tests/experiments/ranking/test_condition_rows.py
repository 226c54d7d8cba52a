"""Scores per condition and factor: means by hand, factors of every step, and flags of controls."""

import numpy as np
import pytest
from score_tables import DOING_NOTHING, GOOD, score_table

from datamodules.degradation.conditions import Condition, ConditionStep, parse_conditions
from datamodules.degradation.steps import STEPS
from experiments.presets.preset import PRESETS, load_preset
from experiments.ranking.conditions import (
    ConditionFactors,
    condition_factors,
    condition_rows,
    level_rows,
)
from experiments.ranking.primary import add_primary, interval

FACTORS = {
    "telephone": ConditionFactors(cutoff_hz=4000.0),
    "telephone_noise": ConditionFactors(noise="noise 20 dB", cutoff_hz=4000.0),
    "mp3_32k": ConditionFactors(codec="mp3 32 kbit/s"),
}


@pytest.fixture(scope="module")
def scores():
    candidates = {"model": GOOD | {"visqol": 2.0}, "other": DOING_NOTHING | {"extended_ber": 0.48}}
    controls = {"ridge_envelope": GOOD | {"extended_ber": 0.45, "visqol": 3.1}, "oracle_envelope_noise": GOOD}
    return add_primary(score_table(candidates, controls, spread=0.02))


def cells(rows):
    return rows.set_index(["system", "condition"])


def test_every_cell_is_the_mean_over_speakers_under_one_condition(scores):
    found = condition_rows(scores, ["extended_ber"])
    assert found["condition"].drop_duplicates().tolist() == ["telephone", "telephone_noise", "mp3_32k"]
    assert set(found["system"]) == set(scores["system"])
    rows = scores[(scores["system"] == "model") & (scores["condition"] == "telephone")]
    assert cells(found).loc[("model", "telephone"), "mean"] == pytest.approx(
        rows.groupby("speaker")["extended_ber"].mean().mean()
    )


def test_the_half_width_is_that_of_the_interval(scores):
    found = cells(condition_rows(scores, ["extended_ber"])).loc[("ridge_envelope", "telephone")]
    rows = scores[(scores["system"] == "ridge_envelope") & (scores["condition"] == "telephone")]
    expected = interval(rows, "extended_ber")
    assert found["half_width"] == pytest.approx((expected.high - expected.low) / 2)


def test_what_does_not_apply_is_told_apart_from_what_failed(scores):
    broken = scores.copy()
    first = broken.index[(broken["system"] == "model") & (broken["condition"] == "telephone")][0]
    broken.loc[first, "visqol"] = np.nan
    failed = cells(condition_rows(broken, ["visqol"])).loc[("model", "telephone")]
    assert np.isnan(failed["mean"]) and failed["utterances"] > 0
    inapplicable = cells(condition_rows(scores, ["extended_ber"])).loc[("model", "mp3_32k")]
    assert np.isnan(inapplicable["mean"]) and inapplicable["utterances"] == 0


def test_a_cell_names_the_controls_that_are_better_there(scores):
    better = cells(condition_rows(scores, ["primary"]))["outranked_by"]
    assert better["other", "telephone"] == ("oracle_envelope_noise", "ridge_envelope")
    assert better["ridge_envelope", "telephone"] == ()
    assert "ridge_envelope" not in better["model", "telephone"]
    higher_is_better = cells(condition_rows(scores, ["visqol"]))["outranked_by"]
    assert higher_is_better["model", "mp3_32k"] == ("oracle_envelope_noise", "ridge_envelope", "unprocessed")


def test_rows_carry_the_factors(scores):
    rows = condition_rows(scores, ["lsd", "absent"], FACTORS)
    assert len(rows) == 5 * 3
    assert set(rows.loc[rows["condition"] == "mp3_32k", "codec"]) == {"mp3 32 kbit/s"}
    assert rows.loc[rows["condition"] == "mp3_32k", "cutoff_hz"].isna().all()
    assert "codec" not in condition_rows(scores, ["lsd"])


def test_a_factors_level_is_the_mean_over_its_conditions(scores):
    found = level_rows(scores, "primary", FACTORS)
    assert found["condition"].drop_duplicates().tolist() == [
        "codec: none",
        "codec: mp3 32 kbit/s",
        "noise: none",
        "noise: noise 20 dB",
        "cutoff: 4 kHz",
        "cutoff: none",
    ]
    levels, conditions = (
        cells(found)["mean"].loc["model"],
        cells(condition_rows(scores, ["primary"]))["mean"].loc["model"],
    )
    assert levels["cutoff: 4 kHz"] == pytest.approx(conditions[["telephone", "telephone_noise"]].mean())
    assert levels["noise: none"] == pytest.approx(conditions[["telephone", "mp3_32k"]].mean())


def test_factors_that_are_the_same_everywhere_are_left_out(scores):
    assert level_rows(scores, "primary", dict.fromkeys(FACTORS, ConditionFactors())).empty


def test_factors_are_read_off_the_steps():
    steps = [{"echo": {"rt60_seconds": 0.4, "direct_to_reverberant_db": 6}}, {"noise": {"snr_db": 15}}, {"gsm": {}}]
    (condition,) = parse_conditions({"any": {"steps": [*steps, {"bits": {"bits": 8}}]}})
    factors = condition_factors(condition, 16000)
    assert factors == ConditionFactors("gsm + bits 8", "noise 15 dB", 4000.0, "echo 0.4 s")
    assert factors.levels["cutoff"] == "4 kHz"


@pytest.mark.parametrize("kind", STEPS)
def test_every_step_belongs_to_a_factor(kind):
    (condition,) = parse_conditions({"one": {"steps": [{kind: dict(STEPS[kind].example)}]}})
    factors = condition_factors(condition, 48000)
    assert factors != ConditionFactors()


@pytest.mark.parametrize("preset", [path.stem for path in sorted(PRESETS.glob("*.yaml"))])
def test_conditions_of_a_preset_have_factors_of_their_own(preset):
    plain = load_preset(preset)
    conditions = parse_conditions(plain.data.test_conditions)
    named = {condition.name: condition_factors(condition, plain.sample_rate) for condition in conditions}
    assert ConditionFactors() not in named.values()


def test_a_condition_that_leaves_something_to_chance_has_no_factors():
    drawn = Condition("noisy", (ConditionStep("noise", (("snr_db", (5.0, 30.0)),)),))
    with pytest.raises(ValueError, match="chance"):
        condition_factors(drawn, 16000)
