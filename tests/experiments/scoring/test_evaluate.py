"""Scoring folders: known scores, the table's shape, what stands in for inputs, and each bad input in one line."""

import numpy as np
import pandas as pd
import pytest
from evaluation_runs import LAST, RATE, UNTRAINED, low_passed_pair, refused, run, syllables, table, write

from evaluation.contracts import Utterance
from evaluation.harness import check_measures, score_pair
from evaluation.measures.bandwidth import effective_band_hz
from experiments.cli.main import main
from experiments.scoring.folder_job import low_passed
from models.baselines import build_controls


@pytest.fixture
def folders(tmp_path):
    return low_passed_pair(tmp_path)


def test_a_perfect_estimate_has_perfect_scores_and_doing_nothing_has_not(folders, capsys):
    assert run(folders, "--cutoff-hz", "4000") == 0
    scores = table(folders).groupby("system").mean(numeric_only=True)
    for key in ("lsd", "lsd_hf_band", "lsd_low", "extended_ber", "content_ber", "original_ber"):
        assert scores.loc["same", key] == pytest.approx(0.0, abs=1e-6)
    assert scores.loc["unprocessed", "lsd_hf_band"] > 1.0
    assert scores.loc["unprocessed", "extended_ber"] == pytest.approx(0.5, abs=0.1)
    assert scores.loc["target_gain", "lsd"] < 0.01
    printed = capsys.readouterr().out
    assert "table.csv" in printed
    assert "same" in printed
    assert "oracle_envelope_noise" in printed


def test_there_is_a_row_per_system_and_file_and_a_column_per_measure(folders):
    assert run(folders, "--cutoff-hz", "4000", estimates=("same", "input")) == 0
    written = table(folders)
    keys = check_measures(None)
    assert list(written.columns) == ["system", "file", "condition", *keys, "failures", "not_applicable", "notes"]
    assert list(zip(written["system"], written["file"], strict=True)) == [
        (system, stem) for system in ("same", "input", *UNTRAINED) for stem in ("one", "two")
    ]
    assert written["failures"].isna().all()


def test_the_low_passed_reference_stands_in_for_the_input_and_says_so(folders, capsys):
    assert run(folders, "--cutoff-hz", "4000") == 0
    assert "low-passed at 4000 Hz" in capsys.readouterr().out
    stood_in = table(folders)
    assert set(stood_in["condition"]) == {"lowpass_4000"}
    assert run(folders, "--cutoff-hz", "4000", "--narrowband", str(folders / "input")) == 0
    assert "low-passed" not in capsys.readouterr().out
    given = table(folders)
    assert set(given["condition"]) == {"given"}
    # The given inputs are the same low-passed references, so only noise seeded by the condition's name may differ.
    steady = given["system"].isin(["same", "unprocessed", "target_gain", "cubic_spline", "spectral_band_replication"])
    pd.testing.assert_frame_equal(
        given[steady].drop(columns="condition"),
        stood_in[steady].drop(columns="condition"),
        check_exact=False,
        rtol=1e-4,
    )


def test_without_a_cutoff_no_band_counts_as_missing(folders, capsys):
    assert run(folders, "--narrowband", str(folders / "input")) == 0
    assert "no band counts as missing" in capsys.readouterr().out
    written = table(folders)
    assert written["extended_ber"].isna().all()
    assert written["not_applicable"].str.contains("extended_ber").all()
    assert written["failures"].isna().all()


def test_without_input_and_cutoff_there_are_no_controls(folders, capsys):
    assert run(folders) == 0
    assert "No controls" in capsys.readouterr().out
    written = table(folders)
    assert set(written["system"]) == {"same"}
    assert set(written["condition"]) == {"none"}


def test_scores_are_those_of_the_files_samples(folders):
    """Against `score_pair` on arrays that never were files."""
    noisy = [syllables(number) + 0.01 * syllables(number + 7) for number in range(2)]
    for stem, waveform in zip(("one", "two"), noisy, strict=True):
        write(folders / "noisy" / f"{stem}.wav", waveform)
    assert run(folders, "--cutoff-hz", "4000", estimates=("noisy",)) == 0
    written = table(folders).set_index(["system", "file"])
    for number, stem in enumerate(("one", "two")):
        target = syllables(number)
        utterance = Utterance(stem, stem, "", RATE, target, target, 4000.0, effective_band_hz(target, RATE), True)
        expected = score_pair(utterance, noisy[number])
        for key in check_measures(None):
            assert written.loc[("noisy", stem), key] == pytest.approx(expected[key], rel=1e-12, nan_ok=True)


def test_only_the_measures_that_were_asked_for_are_scored(folders, capsys):
    assert run(folders, "--measures", "snr, lsd") == 0
    assert list(table(folders).columns) == ["system", "file", "condition", "snr", "lsd", *LAST]
    assert "Unknown measure pesk" in refused(folders, capsys, "--measures", "lsd,pesk", out="other.csv")


@pytest.mark.parametrize(
    ("estimates", "expected"),
    [
        (("same=",), "expected NAME=DIR, got 'same='"),
        (("=somewhere",), "expected NAME=DIR"),
        (("a=nowhere",), "nowhere: no such folder"),
        (("same", "same"), "'same' twice"),
        (("unprocessed=x",), "name of a control"),
        (("ridge_envelope=x",), "name of a control"),
        (("empty",), "found none"),
    ],
)
def test_bad_estimates_are_refused_in_one_line(folders, capsys, estimates, expected):
    (folders / "empty").mkdir()
    assert expected in refused(folders, capsys, estimates=estimates)


def test_an_estimate_without_a_folder_is_refused(folders, capsys):
    arguments = ["evaluate", "--reference", str(folders / "reference"), "--estimate", "same", "--out", "table.csv"]
    assert main(arguments) == 1
    assert "expected NAME=DIR, got 'same'" in capsys.readouterr().err


def test_the_band_that_a_manifest_says_takes_the_place_of_the_measured_one(folders, capsys):
    how = ("--cutoff-hz", "4000", "--measures", "lsd,lsd_hf_band,lsd_hf")
    scores = []
    for band in ("6000", "8000", "24000"):
        assert run(folders, *how, "--band-hz", band, "--overwrite") == 0
        scores.append(table(folders).query("system == 'unprocessed'").reset_index(drop=True))
    narrower, whole, above = scores
    assert whole["lsd_hf_band"].equals(whole["lsd_hf"]) and above["lsd_hf_band"].equals(whole["lsd_hf_band"])
    assert narrower["lsd"].equals(whole["lsd"]) and (narrower["lsd_hf_band"] != whole["lsd_hf_band"]).all()
    assert "--band-hz: expected more than --cutoff-hz, 4000, got 3000" in refused(
        folders, capsys, *how, "--band-hz", "3000"
    )


@pytest.mark.parametrize("cutoff", ["0", "-4000", "8000", "1e9"])
def test_a_cutoff_outside_the_reference_is_refused(folders, capsys, cutoff):
    assert "--cutoff-hz: expected more than 0 and less than 8000" in refused(folders, capsys, f"--cutoff-hz={cutoff}")


def test_a_very_low_cutoff_still_gives_a_table(folders):
    assert run(folders, "--cutoff-hz", "30") == 0
    assert set(table(folders)["system"]) == {"same", *UNTRAINED}


@pytest.mark.parametrize("out", ["table.txt", "table", "table.csv.d/"])
def test_the_table_must_be_called_csv(folders, capsys, out):
    assert ".csv file or a .parquet file" in refused(folders, capsys, out=out)


def test_a_folder_that_cannot_be_written_is_refused(folders, capsys):
    (folders / "file").write_text("a file where a folder should be")
    assert "Name another file with --out" in refused(folders, capsys, out="file/table.csv")


def test_workers_must_be_positive(folders, capsys):
    assert "--workers" in refused(folders, capsys, "--workers", "0")


def test_names_with_brackets_and_no_common_prefix_are_printed_as_they_are(folders, capsys):
    named = f"[bold]x={folders / 'same'}"
    assert run(folders, estimates=(named,)) == 0
    assert "[bold]x" in capsys.readouterr().out
    assert set(table(folders)["system"]) == {"[bold]x"}


def test_controls_that_learn_are_left_out_without_training_utterances():
    assert [control.name for control in build_controls(None)] == UNTRAINED


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_the_band_of_low_passed_sound_ends_at_the_low_pass(rate, share):
    low_rate = round(share * rate)
    steady = 0.1 * np.random.default_rng(0).standard_normal(2 * rate).astype(np.float32)
    for waveform in (steady, syllables(seconds=2, rate=rate)):
        band_hz = effective_band_hz(low_passed(waveform, rate, low_rate / 2), rate)
        assert 0.95 * low_rate / 2 <= band_hz <= low_rate / 2 + 250


def test_hiss_and_rounding_above_a_voice_are_not_its_band():
    rng = np.random.default_rng(1)
    voice = low_passed(syllables(seconds=2, rate=48000), 48000, 7000)
    hiss = 1e-4 * rng.standard_normal(len(voice))
    assert effective_band_hz(voice + hiss, 48000) == pytest.approx(7000, abs=250)
    assert effective_band_hz(np.round(voice * 2**15) / 2**15, 48000) == pytest.approx(7000, abs=250)


def test_the_band_of_anything_is_a_frequency():
    assert effective_band_hz(syllables(rate=RATE), RATE) == RATE / 2
    assert effective_band_hz(np.zeros(RATE, dtype=np.float32), RATE) == RATE / 2
    assert 0 < effective_band_hz(syllables()[:1] + 0.1, RATE) <= RATE / 2
