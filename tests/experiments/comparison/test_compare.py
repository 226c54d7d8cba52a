"""The main job on a tiny corpus: from clips to a leaderboard, continued when killed, done once."""

import contextlib
import io
import json
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import torch
import yaml
from processes import PATIENCE, children_of, is_running, wait_for

from benchmarks.pages import results_page
from experiments.cli.main import main
from experiments.comparison.compare import restricted
from experiments.comparison.options import CompareOptions
from experiments.presets.preset import PRESETS, load_preset
from experiments.runs import Workspace
from experiments.training.places import training_place
from overtone.errors import OvertoneError


def run_compare(preset, corpus, runs, *options):
    arguments = ["compare", str(preset), "--data", str(corpus), "--runs", str(runs), *options]
    return main(arguments)


def trained(runs):
    """When each training was finished."""
    return {path.parent.name: path.stat().st_mtime_ns for path in runs.glob("trainings/*/training.json")}


def leaderboard(runs):
    (path,) = runs.glob("comparisons/*/leaderboard.csv")
    return pd.read_csv(path)


class Finished(NamedTuple):
    """A comparison that has ended."""

    preset: Path
    runs: Path
    printed: str


@pytest.fixture(scope="module")
def finished(tiny_settings, tiny_corpus, tmp_path_factory):
    """A comparison whose trainings, in processes of their own, have a loader process each."""
    folder, printed = tmp_path_factory.mktemp("finished"), io.StringIO()
    preset, runs = folder / "tiny.yaml", folder / "runs"
    preset.write_text(yaml.safe_dump(tiny_settings | {"data": tiny_settings["data"] | {"num_workers": 1}}))
    with contextlib.redirect_stdout(printed):
        assert run_compare(preset, tiny_corpus, runs) == 0
    return Finished(preset, runs, printed.getvalue())


@pytest.mark.slow
def test_a_comparison_ends_in_a_leaderboard_and_a_second_start_trains_nothing(finished, tiny_corpus, capsys):
    preset, runs, printed = finished
    table = leaderboard(runs)
    assert {"dnn_fft", "wavegan_original", "unprocessed", "ridge_envelope", "target_gain"} <= set(table["system"])
    assert table.loc[table["system"] == "dnn_fft", "latency_ms"].item() == 32.0
    assert table.set_index("system")["extended_ber"]["unprocessed"] == pytest.approx(0.5, abs=0.1)
    assert (table["examples"].dropna() == 16).all()
    first = trained(runs)
    assert len(first) == 2
    (folder,) = runs.glob("comparisons/*")
    assert str(folder) in printed
    kept = {"leaderboard.csv", "leaderboard.md", "scores-val.csv", "scores-test.csv", "spectrograms.png", "samples"}
    kept |= {"report.html", "listening-test.html", "conditions.csv", "differences.csv", "preset.yaml"}
    assert kept <= {path.name for path in folder.iterdir()}
    assert "wavegan_original" in printed

    assert run_compare(preset, tiny_corpus, runs) == 0
    assert trained(runs) == first
    assert "2 of 2 trainings are finished" in capsys.readouterr().out
    (uses,) = json.loads((runs / "test-uses.json").read_text()).values()
    assert len(uses) == 1
    assert not list(runs.rglob("*.part*"))
    assert_tracked(runs, table)


def assert_tracked(runs, table):
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{runs}/mlflow.db")
    (experiment,) = (e for e in client.search_experiments() if e.name == "compare-tiny")
    found = client.search_runs([experiment.experiment_id])
    names = [run.info.run_name for run in found]
    assert len(names) == len(set(names)) == len(table) + 1
    (run,) = (run for run in found if run.info.run_name == "dnn_fft-seed0")
    assert run.info.status == "FINISHED"
    assert run.data.tags["seed"] == "0"
    told = {"learning_rate": "0.002", "hidden": "16", "layers": "1", "examples": "16", "train_conditions": "telephone"}
    assert told.items() <= run.data.params.items()
    assert not {"seed", "model", "settings"} & set(run.data.params) and len(run.data.params) < 25
    assert "null" not in run.data.params.values()
    assert run.data.metrics["test/lsd"] == pytest.approx(table.set_index("system")["lsd"]["dnn_fft"], abs=2e-4)
    for name in ("val_bands/band_bias_db", "test_bands/band_bias_db", "test_bands/band_spread_db"):
        assert -60 <= run.data.metrics[f"{name}_4000_5040"] <= 60
    assert run.data.tags["test_uses"] == "1"
    artifacts = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
    assert {"samples.html", "config.yaml", "tables", "epochs.html"} <= artifacts
    (comparison,) = (run for run in found if run.info.run_name == "comparison")
    artifacts = {artifact.path for artifact in client.list_artifacts(comparison.info.run_id)}
    assert {"report.html", "listening-test.html", "figures"} <= artifacts
    address = f"#/experiments/{experiment.experiment_id}/runs/{comparison.info.run_id}/artifacts/report.html"
    heard = f"#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}/artifacts/samples.html"
    assert f"[Listen]({heard})" in run.data.tags["mlflow.note.content"]
    for words in (comparison.data.tags["mlflow.note.content"], experiment.tags["mlflow.note.content"]):
        assert f"({address})" in words
        assert max(line.count(" | ") for line in words.splitlines()) + 1 == 7
    ranks = {run.info.run_name: run.data.metrics.get("rank") for run in found}
    assert ranks["comparison"] == 0 and ranks["unprocessed"] is None
    assert {ranks["dnn_fft-seed0"], ranks["wavegan_original-seed0"]} == {1, 2}
    page = (runs / "artifacts" / run.info.run_id / "artifacts" / "epochs.html").read_text()
    assert 'data-epochs="0 1 2"' in page and page.count("data-epoch=") == 2 * 3


@pytest.mark.slow
def test_models_can_be_chosen_and_seeds_added_without_training_again(finished, one_core, tiny_corpus, tmp_path):
    runs = tmp_path / "runs"
    shutil.copytree(finished.runs, runs, ignore=shutil.ignore_patterns("mlflow*", "comparisons"))
    first = trained(runs)
    options = ("--models", "dnn_fft", "--seeds", "2", "--tracking", "none")
    assert run_compare(finished.preset, tiny_corpus, runs, *options) == 0
    assert len(trained(runs)) == 3
    assert first.items() <= trained(runs).items()
    systems = set(leaderboard(runs)["system"])
    assert "dnn_fft" in systems and "wavegan_original" not in systems
    assert not (runs / "mlflow.db").exists()


@pytest.mark.slow
def test_a_comparison_beside_itself_and_its_training_beside_it_differ_by_nothing(finished, capsys):
    (comparison,) = finished.runs.glob("comparisons/*")
    (training,) = (record.parent for record in finished.runs.glob("trainings/dnn_fft-*/training.json"))
    for split in ("val", "test"):
        assert main(["diff", str(comparison), str(comparison), "--split", split]) == 0
    assert "settings that A and B have" in capsys.readouterr().out
    assert main(["diff", str(comparison), str(training)]) == 0
    printed = capsys.readouterr().out
    assert f"- B: training {training}" in printed
    assert "dnn_fft: utterances\nNo utterance changed." in printed


@pytest.mark.slow
def test_two_comparisons_are_heard_on_the_corpus_that_they_were_scored_on(finished, tiny_corpus, tmp_path, capsys):
    (folder,) = finished.runs.glob("comparisons/*")
    page, systems = tmp_path / "page.html", ["--system", "unprocessed=dnn_fft"]
    how = [str(folder), str(folder), "--out", str(page), "--data", str(tiny_corpus)]
    assert main(["diff", *how, *systems]) in (0, 1)
    html = page.read_text()
    samples = html.count('<section class="sample">')
    assert samples and html.count("<audio") == 3 * samples  # the narrowband, B and the target
    assert "A cannot be heard: no weights of unprocessed are there." in html and "B cannot" not in html
    shutil.copytree(tiny_corpus, tmp_path / "other")
    next((tmp_path / "other").rglob("*.wav")).unlink()
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["diff", *how[:-1], str(tmp_path / "other")])
    assert ended.value.code == 2
    assert "--data: expected the corpus that B was scored on" in capsys.readouterr().err


@pytest.mark.slow
def test_a_finished_comparison_becomes_a_page_and_an_unfinished_one_is_named(finished, tiny_corpus, tmp_path, capsys):
    options = [str(finished.preset), "--data", str(tiny_corpus), "--runs", str(finished.runs), "--out", str(tmp_path)]
    assert results_page.main(options) == 0
    page = (tmp_path / "tiny.md").read_text()
    (table,) = finished.runs.glob("comparisons/*/leaderboard.md")
    written = {line for line in page.splitlines() if line}
    assert set(table.read_text().splitlines()) <= written | {""}
    assert "The 2 trainings took 0.0 hours of one core, 16 examples of 0.5 s each." in written
    assert (tmp_path / "tiny.png").stat().st_size > 1000
    assert results_page.main([*options, "--seeds", "3"]) == 2
    assert f"overtone compare {finished.preset} --data {tiny_corpus} --seeds 3" in capsys.readouterr().err


def test_the_command_that_gives_the_same_result_names_what_was_asked_for():
    options = CompareOptions(("dnn_fft", "wavegan"), seeds=2, workspace=Workspace(data="speech", extra=("a", "b")))
    assert options.command("compare", "demo") == (
        "overtone compare demo --data speech --extra a,b --models dnn_fft,wavegan --seeds 2"
    )
    assert CompareOptions().command("compare", "demo") == "overtone compare demo"
    spaced = CompareOptions(external=("peer=peer {input} {output}",), workspace=Workspace(data="my speech"))
    words = ["overtone", "compare", "my demo.yaml", "--data", "my speech", "--external", "peer=peer {input} {output}"]
    assert shlex.split(spaced.command("compare", "my demo.yaml")) == words


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_any_model_of_any_preset_may_be_compared_alone(name):
    preset = load_preset(name)
    for model in preset.models:
        assert list(restricted(preset, CompareOptions((model,))).models) == [model]


def test_a_model_may_be_trained_once_while_the_others_have_several_seeds(tiny_settings, tiny_preset):
    tiny_preset.write_text(yaml.safe_dump(tiny_settings | {"seeds": 2, "once": ["wavegan_original"]}))
    assert load_preset(str(tiny_preset)).trainings() == [("dnn_fft", 0), ("wavegan_original", 0), ("dnn_fft", 1)]
    tiny_preset.write_text(yaml.safe_dump(tiny_settings | {"once": ["wavegan"]}))
    with pytest.raises(OvertoneError, match="once: no model of this preset is named wavegan"):
        load_preset(str(tiny_preset))


def test_a_killed_comparison_continues_and_leaves_no_process_and_no_lock(one_core, tiny_preset, tiny_corpus, tmp_path):
    plain = yaml.safe_load(tiny_preset.read_text())
    plain["budget"] |= {"examples": 800, "epochs": 20}
    del plain["data"]["test_conditions"]["mp3"]
    plain["models"] = {"dnn_fft": plain["models"]["dnn_fft"]}
    tiny_preset.write_text(yaml.safe_dump(plain))
    runs = tmp_path / "runs"
    command = [sys.executable, "-m", "experiments.cli.main", "compare", str(tiny_preset)]
    options = ["--data", str(tiny_corpus), "--runs", str(runs), "--tracking", "none"]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, start_new_session=True)
    wait_for(lambda: list(runs.glob("trainings/*/checkpoints/last.ckpt")))
    (child,) = children_of(process.pid)
    process.kill()
    process.wait()
    wait_for(lambda: not is_running(child))
    (checkpoint,) = runs.glob("trainings/*/checkpoints/last.ckpt")
    before = torch.load(checkpoint, weights_only=True)["callbacks"]["Timer"]["time_elapsed"]["train"]

    assert run_compare(tiny_preset, tiny_corpus, runs, "--tracking", "none") == 0
    (record,) = runs.glob("trainings/*/training.json")
    values = json.loads(record.read_text())
    assert values["examples"] == 800
    assert values["seconds"] > before
    assert leaderboard(runs)["system"].iloc[0] == "target_gain" and "dnn_fft" in set(leaderboard(runs)["system"])


def test_ctrl_c_stops_a_training_cleanly_and_says_how_to_go_on(tiny_preset, tiny_corpus, tmp_path):
    plain = yaml.safe_load(tiny_preset.read_text())
    plain["budget"] |= {"examples": 40000, "epochs": 2000}
    tiny_preset.write_text(yaml.safe_dump(plain))
    runs = tmp_path / "runs"
    command = [
        sys.executable,
        "-m",
        "experiments.cli.main",
        "train",
        "dnn_fft",
        str(tiny_preset),
        "--data",
        str(tiny_corpus),
    ]
    process = subprocess.Popen(
        [*command, "--runs", str(runs), "--tracking", "none"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: list(runs.glob("trainings/*/checkpoints/last.ckpt")))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "continues where it was" in errors
    assert "Traceback" not in errors


def test_the_run_key_follows_configuration_data_and_code(tiny_preset, tmp_path):
    preset = load_preset(str(tiny_preset))
    place = training_place(tmp_path, preset, "dnn_fft", 0, "data")
    assert place == training_place(tmp_path, preset, "dnn_fft", 0, "data")
    others = [
        training_place(tmp_path, preset, "dnn_fft", 1, "data"),
        training_place(tmp_path, preset, "dnn_fft", 0, "other data"),
    ]
    plain = yaml.safe_load(tiny_preset.read_text())
    plain["models"]["dnn_fft"]["hidden"] = 17
    tiny_preset.write_text(yaml.safe_dump(plain))
    others.append(training_place(tmp_path, load_preset(str(tiny_preset)), "dnn_fft", 0, "data"))
    assert len({place.key, *(other.key for other in others)}) == 4
