"""`overtone data prepare`: what stands in the folder for its tables."""

import numpy as np
import pytest
from evaluation_runs import write

from experiments.cli.main import main


@pytest.mark.parametrize("name", ["manifest.csv", "rejected.csv"])
def test_a_table_that_no_preparation_wrote_is_replaced_only_when_told_to(tmp_path, capsys, name):
    write(tmp_path / "audio" / "ann" / "1.wav", 0.1 * np.sin(np.arange(16000) / 5))
    foreign = tmp_path / "corpus" / name
    foreign.parent.mkdir()
    foreign.write_text("path,mine\n1.wav,precious\n")
    command = ["data", "prepare", str(tmp_path / "audio"), "--out", str(foreign.parent), "--jobs", "1"]
    assert main(command) == 1
    assert f"{name}: exists. Replace it with --overwrite, or choose another --out." in capsys.readouterr().err
    assert foreign.read_text() == "path,mine\n1.wav,precious\n"
    assert sorted(foreign.parent.iterdir()) == [foreign]
    foreign.unlink()
    for again in range(2):
        assert main(command) == 0, f"prepared here, run {again}"
    assert "ann/1.wav" in (foreign.parent / "manifest.csv").read_text()


def test_the_summary_says_what_was_known_and_what_is_not_read(tmp_path, capsys):
    for name in ("a.m4a", "b.3gp", "c.amr", "d.wma", "e.aac"):
        write(tmp_path / "ann" / "1.wav", 0.1 * np.sin(np.arange(16000) / 5)).with_name(name).touch()
    side = 0.1 * np.sin(np.arange(16000) / 7)
    write(tmp_path / "ann" / "2.wav", np.stack([side, -side], axis=1))
    for known in ("", ", 2 files known from before"):
        assert main(["data", "prepare", str(tmp_path), "--out", str(tmp_path / "out"), "--jobs", "1"]) == 0
        said = capsys.readouterr().out
        assert f"1 usable files, 0.00 hours{known}: " in said
        for suffix in (".m4a", ".3gp", ".amr", ".wma", ".aac"):
            assert f"1: is {suffix} audio, which is not read here" in said
        assert "pan=mono|c0=c0" in said
