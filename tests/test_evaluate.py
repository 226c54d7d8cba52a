"""Scoring folders: known scores, the table's shape, what stands in for inputs, and each bad input in one line."""

import numpy as np
import pandas as pd
import pytest
import soundfile

from evaluation.bandwidth import effective_band_hz
from evaluation.harness import MEASURES
from experiments.cli import main
from experiments.evaluation_job import low_passed
from models.baselines import CONTROLS, build_controls
from runtime.audio import read_audio

RATE = 16000
UNTRAINED = [name for name in CONTROLS if name != "ridge_envelope"]


def syllables(seed=0, seconds=0.9, rate=RATE):
    """Noise that comes and goes five times a second, over a faint steady one; under 1 s, so that ViSQOL rests."""
    rng = np.random.default_rng(seed)
    samples = int(seconds * rate)
    envelope = np.maximum(np.sin(2 * np.pi * 5 * np.arange(samples) / rate), 0.0)
    return (0.1 * envelope * rng.standard_normal(samples) + 1e-4 * rng.standard_normal(samples)).astype(np.float32)


def write(path, waveform, rate=RATE, subtype="FLOAT"):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, rate, subtype=subtype)
    return path


@pytest.fixture
def folders(tmp_path):
    """A reference of two files, the same as an estimate, and low-passed inputs."""
    for number, stem in enumerate(("one", "two")):
        waveform = syllables(number)
        write(tmp_path / "reference" / f"{stem}.wav", waveform)
        write(tmp_path / "same" / f"{stem}.wav", waveform)
        write(tmp_path / "input" / f"{stem}.wav", low_passed(waveform, RATE, 4000))
    return tmp_path


def run(folders, *options, estimates=("same",), out="table.csv"):
    named = [f"{name}={folders / name}" if "=" not in name else name for name in estimates]
    required = ["--reference", str(folders / "reference"), "--estimate", *named, "--out", str(folders / out)]
    return main(["evaluate", *required, "--workers", "1", *options])


def table(folders):
    return pd.read_csv(folders / "table.csv", keep_default_na=True)


def refused(folders, capsys, *options, estimates=("same",), out="table.csv"):
    """The one line on standard error of a refused command that wrote nothing."""
    before = sorted(folders.rglob("*"))
    assert run(folders, *options, estimates=estimates, out=out) == 1
    error = capsys.readouterr().err
    assert error.startswith("overtone: ")
    assert error.count("\n") == 1
    assert sorted(folders.rglob("*")) == before
    return error


def test_a_perfect_estimate_has_perfect_scores_and_doing_nothing_has_not(folders, capsys):
    assert run(folders, "--cutoff-hz", "4000") == 0
    scores = table(folders).groupby("system").mean(numeric_only=True)
    for key in ("lsd", "lsd_hf_band", "lsd_low", "extended_ber", "content_ber", "seed_ber"):
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
    assert list(written.columns) == ["system", "file", "condition", *MEASURES, "failures", "not_applicable"]
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


def test_an_estimate_of_another_length_is_a_failed_row(folders, capsys):
    write(folders / "same" / "two.wav", syllables(1)[:-1])
    assert run(folders) == 0
    rows = table(folders).set_index("file")
    assert rows.loc["two", list(MEASURES)].isna().all()
    assert "shape" in rows.loc["two", "failures"]
    assert rows.loc["one", "lsd"] == 0.0
    printed = capsys.readouterr().out
    assert "failed" in printed
    assert "1 of 2 rows" in printed


def test_files_are_paired_by_stem_below_folders_and_formats(folders):
    waveform, _ = read_audio(folders / "reference" / "one.wav")
    (folders / "same" / "one.wav").unlink()
    write(folders / "same" / "speaker" / "one.flac", waveform, subtype="PCM_24")
    write(folders / "same" / "three.wav", waveform)
    write(folders / "same" / ".hidden" / "one.wav", -waveform)
    assert run(folders) == 0
    assert list(table(folders)["file"]) == ["one", "two"]
    assert table(folders)["lsd"].max() < 0.01


def test_a_missing_counterpart_is_named_and_counted(folders, capsys):
    (folders / "same" / "two.wav").unlink()
    error = refused(folders, capsys)
    assert "'two'" in error
    assert "1 of 2" in error
    (folders / "input" / "one.wav").unlink()
    write(folders / "same" / "two.wav", syllables(1))
    assert "'one'" in refused(folders, capsys, "--narrowband", str(folders / "input"))


def test_another_sample_rate_is_refused_with_both_files_and_rates(folders, capsys):
    path = write(folders / "same" / "two.wav", syllables(1), rate=8000)
    error = refused(folders, capsys)
    for part in (str(path), "8000 Hz", str(folders / "reference" / "two.wav"), "16000 Hz"):
        assert part in error


def test_an_input_that_is_not_aligned_is_refused(folders, capsys):
    write(folders / "input" / "two.wav", syllables(1)[:-1])
    error = refused(folders, capsys, "--narrowband", str(folders / "input"))
    assert f"{folders / 'input' / 'two.wav'} has 14399 samples" in error


def test_files_that_share_a_stem_are_refused(folders, capsys):
    write(folders / "same" / "more" / "one.flac", syllables(), subtype="PCM_16")
    assert "share a stem" in refused(folders, capsys)


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


@pytest.mark.parametrize("cutoff", ["0", "-4000", "8000", "1e9"])
def test_a_cutoff_outside_the_reference_is_refused(folders, capsys, cutoff):
    assert "--cutoff-hz: expected more than 0 and less than 8000" in refused(folders, capsys, f"--cutoff-hz={cutoff}")


def test_a_very_low_cutoff_still_gives_a_table(folders):
    assert run(folders, "--cutoff-hz", "30") == 0
    assert set(table(folders)["system"]) == {"same", *UNTRAINED}


def test_a_bad_reference_is_refused(folders, capsys):
    write(folders / "reference" / "two.wav", np.full(RATE, np.nan))
    assert "two.wav: holds NaN" in refused(folders, capsys)
    (folders / "reference" / "two.wav").write_text("no audio")
    assert "two.wav: not readable as audio" in refused(folders, capsys)


@pytest.mark.parametrize("out", ["table.txt", "table", "table.csv.d/"])
def test_the_table_must_be_called_csv(folders, capsys, out):
    assert ".csv file" in refused(folders, capsys, out=out)


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
