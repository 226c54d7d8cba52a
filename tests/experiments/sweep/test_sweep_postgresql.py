"""Sweeps on a real PostgreSQL: two machines share a study and one dies; a database that stops."""

import os
import signal

import pytest
from optuna.trial import TrialState
from postgresql_server import postgresql_server, why_not
from processes import children_of
from test_sweep import FINISHED, Command, long_preset_path, preset_path, worker

from experiments.sweep.results import counted_trials, retry_of
from overtone.errors import OvertoneError

__all__ = ["long_preset_path", "preset_path", "worker"]
pytestmark = [
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def server():
    with postgresql_server() as running:
        yield running


def test_a_worker_whose_database_stops_says_so_and_goes_on_when_it_is_there_again(server, worker):
    study, run, _ = worker(trials=1, url=server.make_database("of_a_worker"))

    said = []

    def stop(event):
        said.append(event)
        if [one for one in said if "done" in one] == [event]:  # its first batch
            server.stop("immediate")

    try:
        with pytest.raises(OvertoneError, match="the database does not answer"):
            run(stop)
    finally:
        server.start()
    run()
    assert len(counted_trials(study)) == 1


@pytest.mark.slow
def test_two_machines_share_a_study_and_one_dies_in_a_trial(server, long_preset_path, tiny_corpus, tmp_path):
    url = server.make_database("machines")

    def machine(name, trials):
        return Command(long_preset_path, tiny_corpus, tmp_path / name, "--trials", trials, "--storage", url, url=url)

    first, second = machine("first", 8), machine("second", 8)
    victim = -1
    while victim < 0 or not second.study().trials[victim].user_attrs["folder"].startswith(str(second.runs)):
        victim = second.wait_until_in_trial(victim + 1)
    for process in [second.process.pid, *children_of(second.process.pid)]:
        os.kill(process, signal.SIGKILL)
    second.wait()
    assert first.wait() == 0, first.text()
    assert len(counted_trials(first.study())) == len(first.trials(*FINISHED)) == 8

    again = machine("first", 9)  # takes what is left, should it have died too late for the others
    assert again.wait() == 0, again.text()
    (repeated,) = [trial for trial in again.trials() if retry_of(trial) == victim]
    assert repeated.state in FINISHED
    assert repeated.params == again.trials()[victim].params
    assert again.trials()[victim].state == TrialState.FAIL


@pytest.mark.slow
def test_a_database_that_stops_ends_the_sweep_in_one_line_and_the_same_command_continues(
    server, long_preset_path, tiny_corpus, tmp_path
):
    url = server.make_database("stopped")

    def start():
        return Command(long_preset_path, tiny_corpus, tmp_path / "runs", "--trials", 2, "--storage", url, url=url)

    command = start()
    command.wait_until_in_trial(0)
    server.stop("immediate")
    try:
        assert command.wait() == 1
    finally:
        server.start()
    lines = command.text().splitlines()
    assert sum("the database does not answer" in line for line in lines) == 1
    assert "Traceback" not in command.text()
    command = start()
    assert command.wait() == 0, command.text()
    assert len(counted_trials(command.study())) == 2
