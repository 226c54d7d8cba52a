import io
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from score_tables import DOING_NOTHING, GOOD, chosen, cost_table, findings_of, score_table

from experiments.presets.winner_rule import WinnerRule
from experiments.ranking.conditions import ConditionFactors
from experiments.ranking.findings import Provenance
from experiments.ranking.leaderboard import plain_table
from experiments.ranking.primary import add_primary
from experiments.report.markdown import leaderboard_markdown, print_leaderboard, write_leaderboard
from experiments.report.words import frontier_sentences, headline, notes

CANDIDATES = {
    "spectrogram_autoencoder": GOOD | {"extended_ber": 0.25},
    "dnn_fft": GOOD | {"extended_ber": 0.26},
    "wavegan": GOOD | {"extended_ber": 0.3},
    "spectrogram_autoencoder_original": GOOD | {"extended_ber": 0.4, "lsd_low": 0.5},
}
CONTROLS = {
    "oracle_envelope_noise": GOOD | {"extended_ber": 0.1},
    "ridge_envelope": GOOD | {"extended_ber": 0.45},
}
TRAININGS = pd.DataFrame(
    [
        {
            "system": name,
            "seconds": 60.0 + seed,
            "examples": 20_000,
            "cpu_seconds": 3600.0 * (index + 1 + seed),
            "examples_per_second": 300.0,
            "peak_mb": 700.0,
            "over_budget": False,
        }
        for index, name in enumerate(CANDIDATES)
        for seed in (0, 1)
    ]
)


@pytest.fixture(scope="module")
def scores():
    return score_table(CANDIDATES, CONTROLS, spread=0.02)


@pytest.fixture(scope="module")
def costs():
    costs = cost_table(**{name: (index + 1) * 1e7 for index, name in enumerate(CANDIDATES)})
    costs.loc["spectrogram_autoencoder_original", "latency_ms"] = np.nan
    return costs


@pytest.fixture(scope="module")
def selection(scores, costs):
    return chosen(scores, costs)


@pytest.fixture(scope="module")
def findings(scores, costs):
    return findings_of(scores, costs, trainings=TRAININGS, provenance=Provenance(("make demo", "overtone ui")))


@pytest.fixture(scope="module")
def leaderboard(findings):
    return findings.leaderboard


@pytest.fixture(scope="module")
def text(findings):
    return leaderboard_markdown(findings)


@pytest.fixture(scope="module")
def without_winner(scores, costs):
    """Findings in which no candidate passes."""
    return findings_of(scores, costs, rule=WinnerRule(rtf=0.01), trainings=TRAININGS)


def printed(findings, width, terminal=False):
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=terminal, color_system="standard" if terminal else None)
    print_leaderboard(console, findings)
    return stream.getvalue()


def test_every_number_is_the_mean_over_speakers_then_over_conditions(scores, leaderboard):
    scores = add_primary(scores)
    for system, row in leaderboard.set_index("system").iterrows():
        rows = scores[scores["system"] == system]
        for key in ("primary", "extended_ber", "lsd", "lsd_low", "si_sdr", "visqol"):
            by_speaker = rows.groupby(["condition", "speaker"])[key].mean().dropna()
            assert row[key] == pytest.approx(by_speaker.groupby("condition").mean().mean()), (system, key)


def test_one_row_per_system_best_first(leaderboard):
    assert sorted(leaderboard["system"]) == sorted([*CANDIDATES, *CONTROLS, "unprocessed"])
    assert leaderboard["primary"].is_monotonic_increasing
    assert (leaderboard["primary_low"] <= leaderboard["primary"] + 1e-12).all()
    assert (leaderboard["primary_high"] >= leaderboard["primary"] - 1e-12).all()


def test_candidates_are_ranked_and_controls_are_not(leaderboard):
    rows = leaderboard.set_index("system")
    assert rows["rank"].dropna().tolist() == [1, 2, 3, 4]
    assert rows.loc[list(CONTROLS), "rank"].isna().all()


def test_the_status_says_what_the_rule_decided(leaderboard):
    status = plain_table(leaderboard).set_index("system")["status"]
    assert status["spectrogram_autoencoder"] == "champion"
    assert status["wavegan"] == "candidate"
    assert status["spectrogram_autoencoder_original"] == "disqualified: lsd_low, latency_ms"
    assert status["unprocessed"] == status["ridge_envelope"] == "control"


def test_differences_are_paired_and_negative_when_better(leaderboard):
    rows = leaderboard.set_index("system")
    champion = rows.loc["spectrogram_autoencoder"]
    assert champion["vs_unprocessed"] == pytest.approx(champion["primary"] - rows.loc["unprocessed", "primary"])
    assert champion["vs_unprocessed_high"] < 0.0
    assert np.isnan(rows.loc["unprocessed", "vs_unprocessed"])
    assert np.isnan(rows.loc["dnn_fft", "vs_runner_up"])
    assert champion["vs_runner_up"] == pytest.approx(champion["primary"] - rows.loc["dnn_fft", "primary"])


def test_costs_and_trainings_are_joined_by_system(leaderboard):
    rows = leaderboard.set_index("system")
    assert rows.loc["dnn_fft", ["macs", "latency_ms", "rtf", "parameters"]].tolist() == [2e7, 24.0, 0.1, 10_000.0]
    assert rows.loc["dnn_fft", ["train_seconds", "examples"]].tolist() == [60.5, 20_000]
    assert rows.loc["dnn_fft", ["train_cpu_hours", "examples_per_second", "train_peak_mb"]].tolist() == [2.5, 300, 700]
    assert rows.loc["ridge_envelope", ["macs", "train_seconds"]].isna().all()


def test_trainings_of_before_have_no_processor_time(scores, costs):
    old = findings_of(scores, costs, trainings=TRAININGS[["system", "seconds", "examples"]])
    assert old.leaderboard["train_cpu_hours"].isna().all() and old.leaderboard["train_seconds"].notna().any()
    assert not any("CPU-hours" in sentence for sentence in frontier_sentences(old))


def test_the_pareto_front_is_named_for_each_cost(findings, text):
    """The first has the best score and is the cheapest; its processor time is made the largest here."""
    hours = {"spectrogram_autoencoder": 8.0, "dnn_fft": 2.5, "wavegan": 3.5, "spectrogram_autoencoder_original": 1.0}
    dearer = TRAININGS.assign(cpu_seconds=3600.0 * TRAININGS["system"].map(hours))
    _, by_macs, by_hours = frontier_sentences(replace(findings, trainings=dearer))
    assert by_hours == (
        "By CPU-hours of one training: `dnn_fft` (2.5 h; 0.281) is the cheapest; more buys a better score with "
        "`spectrogram_autoencoder` (8 h; 0.276). Not worth it by this cost: `wavegan` (3.5 h; 0.309; `dnn_fft` costs "
        "no more and scores no worse)."
    )
    assert by_macs.startswith("By multiply-accumulates per second of audio: `spectrogram_autoencoder` (10 M; 0.276) is")
    assert "is the cheapest and the best. Not worth it by this cost: `dnn_fft`" in by_macs
    assert "## Quality for compute" in text and "train CPU-h" in text
    assert not any("spectrogram_autoencoder_original" in sentence for sentence in (by_hours, by_macs))  # ruled out


def test_without_a_candidate_that_passed_there_is_no_front(without_winner):
    assert frontier_sentences(without_winner) == []


def test_without_trainings_or_costs_the_columns_are_empty(scores, selection):
    board = findings_of(scores, pd.DataFrame(), selection=selection).leaderboard
    assert board[["macs", "train_seconds"]].isna().all(axis=None)


def test_a_failed_score_is_told_apart_from_one_that_does_not_apply(scores, costs):
    broken = scores.copy()
    row = broken.index[broken["system"] == "wavegan"][0]
    broken.loc[row, "visqol"] = np.nan
    broken.loc[row, "failures"] = "visqol: ValueError: too short | by far"
    found = findings_of(broken, costs, trainings=TRAININGS)
    wavegan = found.row("wavegan")
    assert np.isnan(wavegan["visqol"]) and wavegan["failed"] == ("visqol",)
    text = leaderboard_markdown(found)
    line = next(line for line in text.splitlines() if line.startswith("|") and "wavegan |" in line)
    assert "failed" in line and "–" in line
    assert "## Failed scores" in text and "anna/0.wav" in text


def test_files_hold_the_table_and_the_story(tmp_path, findings):
    leaderboard = findings.leaderboard
    csv, markdown = write_leaderboard(findings, tmp_path / "new")
    read = pd.read_csv(csv)
    assert read.columns.tolist() == plain_table(leaderboard).columns.tolist()
    assert read["system"].tolist() == leaderboard["system"].tolist()
    assert read["primary"].to_numpy() == pytest.approx(leaderboard["primary"].to_numpy(), rel=1e-5)
    text = markdown.read_text(encoding="utf-8")
    for expected in (
        "# Leaderboard of `demo`",
        "is the champion",
        "whole-file, cannot stream",
        "oracle_envelope_noise",
        "| system | telephone | telephone_noise | mp3_32k |",
        "make demo\novertone ui",
    ):
        assert expected in text
    names = ["conditions.csv", "differences.csv", "findings.json", "leaderboard.csv", "leaderboard.md"]
    assert sorted(path.name for path in csv.parent.iterdir()) == names


def test_markdown_tables_have_as_many_cells_as_headings(text):
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1


def test_writing_again_replaces(tmp_path, findings):
    first = write_leaderboard(findings, tmp_path)
    before = [path.read_bytes() for path in first]
    assert [path.read_bytes() for path in write_leaderboard(findings, tmp_path)] == before


def test_headline_says_when_the_test_disagrees_with_val(scores, costs, selection):
    swapped = scores.copy()
    swapped["system"] = swapped["system"].replace(
        {"spectrogram_autoencoder": "wavegan", "wavegan": "spectrogram_autoencoder"}
    )
    found = findings_of(swapped, costs, selection=selection, trainings=TRAININGS)
    assert "worse than the runner-up `dnn_fft`" in headline(found)


def test_headline_says_that_the_runner_up_was_disqualified(scores, costs):
    rule = WinnerRule(lsd_low_clean=np.inf, lsd_low_margin=np.inf)
    two = scores[scores["system"].isin(["dnn_fft", "spectrogram_autoencoder_original"]) | scores["seed"].isna()]
    assert "runner-up `spectrogram_autoencoder_original`, which was disqualified by lsd_low, latency_ms (" in headline(
        findings_of(two, costs)
    )
    costs = costs.assign(latency_ms=24.0)
    assert "runner-up `spectrogram_autoencoder_original` (" in headline(findings_of(two, costs, rule=rule))


def test_headline_without_a_champion(without_winner):
    assert "No champion" in headline(without_winner)
    assert without_winner.leaderboard["vs_runner_up"].isna().all()
    assert "No champion" in printed(without_winner, 120)


@pytest.mark.parametrize("width", [120, 80])
def test_the_terminal_table_fits_and_keeps_names_whole(width, findings):
    text = printed(findings, width)
    assert max(map(len, text.splitlines())) <= width
    table = [line.split() for line in text.splitlines()]
    for system in findings.systems:
        assert any(system in words for words in table), system
    assert ("MAC/s" in text) == (width == 120)


def test_a_very_narrow_terminal_still_gets_everything(findings):
    text = printed(findings, 50)
    assert max(map(len, text.splitlines())) <= 50


def test_no_escape_codes_outside_a_terminal(findings):
    assert "\x1b" not in printed(findings, 120)
    assert "\x1b" in printed(findings, 120, terminal=True)


def test_markup_in_a_name_is_printed_as_it_is():
    strange = {"[red]model": GOOD, "other": DOING_NOTHING}
    table = score_table(strange)
    assert "[red]model" in printed(findings_of(table, cost_table(**{name: 1e6 for name in strange})), 120)


# Flags and notes


def test_a_control_that_outranks_a_candidate_is_flagged_in_every_output(tmp_path, leaderboard, scores, selection):
    rows = leaderboard.set_index("system")["outranked_by"]
    assert rows["spectrogram_autoencoder"] == rows["wavegan"] == ("oracle_envelope_noise",)
    behind = scores.copy()
    behind.loc[(behind["system"] == "ridge_envelope") & behind["cutoff_hz"].notna(), "extended_ber"] = 0.28
    found = findings_of(behind, pd.DataFrame(), selection=selection, trainings=TRAININGS)
    csv, markdown = write_leaderboard(found, tmp_path)
    assert "ridge_envelope" in pd.read_csv(csv).set_index("system")["outranked_by"]["wavegan"].split(",")
    text = markdown.read_text(encoding="utf-8")
    assert "| ridge_envelope ⚑ |" in text and "Ahead of `wavegan`" in text
    cells = next(line for line in text[text.index("### primary") :].splitlines() if line.startswith("| wavegan |"))
    assert cells.count("⚑") == 2  # both conditions in which a band is missing
    conditions = pd.read_csv(tmp_path / "conditions.csv").set_index(["system", "condition", "key"])["outranked_by"]
    assert "ridge_envelope" in conditions["wavegan", "telephone", "extended_ber"]
    shown = printed(found, 120)
    assert "ridge_envelope ⚑" in shown and "though without reading the target" in shown


def test_the_headline_alarms_when_a_control_beats_the_champion(scores, selection):
    beaten = scores.copy()
    beaten.loc[(beaten["system"] == "ridge_envelope") & beaten["cutoff_hz"].notna(), "extended_ber"] = 0.1
    found = findings_of(beaten, pd.DataFrame(), selection=selection, trainings=TRAININGS)
    assert "`ridge_envelope`, a control, scores better" in headline(found)
    assert "scores better" not in headline(findings_of(scores, pd.DataFrame(), selection=selection))


@pytest.mark.parametrize(("uses", "words"), [(None, ""), (1, "has been used once"), (3, "probability of 14 %")])
def test_uses_of_the_test_split_are_said(findings, uses, words):
    shown = " ".join(notes(replace(findings, test_uses=uses)))
    assert words in shown
    assert ("has been used" in shown) == (uses is not None)


def test_what_can_be_detected_is_said(findings, leaderboard, text):
    assert leaderboard["next"].tolist() == [*leaderboard["system"].iloc[1:], ""]
    shown = printed(findings, 120)
    assert "Smallest difference between neighbours" in shown and "80 % power" in shown
    assert "## What this test set can detect" in text and "family of 15" in text
    assert "4 speakers cannot give a p value under 0.12" in text


def test_seeds_are_spread_out(leaderboard, scores, costs, text):
    rows = leaderboard.set_index("system")
    assert rows["seeds"].to_dict() == {**dict.fromkeys(CANDIDATES, 2), **dict.fromkeys(CONTROLS, 0), "unprocessed": 0}
    assert (rows.loc[list(CANDIDATES), "seed_sd"] > 0.0).all()
    assert "standard deviation over seeds" in text
    once = scores[scores["system"].isin(["wavegan", "unprocessed"]) & ~(scores["seed"] == 1)]
    assert "Every model was trained once" in leaderboard_markdown(findings_of(once, costs))


def test_one_speaker_is_enough_to_be_told_what_is_missing(scores, costs):
    alone = scores[scores["speaker"] == "anna"]
    found = findings_of(alone, costs, trainings=TRAININGS)
    text = leaderboard_markdown(found)
    assert "There is one speaker" in text and "With one speaker there is no test" in text
    assert "nan" not in text
    assert "There is one speaker" in printed(found, 120)


def test_factors_are_tables_of_their_own(findings):
    factors = {
        "telephone": ConditionFactors(cutoff_hz=4000.0),
        "telephone_noise": ConditionFactors(noise="noise 20 dB", cutoff_hz=4000.0),
        "mp3_32k": ConditionFactors(codec="mp3 32 kbit/s"),
    }
    text = leaderboard_markdown(replace(findings, factors=factors))
    assert "| telephone_noise | none | noise 20 dB | 4 kHz | none |" in text
    assert "by codec, noise and cutoff" in text
