"""Studies in MLflow: parents and children, every state of a trial, plots of poor studies, and the dashboard."""

import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

import matplotlib.pyplot as plt
import optuna
import pytest
from ports import free_port
from processes import PATIENCE

from experiments.presets.preset import load_preset
from experiments.sweep.publication import StudyRuns, close_trial_run, study_figures, sweep_experiment
from experiments.sweep.results import DEFAULT, REASON, trial_table
from experiments.tracking.tracker import Tracker, open_tracker

ALL_FIGURES = {"history", "importance", "slice", "parallel_coordinate"}


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    return open_tracker("mlflow", tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def preset():
    return load_preset("demo")


def add(study, value=None, state=optuna.trial.TrialState.COMPLETE, guards=0.0, width=32, retries=(), **attributes):
    """Add a trial as a worker leaves it."""
    parameters = {"width": width, "learning_rate": 1e-3 * width, "reconstruction": "noise" if width > 30 else "phase"}
    space = {
        "width": optuna.distributions.IntDistribution(8, 64),
        "learning_rate": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True),
        "reconstruction": optuna.distributions.CategoricalDistribution(["noise", "phase"]),
    }
    study.add_trial(
        optuna.create_trial(
            state=state,
            value=value,
            params=parameters,
            distributions=space,
            user_attrs=attributes,
            constraints={"guards": guards},
            system_attrs={"retry_history": list(retries)},
        )
    )


@pytest.fixture(scope="module")
def study(tracker, preset):
    """Every state that a trial ends in, published."""
    study = optuna.create_study(study_name="demo-dnn_fft-0123456789ab")
    add(study, 0.40, **{DEFAULT: True, "seconds": 3.25, "peak_mb": 480.0, "examples": 1120, "scores": {"lsd_low": 0.1}})
    add(study, 0.20, guards=1.0, width=64)
    add(study, 0.31, width=16)
    add(study, state=optuna.trial.TrialState.PRUNED, value=0.6, width=24, **{REASON: "worse than the median"})
    add(study, state=optuna.trial.TrialState.FAIL, **{REASON: "its process died"})
    add(study, 0.35, width=40, retries=[4])
    runs = StudyRuns(tracker, preset, "dnn_fft", study.study_name)
    parent = runs.parent()
    for trial in study.trials[:4]:
        close_trial_run(runs.trial(trial.number, parent), trial)
    runs.publish(study, final=True)
    return study


def runs_by_name(tracker, preset, study):
    client = tracker.store.client
    experiment = client.get_experiment_by_name(sweep_experiment(preset))
    found = client.search_runs([experiment.experiment_id], f"tags.study = '{study.study_name}'")
    assert len({run.info.run_name for run in found}) == len(found)
    return {run.info.run_name: run for run in found}


def artifact(tracker, run, path):
    return tracker.store.runs_dir / "artifacts" / run.info.run_id / "artifacts" / path


def test_trials_stand_under_their_study_with_state_parameters_and_value(tracker, preset, study):
    runs = runs_by_name(tracker, preset, study)
    assert set(runs) == {study.study_name, "trial-000", "trial-001", "trial-002", "trial-003", "trial-004"}
    parent = runs.pop(study.study_name)
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    assert {run.info.status for run in runs.values()} == {"FINISHED"}, "pruned and failed trials are not red"
    states = [runs[f"trial-00{number}"].data.tags["trial.state"] for number in range(5)]
    assert states == ["complete", "complete", "complete", "pruned", "fail"]
    default, infeasible, pruned, failed = (runs[f"trial-00{number}"].data for number in (0, 1, 3, 4))
    assert default.params == {"width": "32", "learning_rate": "0.032", "reconstruction": "noise"}
    assert default.metrics["value"] == 0.4 and default.metrics["val/lsd_low"] == 0.1
    assert default.metrics["work/train_seconds"] == 3.25
    assert infeasible.tags["feasible"] == "no"
    assert infeasible.metrics["constraint/guards"] == 1.0
    assert pruned.tags["reason"] == "worse than the median"
    assert failed.tags["reason"] == "its process died", "its worker could not close it: the publication does"


def test_a_study_says_what_it_found(tracker, preset, study):
    parent = runs_by_name(tracker, preset, study)[study.study_name]
    metrics, tags = parent.data.metrics, parent.data.tags
    assert (metrics["value"], metrics["default_value"], metrics["gain"]) == (0.31, 0.4, 0.09)
    assert (metrics["trials/complete"], metrics["trials/pruned"], metrics["trials/fail"]) == (4, 1, 1)
    assert (tags["best_trial"], tags["best.width"], tags["best.reconstruction"]) == ("2", "16", "phase")
    words = tags["mlflow.note.content"]
    assert words.startswith("**Best primary 0.31 (trial 2): 0.09 better than the preset's own settings (0.4).**")
    assert "| width | 16 | 32 |" in words
    assert {path.stem for path in artifact(tracker, parent, "figures").iterdir()} == ALL_FIGURES
    table = json.loads(artifact(tracker, parent, "tables/trials.json").read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["trial"] for row in rows] == [0, 1, 2, 3, 4, 5]
    assert rows[1]["feasible"] == "no"
    assert (rows[5]["retry_of"], rows[4]["reason"]) == (4, "its process died")
    assert rows[0]["width"] == 32


def test_published_again_nothing_is_doubled_and_the_page_opens_folded(tracker, preset, study):
    before = runs_by_name(tracker, preset, study)
    again = open_tracker("mlflow", tracker.store.runs_dir)  # another process, which knows nothing of what was published
    StudyRuns(again, preset, "dnn_fft", study.study_name).publish(study)
    after = runs_by_name(tracker, preset, study)
    assert {name: run.info.run_id for name, run in before.items()} == {
        name: run.info.run_id for name, run in after.items()
    }
    assert {run.info.status for run in after.values()} == {"FINISHED"}
    experiment = tracker.store.client.get_experiment_by_name(sweep_experiment(preset))
    view = json.loads(experiment.tags["mlflow.sharedViewState.overtone"])
    assert view["orderByKey"] == "attributes.start_time", "sorted by anything else, MLflow does not fold trials up"
    assert tracker.latest_fragment() == tracker.store.experiment_fragment(
        tracker.store.experiment_id(sweep_experiment(preset))
    )


def complete(number, width=lambda n: 8 + n):
    def make():
        study = optuna.create_study()
        for n in range(number):
            add(study, 0.5 - 0.01 * n, width=width(n))
        return study

    return make


def pruned_only():
    study = optuna.create_study()
    for n in range(3):
        add(study, 0.5, state=optuna.trial.TrialState.PRUNED, width=8 + n)
    return study


def infeasible_only():
    study = optuna.create_study(direction="maximize")
    for n in range(4):
        add(study, 0.1 * n, guards=1.0, width=8 + n)
    return study


POOR_STUDIES = {
    "empty": (optuna.create_study, set()),
    "one": (complete(1), {"history"}),
    "two": (complete(2), ALL_FIGURES),
    "constant": (complete(5, width=lambda n: 16), {"history"}),
    "pruned": (pruned_only, set()),
    "infeasible": (infeasible_only, ALL_FIGURES),
}


@pytest.mark.parametrize("kind", POOR_STUDIES)
def test_poor_studies_have_the_plots_that_say_something(kind):
    make, expected = POOR_STUDIES[kind]
    style, study = dict(plt.rcParams), make()
    figures = dict(study_figures(study, "primary"))
    assert set(figures) == expected
    assert dict(plt.rcParams) == style and not plt.get_fignums()
    assert len(trial_table(study)) == len(study.trials)


def test_nothing_is_drawn_where_nothing_is_kept(monkeypatch):
    monkeypatch.delattr("experiments.sweep.publication.study_figures")
    study = complete(2)()
    StudyRuns(Tracker(), load_preset("demo"), "dnn_fft", study.study_name).publish(study, final=True)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "No trial is complete and meets all constraints yet"),
        ([0.4], "nothing beats the preset's own settings (0.4)"),
        ([None, 0.3], "were not tried to the end"),
        ([0.4, 0.3], "0.1 better than the preset's own settings (0.4)"),
    ],
)
def test_the_headline(tracker, preset, values, words):
    study = optuna.create_study(study_name=f"headline-{len(values)}-{values[:1]}")
    for number, value in enumerate(values):
        state = optuna.trial.TrialState.FAIL if value is None else optuna.trial.TrialState.COMPLETE
        add(study, value, state=state, width=8 + number)
    StudyRuns(tracker, preset, "dnn_fft", study.study_name).publish(study)
    assert words in runs_by_name(tracker, preset, study)[study.study_name].data.tags["mlflow.note.content"]


@pytest.mark.skipif(importlib.util.find_spec("optuna_dashboard") is None, reason="the extra `dashboard` is missing")
def test_the_dashboard_opens_the_study(tmp_path):
    storage = f"sqlite:///{tmp_path / 'optuna.db'}"
    study = optuna.create_study(storage=storage, study_name="demo-dnn_fft")
    for n in range(3):
        add(study, 0.5 - 0.1 * n, width=8 + n)
    port = free_port()
    command = [sys.executable, "-c", "from optuna_dashboard._cli import main; main()", storage, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                found = json.load(opener.open(f"http://127.0.0.1:{port}/api/studies", timeout=60))
                break
            except urllib.error.URLError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.2)
        (summary,) = found["study_summaries"]
        assert summary["study_name"] == "demo-dnn_fft"
        detail = json.load(opener.open(f"http://127.0.0.1:{port}/api/studies/{summary['study_id']}", timeout=60))
        assert [trial["values"] for trial in detail["trials"]] == [[0.5], [0.4], [0.3]]
    finally:
        process.kill()
        process.wait()
