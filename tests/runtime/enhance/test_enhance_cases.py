"""Bad and odd input: what is said, how it ends, and that the table in the documentation says the same."""

import os
import subprocess
import sys

import pytest
import soundfile
from enhance_cases import CASES, DOCUMENT, speech, write
from packages import package

from overtone.cli.main import main


def run(folder, arguments):
    model = [] if "--model" in arguments else ["--model", str(package())]
    return main(["enhance", *arguments, *model, "--jobs", "1"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_command_ends_as_the_table_says(case, tmp_path, capfd):
    if case.name == "no permission to read" and os.geteuid() == 0:
        pytest.skip("root may read anything")
    assert run(tmp_path, case.arguments(tmp_path)) == case.code
    said = " ".join("".join(capfd.readouterr()).split())
    assert case.message in said
    assert "Traceback" not in said
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert written == set(case.outputs)
    for name in case.outputs:
        assert soundfile.info(tmp_path / "out" / name).frames > 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_table_names_the_case(case):
    rows = [line for line in DOCUMENT.read_text().splitlines() if line.startswith(f"| {case.name} |")]
    assert len(rows) == 1
    assert rows[0].endswith(f"| {case.code} |")
    assert case.message in rows[0]


def test_the_table_has_no_other_rows():
    table = DOCUMENT.read_text().partition("| given |")[2].partition("\n\n")[0]
    assert len(table.splitlines()) - 2 == len(CASES)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path):
    """Some of libsndfile's encoders overlook that nothing is written any more."""
    path = write(tmp_path / "a.wav", speech(4.0))
    limited = (
        "import resource, signal, sys; from overtone.cli.main import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000));"
        "print([main(['enhance', sys.argv[1], '--model', sys.argv[2], '--out', out]) for out in sys.argv[3:]])"
    )
    outs = [str(tmp_path / "out" / f"a.{suffix}") for suffix in ("wav", "flac", "mp3", "ogg")]
    command = [sys.executable, "-c", limited, str(path), str(package()), *outs]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[1, 1, 1, 1]"
    assert done.stderr.count("File too large. Make room") == 4
    assert not list((tmp_path / "out").iterdir())
