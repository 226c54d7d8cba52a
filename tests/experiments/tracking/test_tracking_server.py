"""Tracking on a real MLflow server: the same as on the local store, from many machines, and through its absences."""

import importlib
import json
import math
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from mlflow_server import MlflowServer
from processes import PATIENCE
from project import PROJECT

import experiments.tracking.publish
import experiments.tracking.store
from experiments.tracking.folder import run_folders
from experiments.tracking.publish import View, publish_command
from experiments.tracking.store import put
from experiments.tracking.tracker import open_tracker
from overtone.errors import OvertoneError


@pytest.fixture(autouse=True)
def a_busy_server_is_not_away(monkeypatch):
    monkeypatch.setattr(experiments.tracking.store, "PROBE_SECONDS", PATIENCE)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def tracker(server, tmp_path):
    return machine(server, tmp_path / "runs")


def machine(server, runs):
    """A tracker with a runs folder, and so a lock, of its own: another machine as far as MLflow can tell."""
    return open_tracker(server.url, runs)


def pending(tracker):
    """The folders of which the store lacks something."""
    folders = run_folders(tracker.store.runs_dir / "tracked")
    return [folder.path for folder in folders if View(tracker.store, folder).pending]


def stored(tracker, run):
    return tracker.store.client.get_run(run.id)


def artifact(tracker, run, path, folder):
    return Path(tracker.store.client.download_artifacts(run.id, path, str(folder)))


def points(tracker, run, name):
    return [(point.step, point.value) for point in tracker.store.client.get_metric_history(run.id, name)]


def log_everything(run, step=3):
    run.log_parameters({"width": 64})
    run.log_metrics({"val/lsd": 1.5, "val/nan": math.nan, "odd@name": np.float32(2)}, step=step)
    run.log_text("<b>hello</b>", "samples.html")
    run.log_bytes(b"a picture", "epochs/1-target.webp")
    run.log_table(pd.DataFrame({"file": ["a.wav"], "lsd": [1.25]}), "tables/per_utterance.json")
    run.log_dataset(pd.DataFrame({"path": ["a.wav"]}), "demo", "d" * 64, "training")
    run.describe("# In words")


def check_everything(tracker, run, tmp_path, step=3):
    kept = stored(tracker, run)
    assert kept.data.params == {"width": "64"}
    assert kept.data.metrics == {"val/lsd": 1.5, "odd_name": 2.0}
    assert points(tracker, run, "val/lsd") == [(step, 1.5)]
    assert kept.data.tags["mlflow.note.content"] == "# In words"
    assert kept.data.tags["mlflow.loggedArtifacts"].count("per_utterance") == 1
    assert [one.dataset.name for one in kept.inputs.dataset_inputs] == ["demo"]
    assert kept.info.artifact_uri.startswith("mlflow-artifacts:"), "files must go through the server"
    assert artifact(tracker, run, "samples.html", tmp_path).read_text() == "<b>hello</b>"
    table = json.loads(artifact(tracker, run, "tables/per_utterance.json", tmp_path).read_text())
    assert table == {"columns": ["file", "lsd"], "data": [["a.wav", 1.25]]}
    assert artifact(tracker, run, "epochs/1-target.webp", tmp_path).read_bytes() == b"a picture"


def test_a_run_keeps_what_is_logged(tracker, tmp_path):
    with tracker.run("kept", "study", {}, "key-parent") as parent:
        with tracker.run("kept", "wavegan-seed0", {"model": "wavegan"}, "key-logged", parent) as run:
            log_everything(run)
        (tmp_path / "notes.txt").write_text("kept")
        parent.log_file(tmp_path / "notes.txt", "notes")
    check_everything(tracker, run, tmp_path)
    kept = stored(tracker, run)
    assert (kept.info.status, kept.info.run_name) == ("FINISHED", "wavegan-seed0")
    assert kept.data.tags["mlflow.parentRunId"] == parent.id
    assert artifact(tracker, parent, "notes/notes.txt", tmp_path).read_text() == "kept"
    tracker.describe_experiment("kept", "**words**")
    tracker.show_columns("kept", ["metrics.val/lsd"], "metrics.val/lsd")
    assert tracker.latest_fragment().endswith("viewStateShareKey=overtone")
    assert run.id in run.url_fragment
    assert not pending(tracker)


def test_machines_at_once_share_a_version_and_every_reader_finds_the_same_run(server, tmp_path):
    machines = [machine(server, tmp_path / str(number)) for number in range(4)]
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "weights.ckpt").write_bytes(b"weights")
    start = threading.Barrier(len(machines))

    def work(tracker):
        start.wait()
        with tracker.run("race", "one", {}, "key-race") as run:
            run.log_metrics({"loss": 1.0}, step=1)
        start.wait()
        return tracker.register("overtone-race", run, tmp_path / "bundle", {}).version

    with ThreadPoolExecutor(len(machines)) as pool:
        assert len(set(pool.map(work, machines))) == 1
    assert len(machines[0].store.client.search_model_versions("name = 'overtone-race'")) == 1
    made = runs_of(machines[0], "race")
    first = min(made, key=lambda run: (run.info.start_time, run.info.run_id)).info.run_id
    for tracker in machines:
        assert tracker.store.find_run("race", "key-race") == first
        publish_command([], tracker.store.runs_dir, server.url)
        assert tracker.run("race", "one", {}, "key-race").id == first
    assert len(runs_of(machines[0], "race")) == len(made), "published again, none is doubled"


def test_machines_at_once_may_set_the_same_tags_and_aliases(server, tmp_path):
    """MLflow's own insertions collide: SQLite and PostgreSQL refuse the second, whose machine is none the worse."""
    machines = [machine(server, tmp_path / str(number)) for number in range(4)]
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "weights.ckpt").write_bytes(b"weights")
    with machines[0].run("tags", "one", {}, "key-tags") as run:
        version = machines[0].register("overtone-tags", run, tmp_path / "bundle", {}).version
    clients = [tracker.store.client for tracker in machines]
    names = [f"tag-{number}" for number in range(12)]
    start = threading.Barrier(len(clients))

    def work(client):
        for name in names:
            start.wait(PATIENCE)
            put(client.set_model_version_tag, "overtone-tags", version, name, "true")
            put(client.set_registered_model_alias, "overtone-tags", name, version)

    with ThreadPoolExecutor(len(clients)) as pool:
        list(pool.map(work, clients))
    tags = clients[0].get_model_version("overtone-tags", version).tags
    assert {name: tags.get(name) for name in names} == dict.fromkeys(names, "true")
    aliases = clients[0].get_registered_model("overtone-tags").aliases
    assert {name: aliases.get(name) for name in names} == dict.fromkeys(names, version)


def runs_of(tracker, experiment):
    return tracker.store.client.search_runs([tracker.store.experiment_id(experiment)])


def test_champions_are_fetched_when_they_are_needed(server, tmp_path):
    here, elsewhere = machine(server, tmp_path / "here"), machine(server, tmp_path / "elsewhere")
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "weights.ckpt").write_bytes(b"one")
    assert here.champion("overtone-test") is None
    first = here.register("overtone-test", here.run("registered", "a", {}, "key-a"), bundle, {"val": "0.25"})
    (bundle / "weights.ckpt").write_bytes(b"two")
    second = here.register("overtone-test", here.run("registered", "b", {}, "key-b"), bundle, {})
    found = elsewhere.champion("overtone-test")
    assert found == second != first
    assert not (elsewhere.store.runs_dir / "registered").exists()
    assert (found.folder / "weights.ckpt").read_bytes() == b"two"
    assert [path.name for path in (elsewhere.store.runs_dir / "registered").iterdir()] == [found.folder.name]
    assert elsewhere.roll_back("overtone-test") == first
    restored = here.champion("overtone-test")
    assert (restored.folder / "weights.ckpt").read_bytes() == b"one"
    assert restored.tags["val"] == "0.25"


PROGRAM = (
    "import sys; from pathlib import Path; from experiments.tracking.tracker import open_tracker\n"
    "tracker = open_tracker(sys.argv[1], Path(sys.argv[2]))\n"
    "with tracker.run('next', 'one', {}, 'key-next') as run:\n"
    "    for step in range(30): run.log_metrics({'loss': step}, step)\n"
    "    run.log_text('text', 'notes.txt')"
)


@pytest.fixture(scope="module")
def outage(server, tmp_path_factory):
    """What happened while the server was killed in the midst of a run: here, and in a process that ended meanwhile."""
    folder = tmp_path_factory.mktemp("outage")
    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiments.tracking.publish, "say", said.append)
        tracker = machine(server, folder / "runs")
        run = tracker.run("outage", "before", {}, "key-before")
        run.log_metrics({"loss": 0.0}, step=0)
        server.kill()
        started = time.monotonic()
        for step in range(1, 40):
            run.log_metrics({"loss": float(step)}, step)
        child = tracker.run("outage", "during", {"model": "wavegan"}, "key-during", run)
        parent = tracker.run("outage", "parent", {}, "key-new-parent")
        orphan = tracker.run("outage", "orphan", {}, "key-orphan", parent)
        log_everything(child)
        child.finish()
        tracker.describe_experiment("outage", "**words**")
        fragments = [child.id, child.url_fragment]
        seconds = time.monotonic() - started
        with pytest.raises(OvertoneError, match="cannot be used") as refused:
            tracker.champion("overtone-test")
        with pytest.raises(OvertoneError, match="cannot be used"):
            publish_command([], folder / "runs", server.url)
        command = [sys.executable, "-c", PROGRAM, server.url, str(folder / "next")]
        ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE)
        server.start()
        run.finish()
    return SimpleNamespace(**locals())


def test_nothing_is_lost_while_the_server_is_gone(outage, tmp_path):
    tracker, run, child = outage.tracker, outage.run, outage.child
    assert points(tracker, run, "loss") == [(step, float(step)) for step in range(40)]
    again = open_tracker(tracker.store.uri, tracker.store.runs_dir)
    child = again.run("outage", "during", {}, "key-during")
    child.finish()
    check_everything(again, child, tmp_path)
    kept = stored(again, child)
    assert (kept.info.status, kept.info.run_name) == ("FINISHED", "during")
    assert (kept.data.tags["model"], kept.data.tags["mlflow.parentRunId"]) == ("wavegan", run.id)
    by_name = {one.info.run_name: one for one in runs_of(again, "outage")}
    assert set(by_name) == {"before", "during", "parent", "orphan"} and len(runs_of(again, "outage")) == 4
    assert by_name["orphan"].data.tags["mlflow.parentRunId"] == by_name["parent"].info.run_id
    assert again.store.client.get_experiment_by_name("outage").tags["mlflow.note.content"] == "**words**"
    assert not pending(again)


def test_a_training_is_not_held_up_and_the_user_is_told_in_a_line(outage):
    assert outage.seconds < 30
    assert outage.fragments == ["", ""]
    assert "\n" not in str(outage.refused.value)
    assert len(outage.said) == 2, outage.said
    assert "are kept in" in outage.said[0] and "what it missed is published" in outage.said[1]


def test_published_twice_is_the_same_as_once(outage, server, tmp_path):
    runs = outage.tracker.store.runs_dir
    for marker in runs.glob("tracked/*/*/.published"):
        shutil.rmtree(marker)
    for _ in range(2):
        publish_command([], runs, server.url)
    tracker = machine(server, runs)
    assert points(tracker, outage.run, "loss") == [(step, float(step)) for step in range(40)]
    assert len(runs_of(tracker, "outage")) == 4
    child = SimpleNamespace(id=tracker.store.find_run("outage", "key-during"))
    check_everything(tracker, child, tmp_path)


def test_what_a_process_could_not_publish_the_next_one_publishes(outage, server, tmp_path):
    said = outage.ended.stderr.splitlines()
    assert (outage.ended.returncode, outage.ended.stdout, len(said)) == (0, "", 1), outage.ended
    assert "the next command, or overtone publish, brings them there" in said[0]
    tracker = machine(server, outage.folder / "next")
    run = SimpleNamespace(id=tracker.store.find_run("next", "key-next"))
    assert points(tracker, run, "loss") == [(step, float(step)) for step in range(30)]
    assert artifact(tracker, run, "notes.txt", tmp_path).read_text() == "text"
    assert stored(tracker, run).info.status == "FINISHED"


def test_a_run_that_was_deleted_in_mlflow_comes_back_whole(tracker, server, tmp_path):
    with tracker.run("deleted", "one", {}, "key-deleted") as run:
        log_everything(run)
    tracker.store.client.delete_run(run.id)
    publish_command([run.folder.path], tracker.store.runs_dir, server.url)
    found = SimpleNamespace(id=tracker.store.find_run("deleted", "key-deleted"))
    assert found.id not in ("", run.id)
    check_everything(tracker, found, tmp_path)


def test_a_server_that_hangs_does_not_hold_a_training_up(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(experiments.tracking.store, "PROBE_SECONDS", 0.5)
    importlib.import_module("mlflow")  # seconds that are not the server's
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        tracker = open_tracker(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path)
        run = tracker.run("hangs", "one", {}, "key")
        for step in range(200):
            run.log_metrics({"loss": float(step)}, step)
        assert time.monotonic() - started < 5
    assert len(run.folder.points()[0]) == 200


def test_what_is_no_mlflow_server_is_refused_in_a_line(tmp_path):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        do_POST = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        with pytest.raises(OvertoneError, match="does not answer as an MLflow server") as raised:
            open_tracker(f"http://user:secret@127.0.0.1:{other.server_port}", tmp_path)
        other.shutdown()
    assert "\n" not in str(raised.value) and "secret" not in str(raised.value)
