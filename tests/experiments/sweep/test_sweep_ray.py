"""Workers of a sweep as tasks of a Ray cluster on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from optuna.trial import TrialState
from processes import wait_for
from project import PROJECT
from test_sweep import FINISHED, Command, changed, preset_path

from experiments.sweep.results import counted_trials, retry_of

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'overtone[ray]'")
__all__ = ["preset_path"]
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


ATTEMPTS = 3
OBJECT_STORE_BYTES = 100_000_000  # the least that Ray takes is 75 MB; nothing is kept in it here


def started_cluster():
    """A cluster with two processors; Ray gives its parts 30 s to start, which a busy machine may not do at once."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    for attempts_left in reversed(range(ATTEMPTS)):
        running = Cluster()
        try:
            running.add_node(**head)
            return running
        except Exception:  # Ray has no class of its own for it
            running.shutdown()
            if not attempts_left:
                raise


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    monkeypatch.setenv("RAY_gcs_server_port_wait_time_s", "120")
    running = started_cluster()
    monkeypatch.setenv("RAY_ADDRESS", running.address)
    yield running
    running.shutdown()


def worker_processes(runs):
    """Return the workers' processes that have a training of these runs open."""
    found = []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{process}/cmdline").read_bytes()
            if b"experiments.sweep.worker" in line:
                opened = [os.readlink(path) for path in Path(f"/proc/{process}/fd").iterdir()]
                if any(path.startswith(str(runs)) and path.endswith(".trial.lock") for path in opened):
                    found.append(int(process))
        except OSError:
            continue
    return found


def test_two_workers_on_a_cluster_share_a_study_and_a_killed_one_is_replaced(
    cluster, preset_path, tiny_corpus, tmp_path
):
    runs = tmp_path / "runs"
    command = Command(preset_path, tiny_corpus, runs, "--launcher", "ray", "--workers", 2)
    running = []  # the other one may come when this one is gone: a busy machine starts them apart
    wait_for(lambda: running.extend(worker_processes(runs)) or running, 900)
    os.kill(running[0], 9)
    assert command.wait() == 0, command.text()
    assert 4 <= len(command.trials(*FINISHED)) <= 5
    assert len(counted_trials(command.study())) == 4
    assert any(retry_of(trial) is not None for trial in command.trials())
    assert not command.trials(TrialState.RUNNING)
    assert "was killed (SIGKILL); trial" in command.text()


def test_ctrl_c_stops_the_tasks_gently(cluster, preset_path, tiny_corpus, tmp_path):
    runs = tmp_path / "runs"
    changed(preset_path, budget={"examples": 600, "epochs": 6, "threads": 1})
    command = Command(preset_path, tiny_corpus, runs, "--launcher", "ray", "--trials", 1)
    command.wait_until_in_trial(0)
    command.process.send_signal(2)
    assert command.wait() == 130, command.text()
    wait_for(lambda: not worker_processes(runs))
    states = [trial.state for trial in command.trials()]
    assert states == [TrialState.FAIL, TrialState.WAITING], "released, and to be continued"


def test_a_missing_cluster_is_one_line(preset_path, tiny_corpus, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "experiments.cli.main", "sweep", "dnn_fft", str(preset_path), "--launcher", "ray"]
    command += ["--data", str(tiny_corpus), "--runs", str(tmp_path / "runs"), "--tracking", "none"]
    run = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "No Ray cluster answers" in run.stderr
    assert run.stderr.count("\n") == 1
