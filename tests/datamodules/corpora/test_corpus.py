"""Folders and manifests: what is found, how it is split, what is skipped and why."""

import csv
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from datamodules.corpora.corpus import load_corpus
from datamodules.corpora.manifest import SPLITS, split_by_speaker
from datamodules.corpora.preparation import prepare
from overtone.errors import OvertoneError


def write(path, seconds=0.5, sample_rate=16000, channels=1, subtype=None, seed=0, level=0.1):
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = level * np.random.default_rng(seed).standard_normal((round(seconds * sample_rate), channels))
    soundfile.write(path, samples.clip(-1, 1), sample_rate, subtype=subtype)
    return path


@pytest.fixture
def folder(tmp_path):
    for number, speaker in enumerate(["ann", "bob", "cem", "dee"]):
        for clip in range(2):
            write(tmp_path / "corpus" / speaker / f"{clip}.wav", seed=10 * number + clip)
    return tmp_path / "corpus"


def write_manifest(path, rows):
    names = sorted({name for row in rows for name in row})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def manifest_rows(folder):
    splits = {"ann": "train", "bob": "val", "cem": "test", "dee": "train"}
    return [
        {"path": f"{speaker}/{clip}.wav", "speaker": speaker.upper(), "split": split}
        for speaker, split in splits.items()
        for clip in range(2)
    ]


def test_a_folder_names_its_speakers(folder):
    corpus = load_corpus(folder)
    assert {clip.speaker for clip in corpus.clips} == {"ann", "bob", "cem", "dee"}
    assert {clip.split for clip in corpus.clips} == set(SPLITS)
    assert [corpus.name_of(clip) for clip in corpus.clips[:2]] == ["ann/0.wav", "ann/1.wav"]
    first = corpus.clips[0]
    assert (first.seconds, first.sample_rate, first.band_hz) == (0.5, 16000, 8000)
    assert first.loudness_lufs == pytest.approx(-0.691 + 20 * np.log10(0.1), abs=4)  # white noise, K-weighted
    assert first.peak == pytest.approx(abs(soundfile.read(first.path)[0]).max(), abs=1e-4)
    assert corpus.noises == ()
    assert sum(clip.seconds for name in SPLITS for clip in corpus.split(name)) == pytest.approx(8 * 0.5)


def test_flat_files_are_speakers_of_their_own(tmp_path):
    for name in "abcd":
        write(tmp_path / f"{name}.flac")
    (tmp_path / "notes.txt").write_text("not audio")
    assert {clip.speaker for clip in load_corpus(tmp_path).clips} == set("abcd")


@pytest.mark.parametrize("count", [3, 4, 7, 10, 24, 100])
def test_every_split_gets_speakers_and_each_speaker_one_split(count):
    splits = split_by_speaker(f"speaker {number}" for number in range(count))
    sizes = {name: list(splits.values()).count(name) for name in SPLITS}
    assert sum(sizes.values()) == count
    assert min(sizes.values()) >= 1


def test_many_speakers_are_split_70_10_20():
    splits = list(split_by_speaker(map(str, range(10000))).values())
    assert splits.count("train") == pytest.approx(7000, abs=150)
    assert splits.count("val") == pytest.approx(1000, abs=100)


def test_speakers_stay_in_their_split_when_others_come():
    before = split_by_speaker(map(str, range(50)))
    after = split_by_speaker(map(str, range(60)))
    assert after.items() >= before.items()


def test_given_splits_stay_and_the_others_fill_what_is_empty():
    given = {"ann": "train", "bob": "train", "cem": "test"}
    splits = split_by_speaker(["dee"], given)
    assert splits.items() >= given.items()
    assert splits["dee"] == "val"


def test_splits_do_not_depend_on_the_order_of_the_names():
    names = [f"speaker {number}" for number in range(20)]
    assert split_by_speaker(names) == split_by_speaker(reversed(names))


def test_too_few_speakers_are_refused(tmp_path):
    write(tmp_path / "ann" / "0.wav")
    write(tmp_path / "bob" / "0.wav")
    with pytest.raises(OvertoneError, match=r"none for val and test \(2 speakers in all\)"):
        load_corpus(tmp_path)


def test_a_manifest_wins_over_the_folder(folder):
    rows = manifest_rows(folder)[:6]
    rows[0]["effective_bandwidth_hz"] = 7000
    write_manifest(folder / "manifest.csv", rows)
    corpus = load_corpus(folder)
    assert [clip.speaker for clip in corpus.clips] == ["ANN", "ANN", "BOB", "BOB", "CEM", "CEM"]
    assert [clip.band_hz for clip in corpus.clips[:2]] == [7000, 8000]
    assert [clip.split for clip in corpus.clips[::2]] == ["train", "val", "test"]
    assert corpus.digest == load_corpus(folder / "manifest.csv").digest


def test_parquet_says_the_same_as_csv(folder):
    rows = manifest_rows(folder)
    pd.DataFrame(rows).to_parquet(folder / "list.parquet")
    assert load_corpus(folder / "list.parquet").clips == load_corpus(write_manifest(folder / "list.csv", rows)).clips


def test_a_manifest_sorts_noises_and_leaves_out_other_kinds_and_splits(folder):
    rows = [row | {"kind": "speech"} for row in manifest_rows(folder)]
    for name, kind, split in [
        ("hum", "noise", "train"),
        ("rain", "noise", "test"),
        ("old", "lowquality", "wild"),
        ("more", "speech", "train_extra"),
    ]:
        write(folder / f"{name}.wav")
        rows.append({"path": f"{name}.wav", "speaker": name, "kind": kind, "split": split})
    corpus = load_corpus(write_manifest(folder / "manifest.csv", rows))
    assert len(corpus.clips) == 8
    assert [noise.speaker for noise in corpus.noises] == ["hum", "rain"]
    assert [noise.speaker for noise in corpus.noises_for("test")] == ["rain"]
    assert [noise.speaker for noise in corpus.noises_for("val")] == ["hum"]
    assert corpus.notes == {
        "left out: kind lowquality, split wild": 1,
        "left out: kind speech, split train_extra": 1,
    }


def test_a_manifest_without_splits_is_split_by_speaker(folder):
    rows = [{"path": row["path"], "speaker": row["speaker"]} for row in manifest_rows(folder)]
    corpus = load_corpus(write_manifest(folder / "manifest.csv", rows))
    assert {clip.split for clip in corpus.clips} == set(SPLITS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[0].update(split="test"), "speaker 'ANN' is in the splits test, train"),
        (lambda rows: [row.pop("speaker") for row in rows], "columns path and speaker, got path, split"),
        (lambda rows: [row.update(split="train") for row in rows], "none for val and test"),
        (lambda rows: rows.append(dict(rows[0])), "got ann/0.wav twice"),
        (lambda rows: rows[1].update(speaker=""), "row 2 has no path or no speaker"),
        (lambda rows: rows[1].update(effective_bandwidth_hz="full"), "row 2: expected effective_bandwidth_hz"),
    ],
)
def test_mistakes_in_a_manifest_are_named(folder, change, message):
    rows = manifest_rows(folder)
    change(rows)
    with pytest.raises(OvertoneError, match=message):
        load_corpus(write_manifest(folder / "manifest.csv", rows))


@pytest.mark.parametrize("name", ["empty.csv", "list.txt", "nowhere"])
def test_sources_that_are_none_are_refused(tmp_path, name):
    if name != "nowhere":
        (tmp_path / name).write_text("")
    with pytest.raises(OvertoneError, match=name):
        load_corpus(tmp_path / name)


def test_a_folder_without_audio_is_refused(tmp_path):
    (tmp_path / "readme.txt").write_text("no audio here")
    with pytest.raises(OvertoneError, match="found none"):
        load_corpus(tmp_path)
    (tmp_path / "text.wav").write_text("not audio either")
    with pytest.raises(OvertoneError, match=r"all 1 were skipped.*text\.wav: not readable as audio"):
        load_corpus(tmp_path)


def test_bad_files_are_skipped_with_a_reason(folder):
    (folder / "ann" / "text.wav").write_text("not audio")
    (folder / "ann" / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "ann" / "nan.wav", np.full(16000, np.nan), 16000, subtype="FLOAT")
    soundfile.write(folder / "ann" / "header.wav", np.zeros(0), 16000)
    write(folder / "ann" / "short.wav", seconds=0.01)
    write(folder / "ann" / "silent.wav", level=0)
    corpus = load_corpus(folder)
    assert len(corpus.clips) == 8
    reasons = {path.name: reason for path, reason in corpus.skipped}
    assert set(reasons) == {"text.wav", "empty.wav", "nan.wav", "header.wav", "short.wav", "silent.wav"}
    assert "NaN" in reasons["nan.wav"]
    assert "10 ms long" in reasons["short.wav"]
    assert "no samples" in reasons["header.wav"]
    assert not any(str(folder) in reason for reason in (reasons["nan.wav"], reasons["short.wav"]))


def test_missing_files_of_a_manifest_are_skipped(folder):
    rows = manifest_rows(folder)
    (folder / "dee" / "0.wav").unlink()
    corpus = load_corpus(write_manifest(folder / "manifest.csv", rows))
    assert [path.name for path, _ in corpus.skipped] == ["0.wav"]
    assert len(corpus.clips) == 7


def test_unusual_files_are_used_and_noted(folder):
    write(folder / "ann" / "stereo.wav", channels=2)
    write(folder / "bob" / "bytes.wav", subtype="PCM_U8")
    write(folder / "cem" / "fast.wav", sample_rate=96000)
    corpus = load_corpus(folder)
    assert len(corpus.clips) == 11
    assert corpus.notes == {
        "8 bits a sample, converted": 1,
        "more than 48 kHz, resampled": 1,
        "several channels, mixed down to one": 1,
    }


def test_the_digest_follows_contents_not_places_or_times(folder, tmp_path):
    digest = load_corpus(folder).digest
    moved = shutil.copytree(folder, tmp_path / "moved")
    for path in moved.rglob("*.wav"):
        os.utime(path, (1, 1))
    assert load_corpus(moved).digest == digest
    write(moved / "ann" / "0.wav", seed=99)
    changed = load_corpus(moved).digest
    assert changed != digest
    (moved / "ann" / "0.wav").rename(moved / "ann" / "zero.wav")
    assert load_corpus(moved).digest not in {digest, changed}


# Prepared manifests, further kinds and splits


def prepared(folder, **options):
    prepare(folder, folder.parent, **options)
    return folder.parent


def test_a_prepared_manifest_is_trusted_and_says_the_same(folder, monkeypatch):
    for clip in folder.rglob("*.wav"):
        soundfile.write(clip, soundfile.read(clip)[0] * np.linspace(0.1, 1, 8000), 16000)
    write(folder / "ann" / "stereo.wav", channels=2)
    before = load_corpus(folder)
    place = prepared(folder)
    monkeypatch.setattr("datamodules.corpora.corpus.measure_recording", None)
    after = load_corpus(place)
    assert after.notes == before.notes == {"several channels, mixed down to one": 1}
    for old, new in zip(before.clips, after.clips, strict=True):
        assert (new.path, new.speaker, new.split, new.band_hz) == (old.path, old.speaker, old.split, old.band_hz)
        assert new.seconds == pytest.approx(old.seconds, abs=1e-3)
        assert new.loudness_lufs == pytest.approx(old.loudness_lufs, abs=0.01)
        assert new.peak == pytest.approx(old.peak, rel=1e-3)


def test_missing_and_changed_files_of_a_prepared_manifest_are_skipped(folder):
    place = prepared(folder)
    (folder / "ann" / "0.wav").unlink()
    write(folder / "bob" / "0.wav", seconds=0.7)
    corpus = load_corpus(place)
    assert len(corpus.clips) == 6
    reasons = {path.parent.name: reason for path, reason in corpus.skipped}
    assert reasons["ann"] == "cannot be read (No such file or directory)"
    assert "run overtone data prepare again" in reasons["bob"]


def test_an_impossible_measure_is_a_reason_to_skip(folder):
    place = prepared(folder)
    text = (place / "manifest.csv").read_text()
    (place / "manifest.csv").write_text(text.replace(",0.5,", ",half,", 1))
    ((_, reason),) = load_corpus(place).skipped
    assert "impossible measure" in reason


def test_a_hundred_thousand_prepared_rows_take_ten_times_as_long_as_a_tenth(folder):
    place = prepared(folder)
    header, *lines = (place / "manifest.csv").read_text().splitlines()
    names = [f"audio{number}.wav" for number in range(100_000)]
    for name in names[:1000]:
        os.link(folder / "ann" / "0.wav", place / name)
    cells = lines[0].split(",")
    size = str((folder / "ann" / "0.wav").stat().st_size)
    assert size in cells
    rows = [",".join([f"./{number}/../{name}" if number else name, *cells[1:]]) for number, name in enumerate(names)]
    seconds = []
    for some in (rows[:10_000], rows):
        (place / "manifest.csv").write_text("\n".join([header, *lines, *some]) + "\n")
        started = time.process_time()
        corpus = load_corpus(place)
        seconds.append(time.process_time() - started)
    assert seconds[1] < 30 * seconds[0]  # ten times as many rows; looking at all others for each would take 100 times
    assert len(corpus.clips) + len(corpus.skipped) == 100_008


def test_further_splits_join_train_on_demand(folder):
    rows = manifest_rows(folder)
    for row in rows[-2:]:
        row["split"] = "train_extra"
    manifest = write_manifest(folder / "manifest.csv", rows)
    assert {clip.speaker for clip in load_corpus(manifest).split("train")} == {"ANN"}
    corpus = load_corpus(manifest, also_train=("train_extra",))
    assert {clip.speaker for clip in corpus.split("train")} == {"ANN", "DEE"}
    assert corpus.digest != load_corpus(manifest).digest


def test_music_and_impulse_responses_are_kinds_of_their_own(folder):
    rows = [row | {"kind": "speech"} for row in manifest_rows(folder)]
    for kind, seconds, split in [("music", 1, "train"), ("music", 1, "test"), ("impulse_response", 0.05, "train")]:
        path = write(folder / f"{kind}{split}.wav", seconds=seconds, seed=len(rows))
        rows.append({"path": path.name, "speaker": f"{kind}{split}", "kind": kind, "split": split})
    corpus = load_corpus(write_manifest(folder / "manifest.csv", rows))
    assert [clip.speaker for clip in corpus.music_for("test")] == ["musictest"]
    assert corpus.music_for("val") == corpus.music_for("train") != ()
    assert [clip.seconds for clip in corpus.impulse_responses_for("train")] == [0.05]
    assert corpus.impulse_responses_for("test") == ()


def test_noises_without_a_split_are_split_by_a_hash_of_their_source(folder):
    rows = [row | {"kind": "speech"} for row in manifest_rows(folder)]
    for number in range(12):
        write(folder / f"hum{number}.wav", seed=100 + number)
        rows.append({"path": f"hum{number}.wav", "speaker": f"source {number}", "kind": "noise"})
    corpus = load_corpus(write_manifest(folder / "manifest.csv", rows))
    assert all(corpus.noises_for(split) for split in SPLITS)
    assert {noise.split for noise in corpus.noises} == set(SPLITS)


def test_several_sources_are_joined(folder, tmp_path):
    noise = write(tmp_path / "noises" / "hum.wav").parent
    write_manifest(noise / "manifest.csv", [{"path": "hum.wav", "speaker": "hum", "kind": "noise", "split": "train"}])
    corpus = load_corpus([folder, noise])
    assert (len(corpus.clips), len(corpus.noises)) == (8, 1)
    assert corpus.root == tmp_path
    assert corpus.name_of(corpus.noises[0]) == "noises/hum.wav"


def test_progress_is_told(folder):
    told = []
    load_corpus(folder, progress=lambda done, total: told.append((done, total)))
    assert told == [(number, 8) for number in range(1, 9)]


def test_real_data():
    folder = os.environ.get("OVERTONE_DATA")
    if not folder:
        pytest.skip("OVERTONE_DATA names no corpus of real speech")
    corpus = load_corpus(Path(folder))
    assert corpus.clips
    assert all(corpus.split(name) for name in SPLITS)


def test_names_and_digest_do_not_depend_on_where_a_manifest_of_files_elsewhere_lies(folder, tmp_path):
    corpora = []
    for place in (tmp_path / "here", tmp_path / "somewhere" / "else"):
        prepare(folder, place)
        corpora.append(load_corpus(place))
    first, second = corpora
    assert first.root == second.root == folder
    assert first.digest == second.digest
    assert not any(".." in first.name_of(clip) for clip in first.clips)
