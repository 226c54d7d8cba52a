"""Tracking: continued runs, many processes, registration, and errors in one line."""

import json
import math
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figures import figure_array
from ports import free_port
from processes import PATIENCE
from project import PROJECT

from experiments.pages.spectrograms import spectrogram_row
from experiments.tracking.registered_models import Registry, Words
from experiments.tracking.run import Run, flat_parameters
from experiments.tracking.tracker import Tracker, open_tracker
from experiments.tracking.ui import serve_ui
from experiments.tracking.ui_app import STORED, first_page
from overtone.errors import OvertoneError


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    # A blank in the path: it is escaped in the artifact locations that MLflow stores.
    return open_tracker("mlflow", tmp_path_factory.mktemp("my runs"))


def stored(tracker: Tracker, run: Run):
    return tracker.store.client.get_run(run.id)


def fragment(tracker: Tracker, experiment: str) -> str:
    return tracker.store.experiment_fragment(tracker.store.experiment_id(experiment))


def artifact(tracker: Tracker, run: Run, path: str) -> Path:
    return tracker.store.runs_dir / "artifacts" / run.id / "artifacts" / path


def test_nested_parameters_become_dotted_short_texts():
    parameters = {"model": {"width": 64, "rates": [8000, 16000], "empty": {}}, "data": None, "na@me": "x" * 9000}
    flat = flat_parameters(parameters)
    assert flat["model.width"] == "64"
    assert flat["model.rates"] == "[8000, 16000]"
    assert flat["model.empty"] == "{}"
    assert flat["data"] == "null"
    assert len(flat["na_me"]) == 500


def test_a_run_keeps_what_is_logged(tracker: Tracker):
    with tracker.run("demo", "wavegan-seed0", {"model": "wavegan"}, "key-logged") as run:
        run.log_parameters({"width": 64, "rates": [8000, 16000], "log": True, "none": None, "na@me": "x" * 9000})
        run.log_metrics({"val/lsd": 1.5, "val/nan": math.nan, "val/inf": math.inf, "odd@name": np.float32(2)}, step=3)
        run.log_text("<b>hello</b>", "samples.html")
        run.describe("# In words")
        run.log_dataset(pd.DataFrame({"path": ["a.wav"]}), "demo", "d" * 64, "training")
    kept = stored(tracker, run)
    assert kept.info.status == "FINISHED"
    assert kept.info.run_name == "wavegan-seed0"
    texts = {"width": "64", "rates": "[8000, 16000]", "log": "True", "none": "null", "na_me": "x" * 499 + "…"}
    assert kept.data.params == texts
    assert kept.data.metrics == {"val/lsd": 1.5, "odd_name": 2.0}
    assert kept.data.tags["model"] == "wavegan"
    assert kept.data.tags["mlflow.note.content"] == "# In words"
    assert kept.inputs.dataset_inputs[0].dataset.name == "demo"
    assert artifact(tracker, run, "samples.html").read_text() == "<b>hello</b>"
    assert run.url_fragment.startswith("/#/experiments/") and run.id in run.url_fragment


def test_the_same_key_continues_the_run_and_another_key_does_not(tracker: Tracker):
    first = tracker.run("continued", "dnn_fft-seed0", {"seed": "0"}, "key-a")
    first.log_metrics({"train/loss": 1.0}, step=0)
    again = tracker.run("continued", "dnn_fft-seed0", {"seed": "0"}, "key-a")
    again.log_parameters({"width": 1})
    again.log_parameters({"width": 2, "depth": 3})  # MLflow's parameters cannot change: the first value stays
    again.log_metrics({"train/loss": 0.5}, step=1)
    other = tracker.run("continued", "dnn_fft-seed1", {"seed": "1"}, "key-b")
    assert again.id == first.id != other.id
    assert stored(tracker, again).data.params == {"width": "1", "depth": "3"}
    steps = [metric.step for metric in tracker.store.client.get_metric_history(first.id, "train/loss")]
    assert steps == [0, 1]


def test_a_table_logged_twice_is_replaced(tracker: Tracker):
    run = tracker.run("demo", "tables", {}, "key-table")
    table = pd.DataFrame({"file": ["a.wav", "b.wav"], "lsd": [1.23456789, np.nan]})
    run.log_table(table, "tables/per_utterance.json")
    run.log_table(table, "tables/per_utterance.json")
    kept = json.loads(artifact(tracker, run, "tables/per_utterance.json").read_text())
    assert kept == {"columns": ["file", "lsd"], "data": [["a.wav", 1.234568], ["b.wav", None]]}
    assert stored(tracker, run).data.tags["mlflow.loggedArtifacts"].count("per_utterance") == 1


def test_figures_and_files_are_kept(tracker: Tracker, tmp_path: Path):
    run = tracker.run("demo", "images", {}, "key-image")
    noise = np.random.default_rng(0).standard_normal(1600).astype(np.float32)
    row = spectrogram_row({"narrowband": noise, "target": noise}, 8000, "title", cutoff_hz=2000)
    run.log_figure(row, "figures/row.png")
    (tmp_path / "notes.txt").write_text("kept")
    run.log_file(tmp_path / "notes.txt", "notes")
    assert artifact(tracker, run, "figures/row.png").stat().st_size > 1000
    assert artifact(tracker, run, "notes/notes.txt").read_text() == "kept"


@pytest.mark.parametrize(
    ("error", "status"), [(None, "FINISHED"), (ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_the_end_of_the_block_decides_the_status(tracker: Tracker, error, status):
    run = tracker.run("demo", status, {}, f"key-{status}")
    try:
        with run:
            if error is not None:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert stored(tracker, run).info.status == status


def test_the_table_of_runs_opens_on_the_chosen_columns(tracker: Tracker):
    tracker.describe_experiment("viewed", "**wavegan wins**", {"preset": "demo"})
    plain = fragment(tracker, "viewed")
    tracker.show_columns("viewed", ["tags.seed", "metrics.test/lsd"], "metrics.test/lsd")
    experiment = tracker.store.client.get_experiment_by_name("viewed")
    view = json.loads(experiment.tags["mlflow.sharedViewState.overtone"])
    assert "workflowType=machine_learning" in plain and "viewStateShareKey" not in plain
    assert fragment(tracker, "viewed") == f"{plain}&viewStateShareKey=overtone"
    assert view["selectedColumns"] == ["tags.`seed`", "metrics.`test/lsd`"]
    assert view["orderByKey"] == "metrics.`test/lsd`" and view["orderByAsc"]
    assert experiment.tags["mlflow.note.content"] == "**wavegan wins**"
    tracker.run("viewed", "newest", {}, "key-newest")
    assert tracker.latest_fragment() == fragment(tracker, "viewed")


def test_registration_moves_the_aliases_once_per_key(tracker: Tracker, tmp_path: Path):
    (tmp_path / "weights.ckpt").write_bytes(b"weights")
    runs = [tracker.run("registered", f"run{i}", {}, f"key-r{i}") for i in range(2)]
    assert tracker.champion("overtone-test") is None
    words = Words("Champions.", "It won. [Its run](run:key-r0)")
    first = tracker.register("overtone-test", runs[0], tmp_path, {"val.extended_ber": "0.25"}, words)
    model = tracker.store.client.get_registered_model("overtone-test")
    assert model.description == "Champions."
    assert f"It won. [Its run]({runs[0].url_fragment.partition('?')[0][1:]})" == model.latest_versions[0].description
    assert tracker.register("overtone-test", runs[0], tmp_path, {}) == first
    assert tracker.champion("overtone-test") == first
    assert first.tags["val.extended_ber"] == "0.25"
    assert (first.folder / "weights.ckpt").read_bytes() == b"weights"
    with pytest.raises(OvertoneError, match="no previous champion"):
        tracker.roll_back("overtone-test")

    second = tracker.register("overtone-test", runs[1], tmp_path, {})
    assert tracker.champion("overtone-test") == second != first
    tracker.register("overtone-test", runs[0], tmp_path, {})  # known already: the champion stays
    assert tracker.champion("overtone-test") == second
    assert tracker.roll_back("overtone-test") == first
    assert tracker.roll_back("overtone-test") == second


def test_a_registration_that_was_killed_half_way_is_finished(tracker: Tracker, tmp_path: Path, monkeypatch):
    run = tracker.run("registered", "killed", {}, "key-killed")
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "_promote", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tracker.register("overtone-killed", run, tmp_path, {})
    assert tracker.champion("overtone-killed") is None
    version = tracker.register("overtone-killed", run, tmp_path, {})
    assert version.version == "1"
    assert tracker.champion("overtone-killed") == version


def test_processes_share_a_new_store(tmp_path: Path):
    program = (
        "import sys; from pathlib import Path; from experiments.tracking.tracker import open_tracker\n"
        "tracker = open_tracker('mlflow', Path(sys.argv[1]))\n"
        "run = tracker.run('shared', 'one', {}, 'one-key')\n"
        "for step in range(20): run.log_metrics({sys.argv[2]: step}, step)\n"
        "print(run.id)"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), name],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ("first", "second")
    ]
    ends = [process.communicate(timeout=PATIENCE) for process in started]
    assert [process.returncode for process in started] == [0, 0], ends
    identifiers = {out.strip() for out, _ in ends}
    assert len(identifiers) == 1
    assert all(error == "" for _, error in ends), "MLflow must not chatter into the user's terminal"
    tracker = open_tracker("mlflow", tmp_path)
    for name in ("first", "second"):
        assert len(tracker.store.client.get_metric_history(next(iter(identifiers)), name)) == 20


def test_without_tracking_everything_works_and_nothing_is_kept(tmp_path: Path):
    tracker = open_tracker("none", tmp_path / "runs")
    assert not tracker.keeps
    with tracker.run("demo", "name", {}, "key") as run:
        run.log_metrics({"loss": 1.0})
        run.log_table(pd.DataFrame(), "tables/x.json")
    tracker.describe_experiment("demo", "text")
    tracker.show_columns("demo", [], "")
    assert tracker.register("model", run, tmp_path, {}) is None
    assert tracker.champion("model") is None
    assert run.url_fragment == ""
    assert not (tmp_path / "runs").exists()
    with pytest.raises(OvertoneError, match="--tracking none"):
        tracker.roll_back("model")


def test_user_errors_are_one_line(tmp_path: Path, tracker: Tracker):
    (tmp_path / "file").write_text("not a folder")
    for broken in (
        lambda: open_tracker("mlflow", tmp_path / "file"),
        lambda: serve_ui(tmp_path),
        lambda: serve_ui(tracker.store.runs_dir, port=99_999),
    ):
        with pytest.raises(OvertoneError) as raised:
            broken()
        assert "\n" not in str(raised.value)


def test_the_page_is_served_until_interrupted(tracker: Tracker):
    tracker.run("served", "name", {}, "key-served").finish()
    port = free_port()
    taken = pytest.raises(OvertoneError, match=f"{port}.*Choose another --port")
    with socket.create_server(("127.0.0.1", port)), taken:
        serve_ui(tracker.store.runs_dir, port=port)
    program = (
        "import signal, sys; from pathlib import Path; from experiments.tracking.ui import serve_ui\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored where pytest runs in the background
        "serve_ui(Path(sys.argv[1]), port=int(sys.argv[2]), announce=lambda line: print(line, flush=True))"
    )
    command = [sys.executable, "-c", program, str(tracker.store.runs_dir), str(port)]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = re.search(r"http\S+", server.stdout.readline())
            assert address is not None, server.communicate()
            assert address[0].endswith(fragment(tracker, "served"))
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            page = opener.open(address[0], timeout=PATIENCE).read().decode()
            assert "<title>MLflow</title>" in page
            assert f'location.hash = "{fragment(tracker, "served")[1:]}"' in page
            server.send_signal(signal.SIGINT)
            _, error = server.communicate(timeout=PATIENCE)
        finally:
            server.kill()
    assert (server.returncode, error) == (0, "")
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "the server outlived Ctrl-C"


def test_the_first_page_is_mlflow_s_with_a_script_in_front_of_its_own():
    page = first_page('<head><script src="main.js"></script></head>', "#/experiments/1/runs?a=b")
    first, second = re.findall("<script.*?</script>", page)
    assert (
        all(word in first for word in ("#/experiments/1/runs?a=b", *STORED))
        and second == '<script src="main.js"></script>'
    )


def test_tracking_is_imported_without_mlflow():
    modules = "experiments.tracking.tracker, experiments.tracking.publish, experiments.tracking.ui"
    program = f"import sys, {modules}; print('mlflow' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], cwd=PROJECT, text=True).strip() == "False"


def test_titles_of_spectrograms_do_not_run_into_each_other():
    names = ["narrowband", "spectrogram_autoencoder_original, blocks alone", "spectrogram_autoencoder_original"]
    figure = spectrogram_row(dict.fromkeys(names, np.zeros(8000, np.float32)), 8000)
    figure_array(figure)
    for panel in figure.axes[: len(names)]:
        assert panel.title.get_window_extent().width <= panel.get_window_extent().width


@pytest.mark.parametrize("samples", [1, 100, 8000, 480_000])
def test_spectrograms_of_any_length_are_drawn(samples: int):
    tone = np.sin(2 * np.pi * 1000 / 8000 * np.arange(samples)).astype(np.float32)
    pixels = figure_array(spectrogram_row({"narrowband": tone, "target": tone}, 8000))
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3
