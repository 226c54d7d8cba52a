"""Presets are checked once, when they are read: in one line, in no time, whatever the file holds."""

import re
import time

import pytest
import yaml

from datamodules.pair_settings import PairSettings
from experiments.presets.preset import PRESETS, Preset, load_preset
from overtone.errors import OvertoneError

DEMO = yaml.safe_load((PRESETS / "demo.yaml").read_text())


def doubled(first, entry):
    """Ten levels, of which each repeats the one before nine times."""
    lines = [f"a: &a {first}"]
    lines += [
        f"{later}: &{later} {entry % ', '.join(9 * ['*' + former])}"
        for former, later in zip("abcdefghi", "bcdefghij", strict=True)
    ]
    return "\n".join(lines)


def places(plain, path=()):
    pairs = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, value in pairs:
        yield (*path, key)
        yield from places(value, (*path, key))


def changed(path, value):
    """The demo's preset with one value changed."""
    copy = yaml.safe_load(yaml.safe_dump(DEMO))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    return copy


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_the_presets_that_come_with_the_project_are_whole(name):
    preset = load_preset(name)
    assert preset.name == name
    assert isinstance(preset.data, PairSettings)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"nmae": "x"}, f"unknown key nmae. Known: {', '.join(Preset.__dataclass_fields__)}."),
        (
            {"data": DEMO["data"] | {"crop": 1}},
            f"unknown key data.crop. Known: {', '.join(PairSettings.__dataclass_fields__)}.",
        ),
        ({"winner": {"tonalty": 1}}, "unknown key winner.tonalty. Known: gain_over_unprocessed, "),
        ({"sweep": {"trial": 1}}, "unknown key sweep.trial. Known: trials, "),
        ({"name": "a/b"}, "name: String should match pattern"),
        ({"name": ".."}, "name: "),
        ({"name": None}, "name: expected a valid string, got None"),
        ({"seeds": 10**30}, "seeds: "),
        ({"seeds": True}, "seeds: expected a valid integer, got True"),
        ({"sample_rate": 1e308}, "sample_rate: "),
        ({"budget": {"examples": 10, "epochs": 2, "safety_seconds": float("nan")}}, "budget.safety_seconds: "),
        ({"data": DEMO["data"] | {"num_workers": 1_000_000}}, "data.num_workers: expected at most 1024"),
        ({"data": DEMO["data"] | {"crop_seconds": float("inf")}}, "data.crop_seconds: "),
        ({"data": DEMO["data"] | {"speed": [1, 9]}}, "speed: expected factors from 0.5 to 2"),
        ({"data": DEMO["data"] | {"full_band_share": 2}}, "data.full_band_share: expected at most 1"),
        ({"models": {"nobody": {}}}, "Unknown model 'nobody'. Registered: dnn_fft"),
        ({"once": ["nobody"]}, "once: no model of this preset is named nobody"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(tmp_path, changes, expected):
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(DEMO | changes))
    with pytest.raises(OvertoneError, match=re.escape(f"wrong.yaml: {expected}")):
        load_preset(str(path))


@pytest.mark.parametrize("value", [None, float("nan"), 1e308, -1, "", [], {}, 10**30, "a/b", [[[]]]], ids=str)
def test_no_value_anywhere_is_answered_by_a_traceback(tmp_path, value):
    path = tmp_path / "wrong.yaml"
    refused = 0
    for place in places(DEMO):
        path.write_text(yaml.safe_dump(changed(place, value)))
        try:
            load_preset(str(path))
        except OvertoneError as error:
            refused += 1
            assert str(error).startswith(f"{path}: ")
            assert "\n" not in str(error)
            assert len(str(error)) < 1000
    assert refused > 20


@pytest.mark.parametrize(
    "text",
    [
        doubled("[1, 2]", "[%s]"),
        doubled("{k: 1}", "{<<: [%s]}"),
        "a: &a [*a]",
        "&a {<<: *a}",
        "[" * 5000,
        "{a: " * 30 + "1" + "}" * 30,
        "name: " + "9" * 5000,
        "name: 2020-99-99",
        "? [a]\n: 1",
        "!!python/object:os.system {}",
        "1: 2",
        "--- 1\n--- 2",
        "\0",
        "a: 1\n" * 15_000,
        "x" * 200_000,
    ],
    ids=lambda text: text[:12],
)
def test_a_file_that_would_not_end_or_is_no_preset_is_refused_at_once(tmp_path, text):
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    started = time.process_time()
    with pytest.raises(OvertoneError, match=r"wrong\.yaml: "):
        load_preset(str(path))
    spent = time.process_time() - started
    started = time.process_time()
    yaml.safe_load("".join(f"key{number}: 1\n" for number in range(15_000)))
    assert spent < 4 * (time.process_time() - started)  # whatever the processor: a plain file as long as the longest


def test_a_name_of_before_is_refused_with_that_of_today():
    with pytest.raises(OvertoneError, match=r"Known: demo.* The original project's recipe is called original now\."):
        load_preset("seed")
