"""A run's folder is the truth: what it holds, and that MLflow's view of it is made again from it."""

import json
import os
import resource
import shutil
import sqlite3
import threading

import pandas as pd
import pytest
from sqlalchemy import Engine, event

import experiments.tracking.publish
from experiments.cli.main import main
from experiments.runs import Workspace, tell_of_variable
from experiments.tracking.folder import Point, RunFolder
from experiments.tracking.publish import View
from experiments.tracking.tracker import open_tracker


def logged(tracker, key="key"):
    """A run with some of everything."""
    with tracker.run("demo", "wavegan-seed0", {"model": "wavegan"}, key) as run:
        run.log_parameters({"width": 64})
        run.log_metrics({"val/lsd": 1.5, "train/loss": 0.1}, step=3)
        run.log_text("<b>hello</b>", "samples.html")
        run.log_table(pd.DataFrame({"lsd": [1.25]}), "tables/per_utterance.json")
        run.log_bytes(b"a picture", "epochs/1-target.webp")
        run.log_dataset(pd.DataFrame({"path": ["a.wav"]}), "demo", "d" * 64, "training")
    return run


def shown(tracker):
    """All that MLflow shows of the runs of an experiment, without its own identifiers."""
    found = []
    for run in tracker.store.client.search_runs([tracker.store.experiment_id("demo")]):
        history = {
            name: [(one.step, one.value, one.timestamp) for one in points]
            for name in run.data.metrics
            if (points := tracker.store.client.get_metric_history(run.info.run_id, name))
        }
        files = sorted(
            (file.path, file.file_size)
            for folder in (None, "tables", "epochs")
            for file in tracker.store.client.list_artifacts(run.info.run_id, folder)
        )
        datasets = [one.dataset.name for one in run.inputs.dataset_inputs]
        found.append((run.info.run_name, run.info.status, run.info.start_time, run.info.end_time, run.data.params))
        found.append((run.data.tags, history, files, datasets))
    return found


def test_the_folder_has_all_that_was_logged(tmp_path):
    run = logged(open_tracker("mlflow", tmp_path))
    assert run.folder.path.parent == tmp_path / "tracked" / "demo"
    record = json.loads((run.folder.path / "run.json").read_text())
    assert (record["experiment"], record["name"], record["key"]) == ("demo", "wavegan-seed0", "key")
    assert (record["status"], record["params"]) == ("FINISHED", {"width": "64"})
    assert record["tags"]["model"] == "wavegan"
    curves = pd.read_csv(run.folder.path / "curves.csv")
    assert curves[["step", "name", "value"]].values.tolist() == [[3, "val/lsd", 1.5], [3, "train/loss", 0.1]]
    assert (run.folder.path / "samples.html").read_text() == "<b>hello</b>"
    assert {path.name for path in run.folder.path.glob("[!.]*")} == {
        "run.json", "curves.csv", "samples.html", "tables", "epochs"
    }  # fmt: skip


def test_a_lost_database_is_made_again_from_the_folders(tmp_path):
    tracker = open_tracker("mlflow", tmp_path / "runs")
    run = logged(tracker)
    tracker.describe_experiment("demo", "**words**")
    assert not View(tracker.store, run.folder).pending
    shutil.copytree(tmp_path / "runs" / "tracked", tmp_path / "rest" / "tracked")
    again = open_tracker("mlflow", tmp_path / "rest")
    assert shown(again) == shown(tracker)
    assert again.store.client.get_experiment_by_name("demo").tags["mlflow.note.content"] == "**words**"


def test_the_command_publishes_and_says_where(tmp_path, capsys):
    run = logged(open_tracker("mlflow", tmp_path / "runs"))
    other = tmp_path / "other"
    assert main(["publish", str(run.folder.path), "--runs", str(other), "--tracking", "mlflow"]) == 0
    assert f"1 runs are in MLflow: {other}" in capsys.readouterr().out.replace("\n", "")
    assert shown(open_tracker("mlflow", other)) == shown(open_tracker("mlflow", tmp_path / "runs"))
    assert main(["publish", str(tmp_path / "absent"), "--runs", str(other), "--tracking", "mlflow"]) == 1
    assert "holds no run.json" in capsys.readouterr().err
    assert main(["publish", "--runs", str(other), "--tracking", "none"]) == 1


def test_a_point_or_picture_logged_again_after_an_interruption_is_there_once(tmp_path):
    tracker = open_tracker("mlflow", tmp_path)
    first = tracker.run("demo", "one", {}, "key")
    for value in (1, 2):
        first.log_metrics({"loss": 1.0}, step=value)
        first.log_bytes(bytes([value]), "epochs/1.webp")
    again = tracker.run("demo", "one", {}, "key")
    again.log_metrics({"loss": 1.0}, step=2)
    again.log_metrics({"loss": 0.5}, step=3)
    again.log_bytes(b"again", "epochs/1.webp")
    again.finish()
    history = tracker.store.client.get_metric_history(again.id, "loss")
    assert [(one.step, one.value) for one in history] == [(1, 1.0), (2, 1.0), (3, 0.5)]
    sent = tmp_path / "artifacts" / again.id / "artifacts" / "epochs"
    assert [path.read_bytes() for path in sent.iterdir()] == [b"again"]


def test_what_is_added_to_a_finished_run_takes_no_time_of_it_and_changes_not_who_made_it(tmp_path, monkeypatch):
    tracker = open_tracker("mlflow", tmp_path)
    monkeypatch.setattr("sys.argv", ["overtone", "train"])
    with tracker.run("demo", "one", {"seed": "0"}, "key") as run:
        pass
    before = run.folder.read()
    monkeypatch.setattr("sys.argv", ["overtone", "listen"])
    with tracker.run("demo", "one", {"status": "champion"}, "key") as run:
        run.log_metrics({"test/mushra": 55.0})
    after = run.folder.read()
    assert (after.status, after.ended) == ("FINISHED", before.ended)
    assert after.tags == before.tags | {"status": "champion"}
    with pytest.raises(ValueError, match="broken"), tracker.run("demo", "one", {}, "key"):
        raise ValueError("broken")
    assert run.folder.read().status == "FAILED"


def test_words_lead_to_the_run_of_a_key_in_whichever_store_shows_them(tmp_path):
    words = "**[Report](run:key-b/artifacts/report.html)**, [gone](run:nobody), [far](https://example.org)"
    stores = [open_tracker("mlflow", tmp_path / name) for name in ("here", "there")]
    stores[1].run("demo", "first, so that ids differ", {}, "key-a").finish()
    for tracker in stores:
        with tracker.run("demo", "b", {}, "key-b") as run:
            run.describe(words)
        tracker.describe_experiment("demo", words)
        experiment = tracker.store.client.get_experiment_by_name("demo")
        address = f"#/experiments/{experiment.experiment_id}/runs/{run.id}/artifacts/report.html"
        shown = f"**[Report]({address})**, gone, [far](https://example.org)"
        assert tracker.store.client.get_run(run.id).data.tags["mlflow.note.content"] == shown
        assert experiment.tags["mlflow.note.content"] == shown
        assert run.folder.read().tags["mlflow.note.content"] == words


def test_many_write_at_once_and_half_a_line_of_a_killed_process_is_replaced(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append([Point(1, 0, "loss", 0.25)])
    with (tmp_path / "curves.csv").open("a") as half:
        half.write("1,1,loss,0.1")

    def write(number):
        for step in range(50):
            RunFolder(tmp_path).append([Point(1, step, f"loss{number}", 1 / 3)])

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    assert [*map(threading.Thread.start, threads)] and [*map(threading.Thread.join, threads)]
    points, end = folder.points()
    assert points[0] == Point(1, 0, "loss", 0.25) and len(points) == 201
    for number in range(4):
        assert [point.step for point in points if point.name == f"loss{number}"] == list(range(50))
    assert {point.value for point in points[1:]} == {1 / 3} and folder.points(end) == ([], end)


def test_a_full_disk_is_an_error_and_leaves_whole_lines(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append([Point(1, 0, "loss", 0.5)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (tmp_path / "curves.csv").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, hard))  # as near to a full disk as a test gets
    try:
        with pytest.raises(OSError, match="File too large"):
            folder.append([Point(1, 1, "loss", 0.5)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    folder.append([Point(1, 2, "loss", 0.5)])
    assert [point.step for point in folder.points()[0]] == [0, 2]


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
    monkeypatch.setattr(experiments.tracking.publish, "say", said.append)
    tracker = open_tracker("mlflow", tmp_path)
    run = tracker.run("demo", "one", {}, "key")
    other = sqlite3.connect(tmp_path / "mlflow.db")
    other.execute("BEGIN EXCLUSIVE")
    for step in range(20):
        run.log_metrics({"loss": float(step)}, step)
    run.log_text("text", "notes.txt")
    other.rollback()
    run.finish()
    assert [point.step for point in tracker.store.client.get_metric_history(run.id, "loss")] == list(range(20))
    assert (tmp_path / "artifacts" / run.id / "artifacts" / "notes.txt").read_text() == "text"
    assert len(said) == 2 and "locked" in said[0], said
    assert capfd.readouterr().err == "", "MLflow must not chatter into the user's terminal"


def test_a_damaged_record_is_told_and_the_other_runs_are_published(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(experiments.tracking.publish, "say", said.append)
    tracker = open_tracker("mlflow", tmp_path)
    damaged, whole = logged(tracker, "damaged"), logged(tracker, "whole")
    (damaged.folder.path / "run.json").write_text('{"experim')
    (whole.folder.path / "later.txt").write_text("later")
    open_tracker("mlflow", tmp_path)
    assert len(said) == 1 and "run.json: cannot be read" in said[0]
    assert (tmp_path / "artifacts" / whole.id / "artifacts" / "later.txt").read_text() == "later"


def test_a_file_that_is_not_there_is_a_mistake_at_once(tmp_path):
    run = open_tracker("mlflow", tmp_path).run("demo", "one", {}, "key")
    with pytest.raises(FileNotFoundError):
        run.log_file(tmp_path / "absent.txt")


@pytest.mark.parametrize(
    ("variable", "usual", "words"),
    [
        ("", "mlflow", ""),
        ("http://me:secret@host:5000", "http://me:secret@host:5000", "Tracking: http://host:5000, as MLFLOW_"),
        ("sqlite:///else.db", "mlflow", "Tracking: in the folder for runs; MLFLOW_TRACKING_URI names no http"),
    ],
)
def test_mlflows_own_variable_is_honoured_unless_the_option_is_given(monkeypatch, capsys, variable, usual, words):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    assert Workspace().tracking == usual
    assert Workspace(tracking="none").tracking == "none"
    tell_of_variable("none")
    assert capsys.readouterr().out == ""
    tell_of_variable(usual)
    said = capsys.readouterr().out
    assert said.startswith(words) and said.count("\n") == bool(words) and "secret" not in said


def test_a_user_without_an_entry_in_passwd_can_run(tmp_path, monkeypatch):
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    run = open_tracker("mlflow", tmp_path).run("demo", "one", {}, "key")
    assert run.folder.read().tags["mlflow.user"] == "54321"
