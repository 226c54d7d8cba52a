"""The outbox: order, many writers, half lines, full disks, and what may stay behind; and a database that is locked."""

import json
import os
import resource
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from project import PROJECT
from sqlalchemy import Engine, event

import experiments.tracking.delivery
from experiments.tracking.entries import Entry, Identity
from experiments.tracking.errors import EntryRefused, StoreAway, StoreUnclear
from experiments.tracking.mlflow_tracker import open_tracker
from experiments.tracking.outbox import REFUSED_NAME, Outbox

ONE, OTHER = Identity("demo", "one", "wavegan-seed0"), Identity("demo", "other", parent=Identity("demo", "one"))


def metric(step):
    return Entry("batch", {"metrics": {"loss": step}, "step": step, "at": 1})


class Received:
    """A store that takes what it is told to take."""

    def __init__(self, answer=lambda entry: None):
        self.entries, self._answer = [], answer

    def __call__(self, identity, entry):
        self._answer(entry)
        content = entry.content.read_bytes() if isinstance(entry.content, Path) else entry.content
        self.entries.append((identity, entry.kind, entry.values, content))

    def steps(self, identity=ONE):
        return [values["step"] for one, kind, values, _ in self.entries if one == identity and kind == "batch"]


def test_what_waits_is_sent_whole_and_in_order_and_then_gone(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"weights")
    outbox = Outbox(tmp_path / "outbox")
    assert not outbox and outbox.drain(Received()) == 0
    outbox.append(ONE, Entry("open", {"tags": {"model": "wavegan"}}))
    outbox.append(OTHER, Entry("artifact", {"path": "notes/a b.txt"}, "tëxt".encode()))
    outbox.append(ONE, Entry("artifact", {"path": "model.pt"}, tmp_path / "model.pt"))
    (tmp_path / "model.pt").write_bytes(b"changed since")
    outbox.append(ONE, metric(7))
    later = Outbox(tmp_path / "outbox")
    assert later and len(later) == 4 and later.waits(ONE) and not later.waits(Identity("demo", "third"))
    received = Received()
    assert later.drain(received) == 4
    mine = [(kind, values, content) for identity, kind, values, content in received.entries if identity == ONE]
    assert mine == [
        ("open", {"tags": {"model": "wavegan"}}, None),
        ("artifact", {"path": "model.pt"}, b"weights"),
        ("batch", {"metrics": {"loss": 7}, "step": 7, "at": 1}, None),
    ]
    (other,) = [one for one in received.entries if one[0] == OTHER]
    assert other[0].parent == ONE and other[3] == "tëxt".encode()
    assert not later and {path.name for path in (tmp_path / "outbox").iterdir()} == {".lock", ".sending"}


def test_a_store_that_goes_away_again_gets_the_rest_the_next_time(tmp_path):
    def answer(entry):
        if entry.values["step"] == 150:
            raise StoreAway("gone")

    outbox = Outbox(tmp_path)
    for step in range(250):
        outbox.append(ONE, metric(step))
    first, second = Received(answer), Received()
    with pytest.raises(StoreAway):
        outbox.drain(first)
    assert len(outbox) == 100
    outbox.append(ONE, metric(250))
    outbox.drain(second)
    assert first.steps() + second.steps() == list(range(251))


def test_an_entry_that_never_passes_does_not_hold_up_the_others(tmp_path):
    def answer(entry):
        if entry.values["step"] == 3:
            raise StoreUnclear("status 500")
        if entry.values["step"] == 5:
            raise EntryRefused("no such thing")

    outbox = Outbox(tmp_path)
    for step in range(220):
        outbox.append(ONE, metric(step))
    received = Received(answer)
    outbox.drain(received)
    assert received.steps() == [step for step in range(220) if step not in (3, 5)]
    assert (len(outbox), outbox.refused) == (1, 1)
    assert "no such thing" in (tmp_path / REFUSED_NAME).read_text()
    healed = Received()
    outbox.drain(healed)
    assert healed.steps() == [3] and not outbox


def test_a_store_that_answers_with_errors_only_is_left_alone(tmp_path):
    asked = []

    def answer(entry):
        asked.append(entry)
        raise StoreUnclear("status 500")

    outbox = Outbox(tmp_path)
    for step in range(50):
        outbox.append(ONE, metric(step))
    with pytest.raises(StoreAway, match="answers with errors"):
        outbox.drain(Received(answer))
    assert len(asked) == 3 and len(outbox) == 50


def test_processes_append_while_another_sends(tmp_path):
    program = (
        "import sys; from pathlib import Path\n"
        "from experiments.tracking.outbox import Outbox; from experiments.tracking.entries import Entry, Identity\n"
        "outbox = Outbox(Path(sys.argv[1]))\n"
        "for step in range(200): outbox.append(Identity('demo', 'one'), Entry('batch', "
        "{'step': 1000 * int(sys.argv[2]) + step}))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    writers = [subprocess.Popen([*command, str(number)], cwd=PROJECT) for number in (1, 2)]
    received = Received()
    outbox = Outbox(tmp_path)
    while any(writer.poll() is None for writer in writers):
        outbox.drain(received)
    outbox.drain(received)
    assert [writer.returncode for writer in writers] == [0, 0]
    for number in (1, 2):
        mine = [step for step in received.steps() if step // 1000 == number]
        assert mine == [1000 * number + step for step in range(200)]


def test_one_process_at_a_time_sends(tmp_path):
    outbox, entered, go_on = Outbox(tmp_path), threading.Event(), threading.Event()
    outbox.append(ONE, metric(0))

    def slowly(entry):
        entered.set()
        go_on.wait(30)

    received = Received(slowly)
    thread = threading.Thread(target=outbox.drain, args=(received,))
    thread.start()
    entered.wait(30)
    second = Received()
    assert Outbox(tmp_path).drain(second) == 0
    Outbox(tmp_path).append(ONE, metric(1))
    go_on.set()
    thread.join()
    assert received.steps() == [0, 1] and second.steps() == []


def test_half_a_line_of_a_killed_process_is_passed_over(tmp_path):
    outbox = Outbox(tmp_path)
    outbox.append(ONE, metric(0))
    (file,) = tmp_path.glob("*.jsonl")
    with file.open("a") as half:
        half.write('{"kind": "batch", "val')
    outbox.append(ONE, metric(1))
    received = Received()
    outbox.drain(received)
    assert received.steps() == [0, 1]
    file.write_text('{"experim')
    outbox.append(ONE, metric(2))
    outbox.drain(received)
    assert received.steps() == [0, 1, 2]


def test_what_a_full_disk_has_no_room_for_waits_in_memory(tmp_path):
    outbox = Outbox(tmp_path)
    outbox.append(ONE, metric(0))
    (file,) = tmp_path.glob("*.jsonl")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 10, hard))  # as near to a full disk as a test gets
    try:
        outbox.append(ONE, metric(1))
        outbox.append(ONE, Entry("artifact", {"path": "picture.png"}, os.urandom(5000)))
        assert [json.loads(line)["values"]["step"] for line in file.read_bytes().splitlines()[1:]] == [0]
        assert (outbox.unwritten, len(outbox)) == (2, 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    outbox.append(ONE, metric(2))
    assert outbox.unwritten == 0 and len(Outbox(tmp_path)) == 4
    received = Received()
    outbox.drain(received)
    assert [kind for _, kind, _, _ in received.entries] == ["batch", "batch", "artifact", "batch"]
    assert received.steps() == [0, 1, 2]


@pytest.fixture
def impatient_sqlite():
    """Waiting half a second for a locked database instead of MLflow's twenty."""

    def shorten(connection, cursor, statement, parameters, context, executemany):
        return statement.replace("busy_timeout = 20000", "busy_timeout = 500"), parameters

    event.listen(Engine, "before_cursor_execute", shorten, retval=True)
    yield
    event.remove(Engine, "before_cursor_execute", shorten)


def test_a_locked_database_loses_nothing(tmp_path, monkeypatch, capfd, impatient_sqlite):
    said = []
    monkeypatch.setattr(experiments.tracking.delivery, "_say", said.append)
    tracker = open_tracker("mlflow", tmp_path)
    run = tracker.run("demo", "one", {}, "key")
    other = sqlite3.connect(tmp_path / "mlflow.db")
    other.execute("BEGIN EXCLUSIVE")
    for step in range(20):
        run.log_metrics({"loss": float(step)}, step)
    run.log_text("text", "notes.txt")
    other.rollback()
    run.finish()
    steps = [point.step for point in tracker._client.get_metric_history(run.id, "loss")]
    assert steps == list(range(20))
    assert (tmp_path / "artifacts" / run.id / "artifacts" / "notes.txt").read_text() == "text"
    assert len(said) == 2 and "locked" in said[0], said
    assert capfd.readouterr().err == "", "MLflow must not chatter into the user's terminal"


def test_a_file_that_is_not_there_is_a_mistake_at_once(tmp_path):
    run = open_tracker("mlflow", tmp_path).run("demo", "one", {}, "key")
    with pytest.raises(Exception, match=r"No such file to log"):
        run.log_file(tmp_path / "absent.txt")
