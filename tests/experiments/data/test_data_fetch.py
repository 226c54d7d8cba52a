"""The whole command against a server on this machine: download, unpack, manifest, and every way in which it ends."""

import csv
import errno
import functools
import hashlib
import io
import os
import shutil
import tarfile
import zipfile
from collections import namedtuple
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from misbehaving_server import IMPATIENT, always, everything, misbehaving_server, properly, status

from datamodules.corpora.corpus import load_corpus
from datamodules.fetching import download as download_module
from datamodules.fetching.catalogue import Catalogue, RemoteFile, load_catalogue
from experiments.data import fetch as data_fetch
from experiments.data.fetch import fetch_command
from experiments.data.options import FetchOptions
from experiments.runs import held
from overtone.errors import OvertoneError

DATASETS = {dataset.name: dataset for dataset in load_catalogue().datasets}
VCTK_SPEAKERS = ["p225", "p226", "p280", "p315", "p360", "p361", "p362", "p363", "p364", "p374", "p376", "s5"]


def audio(seed, suffix="FLAC", rate=48000):
    file = io.BytesIO()
    samples = 0.1 * np.random.default_rng(seed).standard_normal(rate // 4)
    soundfile.write(file, samples, rate, format=suffix)
    return file.getvalue()


def zip_of(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, contents in members.items():
            packed.writestr(name, contents)
    return file.getvalue()


def tar_of(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as packed:
        for name, contents in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(contents)
            packed.addfile(info, io.BytesIO(contents))
    return file.getvalue()


@functools.cache
def vctk_zip():
    members = {"speaker-info.txt": b"ID AGE", "txt/p225/p225_001.txt": b"Please call Stella."}
    for number, speaker in enumerate(VCTK_SPEAKERS):
        for microphone in (1, 2):
            for clip in (1, 2):
                name = f"wav48_silence_trimmed/{speaker}/{speaker}_00{clip}_mic{microphone}.flac"
                members[name] = audio(100 * number + 10 * clip + microphone)
    return zip_of(members)


def sha256(contents):
    return f"sha256:{hashlib.sha256(contents).hexdigest()}"


@pytest.fixture
def site():
    with misbehaving_server() as running:
        yield running


@pytest.fixture
def out(tmp_path):
    return tmp_path / "corpora"


@pytest.fixture
def offer(site, monkeypatch):
    """Return a function that puts archives on the server and into the catalogue under a corpus' name."""
    monkeypatch.setattr(download_module, "Patience", lambda: IMPATIENT)

    def put(name, archives, *, known=True):
        files = []
        for path, contents in archives.items():
            site.files[path] = contents
            files.append(RemoteFile(path, len(contents), sha256(contents)) if known else RemoteFile(path))
        dataset = replace(DATASETS[name], files=tuple(files), mirrors={"here": site.address})
        monkeypatch.setattr(data_fetch, "load_catalogue", lambda: Catalogue([dataset]))
        return dataset

    return put


@pytest.fixture
def fetch(out):
    def run(name, *, dry_run=False, keep_archives=False, mirror=None):
        fetch_command(FetchOptions(name, out, dry_run, keep_archives, mirror))

    return run


@pytest.fixture
def refused(fetch, tmp_path):
    """Return a function that fetches what must fail: one line, no manifest, nothing unfinished under a final name."""

    def run(name, **options):
        with pytest.raises(OvertoneError) as caught:
            fetch(name, **options)
        message = str(caught.value)
        assert "\n" not in message and len(message.replace(str(tmp_path), "")) < 400, message
        for path in everything(tmp_path):
            assert path.startswith(f"corpora/{name}/archives/") and path.endswith((".part", ".part.validator")), path
        return message

    return run


def manifest(folder):
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_vctk_comes_with_the_protocol_of_the_field(offer, fetch, out, capsys):
    offer("vctk", {"VCTK-Corpus-0.92.zip": vctk_zip()})
    fetch("vctk")
    rows = manifest(out / "vctk")
    assert {row["speaker"]: row["split"] for row in rows} == {"p225": "train", "p226": "val"} | dict.fromkeys(
        ["p360", "p361", "p362", "p363", "p364", "p374", "p376", "s5"], "test"
    )
    assert len(rows) == 20
    assert all("_mic1.flac" in row["path"] and row["kind"] == "speech" for row in rows)
    assert {row["licence"] for row in rows} == {"CC-BY-4.0"}
    corpus = load_corpus(out / "vctk")
    assert {name: len(corpus.split(name)) for name in ("train", "val", "test")} == {"train": 2, "val": 2, "test": 16}
    assert corpus.clips[0].sample_rate == 48000
    said = capsys.readouterr().out
    assert "20 files of speech" in said
    assert f"overtone data prepare {out / 'vctk'}" in said.replace("\n", "")
    assert sorted(path.name for path in (out / "vctk").iterdir()) == [
        ".fetch.lock",
        "VCTK-Corpus-0.92",
        "manifest.csv",
    ]


def test_google_sets_keep_their_archives_apart_and_leave_splits_open(offer, fetch, out):
    offer(
        "slr83",
        {
            "83/irish_english_male.zip": zip_of({"irm_00001_01.wav": audio(1, "WAV"), "line_index.tsv": b"irish"}),
            "83/welsh_english_female.zip": zip_of({"wef_00002_01.wav": audio(2, "WAV"), "line_index.tsv": b"welsh"}),
        },
    )
    fetch("english-uk-ireland")
    rows = manifest(out / "slr83")
    assert [row["path"] for row in rows] == [
        "irish_english_male/irm_00001_01.wav",
        "welsh_english_female/wef_00002_01.wav",
    ]
    assert [row["split"] for row in rows] == ["", ""]
    assert (out / "slr83" / "welsh_english_female" / "line_index.tsv").read_bytes() == b"welsh"


def test_noises_music_and_rooms_get_their_kinds(offer, fetch, out):
    offer(
        "slr17",
        {
            "17/musan.tar.gz": tar_of(
                {
                    "musan/noise/free-sound/noise-free-sound-0000.wav": audio(1, "WAV", 16000),
                    "musan/noise/free-sound/LICENSE": b"CC BY",
                    "musan/music/fma/music-fma-0000.wav": audio(2, "WAV", 16000),
                    "musan/speech/librivox/speech-librivox-0000.wav": audio(3, "WAV", 16000),
                }
            )
        },
    )
    fetch("musan")
    assert [(row["kind"], row["speaker"]) for row in manifest(out / "slr17")] == [
        ("music", "music-fma-0000"),
        ("noise", "noise-free-sound-0000"),
    ]


def test_what_is_there_is_not_downloaded_again(offer, fetch, out, site):
    offer("vctk", {"VCTK-Corpus-0.92.zip": vctk_zip()})
    fetch("vctk")
    before = everything(out)
    fetch("vctk")
    assert len(site.gets()) == 1
    assert everything(out) == before


def test_archives_are_kept_when_asked_and_then_used(offer, fetch, out, site):
    dataset = offer("vctk", {"VCTK-Corpus-0.92.zip": vctk_zip()})
    fetch("vctk", keep_archives=True)
    assert (out / "vctk" / "archives" / "VCTK-Corpus-0.92.zip").read_bytes() == site.files[dataset.files[0].path]
    shutil.rmtree(out / "vctk" / "VCTK-Corpus-0.92")
    fetch("vctk", keep_archives=True)
    assert len(site.gets()) == 1
    assert len(manifest(out / "vctk")) == 20


def test_a_failed_second_archive_keeps_the_first_one(offer, fetch, out, site):
    archives = {f"83/{name}.zip": zip_of({f"irm_0000{name}_01.wav": audio(1, "WAV")}) for name in "12"}
    offer("slr83", archives)
    site.script = [properly(), status(404)]
    with pytest.raises(OvertoneError, match=r"2\.zip: not downloaded"):
        fetch("slr83")
    assert list(everything(out)) == ["slr83/1/irm_00001_01.wav"]
    fetch("slr83")
    assert [path for path, _ in site.gets()] == ["/83/1.zip", "/83/2.zip", "/83/2.zip"]
    assert len(manifest(out / "slr83")) == 2


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(offer, fetch, out, site, monkeypatch, capsys):
    offer("vctk", {"VCTK-Corpus-0.92.zip": vctk_zip()})
    original = data_fetch._show

    def stop(progress, name, what, done, total):
        if done > 500_000:
            raise KeyboardInterrupt

    monkeypatch.setattr(data_fetch, "_show", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch("vctk")
    assert "the same command continues" in capsys.readouterr().out
    assert sorted(everything(out)) == [
        f"vctk/archives/VCTK-Corpus-0.92.zip.part{suffix}" for suffix in ("", ".validator")
    ]
    monkeypatch.setattr(data_fetch, "_show", original)
    fetch("vctk")
    assert site.ranges()[1].startswith("bytes=")
    assert len(manifest(out / "vctk")) == 20


def test_ctrl_c_while_unpacking_starts_again_from_the_archive(offer, fetch, out, site, monkeypatch):
    offer("vctk", {"VCTK-Corpus-0.92.zip": vctk_zip()})
    original = data_fetch._show

    def stop(progress, name, what, done, total):
        if what == "unpack":
            raise KeyboardInterrupt

    monkeypatch.setattr(data_fetch, "_show", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch("vctk")
    assert list(everything(out)) == ["vctk/archives/VCTK-Corpus-0.92.zip"]
    monkeypatch.setattr(data_fetch, "_show", original)
    fetch("vctk")
    assert len(site.gets()) == 1
    assert len(manifest(out / "vctk")) == 20


def test_a_dry_run_says_all_and_does_nothing(offer, fetch, out, site, capsys):
    dataset = offer("vctk", {"VCTK-Corpus-0.92.zip": vctk_zip()})
    fetch("vctk", dry_run=True)
    said = capsys.readouterr().out
    for words in (
        "CC-BY-4.0",
        "Yamagishi",
        f"{site.address}/VCTK-Corpus-0.92.zip",
        f"({dataset.size} bytes), sha256",
        "GB needed",
        "GB free",
        "without p280, p315",
        "Not verified against a second source: hours",
        "nothing was downloaded",
    ):
        assert words in said
    assert site.requests == []
    assert not out.exists()


def test_a_dry_run_says_what_nobody_published(offer, fetch, site, capsys):
    offer("slr129", {"129/ewe.tgz": b""}, known=False)
    fetch("bible-tts", dry_run=True)
    said = capsys.readouterr().out
    assert "size unknown" in said and "no checksum published" in said and "at least" in said
    assert site.requests == []


@pytest.mark.parametrize("name", ["slr60", "slr12", "slr17"])
def test_narrow_corpora_are_marked(name, fetch, capsys):
    fetch(name, dry_run=True)
    assert "too narrow for the preset fullband" in capsys.readouterr().out


@pytest.mark.parametrize("name", DATASETS)
def test_every_corpus_has_a_dry_run(name, fetch, capsys):
    fetch(name, dry_run=True)
    assert DATASETS[name].licence in capsys.readouterr().out


def test_the_list_has_every_corpus(fetch, capsys, monkeypatch):
    monkeypatch.setattr(data_fetch.console, "width", 160)
    fetch("list")
    said = capsys.readouterr().out
    for dataset in DATASETS.values():
        assert dataset.name in said and dataset.aliases[0] in said


def test_an_unknown_name_lists_the_catalogue_and_says_so(refused, capsys):
    assert "Did you mean vctk" in refused("vctkk")
    assert "slr109" in capsys.readouterr().out


def test_an_unknown_mirror_is_refused_before_anything_is_made(refused, out):
    assert "expected a mirror (www, us" in refused("slr83", mirror="mars")
    assert not out.exists()


def test_an_address_of_ones_own_replaces_the_mirrors(offer, fetch, out, site):
    offer("vctk", {"my/VCTK-Corpus-0.92.zip": vctk_zip()})
    fetch("vctk", mirror=site.address)
    assert len(manifest(out / "vctk")) == 20


Usage = namedtuple("Usage", "total used free")


def test_a_disk_without_room_is_refused_before_the_download(offer, refused, site, monkeypatch):
    offer("vctk", {"VCTK-Corpus-0.92.zip": vctk_zip()})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 100_000_000))
    message = refused("vctk")
    assert "0.2 GB needed" in message and "0.1 GB free" in message
    assert site.requests == []


def test_room_counts_sizes_that_only_the_server_knows(offer, refused, site, monkeypatch):
    offer("slr129", {"129/ewe.tgz": bytes(3_000_000)}, known=False)
    monkeypatch.setattr(data_fetch, "_SPARE_BYTES", 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(1, 1, 1_000_000))
    assert "GB needed" in refused("slr129")
    assert [method for method, _, _ in site.requests] == ["HEAD"]


def test_room_that_an_earlier_part_takes_is_not_counted_twice(tmp_path):
    part = tmp_path / "x.zip.part"
    part.write_bytes(bytes(600))
    step = data_fetch._Step(RemoteFile("x.zip", 1000), [], tmp_path / "x.zip", 1000)
    whole = data_fetch._Step(RemoteFile("y.zip", 300), [], tmp_path / "y.zip", 300)
    vctk = replace(DATASETS["vctk"], expansion=2.0)
    spare = data_fetch._SPARE_BYTES
    assert data_fetch._room_needed(vctk, [step, whole], keep_archives=False) == 2600 + 400 + spare
    assert data_fetch._room_needed(vctk, [step, whole], keep_archives=True) == 2600 + 700 + spare
    assert data_fetch._room_needed(vctk, [], keep_archives=True) == 0


@pytest.mark.parametrize(
    ("method", "code"),
    [("mkdir", errno.EROFS), ("mkdir", errno.EACCES), ("open", errno.ENOSPC)],
    ids=["a read-only disk", "no permission", "a full disk"],
)
def test_a_place_that_cannot_be_written_is_one_line(offer, refused, monkeypatch, method, code):
    offer("vctk", {"VCTK-Corpus-0.92.zip": vctk_zip()})
    original = getattr(data_fetch.Path, method)

    def refuse(self, *arguments, **options):
        if "corpora" in self.parts and (method == "mkdir" or arguments[:1] in (("a",), ("w",))):
            raise OSError(code, os.strerror(code), str(self))
        return original(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(data_fetch.Path, method, refuse)
        assert os.strerror(code) in refused("vctk")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_line(offer, refused, out):
    out.mkdir(mode=0o500)
    offer("vctk", {"VCTK-Corpus-0.92.zip": vctk_zip()})
    assert "Permission denied" in refused("vctk")


@pytest.mark.parametrize("where", ["", "vctk"], ids=["out is a file", "the corpus is a file"])
def test_a_file_in_the_place_of_a_folder_is_one_line(offer, fetch, out, where):
    offer("vctk", {"VCTK-Corpus-0.92.zip": vctk_zip()})
    place = out / where
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("mine")
    with pytest.raises(OvertoneError, match="expected a folder"):
        fetch("vctk")
    assert place.read_text() == "mine"


def test_two_downloads_of_one_corpus_do_not_meet(offer, fetch, out):
    offer("vctk", {"VCTK-Corpus-0.92.zip": vctk_zip()})
    with held(out / "vctk" / data_fetch.LOCK_NAME), pytest.raises(OvertoneError, match="another process"):
        fetch("vctk")
    fetch("vctk")
    assert len(manifest(out / "vctk")) == 20


HOSTILE = {
    "a path to the parent": (zip_of({"../../evil.wav": b"evil"}), "leads out of its folder"),
    "an absolute path": (zip_of({"/tmp/evil.wav": b"evil"}), "leads out of its folder"),
    "a bomb": (tar_of({"a.wav": bytes(20_000_000)}), "decompression bomb"),
    "a truncated archive": (vctk_zip()[:-1000], "cut short"),
    "a web page without a type": (b"<html>No such file</html>", "no zip or tar archive"),
    "an empty file": (b" ", "no zip or tar archive"),
}


@pytest.mark.parametrize("known", [True, False], ids=["checksum known", "nothing known"])
@pytest.mark.parametrize(("contents", "words"), HOSTILE.values(), ids=HOSTILE)
def test_no_file_stays_after(offer, refused, fetch, out, contents, words, known):
    offer("vctk", {"VCTK-Corpus-0.92.zip": contents}, known=known)
    message = refused("vctk")
    assert words in message
    assert "The archive was removed" in message
    offer("vctk", {"VCTK-Corpus-0.92.zip": vctk_zip()}, known=known)
    fetch("vctk")
    assert len(manifest(out / "vctk")) == 20


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ([always(status(404))], "answered 404"),
        ([always(properly(upto=0))], "broke off 4 times"),
        ([always(status(302, {"Location": "file:///etc/passwd"}))], "cannot be reached"),
        ([always(properly(content=b"<html>", headers={"Content-Type": "text/html"}))], "a web page"),
        ([properly(content=vctk_zip()[::-1])], "sha256"),
        ([always(properly(content=vctk_zip()[:-1]))], "expected"),
    ],
    ids=["404", "cut connections", "a redirect to a local file", "a web page", "a wrong checksum", "a wrong length"],
)
def test_a_server_that_fails_ends_in_one_line(offer, refused, site, script, words):
    offer("vctk", {"VCTK-Corpus-0.92.zip": vctk_zip()})
    site.script = script
    assert words in refused("vctk")


def test_a_layout_that_the_catalogue_does_not_know_keeps_the_files(offer, fetch, out):
    offer("vctk", {"VCTK-Corpus-0.92.zip": zip_of({"elsewhere/p225_001.flac": audio(1)})})
    with pytest.raises(OvertoneError, match="--speaker-pattern"):
        fetch("vctk")
    assert list(everything(out)) == ["vctk/VCTK-Corpus-0.92/elsewhere/p225_001.flac"]
