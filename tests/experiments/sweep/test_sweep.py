"""Sweeps in real processes: killed, interrupted, continued; pruning, constraints, errors in a line."""

import errno
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.trial import TrialState, create_trial
from processes import children_of, is_running, wait_for
from project import PROJECT

from datamodules.corpora.corpus import load_corpus
from experiments.cli.main import main
from experiments.presets.preset import load_preset
from experiments.runs import Workspace
from experiments.sweep import trial as sweep_trial
from experiments.sweep.options import SweepOptions
from experiments.sweep.results import DEFAULT, REASON, StudyResult, counted_trials, retry_of
from experiments.sweep.search_space import SearchSpace
from experiments.sweep.storage import default_storage, open_storage
from experiments.sweep.study import load_study, make_study, study_key
from experiments.sweep.sweep import sweep
from experiments.sweep.worker import WorkerRequest, work
from experiments.tracking.tracker import open_tracker
from models.base import SpeechModule
from overtone.errors import OvertoneError

SWEEP = {
    "trials": 4,
    "random_trials": 2,
    "pruner_startup_trials": 2,
    "heartbeat_seconds": 1,
    "grace_seconds": 20,  # a worker that the machine lets wait is not lost
    "max_retries": 2,
}
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def preset_path(tiny_preset):
    """A preset whose trials take a second."""
    plain = yaml.safe_load(tiny_preset.read_text())
    plain["budget"] |= {"examples": 60, "epochs": 3}
    plain["models"] = {"dnn_fft": {"hidden": 16, "layers": 1}, "dnn_fft_original": {}}
    plain["winner"] = {"lsd_low_clean": 1.0, "lsd_low_margin": 1.0, "content_ber_margin": 0.5, "tonality": 100.0}
    tiny_preset.write_text(yaml.safe_dump(plain | {"sweep": SWEEP}))
    return tiny_preset


def changed(path, **changes):
    plain = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(plain | changes))


@pytest.fixture
def long_preset_path(preset_path):
    """The same with trials that can be interrupted."""
    changed(preset_path, budget={"examples": 180, "epochs": 3, "threads": 1})
    return preset_path


@pytest.fixture
def worker(preset_path, tiny_corpus, tmp_path):
    """Return a function that makes a study, and a worker in this process that keeps its events."""

    def make(trials, url=None):
        preset, runs = load_preset(str(preset_path)), tmp_path / "runs"
        runs.mkdir(exist_ok=True)
        url, key = url or default_storage(runs), study_key(preset, "dnn_fft", load_corpus(tiny_corpus).digest)
        study, _ = make_study(open_storage(url, preset.sweep), key, preset)
        said = []
        workspace = Workspace(runs, str(tiny_corpus), tracking="none")
        request = WorkerRequest("dnn_fft", str(preset_path), key.name, url, trials, 0, workspace)
        return study, lambda say=said.append: work(asdict(request), say), said

    return make


class Command:
    """The command in a process of its own, group and all."""

    def __init__(self, preset_path, corpus, runs, *options, model="dnn_fft", url=None):
        arguments = [model, preset_path, "--data", corpus, "--runs", runs, "--tracking", "none", *options]
        self.runs, self._study, self._url = runs, None, url or default_storage(runs)
        runs.mkdir(exist_ok=True)
        self.out = (runs / "out.txt").open("a+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "experiments.cli.main", "sweep", *map(str, arguments)],
            cwd=PROJECT,
            stdout=self.out,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def study(self):
        """The study, None while it is being made."""
        if self._study is None and "Study tiny-" in self.text():
            self._study = load_study(self._url, optuna.get_all_study_names(self._url)[0])
        return self._study

    def trials(self, *states):
        study = self.study()
        return study.get_trials(deepcopy=False, states=states or None) if study else []

    def wait_until_in_trial(self, number, epochs=1):
        """Wait until a trial of at least this number runs and has reported so many epochs; return its number."""
        found = []

        def runs():
            assert self.process.poll() is None, self.text()
            found[:] = [
                trial.number
                for trial in self.trials(TrialState.RUNNING)
                if trial.number >= number and len(trial.intermediate_values) >= epochs
            ]
            return found

        wait_for(runs, 900)
        return found[0]

    def wait(self):
        return self.process.wait(timeout=900)

    def text(self):
        self.out.flush()
        return Path(self.out.name).read_text()


@pytest.mark.slow
def test_a_sweep_survives_ctrl_c_and_kills_and_a_finished_one_does_nothing(
    long_preset_path, tiny_corpus, tmp_path, capsys
):
    runs = tmp_path / "runs"
    command = Command(long_preset_path, tiny_corpus, runs)
    assert command.wait_until_in_trial(0) == 0
    command.process.send_signal(signal.SIGINT)
    assert command.wait() == 130, command.text()
    assert "The same command continues where it was." in command.text()
    assert [trial.state for trial in command.trials()] == [TrialState.FAIL, TrialState.WAITING]

    command = Command(long_preset_path, tiny_corpus, runs)
    interrupted = command.wait_until_in_trial(1, epochs=2)
    (worker,) = children_of(command.process.pid)
    os.kill(worker, signal.SIGKILL)
    last = command.wait_until_in_trial(interrupted + 2)
    (worker,) = children_of(command.process.pid)
    command.process.kill()
    wait_for(lambda: not is_running(worker))  # no worker outlives its parent, and it keeps a checkpoint
    assert command.study().trials[last].state == TrialState.FAIL

    options = SweepOptions(workspace=Workspace(runs, str(tiny_corpus), tracking="none"))
    capsys.readouterr()
    sweep("dnn_fft", str(long_preset_path), options)
    text = command.text() + capsys.readouterr().out
    assert "continues from its checkpoint." in text
    assert f"was killed (SIGKILL); trial {interrupted} is tried again" in text
    study = command.study()
    assert len(study.get_trials(states=FINISHED)) == 4, "with one worker there is no surplus"
    assert not study.get_trials(states=(TrialState.RUNNING, TrialState.WAITING))
    check_trials(study, load_preset(str(long_preset_path)))

    before = study.trials
    sweep("dnn_fft", str(long_preset_path), options)
    assert study.trials == before
    assert "4 trials (" in capsys.readouterr().out


def check_trials(study, preset):
    finished = study.get_trials(states=FINISHED)
    default = finished[0]
    assert (default.params["hidden"], default.user_attrs[DEFAULT]) == (16, True), "retried, and still the first"
    for trial in study.get_trials(states=(TrialState.COMPLETE,)):
        assert set(trial.params) == set(SearchSpace(preset, "dnn_fft").ranges)
        attributes = trial.user_attrs
        assert attributes["examples"] == 180
        assert attributes["scores"]["primary"] == trial.value
        assert attributes["guards"] == []
        assert attributes["seconds"] > 0
        assert Path(attributes["folder"], "model.pt").is_file()
        assert list(trial.intermediate_values) == [1, 2, 3]


@pytest.mark.slow
def test_a_machine_that_is_lost_with_a_trial_costs_only_its_time(long_preset_path, tiny_corpus, tmp_path):
    runs = tmp_path / "runs"
    lost = Command(long_preset_path, tiny_corpus, runs, "--trials", 2)
    assert lost.wait_until_in_trial(0) == 0
    for process in [lost.process.pid, *children_of(lost.process.pid)]:
        os.kill(process, signal.SIGKILL)
    lost.wait()
    command = Command(long_preset_path, tiny_corpus, runs, "--trials", 2, "--workers", 2)
    assert command.wait() == 0, command.text()
    (repeated,) = [trial for trial in command.trials() if retry_of(trial) == 0]
    assert repeated.params == command.trials()[0].params
    assert command.trials()[0].state == TrialState.FAIL
    finished = command.trials(*FINISHED)
    assert 2 <= len(finished) <= 3, "at most one surplus trial of two workers"
    assert len(counted_trials(command.study())) == 2


@pytest.mark.slow
def test_all_models_of_a_preset_each_have_a_study_and_its_runs(preset_path, tiny_corpus, tmp_path, capsys):
    runs = tmp_path / "runs"
    options = SweepOptions(trials=1, workspace=Workspace(runs, str(tiny_corpus)), side_by_side=True)
    sweep("all", str(preset_path), options)
    names = optuna.get_all_study_names(default_storage(runs))
    assert sorted(name.split("-")[1] for name in names) == ["dnn_fft", "dnn_fft_original"]
    for name in names:
        study = load_study(default_storage(runs), name)
        assert [trial.state for trial in study.trials] == [TrialState.COMPLETE]
        assert "whole-file" not in " ".join(study.trials[0].user_attrs["guards"]), "no setting would change it"
    experiment = mlflow_client(runs).get_experiment_by_name("sweep-tiny")
    tracked = mlflow_client(runs).search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in tracked) == sorted([*names, "trial-000", "trial-000"])
    assert {run.info.status for run in tracked} == {"FINISHED"}
    assert all("value" in run.data.metrics for run in tracked if run.info.run_name == "trial-000")
    printed = capsys.readouterr().out
    assert "optuna-dashboard sqlite:///" in printed.replace("\n", "")


def mlflow_client(runs):
    return open_tracker("mlflow", runs).store.client


def test_workers_that_die_again_and_again_end_the_sweep_in_one_line(refused, preset_path, monkeypatch):
    monkeypatch.setattr("experiments.sweep.sweep.MODULE", "experiments.sweep.no_such_module")
    assert "3 failures in a row, the last: worker 3 ended with code 1. See " in refused()


# One worker, in this process


def test_a_trial_that_is_worse_than_the_others_is_pruned_and_says_after_which_epoch(worker):
    study, run, said = worker(trials=6)
    values = {epoch: 0.0 for epoch in range(1, 4)}
    for _ in range(4):
        study.add_trial(create_trial(value=0.1, params={}, intermediate_values=values))
    run()
    pruned = study.get_trials(states=(TrialState.PRUNED,))
    assert len(pruned) == 2
    assert pruned[0].user_attrs[REASON] == "pruned after epoch 2", "one epoch of warm-up"
    assert list(pruned[0].intermediate_values) == [1, 2]
    assert not Path(pruned[0].user_attrs["folder"], "model.pt").exists()
    assert [event["ended"] for event in said if "ended" in event] == [4, 5]


def test_what_breaks_a_guard_cannot_win(worker, preset_path):
    plain = yaml.safe_load(preset_path.read_text())
    changed(preset_path, winner=plain["winner"] | {"rtf": 1e-9})
    study, run, _ = worker(trials=2)
    run()
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    assert complete
    for trial in complete:
        assert trial.constraints == {"guards": 1.0}
        assert trial.user_attrs["guards"][0].startswith("the real-time factor is")
    assert StudyResult.of(study).best is None


@pytest.mark.parametrize(("objective", "direction"), [("val_loss", "MINIMIZE"), ("si_sdr", "MAXIMIZE")])
def test_the_objective_may_be_any_measure_or_the_loss(worker, preset_path, objective, direction):
    changed(preset_path, sweep=SWEEP | {"objective": objective, "guards": objective != "val_loss"})
    study, run, _ = worker(trials=1)
    run()
    assert study.direction.name == direction
    assert study.best_value == study.trials[0].user_attrs["scores"][objective]


def test_a_training_that_diverges_is_pruned_with_its_reason(worker, monkeypatch):
    monkeypatch.setattr(SpeechModule, "loss", lambda self, batch: self.judged_estimate(batch).sum() * float("nan"))
    study, run, _ = worker(trials=1)
    run()
    (trial,) = study.trials
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs[REASON].startswith("The training diverged: its loss is nan at step 1")


def test_a_full_disk_ends_the_worker_and_the_trial_is_tried_again(worker, monkeypatch):
    study, run, _ = worker(trials=1)

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "last.ckpt")

    with monkeypatch.context() as patch:
        patch.setattr(sweep_trial, "train", full)
        with pytest.raises(OSError, match="No space left"):
            run()
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    run()
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert study.trials[0].params == study.trials[1].params


def test_a_trial_that_fails_is_shown_and_another_takes_its_place(worker, monkeypatch):
    study, run, _ = worker(trials=1)
    trained, calls = sweep_trial.train, []

    def broken(*arguments, **named):
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError("out of memory")
        return trained(*arguments, **named)

    monkeypatch.setattr(sweep_trial, "train", broken)
    run()
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert study.trials[0].user_attrs[REASON] == "RuntimeError: out of memory"


def test_equal_settings_are_trained_once(worker, preset_path, monkeypatch):
    study, run, _ = worker(trials=2)
    for _ in range(2):
        study.enqueue_trial(SearchSpace(load_preset(str(preset_path)), "dnn_fft").default_parameters)
    written = []

    def say(event):
        if "ended" in event:
            folder = study.trials[event["ended"]].user_attrs["folder"]
            written.append(Path(folder, "model.pt").stat().st_mtime_ns)

    run(say)
    first, second = study.trials
    assert first.value == second.value
    assert first.intermediate_values == second.intermediate_values
    assert first.user_attrs["folder"] == second.user_attrs["folder"]
    assert written[0] == written[1]


def test_a_worker_whose_sources_or_corpus_are_others_does_not_join(worker, preset_path):
    _, run, _ = worker(trials=1)
    changed(preset_path, budget={"examples": 80, "epochs": 3, "threads": 1})
    with pytest.raises(OvertoneError, match="cannot be compared with new ones"):
        run()


# Errors of the user


@pytest.fixture
def refused(capsys, preset_path, tiny_corpus, tmp_path):
    def run(*arguments, model="dnn_fft"):
        options = ["--data", tiny_corpus, "--runs", tmp_path / "runs", "--tracking", "none", *arguments]
        assert main(["sweep", model, str(preset_path), *map(str, options)]) == 1
        printed = capsys.readouterr()
        assert printed.err.startswith("overtone: ")
        assert printed.err.count("\n") == 1
        assert "Traceback" not in printed.err + printed.out
        return printed.err

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--trials", 0), "--trials: expected at least 1, got 0"),
        (("--workers", 0), "--workers: expected at least 1, got 0"),
        (("--gpus-per-worker", -1), "--gpus-per-worker: expected at least 0"),
        (("--storage", "nonsense"), "expected a database URL"),
        (("--storage", "sqlite://"), "a database in memory cannot be shared"),
        (("--storage", "postgresql+psycopg://127.0.0.1:9/optuna"), "127.0.0.1"),
        (("--storage", "oracle://127.0.0.1/optuna"), "driver"),
        (("--launcher", "ray"), "Ray"),
    ],
)
def test_a_bad_option_is_refused_in_one_line(refused, arguments, expected):
    assert expected in refused(*arguments)


def test_models_and_studies_that_do_not_go_together_are_refused(refused, preset_path):
    assert "has no model 'wavegan'. It has: dnn_fft, dnn_fft_original" in refused(model="wavegan")
    assert "Name one model with it" in refused("--study", "mine", model="all")
    changed(preset_path, sweep=SWEEP | {"objective": "beauty"})
    assert "unknown objective 'beauty'" in refused()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"trials": 0}, "sweep.trials"),
        ({"examples": 2, "epochs": 3}, "sweep.examples"),
        ({"grace_seconds": 1}, "sweep.grace_seconds"),
        ({"max_retries": -1}, "sweep.max_retries"),
        ({"trails": 3}, "trails"),
    ],
)
def test_a_preset_with_a_bad_sweep_is_refused(refused, preset_path, settings, expected):
    changed(preset_path, sweep=SWEEP | settings)
    assert expected in refused()
