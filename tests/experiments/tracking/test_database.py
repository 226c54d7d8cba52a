"""The database in the folder for runs: interrupted, damaged, moved, and in folders with awkward names."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from project import PROJECT

from experiments.cli.main import main
from experiments.runs import find_runs_folder
from experiments.tracking.tracker import open_tracker
from overtone.errors import OvertoneError

# Ends itself, as kill -9 or a full disk would, when the making of the database comes to a step.
PROGRAM = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from experiments.tracking.tracker import open_tracker
count = 0
def strike(connection, cursor, statement, parameters, context, executemany):
    global count
    count += 1
    if count == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
event.listen(Engine, "before_cursor_execute", strike)
open_tracker("mlflow", Path(sys.argv[1]))
"""


@pytest.fixture(autouse=True)
def databases_are_copies():
    """Here MLflow makes every database, as it does for users."""


@pytest.mark.parametrize("statement", [40, 200])
def test_a_kill_while_the_database_is_made_leaves_a_folder_that_works(tmp_path, statement):
    killed = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path), str(statement)], cwd=PROJECT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "mlflow.db").exists()
    run = open_tracker("mlflow", tmp_path).run("demo", "one", {}, "key")
    assert run.id


def test_a_half_made_database_of_an_earlier_version_is_told_and_made_again(tmp_path, capsys):
    open_tracker("mlflow", tmp_path / "whole")
    shutil.copy(tmp_path / "whole" / "mlflow.db", tmp_path)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection, connection:
        connection.execute("CREATE TABLE _alembic_tmp_params (key TEXT)")
        connection.execute("UPDATE alembic_version SET version_num = '90e64c465722'")
        connection.execute("DROP TABLE trace_info")
    assert open_tracker("mlflow", tmp_path).run("demo", "one", {}, "key").id
    (line,) = capsys.readouterr().err.splitlines()
    assert "its making was interrupted" in line
    assert (tmp_path / "mlflow.db.half-made").is_file()


@pytest.mark.parametrize(("command", "damage"), [("ui", "cut"), ("select", "text"), ("publish", "cut")])
def test_a_damaged_database_is_told_in_one_line_and_left_alone(filled, tmp_path, capsys, command, damage):
    runs = tmp_path / "runs"
    shutil.copytree(filled, runs)
    path = runs / "mlflow.db"
    content = path.read_bytes()[:100_000] if damage == "cut" else b"no database at all\n" * 100
    path.write_bytes(content)
    words = {"ui": ["--port", "0"], "publish": ["--tracking", "mlflow"], "select": ["demo", "--rollback"]}
    assert main([command, *words[command], "--runs", str(runs)]) == 1
    said = capsys.readouterr().err.strip()
    assert "\n" not in said and "mlflow.db: the database cannot be opened (" in said, said
    assert path.read_bytes() == content
    if command != "publish":
        return
    path.rename(runs / "mlflow.db.damaged")
    assert main(["publish", "--tracking", "mlflow", "--runs", str(runs)]) == 0
    assert open_tracker("mlflow", runs).store.find_run("demo", "key")


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A folder for runs with a run and a champion."""
    runs = tmp_path_factory.mktemp("filled") / "my runs"
    tracker = open_tracker("mlflow", runs)
    (runs.parent / "weights.ckpt").write_bytes(b"weights")
    with tracker.run("demo", "one", {}, "key") as run:
        run.log_text("text", "notes.txt")
    (runs.parent / "bundle").mkdir()
    (runs.parent / "bundle" / "weights.ckpt").write_bytes(b"weights")
    tracker.register("overtone-test", run, runs.parent / "bundle", {})
    return runs


WORK = """
import sys
from pathlib import Path
from experiments.tracking.tracker import open_tracker
tracker = open_tracker("mlflow", Path(sys.argv[1]))
champion = tracker.champion("overtone-test")
run = tracker.run("demo", "one", {}, "key")
run.log_text("more", "more.txt")
print(champion.folder, (champion.folder / "weights.ckpt").read_text(), run.id)
print([file.path for file in tracker.store.client.list_artifacts(run.id)])
"""


def worked(runs):
    """Use a folder for runs in a process of its own, since MLflow remembers where a run's files are."""
    command = [sys.executable, "-c", WORK, str(runs)]
    ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    words, files = ended.stdout.splitlines()
    folder, weights, run_id = words.rsplit(" ", 2)
    assert folder == f"{runs}/artifacts/{run_id}/artifacts/champion" and weights == "weights"
    assert files == "['champion', 'more.txt', 'notes.txt']"
    return run_id, ended.stderr


def test_a_copied_or_moved_folder_works_where_it_is(filled, tmp_path):
    first, copied, moved = tmp_path / "first", tmp_path / "copied", tmp_path / "moved"
    shutil.copytree(filled, first)
    run_id, _ = worked(first)
    shutil.copytree(first, copied)
    (copied / "artifacts" / run_id / "artifacts" / "more.txt").unlink()
    assert f"{copied}: was moved or copied" in worked(copied)[1]
    first.rename(moved)
    (moved / "artifacts" / run_id / "artifacts" / "more.txt").unlink()
    assert f"{moved}: was moved or copied" in worked(moved)[1]
    assert worked(moved)[1] == ""


@pytest.mark.parametrize("name", ["my%20runs", "runs?x"])
def test_a_folder_that_sqlites_addresses_cannot_hold_is_refused_at_once(tmp_path, name):
    with pytest.raises(OvertoneError, match="expected a path without them"):
        find_runs_folder(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_other_awkward_names_work(tmp_path):
    name = "a;b&c #1 läufe"
    run = open_tracker("mlflow", find_runs_folder(tmp_path / name)).run("demo", "one", {}, "key")
    run.log_text("text", "notes.txt")
    assert (tmp_path / name / "artifacts" / run.id / "artifacts" / "notes.txt").read_text() == "text"
    assert {path.name for path in tmp_path.iterdir()} == {name}
