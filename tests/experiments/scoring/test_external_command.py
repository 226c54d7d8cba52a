"""A run of a system from outside leaves nothing behind, however it and the command that runs it end."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from processes import PATIENCE, children_of, is_running, wait_for

from experiments.presets.external import External
from experiments.scoring.external_command import Run

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="looks for processes in /proc")

PARENT = """
import sys
from pathlib import Path
from experiments.presets.external import External
from experiments.scoring.external_command import Run

system = External(command=f"sh {sys.argv[1]} {{input}} {{output}}")
Run(system, Path("given"), Path("made"), 1, Path("log.txt")).wait(lambda _: None)
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A program that starts another one and waits for it; both say their numbers."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "peer.sh"
    path.write_text("sleep 600 &\necho $$ > own.tmp; mv own.tmp own; echo $! > other.tmp; mv other.tmp other\nwait\n")
    return path


def started():
    wait_for(Path("other").is_file)
    return [int(Path(name).read_text()) for name in ("own", "other")]


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_the_command_that_runs_it_and_with_all_that_it_has_started(script, ending):
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(PARENT), str(script)], stderr=subprocess.DEVNULL)
    try:
        numbers = started()
        assert all(map(is_running, numbers))
        parent.send_signal(ending)
        parent.wait(PATIENCE)
        wait_for(lambda: not any(map(is_running, numbers)))
    finally:
        parent.kill()


def test_a_run_that_ends_by_itself_leaves_no_watching_process(tmp_path):
    before = children_of(os.getpid())
    system = External(command="sh -c 'exit 3' {input} {output}")
    failure = Run(system, tmp_path, tmp_path, 1, tmp_path / "log.txt").wait(lambda _: None)
    assert failure == "it ended with code 3"
    assert not {number for number in children_of(os.getpid()) if number not in before and is_running(number)}
