"""The command line: exit codes, one clear line for every mistake, help at once, and the lock of a comparison."""

import os
import signal
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import yaml
from project import PROJECT

from experiments.cli.main import COMMANDS, main
from experiments.data.options import FetchOptions
from experiments.runs import sole_use
from overtone.cli.main import GROUP, LABORATORY
from overtone.errors import OvertoneError


@pytest.fixture
def refused(capsys, tmp_path):
    """Return a function that runs a command which must fail, and gives its one line; nothing may be left behind."""

    def run(*arguments):
        before = files(tmp_path)
        assert main([str(argument) for argument in arguments]) == 1
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err + printed.out
        assert printed.err.startswith("overtone: ")
        assert printed.err.count("\n") == 1
        assert len(printed.err.replace(str(tmp_path), "")) < 400
        assert files(tmp_path) - before <= {"runs/.compare.lock"}
        return printed.err

    return run


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def speech(path, seconds=1.0, rate=16000, level=0.1):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = level * np.random.default_rng(len(path.name)).standard_normal(int(seconds * rate))
    soundfile.write(path, samples, rate, subtype="FLOAT")


@pytest.fixture
def shared(tmp_path):
    """The options without which a command would write elsewhere or wait for MLflow."""
    return "--runs", tmp_path / "runs", "--tracking", "none"


@pytest.fixture
def preset_file(tmp_path, tiny_preset):
    """Return a function that writes the tiny preset with changes and gives its path."""

    def write(**changes):
        path = tmp_path / "changed.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(tiny_preset.read_text()) | changes))
        return path

    return write


# Names, presets, options


@pytest.mark.parametrize("command", [("compare", "demo", "--models", "nobody"), ("train", "nobody", "demo")])
def test_an_unknown_model_is_refused_with_the_known_ones(refused, shared, command):
    error = refused(*command, *shared)
    assert "'nobody'" in error
    assert "wavegan_original" in error


def test_a_preset_with_a_model_that_nobody_registered_is_refused(refused, shared, preset_file, tiny_corpus):
    preset = preset_file(models={"nobody": {}})
    error = refused("train", "nobody", preset, "--data", tiny_corpus, *shared)
    assert "Unknown model 'nobody'. Registered: dnn_fft" in error


@pytest.mark.parametrize("command", [("compare", "nothing"), ("train", "dnn_fft", "nothing")])
def test_an_unknown_preset_is_refused_with_the_known_ones(refused, shared, command):
    error = refused(*command, *shared)
    assert "Unknown preset 'nothing'" in error
    assert "demo" in error


def test_a_preset_file_that_is_not_there_is_refused(refused, shared, tmp_path):
    assert "there.yaml" in refused("compare", tmp_path / "there.yaml", *shared)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"modles": {}}, "modles"),
        ({"sample_rate": "high"}, "sample_rate"),
        ({"sample_rate": None}, "sample_rate"),
        ({"sample_rate": 0}, "sample_rate"),
        ({"budget": {"examples": 16, "epochs": 2, "hours": 1}}, "hours"),
        ({"budget": {"examples": 16}}, "epochs"),
        ({"budget": {"examples": "many", "epochs": 2}}, "examples"),
        ({"budget": {"examples": 16, "epochs": 0}}, "epochs"),
        ({"budget": {"examples": 1, "epochs": 2}}, "examples"),
        ({"winner": {"tonalty": 1.0}}, "tonalty"),
        ({"winner": {"tonality": "low"}}, "tonality"),
        ({"winner": {"tonality": float("nan")}}, "tonality"),
        ({"models": ["dnn_fft"]}, "models"),
        ({"models": {"dnn_fft": None}}, "models"),
        ({"models": {}}, "models"),
        ({"seeds": 0}, "seeds"),
    ],
)
def test_a_preset_with_an_unknown_key_or_a_bad_value_is_refused(refused, shared, preset_file, changes, expected):
    error = refused("compare", preset_file(**changes), "--data", "nowhere", *shared)
    assert expected in error
    assert "changed.yaml" in error


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({"widht": 3}, "no setting widht"), ({"hidden": "wide"}, "hidden"), ({"learning_rate": None}, "learning_rate")],
)
def test_a_setting_that_an_architecture_does_not_have_is_refused(
    refused, shared, preset_file, tiny_corpus, settings, expected
):
    preset = preset_file(models={"dnn_fft": settings})
    assert expected in refused("train", "dnn_fft", preset, "--data", tiny_corpus, *shared)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"steps": [{"telephon": {}}]}, "unknown step 'telephon'"),
        ({"steps": [{"resample": {"rat": 8000}}]}, "step 'resample' takes rate"),
        ({"steps": [{"resample": {"rate": "low"}}]}, "rate expects a number"),
        ({"steps": [{"resample": {"rate": [4000, 8000]}}]}, "expected fixed values, got a range"),
    ],
)
def test_a_preset_with_a_bad_condition_is_refused(
    refused, shared, preset_file, tiny_preset, tiny_corpus, condition, expected
):
    data = yaml.safe_load(tiny_preset.read_text())["data"] | {"test_conditions": {"telephone": condition}}
    assert expected in refused("compare", preset_file(data=data), "--data", tiny_corpus, *shared)


@pytest.mark.parametrize("text", ["models: [", "just words", "", "- a\n- list\n"])
def test_a_preset_that_is_no_mapping_is_refused(refused, shared, tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    assert "broken.yaml" in refused("train", "dnn_fft", path, *shared)


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "demo", "--frobnicate"),
        ("train", "dnn_fft", "demo", "--seed", "some"),
        ("train", "dnn_fft", "demo", "--strategy", "fsdp"),
        ("sweep", "dnn_fft", "demo", "--launcher", "abacus"),
        ("compare",),
        ("frobnicate",),
        (),
    ],
)
def test_options_that_do_not_exist_end_with_usage(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert "usage: overtone" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(("option", "value"), [("--seeds", "0"), ("--seeds", "-1"), ("--jobs", "0"), ("--jobs", "-2")])
def test_numbers_below_one_are_refused(refused, shared, tiny_preset, option, value):
    error = refused("compare", tiny_preset, "--data", "nowhere", option, value, *shared)
    assert f"{option}: expected at least 1, got {value}" in error


def test_runs_are_tracked_nowhere_else(refused):
    error = refused("compare", "demo", "--tracking", "paper")
    assert "--tracking: expected mlflow, none, or the http://HOST:PORT of an MLflow server, got 'paper'" in error


# Data


def train(refused, preset, data, shared):
    return refused("train", "dnn_fft", preset, "--data", data, *shared)


def test_data_that_is_not_there_is_refused(refused, shared, tiny_preset, tmp_path):
    assert "nowhere: no such folder or manifest" in train(refused, tiny_preset, tmp_path / "nowhere", shared)


def test_a_preset_without_data_asks_for_it(refused, shared, tiny_preset):
    assert "--data" in refused("train", "dnn_fft", tiny_preset, *shared)


def test_a_folder_without_audio_is_refused(refused, shared, tiny_preset, tmp_path):
    (tmp_path / "data").mkdir()
    assert "found none" in train(refused, tiny_preset, tmp_path / "data", shared)
    (tmp_path / "data" / "notes.txt").write_text("no audio")
    assert "found none" in train(refused, tiny_preset, tmp_path / "data", shared)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"only the name says that this is audio", "not readable as audio"),
        (b"", "not readable as audio"),
        (np.full(16000, np.nan), "NaN"),
        (np.zeros(16000), "silent"),
        (np.zeros(0), "no samples"),
        (np.full(160, 0.1), "ms long"),
    ],
    ids=["text", "empty", "nan", "silence", "no_samples", "too_short"],
)
def test_files_that_are_no_speech_are_refused_with_the_reason(
    refused, shared, tiny_preset, tmp_path, content, expected
):
    path = tmp_path / "data" / "ada" / "one.wav"
    path.parent.mkdir(parents=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        soundfile.write(path, content, 16000, subtype="FLOAT")
    error = train(refused, tiny_preset, tmp_path / "data", shared)
    assert expected in error
    assert "one.wav" in error


@pytest.mark.parametrize("speakers", [1, 2])
def test_too_few_speakers_are_refused_with_what_to_do(refused, shared, tiny_preset, tmp_path, speakers):
    for number in range(speakers):
        speech(tmp_path / "data" / f"speaker{number}" / "one.wav")
    error = train(refused, tiny_preset, tmp_path / "data", shared)
    assert f"({speakers} speakers in all)" in error
    assert "Add speakers" in error


# Folders and the lock


@pytest.mark.parametrize("command", [("compare", "demo"), ("train", "dnn_fft", "demo"), ("ui",)])
def test_a_file_in_the_place_of_the_runs_folder_is_refused(refused, tmp_path, command):
    (tmp_path / "runs").write_text("a file")
    tracking = () if command == ("ui",) else ("--tracking", "none")
    assert "--runs" in refused(*command, "--runs", tmp_path / "runs", *tracking)


def test_a_second_comparison_in_the_same_folder_is_refused(refused, shared, tiny_preset, tiny_corpus, tmp_path):
    runs = tmp_path / "runs"
    runs.mkdir()
    with sole_use(runs, "comparison"):
        error = refused("compare", tiny_preset, "--data", tiny_corpus, *shared)
    assert "another comparison is running" in error
    assert str(runs) in error


def test_the_lock_is_gone_after_its_holder_was_killed(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from experiments.runs import sole_use\n"
        "with sole_use(Path(sys.argv[1]), 'comparison'):\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], cwd=PROJECT, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(OvertoneError, match="another comparison"), sole_use(tmp_path, "comparison"):
                pass
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait()
    with sole_use(tmp_path, "comparison"):
        pass


def test_a_lock_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="inside"), sole_use(tmp_path, "comparison"):
        raise ValueError("inside")
    with sole_use(tmp_path, "comparison"):
        pass


# Help


def test_each_command_of_the_laboratory_is_plugged_in_and_known_to_the_light_command_line():
    declared = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    assert declared.keys() == COMMANDS.keys() == LABORATORY.keys()
    assert set(declared.values()) == {"experiments.cli.main:COMMANDS"}


@pytest.mark.parametrize("command", [(), ("compare",), ("train",), ("evaluate",), ("listen",), ("ui",)])
def test_help_imports_neither_torch_nor_mlflow(command):
    code = (
        "import sys; from experiments.cli.main import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as ended:\n    assert not ended.code\n"
        "heavy = {'torch', 'mlflow', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *command, "--help"], cwd=PROJECT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    assert "usage: overtone" in ended.stdout


def test_votes_reach_the_import_with_their_files_and_the_folder_for_runs(monkeypatch, tmp_path):
    calls = []
    imported = SimpleNamespace(import_command=lambda *arguments: calls.append(arguments))
    monkeypatch.setitem(sys.modules, "experiments.listening.listen", imported)
    options = ("--runs", str(tmp_path), "--comparison", "there", "--tracking", "none")
    assert main(["listen", "--import", "a.json", "b.json", *options]) == 0
    assert main(["listen", "--import", "a.json", "--runs", str(tmp_path)]) == 0
    assert calls == [
        ([Path("a.json"), Path("b.json")], tmp_path, Path("there"), "none"),
        ([Path("a.json")], tmp_path, None, "mlflow"),
    ]


def replace_run(monkeypatch, command, run):
    monkeypatch.setitem(COMMANDS, command, replace(COMMANDS[command], run=run))


@pytest.mark.parametrize("command", ["compare", "train", "evaluate"])
def test_ctrl_c_says_that_the_same_command_continues(monkeypatch, capsys, command):
    def interrupted(options):
        raise KeyboardInterrupt

    replace_run(monkeypatch, command, interrupted)
    positional = {"compare": ["demo"], "train": ["dnn_fft", "demo"]}
    required = ["--reference", "a", "--estimate", "b=c", "--out", "d.csv"]
    assert main([command, *positional.get(command, required)]) == 130
    assert "The same command continues where it was" in capsys.readouterr().err


def test_ctrl_c_ends_with_130_and_one_line(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    replace_run(monkeypatch, "compare", interrupted)
    assert main(["compare", "demo"]) == 130
    assert "stopped" in capsys.readouterr().err


def test_a_full_disk_is_one_line(monkeypatch, capsys):
    def full(options):
        raise OSError(28, os.strerror(28), "somewhere/model.pt")

    replace_run(monkeypatch, "compare", full)
    assert main(["compare", "demo"]) == 1
    assert capsys.readouterr().err.startswith("overtone: somewhere/model.pt: No space left on device.")


# Corpora


def test_a_corpus_is_prepared_and_loaded(tmp_path, capsys):
    from datamodules.corpora.corpus import load_corpus

    for number, speaker in enumerate("abc"):  # the sound depends on the length of the name
        speech(tmp_path / "audio" / speaker / f"{'x' * (number + 1)}.wav")
    assert main(["data", "prepare", str(tmp_path / "audio"), "--out", str(tmp_path / "out"), "--licence", "MIT"]) == 0
    assert "3 usable files" in capsys.readouterr().out
    assert len(load_corpus(tmp_path / "out").clips) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("nowhere", "--out", "out"), "nowhere: no such folder or manifest"),
        (("empty", "--out", "out"), "found none"),
        (("audio", "--out", "file.txt"), "expected a folder, got a file"),
        (("audio", "--out", "out", "--jobs", "0"), "--jobs: expected at least 1, got 0"),
        (("audio", "--out", "out", "--speaker-pattern", "("), "not a regular expression"),
        (("audio", "--out", "out", "--speaker-pattern", "x"), "expected a group (?P<speaker>...)"),
    ],
)
def test_mistakes_in_preparing_are_one_line(tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("x")
    speech(tmp_path / "audio" / "ann" / "0.wav")
    assert main(["data", "prepare", *options]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_interrupted_preparation_says_that_it_goes_on(tmp_path, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.data.prepare.prepare", interrupted)
    assert main(["data", "prepare", str(tmp_path), "--out", str(tmp_path / "out")]) == 130
    assert "The same command continues where it was" in capsys.readouterr().err


def test_fetch_is_called_with_what_was_asked_for(monkeypatch):
    calls = []
    monkeypatch.setattr("experiments.data.fetch.fetch_command", calls.append)
    assert main(["data", "fetch", "vctk", "--out", "corpora", "--dry-run", "--mirror", "us"]) == 0
    assert calls == [FetchOptions("vctk", Path("corpora"), True, False, "us")]


def test_further_splits_reach_train_and_compare(monkeypatch):
    calls = []
    noted = lambda *arguments: calls.append(arguments[-1].workspace.extra)  # noqa: E731
    monkeypatch.setattr("experiments.training.train.train_command", noted)
    monkeypatch.setattr("experiments.comparison.compare.compare", noted)
    assert main(["train", "wavegan", "demo", "--extra", "train_extra, wild"]) == 0
    assert main(["compare", "demo", "--extra", "train_extra"]) == 0
    assert main(["compare", "demo"]) == 0
    assert calls == [("train_extra", "wild"), ("train_extra",), ()]


@pytest.mark.parametrize("action", ["prepare", "fetch", "inspect"])
def test_data_commands_explain_themselves(action, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["data", action, "--help"])
    assert ended.value.code == 0
    assert "--out" in capsys.readouterr().out
