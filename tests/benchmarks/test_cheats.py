"""Cheats: what the rows are, how measures' answers are marked, and that no control ever becomes champion."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from score_tables import DOING_NOTHING, GOOD, chosen, cost_table, score_table
from utterances import utterance

from benchmarks.pages.cheats import BETTER_AND_BETTER, GROUPS, NOTHING_GAINED, TARGET_CHANGED, build_trials
from benchmarks.pages.cheats_page import findings, long_table, main, markdown_table, page, picture
from benchmarks.pages.cheats_table import TASKS, Verdict, judge
from evaluation.measures.catalogue import MEASURES
from evaluation.measures.fingerprints import extended_bit_error_rate
from models.baselines import CONTROLS


@pytest.fixture(scope="module")
def trials():
    return build_trials(utterance(index) for index in range(10, 14))


@pytest.fixture(scope="module")
def outputs(trials):
    clip = utterance(0)
    return clip, {trial.name: trial.system(clip) for trial in trials}


def band_energy(waveform, low_hz, high_hz, rate=16_000):
    power = np.abs(np.fft.rfft(waveform.astype(float))) ** 2
    frequency = np.fft.rfftfreq(len(waveform), 1 / rate)
    return power[(frequency >= low_hz) & (frequency < high_hz)].sum()


# The rows


def test_every_control_is_a_row_and_names_are_unique(trials):
    names = [trial.name for trial in trials]
    assert len(set(names)) == len(names)
    assert set(CONTROLS) <= set(names)
    assert {trial.group for trial in trials} == set(GROUPS)


def test_rows_are_as_long_as_the_input_and_the_same_again(trials, outputs):
    clip, first = outputs
    for trial in trials:
        again = trial.system(clip)
        assert again.dtype == np.float32 and again.shape == clip.wideband.shape
        assert np.isfinite(again).all()
        assert np.array_equal(again, first[trial.name]), trial.name


def test_changes_do_what_their_names_say(outputs):
    clip, made = outputs
    assert not made["silence"].any()
    assert np.allclose(made["twice_as_loud"], 2 * clip.narrowband)
    assert np.allclose(made["target_inverted"], -clip.wideband)
    assert np.array_equal(made["target_10_late"][10:], clip.wideband[:-10])
    assert np.abs(made["target_clipped"]).max() == pytest.approx(np.abs(clip.wideband).max() / 2)
    noise = made["louder_noise"] - clip.narrowband
    assert 20 * np.log10(noise.std()) == pytest.approx(-50, abs=0.1)
    for name, slope in (("target_tilted_up", 3.0), ("target_tilted_down", -3.0)):
        gain = [
            10 * np.log10(band_energy(made[name], f, 1.02 * f) / band_energy(clip.wideband, f, 1.02 * f))
            for f in (1000, 2000, 4000)
        ]
        assert gain == pytest.approx([0, slope, 2 * slope], abs=0.2)


def test_average_noise_has_the_target_s_average_level_and_no_movement(outputs):
    clip, made = outputs
    level = 10 * np.log10(band_energy(made["average_noise"], 4200, 7800) / band_energy(clip.wideband, 4200, 7800))
    assert level == pytest.approx(0, abs=0.5)
    assert band_energy(made["average_noise"] - clip.narrowband, 0, 3950) < 1e-6 * band_energy(clip.wideband, 0, 3950)


def test_rows_with_a_filled_band_leave_the_low_band_alone(outputs):
    clip, made = outputs
    for name in ("average_noise", "misplaced_band", "half_restored", "nearly_restored", "envelope_48_bands"):
        change = band_energy(made[name] - clip.narrowband, 0, 3800)
        assert change < 1e-3 * band_energy(clip.narrowband, 0, 3800), name


def test_nothing_is_filled_where_no_band_is_missing(trials):
    clip = utterance(0, cutoff_hz=None)
    for trial in trials:
        if trial.name in ("misplaced_band", "average_noise", "half_restored", "envelope_24_bands"):
            assert np.allclose(trial.system(clip), clip.narrowband, atol=1e-6)


def test_more_of_the_truth_scores_better(outputs):
    clip, made = outputs
    scores = [
        extended_bit_error_rate(
            preds=made[name], target=clip.wideband, sample_rate=16_000, cutoff_hz=4000.0, band_hz=8000.0
        )
        for name in ("unprocessed", "oracle_envelope_noise", "half_restored", "mostly_restored", "nearly_restored")
    ]
    assert scores == sorted(scores, reverse=True)


# The marks


STEPS = {"step_1": "unprocessed", "step_2": "step_1", "step_3": "step_2"}


def fake_trials(*rows):
    return [
        SimpleNamespace(name=name, group=group, description="a row", better_than=STEPS.get(name))
        for name, group in rows
    ]


def fake_table(values, key="lsd", files=6):
    generator = np.random.default_rng(0)
    own = generator.normal(0, 0.01, (len(values), files))
    return pd.DataFrame(
        [
            {"system": system, "file": f"{file}", "speaker": f"{file}", "failures": "", "not_applicable": "", key: v}
            for (system, mean), noise in zip(values.items(), own, strict=True)
            for file, v in enumerate(mean + noise)
        ]
    )


ROWS = fake_trials(
    ("unprocessed", NOTHING_GAINED),
    ("cheat", NOTHING_GAINED),
    ("bold_cheat", NOTHING_GAINED),
    ("honest", NOTHING_GAINED),
    ("of_no_known_rank", BETTER_AND_BETTER),
    ("step_1", BETTER_AND_BETTER),
    ("step_2", BETTER_AND_BETTER),
    ("step_3", BETTER_AND_BETTER),
    ("target_gain", TARGET_CHANGED),
    ("target_late", TARGET_CHANGED),
)
VALUES = {
    "unprocessed": 3.0,
    "cheat": 2.5,
    "bold_cheat": 1.2,
    "honest": 3.0,
    "of_no_known_rank": 3.5,
    "step_1": 2.0,
    "step_2": 2.2,
    "step_3": 3.5,
    "target_gain": 0.0,
    "target_late": 4.0,
}
MARKS = ["", "▲", "▲▲", "", "", "", "▽", "▼", "", "▼"]


def test_marks():
    verdict = judge(ROWS, fake_table(VALUES))
    assert verdict.marks["lsd"].tolist() == MARKS
    assert verdict.value("step_1", "lsd") == pytest.approx(2.0, abs=0.05)
    assert verdict.uncheated() == []


def test_marks_where_more_is_better():
    higher = {name: -value for name, value in VALUES.items()}
    verdict = judge(ROWS, fake_table(higher, "si_sdr"))
    assert verdict.marks["si_sdr"].tolist() == MARKS


def test_a_measure_without_marks_is_uncheated_unless_it_tells_nothing():
    honest = VALUES | {"cheat": 3.0, "bold_cheat": 3.1, "step_2": 1.0, "step_3": 0.5, "target_late": 0.1}
    verdict = judge(ROWS, fake_table(honest))
    assert verdict.uncheated() == verdict.consistent() == ["lsd"]
    deaf = judge(ROWS, fake_table(dict.fromkeys(VALUES, 1.0) | {"target_gain": 1.5}))
    assert deaf.uncheated() == []


def test_a_guard_is_only_asked_whether_a_cheat_fools_it():
    verdict = judge(ROWS, fake_table(VALUES | {"unprocessed": 0.0, "cheat": -1.0, "honest": 1.0}))
    assert verdict.marks["lsd"].tolist() == ["", "▲", *[""] * 8]


def test_every_step_is_better_than_a_row_of_the_table(trials):
    names = [trial.name for trial in trials]
    for trial in trials:
        if trial.better_than is not None:
            assert trial.group == BETTER_AND_BETTER
            assert names.index(trial.better_than) < names.index(trial.name)


def test_a_failed_score_is_shown_and_an_inapplicable_one_left_out():
    table = fake_table(VALUES)
    table.loc[(table["system"] == "cheat") & (table["file"] == "0"), "lsd"] = np.nan
    here = (table["system"] == "honest") & (table["file"] == "1")
    table.loc[here, "lsd"], table.loc[here, "not_applicable"] = np.nan, "lsd"
    verdict = judge(ROWS, table)
    assert np.isnan(verdict.value("cheat", "lsd")) and verdict.mark("cheat", "lsd") == "failed"
    assert verdict.value("honest", "lsd") == pytest.approx(3.0, abs=0.05)


# The page


@pytest.fixture(scope="module")
def results() -> list[tuple[object, list, Verdict]]:
    return [(TASKS[0], ROWS, judge(ROWS, fake_table(VALUES)))]


def test_the_page_holds_every_row_and_mark(results):
    text = page(results, "speech", 6, "fools")
    assert all(f"| {row.name} |" in text for row in ROWS)
    assert "▲▲" in text and "fools.png" in text
    assert "no measure" in findings(results)
    table = long_table(results)
    assert table.loc[table["measure"] == "lsd", "mark"].tolist() == MARKS
    assert picture(results).axes
    lines = markdown_table(ROWS, results[0][2], ["lsd"]).splitlines()
    assert len({line.count("|") for line in lines}) == 1


def test_every_measure_s_weakness_is_told():
    assert all(measure.weakness for measure in MEASURES.values())


def test_the_command_makes_page_table_and_picture(tiny_corpus, tmp_path):
    out = tmp_path / "page.md"
    arguments = ["--data", str(tiny_corpus), "--speakers", "2", "--workers", "1", "--measures", "lsd,extended_ber"]
    assert main([*arguments, "--out", str(out)]) == 0
    text = out.read_text()
    assert "extended_ber" in text and str(tmp_path) not in text
    table = pd.read_csv(out.with_suffix(".csv"))
    assert set(table["task"]) == {TASKS[0].name}  # nothing in this corpus reaches above 8 kHz
    assert out.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--speakers", "0"], "--speakers"),
        (["--measures", "pesk"], "Unknown measure pesk"),
        (["--data", "nowhere"], "nowhere"),
        (["--out", "docs"], "--out docs: expected the name of a .md file"),
    ],
)
def test_a_user_s_mistake_is_one_line(arguments, message, tmp_path, capsys):
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "page.md")]
    assert main([*arguments, *out]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


# The champion


PERFECT = GOOD | {"extended_ber": 0.0, "lsd": 0.0, "si_sdr": 100.0, "visqol": 5.0, "tonality": 0.0}


@pytest.mark.parametrize("reason", ["worse in everything", "disqualified", "absent"])
def test_no_control_becomes_champion(reason):
    """However much better than all candidates the controls are."""
    candidates = {
        "worse in everything": {"model": GOOD},
        "disqualified": {"model": DOING_NOTHING | {"tonality": 30.0}},
        "absent": {},
    }[reason]
    controls = dict.fromkeys((*CONTROLS[1:], "silence", "target_inverted"), PERFECT)
    selection = chosen(score_table(candidates, controls=controls), cost_table(model=1e6))
    assert selection.winner == ("model" if reason == "worse in everything" else None)
    assert not {candidate.system for candidate in selection.candidates} - {"model"}
    if candidates:
        assert set(selection.flagged_controls) == set(controls)


def test_a_control_called_like_a_candidate_is_still_none():
    """What makes a candidate is a training seed, not a name or a cost."""
    table = score_table({"model": GOOD}, controls={"ridge_envelope": PERFECT})
    selection = chosen(table, cost_table(model=1e6, ridge_envelope=1.0))
    assert selection.winner == "model"
