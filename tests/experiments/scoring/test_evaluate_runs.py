"""Evaluations that are stopped, repeated, spread over processes and summed up."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from evaluation_runs import LSD, refused, run, syllables, table, words, write
from processes import children_of, is_running, wait_for
from project import PROJECT

import experiments.scoring.rows
from experiments.scoring.folder_summary import MOST_SPEAKERS, interval
from experiments.scoring.journal import score_journal
from experiments.scoring.rows import score_job

SCORES = ".table.csv.scores"


@pytest.fixture
def four(tmp_path):
    """Four references by two speakers and a worse system."""
    for number, stem in enumerate(("ann/1", "ann/2", "ann/3", "ben/4")):
        waveform = syllables(number)
        write(tmp_path / "reference" / f"{stem}.wav", waveform)
        write(tmp_path / "same" / f"{stem}.wav", waveform + 0.01 * (number + 1) * syllables(number + 9))
    return tmp_path


LONG = ("--measures", "lsd,snr,extended_ber", "--cutoff-hz", "4000")


def test_the_same_command_again_scores_nothing_and_a_changed_file_alone(four, capsys, monkeypatch):
    assert run(four, *LONG) == 0
    first = (four / "table.csv").read_bytes()
    scored = counted(monkeypatch)
    assert run(four, *LONG) == 0
    assert "28 of 28 rows were scored before and are kept" in words(capsys)
    assert not scored
    write(four / "same" / "ann" / "2.wav", syllables(1))
    assert run(four, *LONG) == 0
    assert [(task.name, list(task.estimates), task.controls) for task in scored] == [("2", ["same"], ())]
    assert (four / "table.csv").read_bytes() != first


def counted(monkeypatch, stop_after=None, stop=KeyboardInterrupt):
    """Note what is scored, and stop after some."""
    tasks = []

    def noted(measures, task):
        if len(tasks) == stop_after:
            raise stop
        tasks.append(task)
        return score_job(measures, task)

    monkeypatch.setattr(experiments.scoring.rows, "score_job", noted)
    return tasks


def test_ctrl_c_goes_on_where_it_was_and_ends_with_the_same_table(four, capsys, monkeypatch):
    assert run(four, *LONG, out="whole.csv") == 0
    with monkeypatch.context() as patch:
        counted(patch, stop_after=2)
        assert run(four, *LONG) == 130
    assert "The same command continues where it was" in capsys.readouterr().err
    assert not (four / "table.csv").exists()
    scored = counted(monkeypatch)
    assert run(four, *LONG) == 0
    assert [task.name for task in scored] == ["3", "4"]
    assert (four / "table.csv").read_bytes() == (four / "whole.csv").read_bytes()


def test_a_kill_goes_on_and_leaves_no_process(four):
    stems = [f"ben/{number}" for number in range(5, 105)]
    for number, stem in enumerate(stems):
        write(four / "reference" / f"{stem}.wav", syllables(number))
        write(four / "same" / f"{stem}.wav", syllables(number + 1))
    paths = ["--reference", four / "reference", "--estimate", f"same={four / 'same'}", "--out", four / "table.csv"]
    command = [sys.executable, "-m", "experiments.cli.main", "evaluate", *map(str, paths), *LONG, "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=PROJECT) as process:
        log = four / SCORES
        wait_for(lambda: log.exists() and log.stat().st_size > 3_000)
        children = children_of(process.pid)
        process.kill()
    wait_for(lambda: not any(map(is_running, children)))
    with score_journal(four / SCORES) as journal:
        assert 0 < len(journal.rows) < (len(stems) + 4) * 7
    assert run(four, *LONG) == 0
    assert run(four, *LONG, out="whole.csv") == 0
    # Processes of one thread each sum in another order than this one: equal to the last bit by the same command only.
    whole = pd.read_csv(four / "whole.csv")
    pd.testing.assert_frame_equal(table(four), whole, check_exact=False, rtol=1e-9)


def test_a_table_that_is_being_made_is_not_touched_by_another(four, capsys):
    with score_journal(four / SCORES):
        assert run(four, *LSD) == 1
    assert "another process is scoring there" in capsys.readouterr().err


def test_a_table_that_was_not_written_here_is_replaced_only_when_told_to(four, capsys):
    mine = four / "table.csv"
    mine.write_text("my own work\n")
    assert "table.csv: exists. Replace it with --overwrite" in refused(four, capsys, *LSD)
    assert mine.read_text() == "my own work\n"
    assert run(four, *LSD, "--overwrite") == 0
    assert run(four, *LSD) == 0, "its own table is written again"
    mine.write_text(mine.read_text().replace("same", "changed by hand"))
    assert "exists. Replace it with --overwrite" in refused(four, capsys, *LSD)
    assert "changed by hand" in mine.read_text()


def test_a_measure_that_cannot_be_scored_is_refused_instead_of_an_empty_column(four, capsys):
    for key in ("extended_ber", "lsd_hf", "tonality"):
        assert f"--measures {key}: needs --cutoff-hz" in refused(four, capsys, "--measures", f"lsd,{key}")
    assert run(four, "--measures", "lsd_low,excess_above_band") == 0, "what is known without a cutoff"
    assert "--measures seam: needs a model's block length" in refused(
        four, capsys, "--measures", "seam", out="other.csv"
    )


def test_parquet_holds_the_same_table(four):
    assert run(four, *LONG) == 0
    assert run(four, *LONG, out="table.parquet") == 0
    stored = pd.read_parquet(four / "table.parquet")
    text = ["failures", "not_applicable", "notes"]
    written = pd.read_csv(four / "table.csv", float_precision="round_trip", dtype={"file": str})
    written[text] = written[text].fillna("").astype(str)
    pd.testing.assert_frame_equal(stored, written, check_dtype=False)


def test_speakers_weigh_the_same_however_many_files_they_have(four, capsys):
    assert run(four, "--measures", "lsd", "--speaker-pattern", "{speaker}/*.wav") == 0
    written = table(four)
    assert list(written["speaker"]) == ["ann", "ann", "ann", "ben"]
    printed = words(capsys)
    mean = written.groupby("speaker")["lsd"].mean().mean()
    assert f"same {mean:.3f}" in printed
    assert "4 files of 2 speakers" in printed
    assert "finds no speaker in" in refused(four, capsys, "--speaker-pattern", "(?P<speaker>xyz)", out="other.csv")


def test_a_control_that_outranks_a_system_is_flagged(four, capsys):
    for stem in ("ann/1", "ann/2", "ann/3", "ben/4"):
        write(four / "silence" / f"{stem}.wav", np.zeros(14400, dtype=np.float32))
    assert run(four, *LONG, estimates=("silence",)) == 0
    printed = words(capsys)
    assert "⚑ unprocessed reads no target and outranks a system in" in printed
    assert "lsd (silence)" in printed
    assert "⚑ target_gain" not in printed
    assert "⚑ oracle_envelope_noise" not in printed


def test_intervals_of_many_speakers_need_no_bootstrap():
    values = np.random.default_rng(0).standard_normal(MOST_SPEAKERS + 1)
    names = [str(number) for number in range(len(values))]
    many = pd.DataFrame({"lsd": values, "speaker": names, "file": names, "not_applicable": ""})
    by_formula, by_bootstrap = interval(many, "lsd"), interval(many[1:], "lsd")
    assert by_formula.mean == pytest.approx(values.mean())
    assert by_formula.low == pytest.approx(by_bootstrap.low, abs=0.02)
    assert by_formula.high == pytest.approx(by_bootstrap.high, abs=0.02)
