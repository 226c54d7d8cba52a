"""Systems from outside in a comparison: one of each kind, broken ones, and a comparison that goes on."""

import json
import sys
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
import soundfile
import yaml
from onnx import TensorProto, helper
from project import PROJECT

import experiments.scoring.rows
from datamodules.corpora.corpus import load_corpus
from evaluation.measures.catalogue import MEASURES
from experiments.cli.main import main
from experiments.presets.external import External, parse_external
from experiments.presets.preset import load_preset
from experiments.scoring import external
from experiments.scoring.external import name_of
from experiments.scoring.rows import score_job
from experiments.scoring.splits import read_scores
from experiments.training.fit import make_datamodule
from overtone.errors import OvertoneError

TOOL = PROJECT / "tests" / "support" / "outside_tool.py"
GAIN = 0.5


def command(mode, **settings):
    return {"command": f"{sys.executable} {TOOL} {mode} {{input}} {{output}}", **settings}


def write_graph(path, gain=GAIN):
    """An ONNX file that turns ``(batch, 1, samples)`` into the same, quieter."""
    shape = ["batch", 1, "samples"]
    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("waveform", "enhanced"))
    factor = helper.make_tensor("factor", TensorProto.FLOAT, [], [gain])
    node = helper.make_node("Mul", ["waveform", "factor"], ["enhanced"])
    graph = helper.make_graph([node], "quieter", [given], [made], [factor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)


def quick(preds, target):
    return float(np.abs(preds - target).mean())


def run_compare(preset, corpus, runs, *options):
    arguments = ["compare", str(preset), "--data", str(corpus), "--runs", str(runs), "--tracking", "none"]
    return main([*arguments, *options])


def only(runs, pattern):
    (path,) = runs.glob(pattern)
    return path


def scores(runs):
    return read_scores(only(runs, "comparisons/*/scores-test.csv"))


@pytest.fixture
def small(tiny_settings, tmp_path, monkeypatch):
    """A working folder with a preset of one model, whose costs are measured quickly."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(external, "COST_REPEATS", 1)
    monkeypatch.setattr(external, "COST_SECONDS", (0.1, 2.1))
    for key in ("visqol", "pesq_wb", "stoi"):  # the slow ones
        monkeypatch.setitem(MEASURES, key, replace(MEASURES[key], function=quick))
    models = {"dnn_fft": tiny_settings["models"]["dnn_fft"]}
    data = tiny_settings["data"] | {"test_conditions": {"telephone": {"steps": [{"resample": {"rate": 8000}}]}}}

    def write(**systems):
        plain = tiny_settings | {"models": models, "data": data, "external": systems}
        Path("tiny.yaml").write_text(yaml.safe_dump(plain))
        return Path("tiny.yaml")

    return write


@pytest.fixture
def utterances(small, tiny_corpus):
    preset, corpus = load_preset(str(small())), load_corpus(tiny_corpus)
    return list(make_datamodule(preset, corpus, seed=0).utterances("test"))


@pytest.mark.slow
def test_one_of_each_kind_is_scored_ranked_and_told_beside_broken_ones(
    small, utterances, one_core, tiny_corpus, tmp_path, capsys
):
    write_graph(tmp_path / "quieter.onnx")
    (tmp_path / "peers.py").write_text(
        "import numpy as np\n\ndef enhance(samples, rate):\n    for _ in range(20):\n        sorted(samples.tolist())\n"
        "    return np.stack([0.25 * samples]), rate\n"
        "\ndef breaks(samples, rate):\n    raise ValueError('too loud')\n"
    )
    for utterance in utterances[1:]:
        path = tmp_path / "ready" / "deeper" / f"{name_of(utterance)}.flac"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, utterance.narrowband, utterance.sample_rate, subtype="PCM_24")
    preset = small(
        copies=command("copies"),
        each=command("copies", over="file", sample_rate=8000),
        graph={"onnx": "quieter.onnx", "input_name": "waveform"},
        function={"callable": "peers:enhance"},
        ready={"folder": "ready"},
        delays=command("delays"),
        fails=command("fails"),
        hangs=command("hangs", limit_seconds=1.0),
        stops=command("stops"),
        shortens=command("shortens"),
        rubbish=command("writes_rubbish"),
        breaks={"callable": "peers:breaks"},
        unnamed={"onnx": "quieter.onnx", "input_name": "audio"},
    )
    runs = tmp_path / "runs"
    assert run_compare(preset, tiny_corpus, runs) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.index("fails: 2 utterances have no estimate: it ended with code 3") < said.index("dnn_fft-seed0")
    assert "no weights here" in only(runs, "external/fails-*/test-*/log.txt").read_text()
    table = scores(runs)
    of = {str(name): rows.set_index(["file", "condition"]) for name, rows in table.groupby("system")}
    assert all(len(of[name]) == len(utterances) for name in load_preset(str(preset)).external)

    nothing = of["unprocessed"]
    for name in ("copies", "delays"):
        assert (of[name]["failures"] == "").all()
        assert of[name]["extended_ber"].to_numpy() == pytest.approx(nothing["extended_ber"].to_numpy(), abs=0.02)
    assert of["copies"]["lsd"].equals(nothing["lsd"])
    assert of["graph"]["si_sdr"].to_numpy() == pytest.approx(nothing["si_sdr"].to_numpy(), abs=1e-3)
    assert (of["function"]["lsd"] > of["graph"]["lsd"]).all() and (of["graph"]["lsd"] > of["copies"]["lsd"]).all()
    reasons = {
        "fails": "it ended with code 3, it said: no weights here",
        "hangs": "it was ended after 1 s without a file or a word (limit_seconds)",
        "shortens": "samples against the reference's",
        "rubbish": "not readable as audio",
        "breaks": "ValueError: too loud",
        "unnamed": "has no input audio, but waveform",
    }
    for name, reason in reasons.items():
        assert of[name]["lsd"].isna().all(), name
        assert of[name]["failures"].str.contains(reason, regex=False).all(), of[name]["failures"].iloc[0]
    assert of["stops"]["lsd"].notna().sum() == 1
    assert of["stops"]["failures"].str.contains("it ended with code 4").sum() == len(utterances) - 1
    assert of["ready"]["failures"].str.contains("there is no file").sum() == 1
    assert_told(only(runs, "comparisons/*"), reasons)
    assert not list(runs.glob("external/*/*/run-*")) and not list(runs.glob("external/*/*/cost-*"))


def assert_told(folder, reasons):
    board = pd.read_csv(folder / "leaderboard.csv").set_index("system")
    external = board[board["status"] == "external"]
    assert len(external) == 13
    assert external["rank"].notna().all() and (board.loc[board["status"] == "control", "rank"]).isna().all()
    assert set(board["rank"].dropna()) == set(range(1, 15))
    assert external.loc["function", "rtf"] > 0.0
    stopped = ["fails", "hangs", "breaks", "unnamed"]  # the others run to their end, so that chance may give a figure
    assert external.loc[["ready", *stopped], "rtf"].isna().all()
    tests = pd.read_csv(folder / "differences.csv")
    assert {"copies", "fails"} <= set(tests.loc[tests["system"] == "dnn_fft", "other"])
    for page in ("report.html", "leaderboard.md"):
        text = (folder / page).read_text()
        for words in ("a constant delay of 10 ms is removed", "estimates of 8000 Hz are resampled", "given 8000 Hz"):
            assert words in text
    report = (folder / "report.html").read_text()
    assert report.count("copies") > 5
    found = json.loads((folder / "findings.json").read_text())
    assert found["selection"]["winner"] not in found["external"]
    assert "copies" in load_preset(str(folder / "preset.yaml")).external


@pytest.mark.slow
def test_the_figures_are_those_of_evaluate_on_the_same_files(small, utterances, one_core, tiny_corpus, tmp_path):
    runs = tmp_path / "runs"
    assert run_compare(small(delays=command("delays")), tiny_corpus, runs, "--tracking", "mlflow") == 0
    assert_tracked(runs)
    estimates = only(runs, "external/delays-*/test-*/estimates")
    for utterance in utterances:
        if utterance.condition == "telephone":
            path = tmp_path / "reference" / f"{name_of(utterance)}.wav"
            path.parent.mkdir(exist_ok=True)
            soundfile.write(path, utterance.wideband, utterance.sample_rate, subtype="FLOAT")
    options = ["--reference", "reference", "--estimate", f"delays={estimates}", "--cutoff-hz", "4000", "--align"]
    assert main(["evaluate", *options, "--out", "table.csv"]) == 0
    evaluated = pd.read_csv("table.csv", float_precision="round_trip").query("system == 'delays'")
    compared = scores(runs).query("system == 'delays' and condition == 'telephone'")
    keys = [key for key in MEASURES if key in evaluated and key in compared]
    assert len(keys) > 15
    assert evaluated[keys].reset_index(drop=True).equals(compared[keys].reset_index(drop=True))


def assert_tracked(runs):
    """The system has a run with its rank, scores and words, so that it stands in MLflow's sorted table."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{runs}/mlflow.db")
    (experiment,) = (one for one in client.search_experiments() if one.name == "compare-tiny")
    found = {run.info.run_name: run.data for run in client.search_runs([experiment.experiment_id])}
    assert {found["delays"].metrics["rank"], found["dnn_fft-seed0"].metrics["rank"]} == {1, 2}
    assert found["delays"].tags["status"] == "external" and "test/lsd" in found["delays"].metrics
    assert "a constant delay of 10 ms is removed" in found["delays"].tags["mlflow.note.content"]


def test_what_was_stopped_goes_on_without_running_or_scoring_twice(
    small, utterances, one_core, tiny_corpus, tmp_path, monkeypatch
):
    counter, runs = tmp_path / "counter", tmp_path / "runs"
    monkeypatch.setenv("COUNTER", str(counter))
    monkeypatch.setattr(external, "COST_FROM_SECONDS", inf)  # too little, whatever the machine
    preset = small(copies=command("copies"))
    scored = []

    def stopping(measures, job):
        if len(scored) == len(utterances) + 1:  # those of val, and one of test
            raise KeyboardInterrupt
        scored.append(job)
        return score_job(measures, job)

    with monkeypatch.context() as patch:
        patch.setattr(experiments.scoring.rows, "score_job", stopping)
        assert run_compare(preset, tiny_corpus, runs) == 130
    assert counter.read_text() == "run\n"
    scored.clear()
    monkeypatch.setattr(experiments.scoring.rows, "score_job", stopping)
    assert run_compare(preset, tiny_corpus, runs) == 0
    assert len(scored) == len(utterances) - 1
    started = counter.read_text()
    assert started == "run\n" * 5  # its speed was measured, by two runs and two longer ones
    scored.clear()
    assert run_compare(preset, tiny_corpus, runs) == 0
    assert not scored and counter.read_text() == started


def test_a_run_that_was_killed_leaves_what_is_whole(small, utterances, tmp_path):
    system = external.ExternalSystem("copies", External(**command("copies")), 16000, tmp_path / "kept")
    left = system.folder / "run-killed"
    left.mkdir(parents=True)
    whole, cut = utterances[:2]
    soundfile.write(left / f"{name_of(whole)}.wav", np.full(whole.narrowband.size, 0.1), 16000)
    soundfile.write(left / f"{name_of(cut)}.wav", cut.narrowband[:100], 16000)
    estimates = system.made(utterances, len(utterances), lambda *_: None)
    assert estimates(whole) == pytest.approx(0.1, abs=1e-4)
    assert np.array_equal(estimates(cut), cut.narrowband)
    assert len(system.kept().files) == len(utterances)


def test_a_graph_with_the_interface_of_flashsr_gives_three_samples_for_one(small, utterances, tmp_path):
    given, made = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", samples])
        for name, samples in (("audio_values", "samples"), ("reconstruction", "more"))
    )
    numbers = {"last": [2], "times": [1, 1, 3], "shape": [1, -1]}
    constants = [helper.make_tensor(name, TensorProto.INT64, [len(of)], of) for name, of in numbers.items()]
    nodes = [
        helper.make_node("Unsqueeze", ["audio_values", "last"], ["apart"]),
        helper.make_node("Tile", ["apart", "times"], ["thrice"]),
        helper.make_node("Reshape", ["thrice", "shape"], ["reconstruction"]),
    ]
    graph = helper.make_graph(nodes, "upsampler", [given], [made], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), "model.onnx")
    flashsr = External(onnx="model.onnx", input_name="audio_values", sample_rate=16000, output_sample_rate=48000)
    system = external.ExternalSystem("flashsr", flashsr, 16000, tmp_path / "kept")
    estimates = system.made(utterances, len(utterances), lambda *_: None)
    assert estimates.remarks.rates == (48000,) and not estimates.remarks.missing
    for utterance in utterances:
        error = estimates(utterance) - utterance.narrowband
        # Three equal samples for one are 1/48000 s late and 0.91 as loud at 4 kHz, where this input ends: |1 - H|².
        assert np.square(error).mean() < 0.25 * np.square(utterance.narrowband).mean()


def test_a_folder_without_estimates_is_asked_for_before_anything_is_trained(small, tiny_corpus, tmp_path, capsys):
    runs = tmp_path / "runs"
    assert run_compare(small(), tiny_corpus, runs, "--external", "theirs=made@8000") == 1
    said = " ".join(capsys.readouterr().err.split())
    inputs = only(runs, "external/theirs-*/test-*/inputs")
    assert "expected estimates of 2 utterances of test in made, found no audio" in said
    assert f"{inputs}: enhance each into a file of the same name in made, then" in said
    assert not list(runs.glob("trainings/*"))
    assert len(list(inputs.iterdir())) == 2
    assert all(soundfile.info(path).samplerate == 8000 for path in inputs.iterdir())


def test_estimates_of_another_corpus_are_told_before_anything_is_trained(small, tiny_corpus, tmp_path, capsys):
    Path("made").mkdir()
    soundfile.write("made/telephone--of_another_corpus-123456.wav", np.zeros(1600), 16000)
    runs = tmp_path / "runs"
    assert run_compare(small(), tiny_corpus, runs, "--external", "theirs=made", "others=none") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert (
        "external theirs: expected estimates of 2 utterances of test in made, found files of other names only" in said
    )
    assert "external others: expected estimates of 2 utterances of test in none, found no audio" in said
    assert not list(runs.glob("trainings/*"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("peer=made/x", External(folder="made/x")),
        ("peer=a=b.onnx@16000", External(onnx="a=b.onnx", sample_rate=16000)),
        ("peer=x.onnx@16000:48000", External(onnx="x.onnx", sample_rate=16000, output_sample_rate=48000)),
        (
            "peer=my.peers:enhance@8000:48000",
            External(callable="my.peers:enhance", sample_rate=8000, output_sample_rate=48000),
        ),
        ("peer=my.peers:enhance", External(callable="my.peers:enhance")),
        ("peer=run {input} {output}", External(command="run {input} {output}")),
    ],
)
def test_the_kind_follows_from_what_is_named(text, expected):
    assert parse_external(text) == ("peer", expected)


@pytest.mark.parametrize(
    ("systems", "message"),
    [
        ({"dnn_fft": {"folder": "x"}}, "external: dnn_fft is the name of an architecture"),
        ({"unprocessed": {"folder": "x"}}, "external: unprocessed is the name of a control"),
        ({"peer": {}}, "expected one of command, onnx, callable, folder for each system, got none"),
        ({"peer": {"folder": "x", "onnx": "y"}}, "got onnx and folder"),
        ({"peer": {"command": "run {input}"}}, "expected {input} and {output} in the command"),
        ({"peer": {"command": "run '{input} {output}"}}, "not a command line"),
        ({"peer": {"folder": "x", "over": "file"}}, "over is a setting of command, not folder"),
        ({"a b": {"folder": "x"}}, "external"),
        ({"peer": {"onnx": "x.onnx"}}, "external peer: x.onnx: no such file"),
        ({"peer": {"command": "no-such-program {input} {output}"}}, "found no no-such-program"),
        ({"peer": {"callable": "no_such.module:f"}}, "expected a module, found no no_such in"),
        (
            {"peer": {"onnx": "x.onnx"}, "other": {"callable": "no_such:f"}},
            "external other: expected a module, found no no_such in",
        ),
    ],
)
def test_a_system_that_cannot_be_is_told_before_anything_is_trained(
    small, tiny_corpus, tmp_path, capsys, systems, message
):
    assert run_compare(small(**systems), tiny_corpus, tmp_path / "runs") in (1, 2)
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("runs/trainings/*"))


def test_a_rate_that_its_kind_does_not_take_is_refused():
    with pytest.raises(OvertoneError, match="--external peer: output_sample_rate is a setting of onnx and callable"):
        parse_external("peer=run {input} {output}@16000:48000")


def test_a_name_without_a_system_is_refused():
    with pytest.raises(OvertoneError, match="--external: expected NAME=FOLDER"):
        parse_external("peer")
