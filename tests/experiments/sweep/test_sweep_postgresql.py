"""Sweeps on a real PostgreSQL: machines that share a study, one of which dies, and a database that is restarted."""

import os
import signal
import threading
import time

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from postgresql_server import postgresql_server, why_not
from processes import children_of
from test_study import take_trials
from test_sweep import Command, long_preset_path, preset_path

from experiments.sweep.storage import StorageGone, open_storage
from experiments.sweep.trial_queue import RETRY_OF, read_queue

__all__ = ["long_preset_path", "preset_path"]
pytestmark = [
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def server():
    with postgresql_server() as running:
        yield running


def test_workers_without_training_are_exact_on_postgresql_too(server):
    url = server.make_database("exact")
    study = optuna.create_study(storage=open_storage(url), study_name="exact")
    threads = [threading.Thread(target=take_trials, args=(url, 20, seed, False)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    finished = study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    assert len(finished) == 20


def test_a_waiting_trial_is_taken_once(server):
    url = server.make_database("waiting")
    study = optuna.create_study(storage=open_storage(url), study_name="waiting")
    for _ in range(10):
        study.add_trial(create_trial(state=TrialState.WAITING))
    taken = []

    def take():
        own = optuna.load_study(storage=open_storage(url), study_name="waiting")
        taken.extend(own.ask().number for _ in range(2))

    threads = [threading.Thread(target=take) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == list(range(10))


def test_a_storage_waits_for_a_database_that_is_restarted_and_says_so_once(server):
    said = []
    storage = open_storage(server.make_database("patient"), said.append, 1, 3, patience_seconds=60)
    study = optuna.create_study(storage=storage, study_name="patient")
    server.stop()
    began = time.monotonic()
    storage.record_heartbeat(1)  # neither raises nor waits
    assert time.monotonic() - began < 5
    started = threading.Timer(3.0, server.start)
    started.start()
    study.add_trial(create_trial(state=TrialState.WAITING))
    started.join()
    assert len(study.trials) == 1
    assert [line.partition(":")[0] for line in said[-2:]] == [
        "The database does not answer, waiting",
        "The database answers again.",
    ]
    storage.patience_seconds = 0.5
    server.stop()
    with pytest.raises((StorageGone, optuna.exceptions.StorageInternalError)):
        study.trials  # noqa: B018 - asks the database
    server.start()


def test_two_machines_share_a_study_one_dies_with_the_last_trial_and_the_database_is_restarted(
    server, long_preset_path, tiny_corpus, tmp_path
):
    url = server.make_database("machines")
    wanted = 4

    def machine(name):
        return Command(
            long_preset_path,
            tiny_corpus,
            tmp_path / name,
            "--trials",
            wanted,
            "--workers",
            1,
            "--storage",
            url,
            url=url,
        )

    first, second = machine("first"), machine("second")
    first.wait_until_in_trial(0)
    second.wait_until_in_trial(0)
    server.stop("immediate")
    time.sleep(2)
    server.start()
    victim = None
    while victim is None:  # the machine that has the last trial, which has most of it ahead
        running = first.trials(TrialState.RUNNING)
        queue = read_queue(first.study(), 2)
        if queue.finished >= wanted - len(running) and running and len(running[-1].intermediate_values) < 2:
            folder = running[-1].user_attrs.get("folder", "")
            victim = next((one for one in (first, second) if folder.startswith(str(one.runs))), None)
        assert queue.finished < wanted, "it was too fast"
        time.sleep(0.05)
    survivor = second if victim is first else first
    for process in [*children_of(victim.process.pid), victim.process.pid]:
        os.kill(process, signal.SIGKILL)
    assert survivor.wait() == 0, survivor.text()
    finished = survivor.trials(TrialState.COMPLETE, TrialState.PRUNED)
    assert len(finished) == wanted
    assert any(RETRY_OF in trial.user_attrs for trial in finished)
    assert read_queue(survivor.study(), 2).running == []
