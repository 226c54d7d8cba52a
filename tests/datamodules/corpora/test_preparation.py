"""Preparation: what is measured, what is rejected and why, what stays when it is interrupted or run again."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from project import PROJECT

from datamodules.corpora import preparation
from datamodules.corpora.corpus import load_corpus
from datamodules.corpora.journal import Journal
from datamodules.corpora.manifest import SPLITS, speaker_pattern
from datamodules.corpora.preparation import COLUMNS, prepare
from datamodules.corpora.recording import measure_recording
from overtone.audio import AudioError
from overtone.errors import OvertoneError

RATE = 16000


def sound(seconds=0.5, rate=RATE, channels=1, seed=0, level=0.1):
    rng = np.random.default_rng(seed)
    turns = np.maximum(np.sin(2 * np.pi * 5 * np.arange(round(seconds * rate)) / rate), 0.001)
    return (level * turns[:, None] * rng.standard_normal((len(turns), channels))).clip(-1, 1).astype(np.float32)


def write(path, samples=None, rate=RATE, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, sound() if samples is None else samples, rate, **options)
    return path


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def reasons(out):
    return {Path(row["path"]).name: row["reason"] for row in rows(out / "rejected.csv")}


@pytest.fixture
def folder(tmp_path):
    for number, speaker in enumerate(["ann", "bob", "cem", "dee"]):
        for clip in range(3):
            write(tmp_path / "audio" / speaker / f"{clip}.wav", sound(seed=10 * number + clip))
    return tmp_path / "audio"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "prepared"


# Measures


def test_each_file_is_measured(folder, out):
    samples = sound(2.0, 48000)
    samples[:48] = 1.0
    write(folder / "ann" / "known.flac", samples, 48000, subtype="PCM_24")
    result = prepare(folder, out, licence="CC0-1.0")
    assert (result.clips, result.measured) == (13, 13)
    assert result.seconds == pytest.approx(8.0)
    row = next(row for row in rows(out / "manifest.csv") if row["path"].endswith("known.flac"))
    assert list(row) == list(COLUMNS)
    assert (row["kind"], row["speaker"], row["licence"]) == ("speech", "ann", "CC0-1.0")
    assert (row["sample_rate"], row["channels"], row["encoding"]) == ("48000", "1", "FLAC PCM_24")
    assert float(row["seconds"]) == 2.0
    assert float(row["effective_bandwidth_hz"]) == 24000
    assert float(row["peak_dbfs"]) == pytest.approx(0, abs=1e-3)
    assert float(row["clipped_share"]) == pytest.approx(48 / 96000, rel=1e-2)
    assert -35 < float(row["loudness_lufs"]) < -10
    assert int(row["bytes"]) == (folder / "ann" / "known.flac").stat().st_size
    assert Path(row["path"]).is_absolute()


@pytest.mark.parametrize(
    ("suffix", "rate", "channels", "options"),
    [
        ("wav", 8000, 1, {"subtype": "PCM_U8"}),
        ("wav", 192000, 2, {"subtype": "PCM_24"}),
        ("wav", 44100, 6, {"subtype": "FLOAT"}),
        ("wav", 48000, 1, {"subtype": "DOUBLE"}),
        ("wav", 8000, 1, {"subtype": "ULAW"}),
        ("wav", 8000, 1, {"subtype": "GSM610"}),
        ("wav", 22050, 1, {"subtype": "MS_ADPCM"}),
        ("flac", 96000, 2, {"subtype": "PCM_24"}),
        ("mp3", 44100, 2, {}),
        ("ogg", 32000, 1, {}),
        ("opus", 48000, 1, {"format": "OGG", "subtype": "OPUS"}),
        ("aiff", 11025, 1, {}),
        ("au", 16000, 1, {}),
        ("caf", 16000, 1, {}),
        ("w64", 16000, 1, {}),
    ],
)
def test_whatever_libsndfile_reads_is_measured(tmp_path, suffix, rate, channels, options):
    path = write(tmp_path / f"sound.{suffix}", sound(1.0, rate, channels), rate, **options)
    recording = measure_recording(path)
    assert (recording.sample_rate, recording.channels) == (rate, channels)
    assert recording.seconds == pytest.approx(1.0, abs=0.1)
    assert 0 < recording.band_hz <= rate / 2
    assert recording.loudness_lufs is not None
    assert 0 < recording.peak <= 1.5


def test_a_long_file_is_measured_in_blocks(tmp_path, monkeypatch):
    sizes = []
    read = soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile, "read", lambda file, **options: sizes.append(len(options["out"])) or read(file, **options)
    )
    path = write(tmp_path / "long.wav", np.tile(sound(1.0), (90, 1)))
    assert measure_recording(path).seconds == 90
    assert max(sizes) <= 4 * RATE


def test_channels_are_mixed_down_as_training_hears_them(tmp_path):
    left = sound(1.0)
    opposite = measure_recording(write(tmp_path / "a.wav", np.hstack([left, 0 * left])))
    single = measure_recording(write(tmp_path / "b.wav", left / 2))
    assert opposite.peak == pytest.approx(single.peak, abs=1e-4)
    assert opposite.loudness_lufs == pytest.approx(single.loudness_lufs, abs=0.01)


# Speakers, kinds, licences, further columns


@pytest.mark.parametrize(
    ("pattern", "path", "speaker"),
    [
        (r"(?P<speaker>p\d+)_", "wav48/p225_001.wav", "p225"),
        ("{speaker}/*.wav", "ann/1.wav", "ann"),
        ("{corpus}/{speaker}/*", "x/ann/1.wav", "ann"),
        ("**/{speaker}-*.flac", "a/b/84-121.flac", "84"),
        ("**/{speaker}-*.flac", "84-121.flac", "84"),
        ("{speaker}/*.wav", "x/ann/1.wav", None),
        ("{speaker}.wav", "a+b.wav", "a+b"),
    ],
)
def test_patterns_find_the_speaker(pattern, path, speaker):
    assert speaker_pattern(pattern)(path) == speaker


@pytest.mark.parametrize("pattern", ["(?P<speaker>", "p\\d+", "{name}/*.wav"])
def test_patterns_without_a_speaker_are_refused(pattern, folder, out):
    with pytest.raises(OvertoneError, match="--speaker-pattern"):
        prepare(folder, out, pattern=pattern)


def test_a_pattern_wins_and_what_it_does_not_match_is_rejected(folder, out):
    write(folder / "odd" / "x.wav", sound(seed=99))
    prepare(folder, out, pattern="{speaker}/{number}.wav")
    assert len(rows(out / "manifest.csv")) == 13
    prepare(folder, out, pattern=r"^(?P<speaker>[a-d])\w+/")
    assert {row["speaker"] for row in rows(out / "manifest.csv")} == set("abcd")
    assert reasons(out) == {"x.wav": "does not match the speaker pattern"}


def test_a_manifest_keeps_its_columns(folder, out, tmp_path):
    listing = tmp_path / "list.csv"
    listing.write_text(
        "path,speaker,split,kind,corpus,licence,source\n"
        'audio/ann/0.wav,A,test,speech,c1,MIT,"x, ""y"""\naudio/bob/0.wav,,,noise,c2,,z\naudio/cem/0.wav,C,wild,,c3,,\n'
    )
    prepare(listing, out, licence="CC0-1.0")
    first, second, third = rows(out / "manifest.csv")
    assert list(first)[:5] == ["path", "kind", "split", "corpus", "speaker"]
    assert (first["speaker"], first["split"], first["licence"], first["source"]) == ("A", "test", "MIT", 'x, "y"')
    assert (second["speaker"], second["kind"], second["licence"]) == ("bob", "noise", "CC0-1.0")
    assert (third["split"], third["kind"], third["corpus"]) == ("wild", "speech", "c3")


def test_audio_below_the_output_is_named_relative_to_it(folder):
    prepare(folder, folder.parent)
    assert rows(folder.parent / "manifest.csv")[0]["path"] == "audio/ann/0.wav"
    moved = folder.parent.with_name("elsewhere")
    shutil.move(folder.parent, moved)
    assert len(load_corpus(moved).clips) == 12


# Splits


def test_splits_go_by_speaker_and_none_is_empty(folder, out):
    prepare(folder, out)
    split_of = {}
    for row in rows(out / "manifest.csv"):
        assert split_of.setdefault(row["speaker"], row["split"]) == row["split"]
    assert set(split_of.values()) == set(SPLITS)


def test_speakers_keep_their_split_when_others_come(folder, out):
    prepare(folder, out)
    before = {row["speaker"]: row["split"] for row in rows(out / "manifest.csv")}
    for number in range(20):
        write(folder / f"new{number}" / "0.wav", sound(seed=100 + number))
    assert prepare(folder, out).measured == 20
    after = {row["speaker"]: row["split"] for row in rows(out / "manifest.csv")}
    assert len(after) == 24
    assert after.items() >= before.items()


def test_a_speaker_in_two_splits_is_refused(folder, out, tmp_path):
    listing = tmp_path / "list.csv"
    listing.write_text("path,speaker,split\naudio/ann/0.wav,ann,train\naudio/ann/1.wav,ann,test\n")
    with pytest.raises(OvertoneError, match="speaker 'ann' is in the splits"):
        prepare(listing, out)


# Rejected files, a line each


def broken_files(folder):
    """Write one of each kind of file that cannot be used; return what its reason must say."""
    folder.mkdir(exist_ok=True)
    good = write(folder.parent / "good.flac", sound(2.0, 48000), 48000).read_bytes()
    wave = write(folder.parent / "good.wav", sound(2.0, 48000), 48000).read_bytes()
    (folder / "text.wav").write_text("not audio")
    (folder / "page.mp3").write_text("<html>404</html>")
    (folder / "empty.flac").write_bytes(b"")
    (folder / "zeros.flac").write_bytes(bytes(5000))
    (folder / "cut.flac").write_bytes(good[: len(good) // 2])
    (folder / "cut.wav").write_bytes(wave[: len(wave) // 2])
    (folder / "head.wav").write_bytes(wave[:20])
    (folder / "noise.flac").write_bytes(good[:200] + np.random.default_rng(0).bytes(20000))
    (folder / "talk.m4a").write_bytes(good)
    (folder / "loop.wav").symlink_to("loop.wav")
    (folder / "gone.wav").symlink_to("nowhere.wav")
    os.mkfifo(folder / "pipe.wav")
    soundfile.write(folder / "none.wav", np.zeros(0), RATE)
    soundfile.write(folder / "short.wav", sound(0.05), RATE)
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(folder / "onebit.wav", np.random.default_rng(0).integers(-1, 1, RATE).astype("int16"), RATE)
    soundfile.write(folder / "nan.wav", np.where(np.arange(RATE) == 9000, np.nan, 0.1), RATE, subtype="FLOAT")
    soundfile.write(folder / "inf.wav", np.where(np.arange(RATE) == 9000, np.inf, 0.1), RATE, subtype="FLOAT")
    soundfile.write(folder / "integers.wav", 30000 * sound(1.0, level=1), RATE, subtype="FLOAT")
    soundfile.write(folder / "slow.wav", np.tile(sound(0.5), (2, 1)), 100)
    soundfile.write(folder / "wide.wav", np.tile(sound(0.5), (1, 40)), RATE)
    soundfile.write(folder / "z-again.flac", soundfile.read(folder.parent / "ann" / "0.wav")[0], RATE)
    return {
        "text.wav": "not readable as audio",
        "page.mp3": "not readable as audio",
        "empty.flac": "not readable as audio",
        "zeros.flac": "not readable as audio",
        "cut.flac": "is damaged at",
        "cut.wav": "before its stated end",
        "head.wav": "",
        "noise.flac": "is damaged at 0.0 s",
        "talk.m4a": "Convert it to FLAC or WAV",
        "loop.wav": "cannot be read (Too many levels of symbolic links)",
        "gone.wav": "cannot be read (No such file or directory)",
        "pipe.wav": "is no regular file",
        "none.wav": "holds no samples",
        "short.wav": "50 ms long",
        "silent.wav": "silent",
        "onebit.wav": "silent",
        "nan.wav": "NaN",
        "inf.wav": "NaN",
        "integers.wav": "scaled to 1",
        "slow.wav": "sampled at 100 Hz",
        "wide.wav": "40 channels",
        "z-again.flac": "is the same audio as",
    }


@pytest.mark.parametrize("jobs", [1, 2])
def test_each_broken_file_is_one_line_and_the_others_are_used(folder, out, jobs, capfd):
    expected = broken_files(folder / "zed")
    (folder / "good.flac").unlink()
    (folder / "good.wav").unlink()
    result = prepare(folder, out, jobs=jobs)
    found = reasons(out)
    assert set(found) == set(expected)
    for name, reason in expected.items():
        assert reason in found[name], name
        assert "\n" not in found[name]
        assert str(folder / "zed" / name) not in found[name]
    assert result.clips == len(rows(out / "manifest.csv")) == 12
    assert sum(result.rejected.values()) == len(expected)
    assert "Traceback" not in capfd.readouterr().err


def test_an_unreadable_file_is_rejected_and_tried_again(folder, out, monkeypatch):
    def refuse(path, shortest_seconds):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as context:
        context.setattr(preparation, "measure_recording", refuse)
        with pytest.raises(OvertoneError, match=r"none usable: 12 rejected, the first: cannot be read \(Permission"):
            prepare(folder, out)
    assert prepare(folder, out).clips == 12


def test_a_file_that_surprises_the_program_does_not_end_it(folder, out, monkeypatch):
    def stumble(path, shortest_seconds):
        if path.name == "0.wav":
            raise RuntimeError("what now")
        return measure_recording(path, shortest_seconds)

    monkeypatch.setattr(preparation, "measure_recording", stumble)
    assert prepare(folder, out).clips == 8
    assert set(reasons(out).values()) == {"cannot be measured (RuntimeError: what now)"}


def test_a_name_that_is_not_utf8_is_rejected(folder, out):
    name = os.fsdecode(b"caf\xe9.wav")
    shutil.copy(folder / "ann" / "0.wav", folder / "ann" / name)
    assert prepare(folder, out).clips == 12
    assert reasons(out) == {"caf\\xe9.wav": "has a name that is not UTF-8. Rename it."}


def test_links_to_folders_are_followed_once(folder, out):
    (folder / "ann" / "up").symlink_to(folder)
    (folder / "bob" / "self").symlink_to(folder / "bob")
    assert prepare(folder, out).clips == 12


@pytest.mark.parametrize("name", ["zebra.wav", "a b, c.wav", 'quo"te.wav', "line\nbreak.wav", "ünï.wav", ".hidden.wav"])
def test_odd_names_survive(folder, out, name):
    write(folder / "ann" / name, sound(seed=77))
    prepare(folder, out)
    found = [Path(row["path"]).name for row in rows(out / "manifest.csv")]
    assert (name in found) == (not name.startswith("."))
    assert len(load_corpus(out).clips) == len(found)


def test_the_same_audio_in_another_format_is_a_duplicate_and_the_first_path_stays(folder, out):
    samples, rate = soundfile.read(folder / "cem" / "1.wav", dtype="int16")
    write(folder / "zoe" / "copy.flac", samples, rate)
    write(folder / "aaa" / "copy.wav", samples, rate)
    prepare(folder, out)
    found = {row["path"]: row["reason"] for row in rows(out / "rejected.csv")}
    first = f"is the same audio as {folder / 'aaa' / 'copy.wav'}"
    assert found == {str(folder / "cem" / "1.wav"): first, str(folder / "zoe" / "copy.flac"): first}


def test_the_same_samples_at_another_rate_are_no_duplicate(folder, out):
    write(folder / "zoe" / "fast.wav", soundfile.read(folder / "cem" / "1.wav", dtype="int16")[0], 2 * RATE)
    assert prepare(folder, out).clips == 13


@pytest.mark.parametrize(
    ("source", "message"),
    [("nowhere", "no such folder"), ("notes.txt", r"got a \.txt file"), ("void", "found none")],
)
def test_sources_without_audio_are_refused(tmp_path, out, source, message):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "void").mkdir()
    with pytest.raises(OvertoneError, match=message):
        prepare(tmp_path / source, out)
    assert not (out / "manifest.csv").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("speaker\nann\n", "expected the columns path"),
        ("path\nx.wav\nx.wav\n", "expected each file once"),
        ("path,speaker\n,ann\n", "row 1 has no path"),
        ("path\nx.wav,y,z\n", "more cells than the header"),
        ("path\n\xff\n", "not readable as a manifest"),
    ],
)
def test_mistakes_in_a_manifest_are_named(tmp_path, out, text, message):
    (tmp_path / "list.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(OvertoneError, match=message):
        prepare(tmp_path / "list.csv", out)


# Again, interrupted, side by side


def test_only_what_is_new_or_changed_is_measured_again(folder, out):
    assert prepare(folder, out).measured == 12
    before = (out / "manifest.csv").read_bytes()
    assert prepare(folder, out).measured == 0
    assert (out / "manifest.csv").read_bytes() == before
    write(folder / "ann" / "0.wav", sound(0.7, seed=50))
    write(folder / "ann" / "9.wav", sound(seed=51))
    (folder / "bob" / "0.wav").unlink()
    assert prepare(folder, out).measured == 2
    found = {Path(row["path"]).parent.name + "/" + Path(row["path"]).name: row for row in rows(out / "manifest.csv")}
    assert float(found["ann/0.wav"]["seconds"]) == pytest.approx(0.7)
    assert "ann/9.wav" in found
    assert "bob/0.wav" not in found


def test_one_process_and_two_write_the_same(folder, out):
    for number in range(60):
        write(folder / f"s{number % 7}" / f"{number}.flac", sound(0.2, seed=200 + number))
    prepare(folder, out / "one", jobs=1)
    prepare(folder, out / "two", jobs=2)
    assert (out / "one" / "manifest.csv").read_bytes() == (out / "two" / "manifest.csv").read_bytes()


def test_a_run_that_stops_goes_on_and_ends_the_same(folder, out, monkeypatch):
    prepare(folder, out / "whole")
    monkeypatch.setattr("datamodules.corpora.journal._FILES_PER_BATCH", 2)

    def stop(done, total):
        if done >= 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(folder, out / "stopped", progress=stop)
    assert not (out / "stopped" / "manifest.csv").exists()
    assert prepare(folder, out / "stopped").measured == 6
    assert (out / "stopped" / "manifest.csv").read_bytes() == (out / "whole" / "manifest.csv").read_bytes()


KILLED = """
import os, signal, sys
from pathlib import Path
from datamodules.corpora import journal
from datamodules.corpora.preparation import prepare
journal._FILES_PER_BATCH = 2
def kill(done, total):
    if done >= 6:
        os.kill(os.getpid(), signal.SIGKILL)
prepare(Path(sys.argv[1]), Path(sys.argv[2]), progress=kill)
"""


def test_a_killed_run_goes_on_and_ends_the_same(folder, out):
    prepare(folder, out / "whole")
    killed = subprocess.run([sys.executable, "-c", KILLED, folder, out / "killed"], cwd=PROJECT, check=False)
    assert killed.returncode == -9
    assert prepare(folder, out / "killed").measured <= 6
    for name in ("manifest.csv", "rejected.csv"):
        assert (out / "killed" / name).read_bytes() == (out / "whole" / name).read_bytes()
    assert {path.name for path in (out / "killed").iterdir()} == {"manifest.csv", "rejected.csv", ".prepare.sqlite"}


def die(path, shortest_seconds):
    if path.name == "deadly.wav":
        os._exit(139)
    return measure_recording(path, shortest_seconds)


class _Deadly:
    """Stands in for a decoder that crashes; picklable, so that it reaches the other process."""

    def __call__(self, batch):
        preparation.measure_recording = die
        return [preparation._measure_one(job) for job in batch]


def test_a_file_that_kills_its_process_is_rejected(folder, out, monkeypatch):
    for number in range(40):
        write(folder / f"s{number % 4}" / f"{number}.wav", sound(0.2, seed=300 + number))
    write(folder / "ann" / "deadly.wav", sound(seed=98))
    monkeypatch.setattr(preparation, "measure_batch", _Deadly())
    assert prepare(folder, out, jobs=2).clips == 52
    assert reasons(out) == {"deadly.wav": "ends the program that decodes it. Write it again from its source."}


def test_two_preparations_do_not_mix(folder, out):
    with Journal(out), pytest.raises(OvertoneError, match="another preparation is at work"):
        prepare(folder, out)


def test_a_folder_that_holds_the_output_is_scanned_again(folder):
    assert prepare(folder, folder).clips == 12
    write(folder / "eve" / "0.wav", sound(seed=60))
    assert prepare(folder, folder).clips == 13


def test_a_manifest_of_ones_own_is_not_overwritten(folder):
    (folder / "manifest.csv").write_text("path,speaker\nann/0.wav,ann\n")
    for source in (folder, folder / "manifest.csv"):
        with pytest.raises(OvertoneError, match="would be overwritten"):
            prepare(source, folder)


def test_a_journal_that_is_none_is_named(folder, out):
    out.mkdir()
    (out / ".prepare.sqlite").write_text("no database, but long enough to be looked at" * 50)
    with pytest.raises(OvertoneError, match=r"\.prepare\.sqlite: cannot be written"):
        prepare(folder, out)


def test_a_recording_says_whose_file_is_wrong(tmp_path):
    with pytest.raises(AudioError, match=r"x\.wav: not readable as audio"):
        (tmp_path / "x.wav").write_text("x")
        measure_recording(tmp_path / "x.wav")
