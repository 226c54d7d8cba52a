"""Conditions as plain values: what is drawn, what ends the band, and mistakes named."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from waveforms import lag, rng, scene, speech_like

import experiments
from datamodules.degradation import backgrounds, filters
from datamodules.degradation.conditions import parse_conditions
from overtone.errors import OvertoneError

TELEPHONE = {"steps": [{"resample": {"rate": 8000}}]}
PRESETS = sorted(Path(experiments.__file__).parent.glob("presets/*.yaml"))


def one(*steps, **settings):
    return parse_conditions({"one": {"steps": list(steps), **settings}})[0]


def test_a_condition_applies_its_steps_in_order():
    condition = one({"noise": {"snr_db": 10}}, {"resample": {"rate": 8000}}, share=0.5)
    waveform = speech_like(16000, 16000)
    noisy = backgrounds.noise(waveform, scene(seed=3), snr_db=10)
    expected = filters.resample(noisy, scene(), rate=8000)
    np.testing.assert_array_equal(condition.apply(waveform, scene(seed=3)), expected)
    assert (condition.name, condition.share, condition.clean) == ("one", 0.5, False)


def test_cutoff_is_the_lowest_over_the_steps_below_the_nyquist_frequency():
    conditions = parse_conditions(
        {
            "telephone": TELEPHONE,
            "twice": {"steps": [{"resample": {"rate": 6000}}, {"lowpass": {"cutoff_hz": 6000}}]},
            "radio": {"steps": [{"bandpass": {}}, {"gsm": {}}]},
            "noise": {"steps": [{"noise": {"snr_db": 10}}]},
            "none": {"steps": [{"resample": {"rate": 16000}}]},
        },
        fixed=True,
    )
    assert [condition.cutoff_hz(16000) for condition in conditions] == [4000, 3000, 3400, None, None]
    assert [condition.clean for condition in conditions] == [True, True, False, False, True]
    assert conditions[4].cutoff_hz(48000) == 8000


def test_ranges_are_drawn_for_each_item():
    condition = one({"resample": {"rate": [6000, 12000]}})
    cutoffs = [condition.draw(rng(seed)).cutoff_hz(16000) for seed in range(50)]
    assert min(cutoffs) >= 3000
    assert max(cutoffs) <= 6000
    assert len(set(cutoffs)) > 40
    assert condition.draw(rng(5)) == condition.draw(rng(5))
    with pytest.raises(ValueError, match="draw"):
        condition.cutoff_hz(16000)


def test_the_widest_band_is_that_of_the_least_harmful_draw():
    lowpass = {"lowpass": {"cutoff_hz": [3000, 3600], "family": ["bessel", "elliptic"], "order": [4, 8]}}
    assert one({"gsm": {}, "probability": 0.9}, lowpass).widest_hz(16000) == 3600
    assert one({"bits": {"bits": 8}}, {"resample": {"rate": 8000}, "probability": 0.5}).widest_hz(16000) == 8000
    assert one({"resample": {"rate": [7000, 32000]}}).widest_hz(16000) == 8000


def test_whole_numbers_are_drawn_whole_and_from_either_end():
    condition = one({"lowpass": {"cutoff_hz": 4000, "order": [2, 4]}})
    orders = {condition.draw(rng(seed)).steps[0].values["order"] for seed in range(50)}
    assert orders == {2, 3, 4}


def test_names_are_drawn_from_a_list():
    condition = one({"lowpass": {"cutoff_hz": 4000, "family": ["bessel", "elliptic"]}})
    assert condition.ranged
    families = [condition.draw(rng(seed)).steps[0].values["family"] for seed in range(100)]
    assert 30 < families.count("bessel") < 70
    assert set(families) == {"bessel", "elliptic"}


def test_a_probability_says_how_often_a_step_happens():
    condition = one({"gain": {"db": 6}}, {"mp3": {"kbps": 32}, "probability": 0.3})
    assert condition.ranged
    drawn = [condition.draw(rng(seed)) for seed in range(300)]
    assert 60 < sum(len(each.steps) == 2 for each in drawn) < 120
    assert not any(each.ranged for each in drawn)
    never = one({"gain": {"db": 6}, "probability": 0})
    waveform = speech_like(16000, 100)
    assert never.apply(waveform, scene()) is waveform
    assert never.draw(rng()).cutoff_hz(16000) is None
    assert never.draw(rng()).clean


def test_defaults_may_be_left_out():
    (step,) = one({"lowpass": {"cutoff_hz": 4000}}).steps
    assert step.values == {"cutoff_hz": 4000, "family": "chebyshev1", "order": 8, "ripple_db": 0.05}


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({}, "expected a mapping"),
        ({"a": {"steps": []}}, "condition 'a'.*list 'steps'"),
        ({"a": {"steps": "mp3"}}, "list of steps"),
        ({"a": {"steps": ["mp3"]}}, "expected a step like"),
        ({"a": {"steps": [{}]}}, "expected a step like"),
        ({"a": {"steps": [{"probability": 0.5}]}}, "expected a step like"),
        ({"a": {"steps": [{"mp3": 32}]}}, "mapping of parameters"),
        ({"a": {**TELEPHONE, "share": -1}}, "share from 0 to"),
        ({"a": {**TELEPHONE, "weight": 1}}, "unknown key 'weight'"),
    ],
)
def test_mistakes_in_conditions_are_named(plain, message):
    with pytest.raises(OvertoneError, match=message):
        parse_conditions(plain)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"reverb": {}}, "unknown step 'reverb'; known are lowpass, resample"),
        ({"mp3": {"bitrate": 32}}, "'mp3' takes kbps, quality \\(optional\\); unknown is 'bitrate'"),
        ({"mp3": {}}, "'mp3' takes kbps, .*; 'kbps' is missing"),
        ({"gsm": {"kbps": 13}}, "'gsm' takes no parameters; unknown is 'kbps'"),
        ({"lowpass": {}}, r"family \(optional\).*'cutoff_hz' is missing"),
        ({"mp3": {"kbps": "32k"}}, r"mp3.kbps expects a number from 8 to 320 or a range \[low, high\], got '32k'"),
        ({"mp3": {"kbps": [64, 32]}}, "got \\[64, 32\\]"),
        ({"mp3": {"kbps": [8, 16, 32]}}, "range \\[low, high\\]"),
        ({"mp3": {"kbps": []}}, "range \\[low, high\\]"),
        ({"mp3": {"kbps": True}}, "a number from 8 to 320"),
        ({"mp3": {"kbps": 4}}, "a number from 8 to 320"),
        ({"mp3": {"kbps": [4, 64]}}, "a number from 8 to 320"),
        ({"mp3": {"kbps": float("nan")}}, "a number from 8 to 320"),
        ({"lowpass": {"cutoff_hz": 4000, "family": "sinc"}}, "lowpass.family expects one of brickwall.*got 'sinc'"),
        ({"lowpass": {"cutoff_hz": 4000, "family": ["bessel", 3]}}, "a list of them, got \\['bessel', 3\\]"),
        ({"lowpass": {"cutoff_hz": 4000, "family": []}}, "a list of them"),
        ({"lowpass": {"cutoff_hz": 4000, "order": 0}}, "a whole number from 1 to 20"),
        ({"lowpass": {"cutoff_hz": 4000, "order": 2.5}}, "a whole number from 1 to 20.*got 2.5"),
        ({"lowpass": {"cutoff_hz": 0}}, "lowpass.cutoff_hz expects a number from 20"),
        ({"packet_loss": {"share": 0.9}}, "a number from 0 to 0.5"),
        ({"gain": {"db": 1}, "probability": 2}, "'gain' expects a probability from 0 to 1, got 2"),
        ({"gain": {"db": 1}, "mp3": {"kbps": 32}}, "expected a step like"),
    ],
)
def test_mistakes_in_steps_are_named_with_what_is_allowed(step, message):
    with pytest.raises(OvertoneError, match=f"condition 'a'.*{message}"):
        parse_conditions({"a": {"steps": [step]}})


@pytest.mark.parametrize(
    "step",
    [
        {"noise": {"snr_db": [10, 30]}},
        {"lowpass": {"cutoff_hz": 4000, "family": ["bessel", "elliptic"]}},
        {"gain": {"db": 1}, "probability": 0.5},
    ],
)
def test_test_conditions_leave_nothing_to_chance(step):
    plain = {"noisy": {"steps": [step]}}
    parse_conditions(plain)
    with pytest.raises(OvertoneError, match=r"test condition 'noisy'.*range"):
        parse_conditions(plain, fixed=True)


@pytest.mark.parametrize("split", ["train_conditions", "test_conditions"])
@pytest.mark.parametrize("preset", PRESETS, ids=lambda path: path.stem)
def test_every_condition_of_every_preset_is_aligned(preset, split):
    plain = yaml.safe_load(preset.read_text())
    for condition in parse_conditions(plain["data"][split], fixed=split == "test_conditions"):
        for seed in range(5):
            waveform = speech_like(plain["sample_rate"], plain["sample_rate"] + 777 * seed, seed)
            drawn = condition.draw(rng(seed))
            damaged = drawn.apply(waveform, scene(plain["sample_rate"], seed))
            assert damaged.shape == waveform.shape
            # Coding noise moves the peak within half a sample of the rate that the remaining band needs, no further.
            cutoff_hz = drawn.cutoff_hz(plain["sample_rate"]) or plain["sample_rate"] / 2
            furthest = int(0.25 * plain["sample_rate"] / cutoff_hz)
            assert abs(lag(damaged, waveform)) <= furthest, f"{condition.name}, seed {seed}"
