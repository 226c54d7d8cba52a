import dataclasses

import numpy as np
import pandas as pd
import pytest
from score_tables import DOING_NOTHING, GOOD, chosen, cost_table, findings_of, score_rows, score_table

from experiments.presets.winner_rule import WinnerRule
from experiments.ranking.guards import GUARDS, Guard, guard_names
from experiments.ranking.primary import add_primary, average_seeds, failed_scores
from experiments.ranking.selection import Selection, champion_seed
from experiments.report.markdown import write_leaderboard
from experiments.report.page import write_report
from experiments.report.words import explanation
from models.baselines import CONTROLS
from overtone.errors import OvertoneError

BETTER = GOOD | {"extended_ber": 0.2, "lsd": 0.8}
RULE = WinnerRule(crossover_db=3.0)


def mean_primary(scores, system):
    rows = scores[scores["system"] == system]
    return rows.groupby(["condition", "speaker"])["primary"].mean().groupby("condition").mean()


def choose_one(values, cost=None, rule=RULE, **options):
    costs = cost_table(model=1e6)
    for key, value in (cost or {}).items():
        costs.loc["model", key] = value
    return chosen(score_table({"model": values}, **options), costs, rule)


# The primary score


def test_doing_nothing_scores_half_under_every_condition():
    scores = add_primary(score_table({}))
    assert mean_primary(scores, "unprocessed").to_numpy() == pytest.approx([0.5, 0.5, 0.5])


def test_primary_is_the_extended_bit_error_rate_where_a_band_is_missing():
    scores = add_primary(score_table({"model": GOOD}))
    rows = scores[scores["cutoff_hz"].notna()]
    assert rows["primary"].to_numpy() == pytest.approx(rows["extended_ber"].to_numpy())


def test_primary_elsewhere_is_half_the_mean_ratio_to_doing_nothing():
    # lsd halved and 20 dB less distortion: (0.5 + 0.1) / 4
    scores = add_primary(score_table({"model": GOOD | {"lsd": 1.0, "si_sdr": 32.0}}))
    assert mean_primary(scores, "model")["mp3_32k"] == pytest.approx(0.15)


def test_a_vast_si_sdr_difference_is_clipped_either_way():
    for si_sdr, ratio in ((12.0 + 90.0, 0.1), (12.0 - 90.0, 10.0)):
        scores = add_primary(score_table({"model": DOING_NOTHING | {"si_sdr": si_sdr}}))
        assert mean_primary(scores, "model")["mp3_32k"] == pytest.approx(0.25 * (1.0 + ratio))


def test_si_sdr_is_paired_by_utterance():
    scores = score_table({"model": DOING_NOTHING})
    hard = scores["file"] == "anna/0.wav"
    scores.loc[hard, "si_sdr"] -= 30.0
    assert mean_primary(add_primary(scores), "model")["mp3_32k"] == pytest.approx(0.5)


def test_primary_is_not_applicable_where_its_measure_is_not():
    scores = score_table({"model": GOOD})
    short = (scores["file"] == "ben/1.wav") & (scores["condition"] == "telephone")
    scores.loc[short, "extended_ber"] = np.nan
    scores.loc[short, "not_applicable"] += ",extended_ber"
    added = add_primary(scores)
    assert all("primary" in keys.split(",") for keys in added.loc[short, "not_applicable"])
    assert not any("primary" in keys.split(",") for keys in added.loc[~short, "not_applicable"])
    assert chosen(scores, cost_table(model=1e6), RULE).winner == "model"


def test_add_primary_leaves_its_argument_alone():
    scores = score_table({"model": GOOD})
    before = scores.copy()
    add_primary(scores)
    pd.testing.assert_frame_equal(scores, before)


def test_primary_needs_unprocessed_where_no_band_is_missing():
    scores = score_table({"model": GOOD})
    with pytest.raises(OvertoneError, match=r"mp3_32k.*unprocessed"):
        add_primary(scores[scores["system"] == "model"])


def test_seeds_are_averaged_per_utterance_and_a_failed_seed_fails_it():
    scores = add_primary(score_table({"model": GOOD}))
    first = (scores["system"] == "model") & (scores["seed"] == 0) & (scores["condition"] == "telephone")
    scores.loc[first, "visqol"] = 4.0
    scores.loc[first & (scores["file"] == "anna/0.wav"), "visqol"] = np.nan
    averaged = average_seeds(scores)
    assert len(averaged) == 2 * 3 * 12
    model = averaged[(averaged["system"] == "model") & (averaged["condition"] == "telephone")].set_index("file")
    assert np.isnan(model.loc["anna/0.wav", "visqol"])
    assert model.drop(index="anna/0.wav")["visqol"].to_numpy() == pytest.approx(3.8)


# The choice


def test_the_best_wins_though_it_costs_more():
    scores = score_table({"cheap": GOOD, "dear": BETTER})
    selection = chosen(scores, cost_table(cheap=1e6, dear=9e6), RULE)
    assert selection.winner == "dear"
    assert selection.tied == ("dear",)
    assert selection.runner_up == "cheap"
    assert [candidate.system for candidate in selection.candidates] == ["dear", "cheap"]
    gap = selection.candidates[1].gap
    # three conditions: 0.1 in two of them, 0.25 * 0.1 in the third
    assert gap is not None and gap.mean == pytest.approx((0.1 + 0.1 + 0.025) / 3)
    assert "`dear` wins" in explanation(selection) and "`cheap`" in explanation(selection)


@pytest.mark.parametrize("gap", [0.004, 0.02])
def test_the_cheapest_of_equals_wins(gap):
    # a small gap, or one that disappears in the spread over utterances
    spread = 0.0 if gap < 0.005 else 0.15
    worse = GOOD | {"extended_ber": GOOD["extended_ber"] + gap}
    scores = score_table({"dear": GOOD, "cheap": worse}, spread=spread)
    selection = chosen(scores, cost_table(cheap=1e6, dear=9e6), RULE)
    assert selection.winner == "cheap"
    assert sorted(selection.tied) == ["cheap", "dear"]
    assert "cheapest" in explanation(selection)


def test_a_disqualified_candidate_neither_wins_nor_sets_the_bar():
    scores = score_table({"best": BETTER | {"content_ber": 0.3}, "good": GOOD})
    selection = chosen(scores, cost_table(best=1e5, good=1e6), RULE)
    assert selection.winner == "good"
    assert list(selection.disqualified) == ["best"]
    assert "No other candidate passed" in explanation(selection)
    assert selection.runner_up == "best"


def test_no_one_qualified_names_the_nearest():
    poor = BETTER | {"content_ber": 0.3, "visqol": 2.0}
    scores = score_table({"poor": poor, "near": GOOD | {"tonality": 9.0}})
    selection = chosen(scores, cost_table(poor=1e6, near=1e6), RULE)
    assert selection.winner is None
    assert selection.tied == ()
    assert "Nearest was `near`" in explanation(selection)
    assert selection.runner_up is None


def test_without_candidates_nobody_wins():
    selection = chosen(score_table({}), cost_table(), RULE)
    assert isinstance(selection, Selection)
    assert selection.winner is None and selection.candidates == ()


def test_every_guard_passes_a_good_model():
    assert choose_one(GOOD).disqualified == {}


@pytest.mark.parametrize(
    ("values", "cost", "guard", "numbers"),
    [
        ({"content_ber": 0.061}, {}, "content_ber", ("0.0610", "0.0600")),
        ({"lsd_low": 0.16}, {}, "lsd_low", ("0.160", "0.15")),
        ({"crossover_db": -3.5}, {}, "crossover_db", ("-3.500", "farther from 0 than the limit of 3")),
        ({"crossover_db": 3.5}, {}, "crossover_db", ("3.500", "limit of 3")),
        ({"visqol": 3.0}, {}, "visqol", ("3.00", "3.00")),
        ({"tonality": 3.1}, {}, "tonality", ("3.100", "2.5")),
        ({}, {"latency_ms": 40.5}, "latency_ms", ("40.5", "40")),
        ({}, {"latency_ms": np.nan}, "latency_ms", ("whole-file, cannot stream", "40")),
        ({}, {"rtf": 0.51}, "rtf", ("0.51", "0.5")),
        ({}, {"rtf": np.nan}, "rtf", ("not measured", "0.5")),
    ],
)
def test_each_guard_disqualifies_with_both_numbers(values, cost, guard, numbers):
    selection = choose_one(GOOD | values, cost)
    reasons = [reason for reason in selection.disqualified["model"] if reason.guard == guard]
    assert selection.winner is None
    for number in numbers:
        assert number in str(reasons[0])


def test_hiss_above_the_band_disqualifies_where_it_applies():
    scores = score_table({"model": GOOD})
    scores["not_applicable"] = scores["not_applicable"].str.replace(",excess_above_band", "")
    scores["excess_above_band"] = 5.0
    assert chosen(scores, cost_table(model=1e6), RULE).winner == "model"
    scores["excess_above_band"] = 7.0
    reasons = chosen(scores, cost_table(model=1e6), RULE).disqualified["model"]
    assert [reason.guard for reason in reasons] == ["excess_above_band"]


def test_a_limit_itself_passes():
    at_limit = GOOD | {"content_ber": 0.06, "tonality": RULE.tonality}
    assert choose_one(at_limit, {"latency_ms": 40.0, "rtf": 0.5}).winner == "model"


def test_the_low_band_is_held_to_the_limit_on_clean_conditions_and_to_unprocessed_elsewhere():
    scores = score_table({"model": GOOD})
    model = scores["system"] == "model"
    noisy = scores["condition"] == "telephone_noise"
    scores.loc[noisy, "lsd_low"] = 1.2  # noise in the input: far above the limit for clean ones, and no fault
    assert chosen(scores, cost_table(model=1e6), RULE).winner == "model"
    scores.loc[noisy & model, "lsd_low"] = 1.3
    sentence = str(chosen(scores, cost_table(model=1e6), RULE).disqualified["model"][0])
    assert "1.3000" in sentence and "1.2050" in sentence and "degraded" in sentence
    scores.loc[noisy & model, "lsd_low"] = 1.204  # what the filled band leaks through the analysis window
    assert chosen(scores, cost_table(model=1e6), RULE).winner == "model"
    scores.loc[noisy & model, "lsd_low"] = 1.3
    lenient = dataclasses.replace(RULE, lsd_low_margin=0.2)
    assert chosen(scores, cost_table(model=1e6), lenient).winner == "model"


def test_an_infinite_limit_is_off():
    rule = dataclasses.replace(RULE, tonality=np.inf, content_ber_margin=np.inf, visqol_above_unprocessed=False)
    assert choose_one(GOOD | {"tonality": 50.0, "content_ber": 0.4, "visqol": 1.0}, rule=rule).winner == "model"


def test_an_unmeasured_guard_disqualifies():
    scores = score_table({"model": GOOD}).drop(columns="visqol")
    reasons = chosen(scores, cost_table(model=1e6), RULE).disqualified["model"]
    assert "not measured" in str(reasons[0])


def test_a_failed_score_disqualifies_and_names_the_file():
    scores = score_table({"model": GOOD, "other": GOOD})
    row = scores.index[(scores["system"] == "model") & (scores["file"] == "ben/2.wav")][0]
    scores.loc[row, "visqol"] = np.nan
    scores.loc[row, "failures"] = "visqol: ValueError: too short, by far"
    selection = chosen(scores, cost_table(model=1e5, other=1e6), RULE)
    assert selection.winner == "other"
    sentence = str(selection.disqualified["model"][0])
    assert "ben/2.wav" in sentence and "too short" in sentence
    listed = failed_scores(scores)
    assert listed[["system", "file", "key", "reason"]].to_numpy().tolist() == [
        ["model", "ben/2.wav", "visqol", "ValueError: too short, by far"]
    ]


def test_a_nan_that_nothing_explains_is_a_failure():
    scores = score_table({"model": GOOD})
    row = scores.index[(scores["system"] == "model") & (scores["condition"] == "telephone")][0]
    scores.loc[row, "extended_ber"] = np.nan
    selection = chosen(scores, cost_table(model=1e6), RULE)
    assert selection.winner is None
    assert "extended_ber" in str(selection.disqualified["model"][0])


def test_a_control_that_outranks_the_winner_is_flagged():
    controls = {
        "ridge_envelope": BETTER,
        "oracle_envelope_noise": BETTER | {"extended_ber": 0.1},
        "spectral_band_replication": DOING_NOTHING | {"extended_ber": 0.45},
    }
    selection = choose_one(GOOD, controls=controls)
    assert selection.winner == "model"
    assert selection.flagged_controls == ("oracle_envelope_noise", "ridge_envelope")
    oracle, ridge = (
        next(line for line in explanation(selection).splitlines() if name in line)
        for name in ("oracle_envelope_noise", "ridge_envelope")
    )
    assert "reads the target" in oracle
    assert "reads no target" in ridge


def test_the_name_of_a_variant_decides_nothing():
    selection = chosen(score_table({"wavegan_original": GOOD}), cost_table(wavegan_original=1e6), RULE)
    assert selection.winner == "wavegan_original"


def test_the_choice_does_not_depend_on_the_order_of_rows():
    scores = score_table({"one": GOOD, "two": BETTER, "three": GOOD | {"extended_ber": 0.21}}, spread=0.05)
    costs = cost_table(one=3e6, two=2e6, three=1e6)
    shuffled = scores.sample(frac=1.0, random_state=3).reset_index(drop=True)
    first, second = chosen(scores, costs, RULE), chosen(shuffled, costs, RULE)
    assert (first.winner, first.tied, explanation(first)) == (second.winner, second.tied, explanation(second))


def test_champion_seed_is_the_best_on_val():
    scores = pd.concat(
        [
            score_table({}),
            score_rows("model", GOOD, seeds=(0,)),
            score_rows("model", BETTER, seeds=(7,)),
            score_rows("model", GOOD | {"extended_ber": 0.4}, seeds=(3,)),
        ],
        ignore_index=True,
    )
    assert champion_seed(add_primary(scores), "model") == 7


def test_champion_seed_of_nobody_is_an_error():
    with pytest.raises(OvertoneError, match="absent"):
        champion_seed(add_primary(score_table({"model": GOOD})), "absent")


# Bad input


def test_a_limit_that_is_not_a_number_is_refused():
    with pytest.raises(OvertoneError, match="tonality is not a number"):
        WinnerRule(tonality=float("nan"))


def test_missing_costs_and_controls_are_said():
    with pytest.raises(OvertoneError, match="model"):
        chosen(score_table({"model": GOOD}), cost_table(), RULE)
    scores = score_table({"model": GOOD})
    scores = scores[(scores["system"] == "model") & scores["cutoff_hz"].notna()]
    with pytest.raises(OvertoneError, match="unprocessed"):
        chosen(scores, cost_table(model=1e6), RULE)


# Controls and guards


def test_no_control_can_become_champion():
    perfect = dict.fromkeys(DOING_NOTHING, 0.0) | {"si_sdr": 60.0, "visqol": 5.0}
    scores = score_table({"model": GOOD}, dict.fromkeys(CONTROLS, perfect) | {"unprocessed": DOING_NOTHING})
    for seeded in (scores, scores.assign(seed=0.0)):  # not even with a seed
        selection = chosen(seeded, cost_table(model=9e9, **dict.fromkeys(CONTROLS, 1.0)), RULE)
        assert selection.winner == "model"
        assert [candidate.system for candidate in selection.candidates] == ["model"]
        assert set(selection.flagged_controls) == set(CONTROLS) - {"unprocessed"}
        hopeless = chosen(seeded, cost_table(model=9e9), dataclasses.replace(RULE, rtf=0.01))
        assert hopeless.winner is None


def test_every_candidate_behind_a_control_is_named():
    candidates = {"first": BETTER, "last": GOOD | {"extended_ber": 0.48}}
    selection = chosen(score_table(candidates, {"ridge_envelope": GOOD}), cost_table(first=1e6, last=1e6), RULE)
    assert selection.outranked_by == {"first": (), "last": ("ridge_envelope",)}
    assert selection.flagged_controls == ()
    assert "- `last`: `ridge_envelope`." in explanation(selection)


def test_a_champion_has_to_beat_doing_nothing():
    nothing = DOING_NOTHING | {"extended_ber": 0.501, "visqol": 3.6}
    selection = choose_one(nothing)
    assert selection.winner is None
    assert selection.candidate("model").failed_guards == ("primary",)
    (reason,) = selection.disqualified["model"]
    assert "is not better than doing nothing" in str(reason) and "+0.0007" in str(reason)
    assert choose_one(nothing, rule=dataclasses.replace(RULE, gain_over_unprocessed=np.inf)).winner == "model"


def test_a_gain_over_doing_nothing_has_to_be_certain():
    luck = DOING_NOTHING | {"extended_ber": 0.47, "visqol": 3.6}
    selection = choose_one(luck, spread=0.15)
    assert selection.candidates[0].primary.mean < 0.5
    assert selection.winner is None and selection.candidates[0].failed_guards == ("primary",)
    scores = score_table({"model": luck})
    alone = scores[scores["speaker"] == "anna"]  # no interval: the mean decides
    assert chosen(alone, cost_table(model=1e6), RULE).winner == "model"


def test_a_gain_over_doing_nothing_may_be_asked_for():
    for limit, winner in ((0.1, "model"), (0.2, None)):  # GOOD gains 0.2, 0.2 and 0.1
        assert choose_one(GOOD, rule=dataclasses.replace(RULE, gain_over_unprocessed=limit)).winner == winner


@pytest.mark.parametrize("each_condition", [False, True])
def test_guards_hold_on_average_or_under_each_condition_as_declared(each_condition):
    rule = dataclasses.replace(RULE, each_condition=each_condition)
    scores = score_table({"model": GOOD})
    model = scores["system"] == "model"
    scores.loc[model & (scores["condition"] == "telephone_noise"), "content_ber"] = 0.07  # mean 0.0567, limit 0.06
    selection = chosen(scores, cost_table(model=1e6), rule)
    if each_condition:
        assert [str(reason) for reason in selection.disqualified["model"]] == [
            "content_ber is 0.0700, above 0.0600 (unprocessed + 0.01), under telephone_noise"
        ]
    else:
        assert selection.winner == "model"


@pytest.fixture
def new_guard():
    """A guard that is declared while the tests run: one row of the table."""
    guard = Guard("si_sdr", lambda rule: 10.0, lambda measured, limit: too_low(measured.rows["si_sdr"].mean(), limit))
    GUARDS.append(guard)
    yield guard
    GUARDS.remove(guard)


def too_low(value, limit):
    return f"si_sdr is {value:.1f}, below {limit:g}" if value < limit else None


def test_a_guard_is_one_row_of_the_table(new_guard, tmp_path):
    """It disqualifies, is explained, stands in every report, and is a constraint of a sweep's trials."""
    scores = score_table({"model": GOOD, "distorted": BETTER | {"si_sdr": 9.0}})
    findings = findings_of(scores)
    assert findings.selection.winner == "model"
    assert findings.selection.candidate("distorted").failed_guards == ("si_sdr",)
    assert "`distorted` (0.284): si_sdr is 9.0, below 10." in explanation(findings.selection)
    assert findings.row("distorted")["failed_guards"] == ("si_sdr",)
    csv, markdown = write_leaderboard(findings, tmp_path)
    assert "disqualified: si_sdr" in csv.read_text()
    table = next(block for block in markdown.read_text().split("\n\n") if block.startswith("| candidate"))
    heading, _, *rows = (line.split(" | ") for line in table.splitlines())
    place = next(number for number, name in enumerate(heading) if name.strip(" |") == "si_sdr")
    marks = {row[0].strip("| "): row[place].strip(" |") for row in rows}
    assert marks == {"distorted": "✗", "model": ""}
    write_report(findings, tmp_path / "report.html")
    assert 'title="si_sdr is 9.0, below 10"' in (tmp_path / "report.html").read_text()
    assert "si_sdr" in guard_names(RULE)


def test_the_guards_that_are_on_are_those_with_a_finite_limit():
    rule = dataclasses.replace(
        RULE, lsd_low_clean=np.inf, crossover_db=np.inf, tonality=np.inf, visqol_above_unprocessed=False
    )
    expected = ["failed scores", "primary", "content_ber", "lsd_low", "excess_above_band", "latency_ms", "rtf"]
    assert guard_names(rule) == expected
    assert set(guard_names()) == {*expected, "crossover_db", "visqol", "tonality"}
