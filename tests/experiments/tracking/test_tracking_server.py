"""Tracking on a real MLflow server: the same as on the local store, from many machines, and through its absences."""

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
from project import PROJECT

import experiments.tracking.delivery
import experiments.tracking.store
from experiments.tracking.mlflow_tracker import MlflowTracker, open_tracker
from overtone.errors import OvertoneError


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
    tracker = open_tracker(server.url, runs)
    assert isinstance(tracker, MlflowTracker)
    return tracker


def stored(tracker, run):
    return tracker._client.get_run(run.id)


def artifact(tracker, run, path, folder):
    return Path(tracker._client.download_artifacts(run.id, path, str(folder)))


def points(tracker, run, name):
    return [(point.step, point.value) for point in tracker._client.get_metric_history(run.id, name)]


def log_everything(run, step=3):
    run.log_parameters({"model": {"width": 64}})
    run.log_metrics({"val/lsd": 1.5, "val/nan": math.nan, "odd@name": np.float32(2)}, step=step)
    run.log_text("<b>hello</b>", "samples.html")
    run.log_image(np.zeros((8, 8, 3), np.uint8), "val/clip", step=step)
    run.log_table(pd.DataFrame({"file": ["a.wav"], "lsd": [1.25]}), "tables/per_utterance.json")
    run.log_dataset(pd.DataFrame({"path": ["a.wav"]}), "demo", "d" * 64, "training")
    run.describe("# In words")


def check_everything(tracker, run, tmp_path, step=3):
    kept = stored(tracker, run)
    assert kept.data.params == {"model.width": "64"}
    assert kept.data.metrics == {"val/lsd": 1.5, "odd_name": 2.0}
    assert points(tracker, run, "val/lsd") == [(step, 1.5)]
    assert kept.data.tags["mlflow.note.content"] == "# In words"
    assert kept.data.tags["mlflow.loggedArtifacts"].count("per_utterance") == 1
    assert [one.dataset.name for one in kept.inputs.dataset_inputs] == ["demo"]
    assert kept.info.artifact_uri.startswith("mlflow-artifacts:"), "files must go through the server"
    assert artifact(tracker, run, "samples.html", tmp_path).read_text() == "<b>hello</b>"
    table = json.loads(artifact(tracker, run, "tables/per_utterance.json", tmp_path).read_text())
    assert table == {"columns": ["file", "lsd"], "data": [["a.wav", 1.25]]}
    images = [one.path for one in tracker._client.list_artifacts(run.id, "images")]
    assert len(images) == 2 and all(f"val~clip+step+{step}+" in path for path in images)


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
    assert "overtone.claim" not in kept.data.tags
    assert artifact(tracker, parent, "notes/notes.txt", tmp_path).read_text() == "kept"
    tracker.describe_experiment("kept", "**words**")
    tracker.show_columns("kept", ["metrics.val/lsd"], "metrics.val/lsd")
    assert tracker.experiment_fragment("kept").endswith("viewStateShareKey=overtone")
    assert tracker.latest_fragment() and run.id in run.url_fragment
    assert not (tracker.runs_dir / "outbox").exists()


def test_machines_at_once_share_a_run_and_a_version(server, tmp_path):
    machines = [machine(server, tmp_path / str(number)) for number in range(4)]
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "weights.ckpt").write_bytes(b"weights")
    for attempt in range(3):
        start = threading.Barrier(len(machines))

        def work(tracker, attempt=attempt, start=start):
            start.wait()
            run = tracker.run(f"race-{attempt}", "one", {}, f"key-race-{attempt}")
            start.wait()
            return run.id, tracker.register(f"overtone-race-{attempt}", run, tmp_path / "bundle", {}).version

        with ThreadPoolExecutor(len(machines)) as pool:
            results = set(pool.map(work, machines))
        assert len(results) == 1, results
        client = machines[0]._client
        experiment = client.get_experiment_by_name(f"race-{attempt}")
        assert len(client.search_runs([experiment.experiment_id])) == 1
        assert len(client.search_model_versions(f"name = 'overtone-race-{attempt}'")) == 1


def test_a_claim_whose_maker_died_is_taken_over(tracker, monkeypatch):
    monkeypatch.setattr(experiments.tracking.store, "CLAIM_SECONDS", 0.5)
    experiment = tracker._client.create_experiment("claimed")
    dead = tracker._client.create_run(experiment, tags={"overtone.key": "key's own", "overtone.claim": "dead"})
    run = tracker.run("claimed", "one", {}, "key's own")
    assert run.id == dead.info.run_id
    assert "overtone.claim" not in stored(tracker, run).data.tags


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
    assert not (elsewhere.runs_dir / "registered").exists()
    assert (found.folder / "weights.ckpt").read_bytes() == b"two"
    assert [path.name for path in (elsewhere.runs_dir / "registered").iterdir()] == [found.folder.name]
    assert elsewhere.roll_back("overtone-test") == first
    restored = here.champion("overtone-test")
    assert (restored.folder / "weights.ckpt").read_bytes() == b"one"
    assert restored.tags["val"] == "0.25"


PROGRAM = (
    "import sys; from pathlib import Path; from experiments.tracking.mlflow_tracker import open_tracker\n"
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
        patch.setattr(experiments.tracking.delivery, "_say", said.append)
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
        fragments = [child.id, child.url_fragment, tracker.experiment_fragment("unknown")]
        seconds = time.monotonic() - started
        with pytest.raises(OvertoneError, match="cannot be used") as refused:
            tracker.champion("overtone-test")
        command = [sys.executable, "-c", PROGRAM, server.url, str(folder / "next")]
        ended = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=120)
        shutil.copytree(tracker.runs_dir / "outbox", folder / "copy")
        server.start()
        run.finish()
    return SimpleNamespace(**locals())


def test_nothing_is_lost_while_the_server_is_gone(outage, tmp_path):
    tracker, run = outage.tracker, outage.run
    assert points(tracker, run, "loss") == [(step, float(step)) for step in range(40)]
    check_everything(tracker, outage.child, tmp_path)
    kept = stored(tracker, outage.child)
    assert (kept.info.status, kept.info.run_name) == ("FINISHED", "during")
    assert kept.info.end_time - kept.info.start_time < 20_000, "it must not seem to have run until it was sent"
    assert (kept.data.tags["model"], kept.data.tags["mlflow.parentRunId"]) == ("wavegan", run.id)
    assert stored(tracker, outage.orphan).data.tags["mlflow.parentRunId"] == outage.parent.id
    assert stored(tracker, outage.parent).info.run_name == "parent"
    experiment = tracker._client.get_experiment_by_name("outage")
    assert experiment.tags["mlflow.note.content"] == "**words**"
    assert len(tracker._client.search_runs([experiment.experiment_id])) == 4
    assert not list((tracker.runs_dir / "outbox").rglob("*.jsonl"))


def test_a_training_is_not_held_up_and_the_user_is_told_in_a_line(outage):
    assert outage.seconds < 20
    assert outage.fragments == ["", "", ""]
    assert "\n" not in str(outage.refused.value)
    assert len(outage.said) == 2, outage.said
    assert "waits in" in outage.said[0] and "that waited are sent" in outage.said[1]


def test_sending_twice_leaves_what_sending_once_leaves(outage, server, tmp_path):
    runs = outage.tracker.runs_dir
    shutil.copytree(outage.folder / "copy", runs / "outbox", dirs_exist_ok=True)  # as if killed in the midst of it
    tracker = machine(server, runs)
    assert not list((runs / "outbox").rglob("*.jsonl"))
    assert points(tracker, outage.run, "loss") == [(step, float(step)) for step in range(40)]
    check_everything(tracker, outage.child, tmp_path)


def test_what_a_process_could_not_send_the_next_one_sends(outage, server, tmp_path):
    said = outage.ended.stderr.splitlines()
    assert (outage.ended.returncode, outage.ended.stdout, len(said)) == (0, "", 2), outage.ended
    assert "33 entries wait in" in said[1] and "the same command sends them" in said[1]
    tracker = machine(server, outage.folder / "next")
    run = tracker.run("next", "one", {}, "key-next")
    assert points(tracker, run, "loss") == [(step, float(step)) for step in range(30)]
    assert artifact(tracker, run, "notes.txt", tmp_path).read_text() == "text"
    assert not list((outage.folder / "next").rglob("*.jsonl"))


def test_a_server_that_hangs_does_not_hold_a_training_up(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr(experiments.tracking.store, "PROBE_SECONDS", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        tracker = open_tracker(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path)
        run = tracker.run("hangs", "one", {}, "key")
        for step in range(200):
            run.log_metrics({"loss": 1.0}, step)
        assert time.monotonic() - started < 5
    shutil.rmtree(tmp_path / "outbox")


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
