"""The command `overtone` by itself: help, usage, what is missing, and the commands that are plugged in."""

import os
import subprocess
import sys
import tomllib

import pytest
from project import PROJECT

import overtone
from overtone.cli.main import GROUP, LABORATORY, main
from overtone.cli.models import COMMANDS, HELP

WITHOUT_LABORATORY = "import sys; from overtone.cli.main import main; sys.exit(main(sys.argv[1:], plugged={}))"


def run(*arguments, code=WITHOUT_LABORATORY):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=PROJECT / "runtime")


def test_help_lists_the_commands_and_imports_nothing_slow():
    code = f"import atexit; atexit.register(lambda: print(sorted(sys.modules)))\n{WITHOUT_LABORATORY}"
    done = run("--help", code="import sys\n" + code)
    assert done.returncode == 0, done.stderr
    assert all(f"  {name}" in done.stdout and text in done.stdout for name, text in HELP.items())
    assert "The laboratory, which is not installed here, adds compare, " in done.stdout
    assert not any(f"'{heavy}'" in done.stdout for heavy in ("numpy", "onnxruntime", "rich", "experiments"))


def test_the_package_is_imported_without_its_libraries():
    done = run(
        code="import sys, overtone; print(sorted({'numpy', 'onnxruntime', 'soundfile', 'rich'} & {*sys.modules}))"
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("code", [WITHOUT_LABORATORY, "import overtone"])
def test_help_and_import_take_less_than_400_ms_of_a_processor(code):
    seconds = []
    for _ in range(3):  # the least counts: other work on the machine only adds
        before = sum(os.times()[2:4])
        run("--help", code=code)
        seconds.append(sum(os.times()[2:4]) - before)
    assert min(seconds) < 0.4


@pytest.mark.parametrize("name", LABORATORY)
def test_a_command_of_a_missing_laboratory_is_refused_in_one_line(name, capsys):
    assert main([name, "demo"], plugged={}) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"overtone: {name} belongs to the laboratory, which is not installed here.")
    assert error.count("\n") == 1


def test_a_command_whose_packages_are_missing_says_how_to_install_them(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "overtone.serve.serve", raising=False)
    assert main(["serve"], plugged={}) == 1
    assert capsys.readouterr().err == (
        "overtone: serve needs uvicorn, which is missing. Install it: pip install 'overtone[serve]'\n"
    )


def test_enhance_alone_shows_a_short_usage(capsys):
    assert main(["enhance"], plugged={}) == 2
    assert capsys.readouterr().err == (
        "usage: overtone enhance old.mp3 --out new.flac\nAll options: overtone enhance --help\n"
    )


def test_the_version_is_that_of_the_distribution(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert not ended.value.code
    declared = tomllib.loads((PROJECT / "runtime" / "pyproject.toml").read_text())["project"]["version"]
    assert capsys.readouterr().out == f"overtone {declared}\n"


def test_an_unknown_command_is_answered_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["enhence"], plugged={})
    assert ended.value.code == 2
    assert "unknown command 'enhence'; expected enhance, serve" in capsys.readouterr().err


def test_an_installed_distribution_plugs_its_commands_in(tmp_path):
    (tmp_path / "extra_commands.py").write_text(
        "from argparse import ArgumentParser\nfrom overtone.cli.command import Command\n"
        "COMMANDS = {'greet': Command(ArgumentParser, lambda options: print('hello'))}\n"
    )
    metadata = tmp_path / "extra-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\ngreet = extra_commands:COMMANDS\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "overtone.cli.main", "greet"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "hello\n"), done.stderr


def test_every_own_command_has_its_line_of_help():
    assert COMMANDS.keys() == HELP.keys()


def test_an_error_is_a_value_error():
    assert issubclass(overtone.OvertoneError, ValueError)
