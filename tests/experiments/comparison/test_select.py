"""Selecting: from studies to a champion with evidence; nothing new changes nothing; rolling back; refusals."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import optuna
import pandas as pd
import pytest
import yaml

from datamodules.corpora.corpus import load_corpus
from experiments.cli.main import main
from experiments.comparison.comparison import Comparison, Outcome
from experiments.comparison.evidence import finalist_scores, finalists_table
from experiments.comparison.select import refuse_unequal
from experiments.presets.preset import load_preset
from experiments.ranking.primary import add_primary
from experiments.runs import Workspace
from experiments.scoring.splits import table_path, write_scores
from experiments.sweep.finalists import cautions, find_finalists, inequalities, resolved_preset
from experiments.sweep.storage import default_storage, open_storage
from experiments.sweep.study import IDENTITY, make_study, study_key
from experiments.tracking.tracker import open_tracker
from experiments.training.distribution import TrainRequest
from experiments.training.fit import run_training
from experiments.training.places import training_place
from overtone.errors import OvertoneError
from overtone.progress import Board

# Seconds of training qualify nobody: without guards there is a champion.
NO_GUARDS = dict.fromkeys(("content_ber_margin", "lsd_low_clean", "lsd_low_margin", "tonality", "rtf"), float("inf"))
NO_GUARDS |= dict.fromkeys(("excess_above_band_db", "gain_over_unprocessed"), float("inf"))
NO_GUARDS |= {"visqol_above_unprocessed": False}
OWN = {"hidden": 16, "layers": 1, "learning_rate": 0.002}
BETTER = {"hidden": 24, "layers": 1, "learning_rate": 0.003}
DISTRIBUTIONS = {
    "hidden": optuna.distributions.IntDistribution(8, 32, step=8),
    "layers": optuna.distributions.IntDistribution(1, 2),
    "learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True),
}


@pytest.fixture
def preset_file(tiny_preset):
    """The tiny preset with one architecture: three trainings of it take seconds."""
    plain = yaml.safe_load(tiny_preset.read_text())
    plain["models"] = {"dnn_fft": plain["models"]["dnn_fft"]}
    plain["winner"] = NO_GUARDS
    plain["budget"]["epochs"] = 1
    tiny_preset.write_text(yaml.safe_dump(plain))
    return tiny_preset


def trial(parameters, value, *, infeasible=False, **more):
    return optuna.create_trial(
        params=parameters,
        distributions={name: DISTRIBUTIONS[name] for name in parameters},
        value=value,
        constraints={"rtf": 1.0 if infeasible else -1.0},
        **more,
    )


def sweep(preset_file, corpus, runs, trials, model="dnn_fft", name=None):
    """Make a study as `overtone sweep` does, with trials made up, or add them to it."""
    runs.mkdir(parents=True, exist_ok=True)
    preset = load_preset(str(preset_file))
    key = study_key(preset, model, load_corpus(corpus).digest, name)
    study, _ = make_study(open_storage(default_storage(runs)), key, preset)
    study.add_trials(trials)
    return study


def run_select(preset_file, corpus, runs, *options):
    return main(["select", str(preset_file), "--data", str(corpus), "--runs", str(runs), *options])


def finished(runs):
    return {path.parent.name: path.stat().st_mtime_ns for path in runs.glob("trainings/*/training.json")}


def state(runs):
    """Everything that a second selection must leave alone."""
    files = [path for path in runs.rglob("*") if path.is_file() and path.suffix not in {".db", ".log", ".lock"}]
    return {path.relative_to(runs): path.stat().st_mtime_ns for path in files}


def refusal(capsys):
    error = capsys.readouterr().err.strip()
    assert error.startswith("overtone: ") and "\n" not in error and "Traceback" not in error
    return error


@pytest.mark.slow
def test_from_a_study_to_a_champion_and_back(one_core, preset_file, tiny_corpus, tmp_path, capsys):
    runs = tmp_path / "runs"
    trials = [trial(OWN, 0.50), trial(BETTER, 0.40), trial(OWN | {"layers": 2}, 0.1, infeasible=True)]
    name = sweep(preset_file, tiny_corpus, runs, trials).study_name
    register_an_earlier_champion(runs, tmp_path)
    assert main(["select", str(preset_file), "--runs", str(runs), "--rollback"]) == 1
    assert "nothing to roll back to" in refusal(capsys)
    trained = train_in_advance(preset_file, tiny_corpus, runs, seeds=2)
    assert run_select(preset_file, tiny_corpus, runs) == 0
    printed = capsys.readouterr().out
    assert "trial 1 of" in printed and "unfinished: 3 of 20" in printed
    assert "2 of 3 trainings are finished and kept" in printed
    assert trained.items() <= finished(runs).items() and len(finished(runs)) == 3
    assert_evidence(runs, name)

    before = state(runs)
    sweep(preset_file, tiny_corpus, runs, [trial(OWN | {"hidden": 8}, 0.60)])  # new, but no better
    assert run_select(preset_file, tiny_corpus, runs) == 0
    assert "Nothing new since" in capsys.readouterr().out
    assert state(runs) == before
    assert champions(runs) == ("2", "1")

    assert main(["select", str(preset_file), "--runs", str(runs), "--rollback"]) == 0
    printed = capsys.readouterr().out
    assert champions(runs) == ("1", "2")
    assert printed.index("champion: version 1") < printed.index("previous: version 2") and name in printed
    assert run_select(preset_file, tiny_corpus, runs) == 0
    assert "the champion is version 1 by now" in capsys.readouterr().out
    assert champions(runs) == ("1", "2")


def register_an_earlier_champion(runs, folder):
    tracker = open_tracker("mlflow", runs)
    (folder / "earlier").mkdir()
    (folder / "earlier" / "model.pt").write_bytes(b"weights")
    with tracker.run("compare-tiny", "earlier", {}, "earlier") as run:
        tracker.register("overtone-tiny", run, folder / "earlier", {"study.dnn_fft": "earlier"})


def train_in_advance(preset_file, corpus, runs, seeds):
    """As `overtone compare` on the settings that the study finds would have done."""
    plain = yaml.safe_load(preset_file.read_text())
    plain["models"]["dnn_fft"] = BETTER
    found = preset_file.with_name("found.yaml")
    found.write_text(yaml.safe_dump(plain))
    for seed in range(seeds):
        request = TrainRequest("dnn_fft", str(found), seed, Workspace(runs, str(corpus), tracking="none"))
        run_training(request, load_corpus(corpus), lambda *_: None)
    return finished(runs)


def champions(runs):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{runs}/mlflow.db")
    aliases = client.get_registered_model("overtone-tiny").aliases
    assert len(client.search_model_versions("name = 'overtone-tiny'")) == 2
    return str(aliases["champion"]), str(aliases["previous"])


def assert_evidence(runs, name):
    (record_file,) = runs.glob("comparisons/*/selection.json")
    record = json.loads(record_file.read_text())
    assert record["winner"] == "dnn_fft" and record["version"] == "2"
    assert record["finalists"][0]["settings"] == BETTER
    (uses,) = json.loads((runs / "test-uses.json").read_text()).values()
    assert len(uses) == 1
    champion = open_tracker("mlflow", runs).champion("overtone-tiny")
    tags = champion.tags
    assert tags["study.dnn_fft"] == name and tags["trial.dnn_fft"] == "1" and tags["trials.dnn_fft"] == "3"
    assert tags["comparison"] == record_file.parent.name and tags["test_uses"] == "1" and tags["seeds"] == "3"
    assert tags["storage"].startswith("sqlite:///") and len(tags["data_digest"]) == 64 and tags["commit"]
    assert {f"link.dnn_fft-seed{seed}" for seed in range(3)} | {"link.comparison"} <= set(tags)
    kept = {path.name for path in champion.folder.iterdir()}
    assert {"model.pt", "selection.md", "finalists.csv", "preset.yaml", "trials-dnn_fft.csv", "leaderboard.md"} <= kept
    words = (champion.folder / "selection.md").read_text()
    assert name in words and tags["data_digest"] in words and "## Leaderboard on test" in words
    resolved = load_preset(str(champion.folder / "preset.yaml"))
    assert resolved.models == {"dnn_fft": BETTER} and resolved.seeds == 3
    assert len(pd.read_csv(champion.folder / "trials-dnn_fft.csv")) == 3


def score_rows(scores, seeds=(math.nan,)):
    """A small score table: two speakers, two conditions, ``scores`` of the extended BER."""
    rows = [
        {"system": "dnn_fft", "file": f"{speaker}{number}", "speaker": speaker, "condition": condition, "seed": seed}
        | {"extended_ber": score + 0.02 * number + 0.01 * (seed == 1), "cutoff_hz": 4000.0, "failures": ""}
        for speaker in ("ada", "ben")
        for condition, score in scores.items()
        for number in range(2)
        for seed in seeds
    ]
    return pd.DataFrame(rows)


def test_finalists_stand_beside_the_settings_that_were_compared_before(preset_file, tiny_corpus, tmp_path):
    sweep(preset_file, tiny_corpus, tmp_path, [trial(OWN, 0.5), trial(BETTER, 0.4)])
    preset, corpus = replace(load_preset(str(preset_file)), seeds=3), load_corpus(tiny_corpus)
    finalists = find_finalists(preset, corpus.digest, default_storage(tmp_path))
    comparison = Comparison(resolved_preset(preset, finalists, tmp_path)[1], corpus, tmp_path, Board(None))
    tuned = add_primary(score_rows({"telephone": 0.2, "mp3": 0.3}, seeds=(0.0, 1.0, 2.0)))
    outcome = Outcome(comparison, val=tuned, findings=SimpleNamespace(scores=tuned), test_split=None)

    (row,) = finalist_scores(preset, finalists, outcome).to_dict("records")
    assert row["primary_val"] == pytest.approx(0.26 + 0.01 / 3) and math.isnan(row["difference_val"])
    assert row["seed_sd_val"] == pytest.approx(0.01 / 3**0.5)
    for seed in range(2):
        place = training_place(tmp_path, preset, "dnn_fft", seed, corpus.digest)
        write_scores(score_rows({"telephone": 0.3, "mp3": 0.4}), table_path(place.folder, comparison.split("val")))
        place.record.write_text("{}")
    (row,) = finalist_scores(preset, finalists, outcome).to_dict("records")
    assert row["default_seeds_val"] == 2 and row["default_val"] == pytest.approx(0.36)
    assert row["difference_val"] == pytest.approx(row["primary_val"] - row["default_val"])
    assert row["difference_low_val"] <= row["difference_val"] <= row["difference_high_val"] < 0
    assert math.isnan(row["default_test"]), "the preset's own settings were not scored on test"
    (line,) = finalists_table(pd.DataFrame([row])).rows
    assert line.cells[1] == "1 of 2" and "0.360 (2)" in line.cells and list(line.cells[-2:]) == ["unknown", "–"]


def finalists_of(preset_file, corpus, runs, named=()):
    return find_finalists(load_preset(str(preset_file)), load_corpus(corpus).digest, default_storage(runs), named)


def test_an_architecture_without_a_study_keeps_its_settings_and_one_of_other_data_does_not_count(
    tiny_preset, tiny_corpus, tmp_path
):
    sweep(tiny_preset, tiny_corpus, tmp_path, [trial(BETTER, 0.4)])
    sweep(tiny_preset, tiny_corpus, tmp_path, [], "wavegan_original", name="tiny-wavegan_original-0123456789ab")
    dnn_fft, wavegan = finalists_of(tiny_preset, tiny_corpus, tmp_path)
    assert dnn_fft.tuned and dnn_fft.settings == BETTER
    assert (wavegan.study, wavegan.tuned, wavegan.settings) == (None, False, {"channels": 2})
    said = " ".join(cautions([dnn_fft, wavegan]))
    assert "wavegan_original has no study" in said and "1 of 20 trials" in said
    assert not list(inequalities([dnn_fft, wavegan]))


def test_a_study_under_its_own_name(tiny_preset, tiny_corpus, tmp_path):
    study = sweep(tiny_preset, tiny_corpus, tmp_path, [trial(BETTER, 0.4)], name="mine")
    finalists = finalists_of(tiny_preset, tiny_corpus, tmp_path, ["dnn_fft=mine"])
    assert finalists[0].study.name == "mine" and not any("made with other data" in one for one in cautions(finalists))
    study.set_user_attr(IDENTITY, "of yesterday's code")
    finalists = finalists_of(tiny_preset, tiny_corpus, tmp_path, ["dnn_fft=mine"])
    assert any("made with other data, code" in one for one in cautions(finalists))
    for wrong, expected in (
        ("mine", "MODEL=STUDY"),
        ("wavegan=mine", "MODEL=STUDY"),
        ("dnn_fft=other", "other"),
        ("wavegan_original=mine", "is of dnn_fft"),
    ):
        with pytest.raises(OvertoneError, match=expected):
            finalists_of(tiny_preset, tiny_corpus, tmp_path, [wrong])


def test_neither_infeasible_nor_pruned_nor_failed_trials_win(tiny_preset, tiny_corpus, tmp_path):
    state = optuna.trial.TrialState
    trials = [
        trial(OWN, 0.5),
        trial(BETTER, 0.4),
        trial(BETTER | {"hidden": 8}, 0.1, infeasible=True),
        trial(BETTER | {"hidden": 16}, 0.2, state=state.PRUNED),
        trial(BETTER | {"hidden": 32}, None, state=state.FAIL),
    ]
    sweep(tiny_preset, tiny_corpus, tmp_path, trials)
    study = finalists_of(tiny_preset, tiny_corpus, tmp_path)[0].study
    assert (study.trial, study.value, study.default_value, study.trials) == (1, 0.4, 0.5, 4)


def test_a_best_that_is_the_default_is_the_same_training(tiny_preset, tiny_corpus, tmp_path):
    sweep(tiny_preset, tiny_corpus, tmp_path, [trial(OWN, 0.3), trial(BETTER, 0.4)])
    finalists = finalists_of(tiny_preset, tiny_corpus, tmp_path)
    assert not finalists[0].tuned and "nothing better" in " ".join(cautions(finalists))
    preset = load_preset(str(tiny_preset))
    path, resolved = resolved_preset(preset, finalists, tmp_path)
    assert resolved == preset and path.parent == tmp_path / "selections"
    for model in preset.models:
        keys = {training_place(tmp_path, one, model, 0, "data").key for one in (preset, load_preset(str(path)))}
        assert len(keys) == 1


@pytest.mark.parametrize(("trials", "examples"), [(3, 16), (2, 8)])
def test_unequal_studies_are_refused_before_anything_is_trained(
    tiny_preset, tiny_corpus, tmp_path, capsys, trials, examples
):
    sweep(tiny_preset, tiny_corpus, tmp_path, [trial(OWN, 0.5), trial(BETTER, 0.4)])
    other = sweep(tiny_preset, tiny_corpus, tmp_path, [trial({}, 0.4)] * trials, "wavegan_original")
    other.set_user_attr("examples", examples)
    assert run_select(tiny_preset, tiny_corpus, tmp_path, "--tracking", "none") == 1
    assert "--allow-unequal" in refusal(capsys)
    assert not finished(tmp_path) and not (tmp_path / "test-uses.json").exists()
    refuse_unequal(finalists_of(tiny_preset, tiny_corpus, tmp_path), allowed=True)


def test_refusals_are_one_line(tiny_preset, tiny_corpus, tmp_path, capsys):
    def refused(*options, expected):
        assert run_select(tiny_preset, tiny_corpus, tmp_path, "--tracking", "none", *options) == 1
        assert expected in refusal(capsys)

    refused("--seeds", "2", expected="at least 3")
    refused(expected="optuna.db")
    assert not (tmp_path / "optuna.db").exists()
    sweep(tiny_preset, tiny_corpus, tmp_path, [trial(OWN, 0.5)], name="tiny-dnn_fft-0123456789ab")
    refused(expected="tiny-dnn_fft-0123456789ab")
    sweep(tiny_preset, tiny_corpus, tmp_path, [trial(OWN, 0.5, infeasible=True)])
    refused(expected="no feasible trial")
    refused("--storage", f"sqlite:///{tmp_path}/absent/optuna.db", expected="absent/optuna.db")
    refused("--storage", "no database", expected="no database")
    refused("--models", "wavegan", expected="wavegan")
    refused("--rollback", expected="--tracking mlflow")
    assert not finished(tmp_path)
