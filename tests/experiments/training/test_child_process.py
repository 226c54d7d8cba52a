"""A child process receives one request, sends events, and ends with its parent."""

import signal
import subprocess
import sys

import pytest
from processes import children_of, is_running, wait_for
from project import PROJECT

from experiments.runs import users_command
from experiments.training.child_process import INTERRUPTED, ChildProcess, exit_text

PATHS = ":".join(str(PROJECT / folder) for folder in (".", "runtime", "tests/support"))


@pytest.fixture
def started(tmp_path):
    children = []

    def start(**request):
        children.append(ChildProcess("echoing_child", request, tmp_path / "logs" / "child.log", {"PYTHONPATH": PATHS}))
        return children[-1]

    yield start
    for child in children:
        child.kill()


def test_events_arrive_in_order_and_prints_go_to_the_log(started, tmp_path):
    child = started(number=3)
    wait_for(lambda: child.code is not None)
    assert child.code == 0
    assert child.events() == [{"asked": {"number": 3}, "command": users_command()}, {"last": True}]
    assert child.events() == []
    assert (tmp_path / "logs" / "child.log").read_text() == "a library's words\n"


def test_an_error_is_an_event_and_code_1(started):
    child = started(fails=True)
    wait_for(lambda: child.code is not None)
    assert child.code == 1
    assert child.events()[-1] == {"error": "it fails"}


def test_closing_asks_the_child_to_end_and_killing_does_not_ask(started):
    asked, killed = started(seconds=60.0), started(seconds=60.0)
    for child in (asked, killed):  # one after the other: events are given once
        wait_for(child.events)
    asked.close()
    wait_for(lambda: asked.code is not None)
    assert asked.code == INTERRUPTED
    assert asked.events() == [{"last": True}]
    killed.kill()
    assert killed.code == -signal.SIGKILL
    assert killed.events() == []


def test_a_child_ends_when_its_parent_is_killed(tmp_path):
    code = (
        "import sys, time; from experiments.training.child_process import ChildProcess\n"
        "child = ChildProcess('echoing_child', {'seconds': 60.0}, None)\n"
        "while not child.events(): time.sleep(0.05)\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    environment = {"PYTHONPATH": PATHS, "PATH": "/usr/bin:/bin"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout.readline() == "ready\n"
        (child,) = children_of(parent.pid)
        parent.kill()
    wait_for(lambda: not is_running(child))


@pytest.mark.parametrize(
    ("code", "text"), [(-9, "was killed (SIGKILL)"), (143, "was told to terminate"), (3, "ended with code 3")]
)
def test_how_a_process_ended_is_said(code, text):
    assert exit_text(code) == text
