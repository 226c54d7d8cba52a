"""How many cores a process takes: those that it may use, not those that the machine has."""

import os
import subprocess
import sys

import pytest

from overtone import worker_pool
from overtone.worker_pool import available_cores


@pytest.fixture
def share(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_pool, "CGROUP_SHARE", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("text", "cores"),
    [("200000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("6400000 100000", 8), ("nonsense", 8)],
)
def test_a_container_has_its_share(share, text, cores):
    share.write_text(text)
    assert available_cores() == cores


def test_without_a_container_the_affinity_counts(share):
    assert available_cores() == 8


SCRIPT = """
import sys
from overtone.errors import OvertoneError
from overtone.worker_pool import WorkerPool

def work():
    try:
        with WorkerPool(2) as pool:
            print(sorted(result for _, result in pool.map(abs, [-1, -2, -3])))
    except OvertoneError as error:
        print(error, file=sys.stderr)

"""


def test_a_script_without_a_main_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"

    def run(last):
        script.write_text(SCRIPT + last)
        return subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)

    unguarded = run("work()\n")
    assert unguarded.stdout == ""
    assert unguarded.stderr.startswith("The worker processes could not start.")
    assert unguarded.stderr.count("\n") == 1
    guarded = run('if __name__ == "__main__":\n    work()\n')
    assert (guarded.stdout, guarded.stderr) == ("[1, 2, 3]\n", "")
