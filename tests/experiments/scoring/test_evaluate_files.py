"""Files that do not fit their references, in rate, length, delay, channels or name: settled aloud, or refused."""

import numpy as np
import pytest
from evaluation_runs import LSD, RATE, low_passed_pair, refused, run, syllables, table, words, write

from evaluation.contracts import Utterance
from evaluation.harness import score_pair
from overtone.audio import resample
from overtone.audio_files.recordings import read_audio


@pytest.fixture
def folders(tmp_path):
    return low_passed_pair(tmp_path)


def test_a_slightly_longer_or_shorter_estimate_is_cut_and_says_so(folders, capsys):
    waveform = syllables(1)
    write(folders / "same" / "two.wav", np.concatenate([waveform, waveform[:320]]))
    write(folders / "short" / "one.wav", syllables(0)[:-320])
    write(folders / "short" / "two.wav", waveform)
    assert run(folders, *LSD, estimates=("same", "short")) == 0
    rows = table(folders).set_index(["system", "file"])
    assert (rows["lsd"] == 0.0).all()
    assert rows.loc[("same", "two"), "notes"] == "last 320 samples cut"
    assert rows.loc[("short", "one"), "notes"] == "reference's last 320 samples not scored"
    assert rows["notes"].isna().sum() == 2
    printed = words(capsys)
    assert "same: 1 of 2 files differ in length from their reference, by up to 20 ms" in printed


def test_an_estimate_of_another_length_is_refused_with_both_lengths(folders, capsys):
    write(folders / "same" / "two.wav", syllables(1)[:-1600])
    error = refused(folders, capsys)
    for part in (str(folders / "same" / "two.wav"), "0.800 s (12800 samples", "0.900 s (14400", "--length-tolerance"):
        assert part in error
    assert "--length-tolerance: expected at least 0, got -1.0" in refused(folders, capsys, "--length-tolerance=-1")
    assert run(folders, *LSD, "--length-tolerance", "100") == 0
    assert (table(folders)["lsd"] == 0.0).all()


@pytest.mark.parametrize(("rate", "words_said"), [(8000, "above 4000 Hz"), (48000, "above 24000 Hz")])
def test_another_sample_rate_is_resampled_and_said(folders, capsys, rate, words_said):
    waveform = resample(syllables(1), RATE, rate)
    write(folders / "same" / "two.wav", waveform, rate=rate)
    assert run(folders, "--measures", "lsd,snr") == 0
    printed = words(capsys)
    assert f"same: 1 of 2 files have {rate} Hz and are resampled" in printed
    assert words_said in printed
    rows = table(folders).set_index("file")
    assert rows.loc["two", "notes"] == f"resampled from {rate} Hz"
    target = syllables(1)
    utterance = Utterance("", "", "", RATE, target, target, None, RATE / 2, True)
    expected = score_pair(utterance, resample(waveform, rate, RATE), ["lsd", "snr"])
    assert rows.loc["two", "lsd"] == pytest.approx(expected["lsd"], rel=1e-12)
    assert rows.loc["two", "snr"] == pytest.approx(expected["snr"], rel=1e-12)


def test_inputs_at_the_telephone_rate_are_resampled(folders, capsys):
    for number, stem in enumerate(("one", "two")):
        write(folders / "phone" / f"{stem}.wav", resample(syllables(number), RATE, 8000), rate=8000)
    narrowband = ("--narrowband", str(folders / "phone"), "--cutoff-hz", "4000")
    assert run(folders, *LSD, *narrowband) == 0
    assert "--narrowband: 2 of 2 files have 8000 Hz" in words(capsys)
    from_telephone = table(folders).set_index(["system", "file"])["lsd"]["unprocessed"]
    assert run(folders, *LSD, "--cutoff-hz", "4000") == 0
    np.testing.assert_allclose(from_telephone, table(folders).set_index(["system", "file"])["lsd"]["unprocessed"])


@pytest.mark.parametrize(("delay", "rate"), [(123, RATE), (-200, RATE), (369, 48000)])
def test_a_constant_delay_is_found_removed_and_said(folders, capsys, delay, rate):
    for number, stem in enumerate(("one", "two")):
        waveform = resample(syllables(number), RATE, rate)
        silence = np.zeros(max(delay, 0), dtype=np.float32)
        write(folders / "late" / f"{stem}.wav", np.concatenate([silence, waveform[max(-delay, 0) :]]), rate=rate)
    snr = ("--measures", "snr")
    milliseconds = f"{1000 * delay / rate:.4g} ms"
    assert run(folders, *snr, estimates=("late",)) == 0
    assert f"late: is {milliseconds.lstrip('-')} {'late' if delay > 0 else 'early'}" in words(capsys)
    assert table(folders)["snr"].max() < 1.0
    assert run(folders, *snr, "--align", estimates=("late", "same")) == 0
    printed = words(capsys)
    assert f"late: a constant delay of {milliseconds} is removed" in printed
    assert "same: a constant delay" not in printed
    assert table(folders)["snr"].min() > (99.0 if rate == RATE else 10.0)
    assert table(folders)["notes"][0].endswith(f"delay of {round(delay * RATE / rate)} samples removed")


def test_a_refused_length_says_what_align_would_do(folders, capsys):
    late = np.concatenate([np.zeros(1600, dtype=np.float32), syllables(1)])
    write(folders / "same" / "two.wav", late)
    assert "its delay is not constant (0 to 100 ms in 2 files), which --align needs" in refused(folders, capsys)
    write(folders / "same" / "one.wav", np.concatenate([np.zeros(1600, dtype=np.float32), syllables(0)]))
    assert "--align removes its constant delay" in refused(folders, capsys)


def test_delays_that_differ_are_said_and_left(folders, capsys):
    write(folders / "same" / "two.wav", np.concatenate([np.zeros(480, dtype=np.float32), syllables(1)]))
    assert run(folders, *LSD, "--align") == 0
    assert "same: no constant delay (0 to 30 ms in 2 files)" in words(capsys)
    assert table(folders).set_index("file")["lsd"]["two"] > 0.1


def test_channels_are_averaged_and_said(folders, capsys):
    write(folders / "same" / "two.wav", np.stack([syllables(1), syllables(1)], axis=1))
    assert run(folders, *LSD) == 0
    assert "same: 1 of 2 files have 2 channels, which are averaged" in words(capsys)
    assert (table(folders)["lsd"] == 0.0).all()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no audio", "not readable as audio"),
        (b"", "not readable as audio"),
        (np.zeros(0), "holds no samples"),
        (np.full(14400, np.nan), "sample 0 is NaN or infinite"),
    ],
    ids=["text", "empty", "no_samples", "nan"],
)
def test_a_broken_estimate_fails_with_its_name_and_spares_the_others(folders, capsys, content, reason):
    path = folders / "same" / "two.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write(path, content)
    assert run(folders, "--measures", "lsd,snr") == 0
    rows = table(folders).set_index("file")
    assert rows.loc["two", ["lsd", "snr"]].isna().all()
    assert rows.loc["two", "failures"].startswith(f"lsd: {path}: {reason}")
    assert rows.loc["one", "lsd"] == 0.0
    printed = words(capsys)
    assert "failed" in printed
    assert "1 of 2 rows have failed scores (two). Their column failures says why." in printed


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
    assert "--missing skip" in error
    (folders / "input" / "one.wav").unlink()
    write(folders / "same" / "two.wav", syllables(1))
    assert "'one'" in refused(folders, capsys, "--narrowband", str(folders / "input"))


def test_missing_counterparts_can_be_skipped_and_means_stay_comparable(folders, capsys):
    write(folders / "worse" / "one.wav", syllables(5))
    assert run(folders, *LSD, "--missing", "skip", estimates=("same", "worse")) == 0
    written = table(folders)
    assert list(zip(written["system"], written["file"], strict=True)) == [
        ("same", "one"),
        ("same", "two"),
        ("worse", "one"),
    ]
    printed = words(capsys)
    assert "worse: 1 references have no file and are left out (two)" in printed
    assert "Means over 1 files that every system has, of 2" in printed
    (folders / "other").mkdir()
    write(folders / "other" / "three.wav", syllables())
    assert "none of the files" in refused(folders, capsys, "--missing", "skip", estimates=("other",), out="another.csv")


def test_files_without_a_reference_are_left_out_and_said(folders, capsys):
    write(folders / "same" / "three.wav", syllables())
    assert run(folders, *LSD) == 0
    assert "same: 1 files have no reference and are left out (three)" in words(capsys)
    assert list(table(folders)["file"]) == ["one", "two"]


def test_ambiguous_stems_are_paired_by_path(folders):
    for folder in ("reference", "same"):
        write(folders / folder / "ann" / "one.wav", syllables(3))
    assert run(folders, *LSD) == 0
    written = table(folders)
    assert list(written["file"]) == ["ann/one", "one", "two"]
    assert (written["lsd"] == 0.0).all()


def test_estimates_may_lie_below_the_reference(folders):
    (folders / "same").rename(folders / "reference" / "ours")
    estimates = ("ours=" + str(folders / "reference" / "ours"),)
    assert run(folders, *LSD, estimates=estimates) == 0
    assert list(table(folders)["file"]) == ["one", "two"]


def test_an_input_that_is_not_aligned_is_refused(folders, capsys):
    write(folders / "input" / "two.wav", syllables(1)[:-1601])
    error = refused(folders, capsys, "--narrowband", str(folders / "input"))
    assert f"{folders / 'input' / 'two.wav'} lasts" in error
    assert "12799 samples" in error


def test_files_that_share_a_stem_are_refused(folders, capsys):
    (folders / "same" / "one.wav").unlink()
    for name in ("more", "less"):
        write(folders / "same" / name / "one.flac", syllables(), subtype="PCM_16")
    assert "share a stem" in refused(folders, capsys)
    write(folders / "reference" / "one.flac", syllables(), subtype="PCM_16")
    assert "share a name" in refused(folders, capsys)


def test_a_bad_reference_is_refused_and_one_with_nan_fails(folders, capsys):
    (folders / "reference" / "two.wav").write_text("no audio")
    assert "two.wav: not readable as audio" in refused(folders, capsys)
    write(folders / "reference" / "two.wav", np.full(14400, np.nan))
    assert run(folders, *LSD) == 0
    assert "two.wav: sample 0 is NaN" in table(folders).set_index("file")["failures"]["two"]
