"""Studies: exact numbers of trials under any races and deaths, names by what is comparable, settings there and back."""

import multiprocessing
import os
import random
import threading
import time
from dataclasses import replace

import optuna
import pytest
from optuna.storages import fail_stale_trials
from optuna.trial import TrialState, create_trial

from experiments.presets.preset import SweepSettings, load_preset
from experiments.registry import MODELS
from experiments.sweep.search_space import (
    default_parameters,
    distributions,
    own_settings,
    search_space,
    settings_of,
    settings_with,
    suggest,
)
from experiments.sweep.storage import open_storage
from experiments.sweep.study import (
    best_trial,
    known_studies,
    load_study,
    make_study,
    sampler,
    study_key,
    study_name,
    trial_preset,
)
from experiments.sweep.trial_queue import (
    DEFAULT,
    RELEASED,
    RETRY_OF,
    SURPLUS,
    TrialQueue,
    enqueue_default,
    enqueue_retries,
    read_queue,
)
from overtone.errors import OvertoneError

RETRIES = 2
X = {"x": optuna.distributions.FloatDistribution(0, 1)}


# The queue: how many trials count


class Simulation:
    """Workers and supervisors that do one atomic step of the storage each, in any order."""

    def __init__(self, seed, wanted):
        self.chance, self.wanted = random.Random(seed), wanted
        self.trials = []
        self.active = []  # numbers of trials that a living worker has not yet counted
        self.training = []

    def add(self, state, **attributes):
        trial = create_trial(state=state, value=0.0 if state == TrialState.COMPLETE else None, user_attrs=attributes)
        trial.number = len(self.trials)
        self.trials.append(trial)
        return trial.number

    @property
    def queue(self):
        return TrialQueue(self.trials, RETRIES)

    def ask(self):
        waiting = [trial.number for trial in self.trials if trial.state == TrialState.WAITING]
        if waiting:
            self.trials[waiting[0]].state = TrialState.RUNNING
            self.active.append(waiting[0])
        elif self.queue.may_start(self.wanted) or self.chance.random() < 0.2:  # a guess that is out of date by now
            self.active.append(self.add(TrialState.RUNNING))

    def count(self):
        if self.active:
            number = self.active.pop(self.chance.randrange(len(self.active)))
            if self.queue.is_surplus(number, self.wanted):
                self.trials[number].set_user_attr(SURPLUS, True)
                if self.chance.random() < 0.8:  # else it dies before it can say so
                    self.trials[number].state = TrialState.FAIL
            else:
                self.training.append(number)

    def finish(self):
        if self.training:
            number = self.training.pop(self.chance.randrange(len(self.training)))
            if self.trials[number].state == TrialState.RUNNING:  # else others have given up on it: a late riser
                self.trials[number].state = self.chance.choice([TrialState.COMPLETE, TrialState.PRUNED])

    def die(self):
        pool = self.chance.choice([self.active, self.training])
        if pool:
            number = pool.pop(self.chance.randrange(len(pool)))
            if self.chance.random() < 0.3:
                self.trials[number].set_user_attr(RELEASED, "interrupted")

    def give_up(self):
        running = [trial for trial in self.trials if trial.state == TrialState.RUNNING]
        held = {*self.active, *self.training}
        dead = [trial for trial in running if trial.number not in held or self.chance.random() < 0.1]
        for trial in dead[:1]:
            trial.state = TrialState.FAIL

    def retry(self):
        owed = [lineage.last.number for lineage in self.queue.lineages if lineage.owed]
        for number in owed:
            for _ in range(self.chance.choice([1, 1, 2])):  # two supervisors that saw the same
                self.add(TrialState.WAITING, **{RETRY_OF: number})

    def run(self):
        actions = [self.ask, self.ask, self.count, self.count, self.finish, self.give_up, self.retry, self.die]
        for _ in range(3000):
            self.chance.choice(actions)()
            assert self.queue.finished <= self.wanted
            if self.queue.finished == self.wanted and not self.active and not self.training:
                return


@pytest.mark.parametrize("seed", range(60))
def test_any_order_of_races_and_deaths_ends_with_exactly_the_trials_asked_for(seed):
    simulation = Simulation(seed, wanted=1 + seed % 7)
    simulation.run()
    ended = [trial for trial in simulation.trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len(ended) == simulation.queue.finished == simulation.wanted
    repeated = [trial.user_attrs[RETRY_OF] for trial in ended if RETRY_OF in trial.user_attrs]
    assert len(set(repeated)) == len(repeated)
    for lineage in simulation.queue.given_up:
        assert sum(RELEASED not in trial.user_attrs for trial in lineage.trials) == RETRIES + 1


def waiting(number, **attributes):
    trial = create_trial(state=TrialState.WAITING, user_attrs=attributes)
    trial.number = number
    return trial


def failed(number, **attributes):
    trial = create_trial(state=TrialState.FAIL, user_attrs=attributes)
    trial.number = number
    return trial


def test_a_retry_keeps_the_place_of_what_it_repeats():
    running = [waiting(number) for number in (1, 2)]
    queue = TrialQueue([failed(0), *running, waiting(3, **{RETRY_OF: 0})], RETRIES)
    assert not queue.is_surplus(3, wanted=3)
    assert not queue.is_surplus(2, wanted=3)
    assert queue.is_surplus(2, wanted=2)
    assert queue.living == 3
    assert queue.next_place == 1


def test_a_failed_trial_keeps_its_place_until_its_retry_is_queued():
    queue = TrialQueue([failed(0), waiting(1), waiting(2)], RETRIES)
    assert queue.is_surplus(2, wanted=2)
    assert [lineage.last.number for lineage in queue.lineages if lineage.owed] == [0]


def test_a_trial_that_died_too_often_is_given_up_and_frees_its_place():
    chain = [failed(0), failed(1, **{RETRY_OF: 0}), failed(2, **{RETRY_OF: 1}), waiting(3)]
    queue = TrialQueue(chain, max_retries=2)
    assert [lineage.last.number for lineage in queue.given_up] == [2]
    assert not queue.is_surplus(3, wanted=1)
    released = [failed(0), failed(1, **{RETRY_OF: 0, RELEASED: "interrupted"}), failed(2, **{RETRY_OF: 1})]
    assert not TrialQueue(released, max_retries=2).given_up


def test_the_second_of_two_equal_retries_is_surplus():
    trials = [failed(0), waiting(1, **{RETRY_OF: 0}), waiting(2, **{RETRY_OF: 0})]
    queue = TrialQueue(trials, RETRIES)
    assert not queue.is_surplus(1, wanted=5)
    assert queue.is_surplus(2, wanted=5)
    defaults = TrialQueue([waiting(0, **{DEFAULT: True}), waiting(1, **{DEFAULT: True})], RETRIES)
    assert defaults.is_surplus(1, wanted=5)


# The same on a real database


def open_test_study(url, grace_seconds=2):
    storage = open_storage(url, heartbeat_seconds=1, grace_seconds=grace_seconds, patience_seconds=20)
    study = optuna.create_study(storage=storage, study_name="exact", load_if_exists=True)
    return study, storage


class TooMany(Exception):
    pass


def take_trials(url, wanted, seed, kill):
    """A worker without a training, which dies now and then."""
    # Where nobody dies, nobody is there to queue a retry either: a busy machine must not pass for a dead one.
    study, _ = open_test_study(url, 2 if kill else 300)
    chance = random.Random(seed)

    def objective(trial):
        if read_queue(study, 9).is_surplus(trial.number, wanted):
            trial.set_user_attr(SURPLUS, True)
            raise TooMany
        x = trial.suggest_float("x", 0, 1)
        time.sleep(chance.random() * 0.05)
        if kill and chance.random() < 0.3:
            os._exit(1)
        return x

    while (queue := read_queue(study, 9)).finished < wanted:
        if queue.may_start(wanted):
            study.optimize(objective, n_trials=1, catch=(TooMany,))
        else:
            time.sleep(0.2)


def check_exact(study, wanted):
    finished = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    assert len(finished) == wanted == read_queue(study, 9).finished
    for trial in study.get_trials():
        if RETRY_OF in trial.user_attrs:
            assert trial.params == study.trials[trial.user_attrs[RETRY_OF]].params or not trial.params


def test_many_threads_end_with_exactly_the_trials_asked_for(tmp_path):
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    study, _ = open_test_study(url)
    threads = [threading.Thread(target=take_trials, args=(url, 12, seed, False)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_exact(study, 12)


def test_processes_that_die_lose_no_trial_and_two_supervisors_make_none_too_many(tmp_path):
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    study, _ = open_test_study(url)
    context = multiprocessing.get_context("fork")
    wanted, started = 6, 0
    workers = []

    def reap():
        own, own_storage = open_test_study(url)
        while read_queue(own, 9).finished < wanted:
            own_storage.begin_heartbeats([trial._trial_id for trial in read_queue(own, 9).running])
            fail_stale_trials(own)
            enqueue_retries(own, 9)
            time.sleep(0.3)

    # Processes, not threads: who is forked while another thread holds a lock waits for it for ever.
    supervisors = [context.Process(target=reap) for _ in range(2)]
    for supervisor in supervisors:
        supervisor.start()
    end = time.monotonic() + 120
    while read_queue(study, 9).finished < wanted and time.monotonic() < end:
        workers = [worker for worker in workers if worker.is_alive()]
        while len(workers) < 3:
            workers.append(context.Process(target=take_trials, args=(url, wanted, started, started < 5)))
            workers[-1].start()
            started += 1
        time.sleep(0.2)
    for one in [*supervisors, *workers]:
        one.join(30)
        one.kill()
    check_exact(study, wanted)
    assert any(RETRY_OF in trial.user_attrs for trial in study.trials), "nobody died: the test shows nothing"


def test_a_trial_that_died_before_its_first_heartbeat_is_found(tmp_path):
    study, storage = open_test_study(f"sqlite:///{tmp_path / 'optuna.db'}")
    study.ask()
    time.sleep(2.5)
    fail_stale_trials(study)
    assert study.trials[0].state == TrialState.RUNNING, "Optuna never gives up on it"
    storage.begin_heartbeats([trial._trial_id for trial in read_queue(study, RETRIES).running])
    time.sleep(3.1)
    fail_stale_trials(study)
    assert study.trials[0].state == TrialState.FAIL


def test_what_waits_is_taken_once_by_however_many(tmp_path):
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    study, _ = open_test_study(url)
    for _ in range(10):
        study.add_trial(create_trial(state=TrialState.WAITING, params={"x": 0.5}, distributions=X))
    taken = []

    def take():
        own, _ = open_test_study(url)
        taken.extend(own.ask().number for _ in range(2))

    threads = [threading.Thread(target=take) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(10))


# Names and settings


@pytest.fixture
def preset(tiny_preset):
    preset = load_preset(str(tiny_preset))
    return replace(preset, models={model: {} for model in MODELS} | preset.models)


@pytest.fixture
def storage(tmp_path):
    return open_storage(f"sqlite:///{tmp_path / 'optuna.db'}")


@pytest.mark.parametrize("model", MODELS)
def test_the_presets_own_settings_are_a_trial_and_the_same_training(model, preset):
    parameters = default_parameters(preset, model)
    for key, distribution in distributions(preset, model).items():
        assert distribution._contains(distribution.to_internal_repr(parameters[key])), key
    assert settings_with(parameters, preset, model) == preset.models[model]


@pytest.mark.parametrize("model", MODELS)
def test_a_trials_parameters_become_settings_that_build(model, preset, storage):
    from experiments.registry import build_model

    study = optuna.create_study(storage=storage, sampler=sampler(SweepSettings(), 3))
    trial = study.ask()
    parameters = suggest(trial, preset, model)
    assert set(parameters) == set(search_space(preset, model))
    changed = settings_of(study.trials[0], preset, model)
    assert trial_preset(preset, model, changed).models == {model: changed}
    built = build_model(model, preset.sample_rate, changed)
    for key, value in parameters.items():
        setting = getattr(built.settings, key)
        assert value == (f"[{', '.join(map(str, setting))}]" if isinstance(setting, tuple) else setting)


def test_a_trial_spends_the_sweeps_budget(preset):
    small = replace(preset, sweep=SweepSettings(examples=8, epochs=1))
    assert (trial_preset(small, "dnn_fft", {}).budget.examples, trial_preset(small, "dnn_fft", {}).budget.epochs) == (
        8,
        1,
    )
    assert trial_preset(preset, "dnn_fft", {}).budget == preset.budget
    assert own_settings(preset, "dnn_fft")["hidden"] == 16


def test_a_study_has_another_name_where_its_trials_would_not_compare(preset):
    name = study_name(preset, "dnn_fft", "data")
    assert name.startswith("tiny-dnn_fft-")
    same = replace(preset, sweep=SweepSettings(trials=99, grace_seconds=999, max_retries=0))
    assert study_name(same, "dnn_fft", "data") == name
    others = [
        study_name(preset, "dnn_fft", "other data"),
        study_name(replace(preset, sweep=SweepSettings(examples=8, epochs=2)), "dnn_fft", "data"),
        study_name(replace(preset, sweep=SweepSettings(seed=1)), "dnn_fft", "data"),
        study_name(replace(preset, sweep=SweepSettings(objective="lsd")), "dnn_fft", "data"),
        study_name(replace(preset, winner=replace(preset.winner, tonality=9.0)), "dnn_fft", "data"),
        study_name(replace(preset, models=preset.models | {"dnn_fft": {"hidden": 32}}), "dnn_fft", "data"),
    ]
    assert len({name, *others}) == 1 + len(others)


def test_a_study_of_other_trials_is_refused(preset, storage):
    make_study(storage, study_key(preset, "dnn_fft", "data", "mine"), preset)
    assert make_study(storage, study_key(preset, "dnn_fft", "data", "mine"), preset).study_name == "mine"
    with pytest.raises(OvertoneError, match="mine: its trials were made with other data"):
        make_study(storage, study_key(preset, "dnn_fft", "other", "mine"), preset)


def test_the_direction_is_the_objectives(preset, storage):
    for objective, expected in [("primary", "MINIMIZE"), ("val_loss", "MINIMIZE"), ("si_sdr", "MAXIMIZE")]:
        changed = replace(preset, sweep=SweepSettings(objective=objective))
        assert make_study(storage, study_key(changed, "dnn_fft", "data"), changed).direction.name == expected
    with pytest.raises(OvertoneError, match=r"unknown objective 'beauty'\. Known: primary, val_loss, extended_ber"):
        study_key(replace(preset, sweep=SweepSettings(objective="beauty")), "dnn_fft", "data")


def test_the_best_trial_is_feasible_complete_and_the_earliest_of_equals(storage):
    study = optuna.create_study(storage=storage, study_name="best")
    assert best_trial(study) is None

    def add(value, broken=0.0, state=TrialState.COMPLETE):
        trial = create_trial(
            state=state, value=value, params={"x": 0.5}, distributions=X, constraints={"rtf": broken, "lsd_low": 0.0}
        )
        study.add_trial(trial)

    add(0.1, broken=1.0)
    assert best_trial(study) is None
    add(0.2, state=TrialState.PRUNED)
    add(0.4)
    add(0.3)
    add(0.3)
    assert best_trial(study).number == 3


def test_a_default_is_queued_once(storage):
    study = optuna.create_study(storage=storage)
    for _ in range(2):
        enqueue_default(study, {"x": 0.25}, X)
    assert [trial.params for trial in study.trials] == [{"x": 0.25}]
    assert study.trials[0].user_attrs == {DEFAULT: True}


# Storages


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("nonsense", "expected a database URL"),
        ("oracle://host/name", "driver"),
        ("sqlite:////nowhere/at/all/optuna.db", "cannot be opened"),
        ("postgresql+psycopg://me:secret@127.0.0.1:9/optuna", "cannot be opened|is not installed"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_one_line_without_the_password(url, expected):
    with pytest.raises(OvertoneError, match=expected) as raised:
        open_storage(url)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_reading_makes_no_database_and_names_the_studies_there_are(tmp_path, storage):
    absent = tmp_path / "absent.db"
    with pytest.raises(OvertoneError, match=r"absent\.db: no such database\. Sweep first"):
        load_study(f"sqlite:///{absent}", "any")
    assert not absent.exists()
    url = f"sqlite:///{tmp_path / 'optuna.db'}"
    optuna.create_study(storage=storage, study_name="mine")
    assert known_studies(url) == ["mine"]
    assert load_study(url, "mine").study_name == "mine"
    with pytest.raises(OvertoneError, match=r"No study 'other' in .*There are: mine\."):
        load_study(url, "other")
