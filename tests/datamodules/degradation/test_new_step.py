"""A kind of damage that is added to `STEPS` while the program runs can be used and is named wherever conditions are."""

import numpy as np
import pytest
from waveforms import scene, speech_like

from datamodules.degradation.conditions import parse_conditions
from datamodules.degradation.steps import STEPS, Between, Step
from experiments.ranking.conditions import condition_factors
from overtone.errors import OvertoneError

RATE = 16_000
HUMMING = {"humming": {"steps": [{"hum": {"level": 0.25}}, {"resample": {"rate": 8000}}]}}


def hum(waveform, scene, *, level):
    return (waveform + level).astype(np.float32)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(STEPS, "hum", Step(hum, example={"level": 0.1}, allowed={"level": Between(0, 1)}))


def test_a_condition_uses_it():
    (condition,) = parse_conditions({"humming": {"steps": [{"hum": {"level": 0.25}}]}})
    speech = speech_like(RATE, RATE)
    np.testing.assert_array_equal(condition.apply(speech, scene(RATE)), speech + np.float32(0.25))


def test_its_parameters_are_checked_and_drawn():
    with pytest.raises(OvertoneError, match=r"level.*a number from 0 to 1"):
        parse_conditions({"humming": {"steps": [{"hum": {"level": 2}}]}})
    (ranged,) = parse_conditions({"humming": {"steps": [{"hum": {"level": [0.2, 0.3]}}]}})
    (step,) = ranged.draw(np.random.default_rng(0)).steps
    assert 0.2 <= step.values["level"] <= 0.3


def test_tables_by_condition_name_it():
    (condition,) = parse_conditions(HUMMING)
    assert condition_factors(condition, RATE).other == "hum level 0.25"
    assert condition.cutoff_hz(RATE) == 4000.0


def test_the_message_about_an_unknown_step_lists_it():
    with pytest.raises(OvertoneError, match="hum"):
        parse_conditions({"odd": {"steps": [{"crackle": {}}]}})
