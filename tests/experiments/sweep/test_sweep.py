"""Sweeps: the same trials whatever interrupts them, none lost or doubled; pruning, constraints, mistakes in a line."""

import errno
import os
import signal
import subprocess
import sys
import threading
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
from experiments.sweep import trial as sweep_trial
from experiments.sweep.search_space import default_parameters, distributions
from experiments.sweep.storage import open_storage
from experiments.sweep.study import best_trial, default_storage, load_study, make_study, study_key
from experiments.sweep.sweep import SweepOptions, sweep
from experiments.sweep.trial_queue import DEFAULT, RELEASED, SURPLUS, enqueue_retries, read_queue
from experiments.sweep.worker import Worker, WorkerRequest
from models.base import SpeechModule
from overtone.errors import OvertoneError

SWEEP = {
    "trials": 4,
    "random_trials": 2,
    "pruner_startup_trials": 2,
    "heartbeat_seconds": 1,
    "grace_seconds": 3,
    "max_retries": 2,
}
LONG_EXAMPLES = 120  # a second or two of training: long enough to be interrupted

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def preset_path(tiny_preset):
    """A preset whose trials take a second."""
    plain = yaml.safe_load(tiny_preset.read_text())
    plain["budget"] |= {"examples": 60, "epochs": 3}
    plain["models"] = {"dnn_fft": {"hidden": 16, "layers": 1}, "dnn_fft_seed": {}}
    plain["winner"] = {"lsd_low_clean": 1.0, "lsd_low_margin": 1.0, "content_ber_margin": 0.5, "tonality": 100.0}
    tiny_preset.write_text(yaml.safe_dump(plain | {"sweep": SWEEP}))
    return tiny_preset


def changed(path, **changes):
    plain = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(plain | changes))


@pytest.fixture
def long_preset_path(preset_path):
    """The same with trials that can be interrupted."""
    changed(preset_path, budget=yaml.safe_load(preset_path.read_text())["budget"] | {"examples": LONG_EXAMPLES})
    return preset_path


@pytest.fixture
def worker(preset_path, tiny_corpus, tmp_path):
    """Return a function that makes a study and a worker in this process, and what the worker says."""

    def make(trials, model="dnn_fft", name=None):
        preset, runs = load_preset(str(preset_path)), tmp_path / "runs"
        runs.mkdir(exist_ok=True)
        url = default_storage(runs)
        storage = open_storage(url, heartbeat_seconds=1, grace_seconds=3)
        key = study_key(preset, model, load_corpus(tiny_corpus).digest, name)
        study = make_study(storage, key, preset)
        said = []
        request = WorkerRequest(
            model, str(preset_path), key.name, key.identity, url, trials, str(tiny_corpus), str(runs), "none"
        )
        return study, Worker(request, said.append), said

    return make


def sentences(said):
    return [event["say"] for event in said if "say" in event]


def outcome(study):
    """What must be the same: parameters, state and value of all that finished, in their order."""
    lineages = read_queue(study, SWEEP["max_retries"]).lineages
    finished = [lineage.last for lineage in lineages if lineage.finished]
    return [(trial.params, trial.state.name, trial.value, trial.intermediate_values) for trial in finished]


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
        """Wait until a trial runs and has reported so many epochs."""

        def runs():
            assert self.process.poll() is None, self.text()
            return any(
                trial.number >= number and len(trial.intermediate_values) >= epochs
                for trial in self.trials(TrialState.RUNNING)
            )

        wait_for(runs, 300)

    def wait(self):
        return self.process.wait(timeout=300)

    def text(self):
        self.out.flush()
        return Path(self.out.name).read_text()


@pytest.fixture(scope="module")
def uninterrupted():
    """The outcome of a study that nothing disturbs; filled by the first test that needs it."""
    return {}


@pytest.fixture
def expected(uninterrupted, long_preset_path, tiny_corpus, tmp_path):
    if not uninterrupted:
        runs = tmp_path / "undisturbed"
        options = SweepOptions(data=str(tiny_corpus), runs=runs, tracking="none")
        sweep("dnn_fft", str(long_preset_path), options)
        name = optuna.get_all_study_names(default_storage(runs))[0]
        uninterrupted["study"] = load_study(default_storage(runs), name)
        uninterrupted["outcome"] = outcome(uninterrupted["study"])
    return uninterrupted


def test_a_sweep_begins_with_the_presets_own_settings_and_keeps_what_each_trial_was(expected, long_preset_path):
    study = expected["study"]
    assert [trial.number for trial in study.trials] == [0, 1, 2, 3]
    assert study.trials[0].user_attrs[DEFAULT] is True
    assert study.trials[0].params["hidden"] == 16
    assert study.user_attrs["trials"] == 4
    assert study.user_attrs["examples"] == LONG_EXAMPLES
    for trial in study.get_trials(states=(TrialState.COMPLETE,)):
        assert set(trial.params) == set(distributions(load_preset(str(long_preset_path)), "dnn_fft"))
        attributes = trial.user_attrs
        assert attributes["examples"] == LONG_EXAMPLES
        assert attributes["scores"]["primary"] == trial.value
        assert attributes["guards"] == []
        assert 0 < attributes["seconds"] < 60
        assert Path(attributes["folder"], "model.pt").is_file()
        assert list(trial.intermediate_values) == [1, 2, 3]
    best = best_trial(study)
    assert best.value == min(trial.value for trial in study.get_trials(states=(TrialState.COMPLETE,)))


def test_the_same_seed_gives_the_same_study_whatever_interrupts_it(
    expected, long_preset_path, tiny_corpus, tmp_path, capsys
):
    runs = tmp_path / "disturbed"

    def start():
        return Command(long_preset_path, tiny_corpus, runs)

    command = start()
    command.wait_until_in_trial(1)
    command.process.send_signal(signal.SIGINT)
    assert command.wait() == 130, command.text()
    assert "The same command continues where it was." in command.text()
    (released,) = [trial for trial in command.trials(TrialState.FAIL) if RELEASED in trial.user_attrs]

    command = start()
    command.wait_until_in_trial(released.number + 1)
    (worker,) = children_of(command.process.pid)
    os.kill(worker, signal.SIGKILL)
    command.wait_until_in_trial(released.number + 2)
    (worker,) = children_of(command.process.pid)
    command.process.kill()
    wait_for(lambda: not is_running(worker))  # no worker outlives its supervisor, and it keeps what it has learnt

    capsys.readouterr()
    sweep("dnn_fft", str(long_preset_path), SweepOptions(data=str(tiny_corpus), runs=runs, tracking="none"))
    text = command.text() + capsys.readouterr().out
    assert ": resumes from its checkpoint at " in text
    assert "was killed by SIGKILL; trial" in text
    assert "4 trials (" in text
    assert outcome(command.study()) == expected["outcome"]
    assert read_queue(command.study(), SWEEP["max_retries"]).running == []


def test_all_models_of_a_preset_each_have_a_study(preset_path, tiny_corpus, tmp_path, capsys):
    runs = tmp_path / "runs"
    options = SweepOptions(trials=1, data=str(tiny_corpus), runs=runs, tracking="none", side_by_side=True)
    sweep("all", str(preset_path), options)
    names = optuna.get_all_study_names(default_storage(runs))
    assert sorted(name.split("-")[1] for name in names) == ["dnn_fft", "dnn_fft_seed"]
    for name in names:
        study = load_study(default_storage(runs), name)
        assert [trial.state for trial in study.trials] == [TrialState.COMPLETE]
        assert "latency_ms" not in " ".join(study.trials[0].user_attrs["guards"]), "no setting would change it"
    printed = capsys.readouterr().out
    assert "optuna-dashboard sqlite:///" in printed.replace("\n", "")


# One worker, in this process


def test_a_trial_that_is_worse_than_the_others_is_pruned_and_says_after_which_epoch(worker, preset_path):
    study, one, said = worker(trials=6)
    values = {epoch: 0.0 for epoch in range(1, 4)}
    for _ in range(4):
        study.add_trial(create_trial(value=0.1, params={}, intermediate_values=values))
    one.run()
    pruned = study.get_trials(states=(TrialState.PRUNED,))
    assert len(pruned) == 2
    assert pruned[0].user_attrs["reason"] == "pruned after epoch 2", "one epoch of warm-up"
    assert list(pruned[0].intermediate_values) == [1, 2]
    assert not Path(pruned[0].user_attrs["folder"], "model.pt").exists()
    assert [event["state"] for event in said if "ended" in event] == ["PRUNED", "PRUNED"]


def test_what_breaks_a_guard_cannot_win(worker, preset_path):
    plain = yaml.safe_load(preset_path.read_text())
    changed(preset_path, winner=plain["winner"] | {"rtf": 1e-9})
    study, one, _ = worker(trials=2)
    one.run()
    complete = study.get_trials(states=(TrialState.COMPLETE,))
    assert complete
    for trial in complete:
        assert trial.constraints["rtf"] == 1.0
        assert trial.constraints["tonality"] == 0.0
        assert trial.user_attrs["guards"][0].startswith("the real-time factor is")
    assert best_trial(study) is None


@pytest.mark.parametrize(("objective", "direction"), [("val_loss", "MINIMIZE"), ("si_sdr", "MAXIMIZE")])
def test_the_objective_may_be_any_measure_or_the_loss(worker, preset_path, objective, direction):
    changed(preset_path, sweep=SWEEP | {"objective": objective, "guards": objective != "val_loss"})
    study, one, _ = worker(trials=1)
    one.run()
    assert study.direction.name == direction
    assert study.best_value == study.trials[0].user_attrs["scores"][objective]


def test_a_training_that_diverges_is_pruned_with_its_reason(worker, monkeypatch):
    monkeypatch.setattr(SpeechModule, "loss", lambda self, batch: self.judged_estimate(batch).sum() * float("nan"))
    study, one, _ = worker(trials=1)
    one.run()
    (trial,) = study.trials
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["reason"].startswith("The training diverged: its loss is nan at step 1")


def test_a_full_disk_ends_the_sweep_in_one_line_and_the_trial_is_tried_again(worker, monkeypatch):
    study, one, _ = worker(trials=1)

    def full(preset, place, *_, **__):
        checkpoint = place.folder / "checkpoints" / "last.ckpt"
        checkpoint.parent.mkdir()
        checkpoint.write_bytes(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device", "last.ckpt")

    with monkeypatch.context() as patch:
        patch.setattr(sweep_trial, "train", full)
        with pytest.raises(OvertoneError, match=r"last\.ckpt: No space left on device\. Make room"):
            one.run()
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.WAITING]
    _, one, said = worker(trials=1)
    one.run()
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert "trial 1: repeats trial 0 from the start." in sentences(said)


def test_a_trial_that_fails_again_and_again_is_given_up_and_another_takes_its_place(worker, monkeypatch):
    study, one, said = worker(trials=1)
    trained, calls = sweep_trial.train, []

    def broken(*arguments, **named):
        calls.append(1)
        if len(calls) <= SWEEP["max_retries"] + 1:
            raise RuntimeError("out of memory")
        return trained(*arguments, **named)

    monkeypatch.setattr(sweep_trial, "train", broken)
    one.run()
    states = [trial.state for trial in study.trials]
    assert states == [TrialState.FAIL] * 3 + [TrialState.COMPLETE]
    assert study.trials[0].params == study.trials[2].params != study.trials[3].params
    assert study.trials[2].user_attrs["reason"] == "RuntimeError: out of memory"
    assert "trial 0: failed (RuntimeError: out of memory)." in sentences(said)


def test_a_worker_that_slept_through_the_grace_does_not_count_twice(worker, monkeypatch):
    study, one, said = worker(trials=1)
    trained = sweep_trial.train

    def slept(*arguments, **named):
        if len(study.trials) == 1:  # meanwhile the others have given up on it
            study.tell(0, state=TrialState.FAIL)
            enqueue_retries(study, SWEEP["max_retries"])
        return trained(*arguments, **named)

    monkeypatch.setattr(sweep_trial, "train", slept)
    one.run()
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.COMPLETE]
    assert study.trials[0].values is None
    assert "trial 0: was given to somebody else while this worker was silent, and goes on there." in sentences(said)
    assert any(line.startswith("trial 1: resumes from its checkpoint at 20/60") for line in sentences(said))


def test_equal_settings_are_trained_once(worker, preset_path):
    study, one, said = worker(trials=2)
    preset = load_preset(str(preset_path))
    for _ in range(2):
        study.add_trial(
            create_trial(
                state=TrialState.WAITING,
                params=default_parameters(preset, "dnn_fft"),
                distributions=distributions(preset, "dnn_fft"),
            )
        )
    one.run()
    first, second = study.trials
    assert first.value == second.value
    assert first.intermediate_values == second.intermediate_values
    assert "trial 1: a training with its settings is finished and is read." in sentences(said)


def test_a_surplus_trial_is_marked_and_counts_for_nothing(worker):
    study, one, said = worker(trials=1)
    study.add_trial(create_trial(state=TrialState.RUNNING))  # somebody else's
    study.add_trial(create_trial(state=TrialState.WAITING))
    ended = threading.Timer(3.0, lambda: study.tell(0, 0.5))
    ended.start()
    one.run()
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.FAIL]
    assert study.trials[1].user_attrs == {SURPLUS: True}
    assert [event for event in said if "trial" in event] == []


def test_a_worker_whose_sources_or_corpus_are_others_does_not_join(worker, preset_path):
    _, one, _ = worker(trials=1)
    changed(preset_path, budget={"examples": 80, "epochs": 3, "threads": 1})
    one._preset = load_preset(str(preset_path))
    with pytest.raises(OvertoneError, match="are not those that the sweep began with"):
        one.run()


# Mistakes


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
    ],
)
def test_a_bad_option_is_refused_in_one_line(refused, arguments, expected):
    assert expected in refused(*arguments)


def test_models_and_studies_that_do_not_go_together_are_refused(refused, preset_path):
    assert "has no model 'wavegan'. It has: dnn_fft, dnn_fft_seed" in refused(model="wavegan")
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


def test_a_cluster_that_is_not_there_is_refused(refused):
    assert "Ray" in refused("--launcher", "ray")
