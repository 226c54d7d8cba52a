"""What changed from A to B: a planted regression and its size, nothing where nothing changed, refusals in a line."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from evaluation_runs import low_passed_pair, run, syllables, write
from packages import delay_package
from score_tables import GOOD, NEVER_APPLICABLE, cost_table, findings_of, score_table

from evaluation.measures.catalogue import MEASURES
from experiments.cli.main import main
from experiments.comparison.diff import judged_measures
from experiments.comparison.sides import Side, Sides
from experiments.presets.preset import RESOLVED, load_preset, write_preset
from experiments.ranking.changes import BETTER, WORSE, change_in, largest
from experiments.ranking.findings import save_findings
from experiments.ranking.primary import add_primary, average_seeds
from experiments.scoring.splits import write_scores
from models.baselines import CONTROLS

PLANTED = 0.05
SHORT = ("lsd", "snr", "extended_ber")


def diff(*arguments):
    """The exit code, also where the command ends as argparse does."""
    try:
        return main(["diff", *map(str, arguments)])
    except SystemExit as ended:
        return ended.code


def refused(capsys, *arguments):
    assert diff(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("overtone: ") and error.count("\n") == 1, error
    return error


@pytest.fixture
def scores():
    candidates = {"dnn_fft": GOOD, "wavegan": GOOD | {"extended_ber": 0.35}}
    return score_table(candidates, {"target_gain": GOOD | {"extended_ber": 0.01}}, spread=0.02)


def changed(scores, system, condition, by, key="extended_ber", noise=0.01):
    """A copy in which a system's scores under a condition are higher by an amount, give or take."""
    copy = scores.copy()
    rows = (copy["system"] == system) & (copy["condition"] == condition)
    copy.loc[rows, key] += by + noise * np.random.default_rng(1).standard_normal(rows.sum())
    return copy


def table(scores, path):
    write_scores(scores, path)
    return path


def beside(a, b, system="dnn_fft"):
    """The rows of a system in both, as A and B."""
    parts = (
        average_seeds(add_primary(part)[part["system"] == system]).assign(system=label)
        for part, label in ((a, "A"), (b, "B"))
    )
    return pd.concat(parts, ignore_index=True)


# What is found


def test_identical_tables_differ_by_nothing(scores, tmp_path, capsys):
    path = table(scores, tmp_path / "a.csv")
    assert diff(path, path) == 0
    printed = capsys.readouterr().out
    assert "B is no worse than A at 95 % in primary: dnn_fft, wavegan." in printed
    differences = re.findall(r"([+-]\d\.\d+) \(([+-]\d\.\d+) to ([+-]\d\.\d+)\)", printed)
    assert len(differences) > 10 and {float(number) for found in differences for number in found} == {0.0}
    assert "No utterance changed" in printed
    assert "worse\n" not in printed


def test_a_planted_regression_is_found_with_its_direction_and_an_interval_that_covers_it(scores, tmp_path, capsys):
    worse = changed(scores, "dnn_fft", "telephone", PLANTED)
    a, b = table(scores, tmp_path / "a.csv"), table(worse, tmp_path / "b.csv")
    assert diff(a, b) == 1
    ended = capsys.readouterr()
    assert ended.err.startswith("overtone: B is worse than A: dnn_fft in primary by 0.01")
    assert ended.err.count("\n") == 1 and "wavegan" not in ended.err
    assert diff(a, b, "--system", "wavegan") == 0, "the other system did not change"
    assert diff(b, a) == 0, "the other way round it is an improvement"
    assert BETTER in capsys.readouterr().out

    under = {name: change_in(beside(scores, worse), "primary", name) for name in ("telephone", "telephone_noise")}
    found = under["telephone"]
    assert found.direction == WORSE
    assert found.difference.low < PLANTED < found.difference.high
    assert found.difference.high - found.difference.low < PLANTED
    assert found.b - found.a == pytest.approx(found.difference.mean)
    assert under["telephone_noise"].difference.mean == 0.0 and not under["telephone_noise"].direction
    assert set(largest(change_in(beside(scores, worse), "primary"))["condition"]) == {"telephone"}


def test_intervals_cover_a_planted_amount_as_often_as_they_say():
    covered = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        a = score_table({"dnn_fft": GOOD}, spread=0.02)
        speakers = {name: 0.02 * rng.standard_normal() for name in a["speaker"].unique()}
        rows = (a["system"] == "dnn_fft") & (a["condition"] == "telephone")
        noise = 0.01 * rng.standard_normal(rows.sum())
        b = a.copy()
        b.loc[rows, "extended_ber"] += PLANTED + a.loc[rows, "speaker"].map(speakers) + noise
        found = change_in(beside(a, b), "extended_ber", "telephone").difference
        covered.append(found.low < PLANTED < found.high)
    assert np.mean(covered) > 0.8  # four speakers; the bootstrap's own tests say how it converges


@pytest.mark.parametrize(("by", "direction", "code"), [(-0.4, WORSE, 1), (0.4, BETTER, 0)])
def test_a_named_measure_decides_too_in_its_own_direction(scores, tmp_path, capsys, by, direction, code):
    other = changed(scores, "dnn_fft", "mp3_32k", by, "visqol")
    a, b = table(scores, tmp_path / "a.csv"), table(other, tmp_path / "b.csv")
    assert diff(a, b) == 0, "the primary score is the same"
    assert diff(a, b, "--measures", "visqol") == code
    ended = capsys.readouterr()
    assert f" {direction}\n" in ended.out.replace(" \n", "\n")
    assert ("dnn_fft in ViSQOL by 0.1" in ended.err) == bool(code)


@pytest.mark.parametrize(
    ("before", "after", "direction"), [(-2, -1, BETTER), (-1, -2, WORSE), (-1, 1, ""), (0, 1, WORSE)]
)
def test_a_signed_measure_is_worse_where_it_is_farther_from_zero(scores, before, after, direction):
    signed = next(key for key, measure in MEASURES.items() if measure.signed)
    rng = np.random.default_rng(0)
    a, b = (scores.assign(**{signed: mean + 0.1 * rng.standard_normal(len(scores))}) for mean in (before, after))
    assert change_in(beside(a, b), signed).direction == direction


def test_a_score_that_fails_in_b_alone_is_worse_and_one_that_failed_before_is_left_out(scores, tmp_path, capsys):
    place = scores.index[(scores["system"] == "dnn_fft") & (scores["condition"] == "telephone")][0]
    failed = scores.copy()
    failed.loc[place, ["extended_ber", "failures"]] = [np.nan, "extended_ber: gave nan"]
    a, b = table(scores, tmp_path / "a.csv"), table(failed, tmp_path / "b.csv")
    assert diff(a, b) == 1
    assert "dnn_fft in primary, where 1 score failed that A has." in capsys.readouterr().err
    assert diff(b, b) == 0
    assert diff(b, a) == 0


def test_rounding_is_no_change(scores, tmp_path):
    copy = scores.assign(extended_ber=scores["extended_ber"] * (1 + 1e-12))
    assert diff(table(scores, tmp_path / "a.csv"), table(copy, tmp_path / "b.csv")) == 0


def test_only_what_both_scored_is_compared_and_the_rest_is_told(scores, tmp_path, capsys):
    fewer = scores[(scores["file"] != "anna/0.wav") & (scores["system"] != "wavegan")].drop(columns="visqol")
    a, b = table(scores, tmp_path / "a.csv"), table(fewer, tmp_path / "b.csv")
    assert diff(a, b) == 0
    printed = capsys.readouterr().out
    assert "dnn_fft: 3 scored utterances are in A alone and are not compared." in printed
    assert "Systems that A has and B has not: wavegan." in printed
    assert "Measures that A has and B has not: ViSQOL." in printed


def test_other_data_show_in_the_control_that_does_nothing(scores, tmp_path, capsys):
    other = changed(scores, "unprocessed", "telephone", 0.1, "lsd")
    assert diff(table(scores, tmp_path / "a.csv"), table(other, tmp_path / "b.csv")) == 0
    assert "Mind: doing nothing scores differently too (lsd)" in capsys.readouterr().out


def test_a_system_that_changed_its_name_is_named_or_stands_alone(scores, tmp_path, capsys):
    renamed = scores.assign(system=scores["system"].replace("dnn_fft", "dnn_fft_2"))
    a, b = table(scores, tmp_path / "a.csv"), table(renamed, tmp_path / "b.csv")
    assert diff(a, b, "--system", "dnn_fft=dnn_fft_2") == 0
    assert "dnn_fft → dnn_fft_2" in capsys.readouterr().out
    alone = table(renamed[renamed["system"].isin(["dnn_fft_2", *CONTROLS])], tmp_path / "c.csv")
    only = table(scores[scores["system"].isin(["dnn_fft", *CONTROLS])], tmp_path / "d.csv")
    assert diff(only, alone) == 0
    assert "A and B both have; A has dnn_fft, wavegan, B has dnn_fft_2." in refused(capsys, a, alone)


def test_tables_of_evaluate_are_judged_by_what_they_have(tmp_path, capsys):
    folders = low_passed_pair(tmp_path)
    for number, stem in enumerate(("one", "two")):
        write(folders / "same" / f"{stem}.wav", syllables(number) + 0.001 * syllables(number + 5))
        write(folders / "worse" / "same" / f"{stem}.wav", syllables(number) + (0.02 + 0.001 * number) * syllables(9))
    measures = ("--measures", ",".join(SHORT), "--cutoff-hz", "4000")
    assert run(folders, *measures, out="a.csv") == 0
    assert run(folders, *measures, estimates=(f"same={folders / 'worse' / 'same'}",), out="b.csv") == 0
    capsys.readouterr()
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"
    assert diff(a, a) == 0
    assert "at 95 % in ext. BER: same." in capsys.readouterr().out
    assert diff(a, b, "--measures", "lsd,snr") == 1
    error = capsys.readouterr().err
    assert "same in LSD by " in error and "same in snr by " in error


def test_without_a_band_that_is_missing_the_next_measure_is_judged(scores):
    bare = scores.drop(columns="cutoff_hz").assign(extended_ber=np.nan)
    sides = Sides(Side("score table", bare), Side("score table", bare))
    assert judged_measures(sides, []) == ["lsd"]
    assert judged_measures(sides, ["visqol"]) == ["visqol"]


# Folders


def comparison(folder, scores, preset_file=None, winner="dnn_fft"):
    """A folder as a comparison leaves it."""
    costs = cost_table(**{name: 1e7 if name == winner else 2e7 for name in ("dnn_fft", "wavegan")})
    findings = findings_of(scores, costs)
    save_findings(findings, folder)
    write_scores(findings.scores, folder / "scores-val.csv")
    if preset_file is not None:
        write_preset(load_preset(str(preset_file)), folder / RESOLVED)
    return folder


def test_comparisons_show_what_was_configured_otherwise(scores, tiny_preset, tiny_settings, tmp_path, capsys):
    a = comparison(tmp_path / "a", scores, tiny_preset)
    tiny_preset.write_text(yaml.safe_dump(tiny_settings | {"budget": tiny_settings["budget"] | {"examples": 32}}))
    b = comparison(tmp_path / "b", scores, tiny_preset)
    page = tmp_path / "page.html"
    assert diff(a, b, "--system", "champion", "--out", page) == 0
    printed = capsys.readouterr().out
    assert f"- A: comparison {a}, preset demo" in printed
    assert re.search(r"budget\.examples +16 +32", printed)
    html = page.read_text()
    assert "<td>32</td>" in html and "There is nothing to hear: name the corpus" in html
    assert not re.search(r"(?:src|href)=\"https?://", html)
    assert diff(a, a, "--system", "champion") == 0
    assert "settings that A and B have" in capsys.readouterr().out


def test_folders_without_what_is_asked_for_are_refused(scores, tmp_path, capsys):
    a = comparison(tmp_path / "a", scores)
    assert "It has those of val: ask for them with --split val." in refused(capsys, a, a, "--split", "test")
    (tmp_path / "empty").mkdir()
    assert "holds no scores of val utterances. Expected the folder" in refused(capsys, a, tmp_path / "empty")
    write(tmp_path / "sounds" / "a.wav", syllables())
    assert "Score its audio with `overtone evaluate" in refused(capsys, a, tmp_path / "sounds")
    stored = json.loads((a / "findings.json").read_text())
    stored["selection"]["externals"] = ["peer"]
    (a / "findings.json").write_text(json.dumps(stored))
    assert "A has no system peer. It has dnn_fft, wavegan. Systems from outside need --split test." in refused(
        capsys, a, a, "--system", "peer"
    )
    other = comparison(tmp_path / "b", scores)
    plain = json.loads((other / "findings.json").read_text())
    (other / "findings.json").write_text(json.dumps(plain | {"preset": "telephone"}))
    assert "Expected two of the same preset, got demo and telephone" in refused(capsys, a, other)
    (other / "findings.json").write_text("{")
    assert "findings.json: damaged" in refused(capsys, a, other)
    (a / RESOLVED).write_text("- a list")
    assert "preset.yaml: damaged; expected settings as YAML" in refused(capsys, a, a)


# Wrong use


def test_wrong_use_is_told_in_a_line(scores, tmp_path, capsys):
    a = table(scores, tmp_path / "a.csv")
    assert "no such file or folder. Expected the folder of" in refused(capsys, a, tmp_path / "absent")
    assert "Unknown measure blur. Known: " in refused(capsys, a, a, "--measures", "blur")
    assert "--measures stoi: A has no scores of it. It has primary, " in refused(capsys, a, a, "--measures", "stoi")
    assert f"{NEVER_APPLICABLE[0]}: expected utterances that A and B both scored, found none" in refused(
        capsys, a, a, "--measures", NEVER_APPLICABLE[0]
    )
    assert "--system nobody: A has no system nobody. It has dnn_fft, wavegan." in refused(
        capsys, a, a, "--system", "nobody"
    )
    assert "--system champion: A has no champion" in refused(capsys, a, a, "--system", "champion")
    assert "expected the name of a page that ends in .html" in refused(capsys, a, a, "--out", tmp_path / "page.txt")
    assert "--data: expected two exported models" in refused(capsys, a, a, "--data", tmp_path)
    other = table(scores.assign(file="x/" + scores["file"]), tmp_path / "other.csv")
    assert "A and B have scored no utterance in common" in refused(capsys, a, other)
    one = scores[(scores["file"] == "anna/0.wav") & (scores["condition"] == "telephone")]
    worse = table(changed(one, "dnn_fft", "telephone", 0.1), tmp_path / "worse.csv")
    one = table(one, tmp_path / "one.csv")
    assert "on a single utterance has no interval" in refused(capsys, one, worse)
    assert diff(one, one) == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a score table (No columns to parse"),
        (b"\xff\xfe\x00", "not a score table ("),
        (b"name,value\na,1\n", "it has no column system"),
        (b"system,file,condition,lsd\n", "holds no scores"),
        (b"system,file,condition,lsd\na,b,c,high\n", "column lsd holds words in place of numbers"),
        (b"system,file,condition,blur\na,b,c,1\n", "it has no column of a measure"),
    ],
)
def test_a_damaged_table_is_told_in_a_line(scores, tmp_path, capsys, content, words):
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    assert words in refused(capsys, table(scores, tmp_path / "a.csv"), path)


# Exported models


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Three: one that does nothing, the same again, and one that halves the level."""
    root = tmp_path_factory.mktemp("packages")
    gains = {"plain": 1.0, "again": 1.0, "halved": 0.5}
    return {name: delay_package(root / name, gain=gain) for name, gain in gains.items()}


def test_exported_models_are_scored_here_and_heard(packages, tiny_corpus, tiny_preset, tmp_path, capsys):
    how = ("--data", tiny_corpus, "--preset", tiny_preset, "--jobs", "1", "--denoise", "--measures", "snr")
    page = tmp_path / "page.html"
    assert diff(packages["plain"], packages["halved"], *how, "--out", page) == 1
    ended = capsys.readouterr()
    assert "delay in snr by " in ended.err
    assert f"Scored here on val of {tiny_corpus}" in ended.out
    html = page.read_text()
    assert html.count('<section class="sample">') > 0
    assert html.count("<audio") == 4 * html.count('<section class="sample">')
    assert not (tmp_path / "mlruns").exists()
    assert diff(packages["plain"], packages["again"], *how) == 0
    assert "No utterance changed" in capsys.readouterr().out


def test_exported_models_that_cannot_be_scored_are_refused(
    packages, scores, tiny_corpus, tiny_preset, tiny_settings, tmp_path, capsys
):
    a, b = packages["plain"], packages["halved"]
    assert "Name the preset that they are scored by with --preset" in refused(capsys, a, b)
    assert "Name a prepared corpus with --data" in refused(capsys, a, b, "--preset", tiny_preset)
    path = table(scores, tmp_path / "a.csv")
    assert "Expected two exported models or two with scores" in refused(capsys, a, path)
    tiny_preset.write_text(yaml.safe_dump(tiny_settings | {"sample_rate": 24000}))
    error = refused(capsys, a, b, "--preset", tiny_preset, "--data", tiny_corpus)
    assert "expected a model of 24000 Hz, as preset tiny has it, got one of 16000 Hz" in error
