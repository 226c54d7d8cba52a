"""The catalogue's facts hang together, its patterns find what they should, and manifests say it."""

import csv
import re
from dataclasses import replace

import pytest

from datamodules.fetching.catalogue import MANIFEST_COLUMNS, Protocol, RemoteFile, load_catalogue, write_manifest
from overtone.errors import OvertoneError

CATALOGUE = load_catalogue()
DATASETS = {dataset.name: dataset for dataset in CATALOGUE.datasets}
GOOGLE = [32, *range(41, 45), 61, *range(63, 67), *range(69, 81), 83, 86]


@pytest.fixture(params=DATASETS.values(), ids=DATASETS)
def dataset(request):
    return request.param


def test_all_corpora_that_were_asked_for_are_there():
    wanted = {f"slr{number}" for number in (*GOOGLE, 109, 129, 93, 60, 141, 12, 17, 28)} | {"vctk"}
    assert set(DATASETS) == wanted


def test_names_and_aliases_are_unique_and_readable():
    names = [name for dataset in DATASETS.values() for name in (dataset.name, *dataset.aliases)]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9.-]*", name) for name in names)
    assert "list" not in names


def test_addresses_are_https(dataset):
    assert dataset.page.startswith("https://")
    assert all(address.startswith("https://") and not address.endswith("/") for address in dataset.mirrors.values())
    for file in dataset.files:
        assert re.fullmatch(r"[\w./-]+\.(zip|tgz|tar\.gz)", file.path)
        assert all(url.endswith(f"/{file.path}") for url in dataset.urls(file))


def test_openslr_files_lie_under_their_number(dataset):
    if dataset.name.startswith("slr"):
        number = dataset.name.removeprefix("slr")
        assert all(file.path.startswith(f"{number}/") for file in dataset.files)
        assert dataset.page == f"https://www.openslr.org/{number}/"
        assert len(dataset.mirrors) >= 4


def test_sizes_and_checksums_have_their_form(dataset):
    for file in dataset.files:
        assert file.size is None or file.size > 10_000_000
        assert file.checksum is None or re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", file.checksum)
    folders = [file.folder for file in dataset.files]
    assert len(folders) == len(set(folders))


def test_licence_attribution_and_rates_are_stated(dataset):
    assert dataset.licence.startswith(("CC-BY", "Apache"))
    assert dataset.attribution and dataset.title and dataset.languages
    assert dataset.sample_rate in {16000, 24000, 44100, 48000}
    assert dataset.is_fullband == (dataset.sample_rate >= 44100)
    assert 1 <= dataset.expansion <= 4
    assert set(dataset.unverified) <= {"sample_rate", "hours", "layout"}


def test_patterns_match_their_examples_and_nothing_hidden(dataset):
    for rule in dataset.audio:
        kind, speaker = dataset.identify(rule.example)
        assert kind == rule.kind
        assert speaker in rule.example
        folder, _, name = rule.example.rpartition("/")
        assert dataset.identify(f"{folder}/._{name}".lstrip("/")) is None
        assert dataset.identify(f"__MACOSX/{folder}/._{name}") is None
    assert dataset.identify("line_index.tsv") is None
    assert dataset.identify("LICENSE") is None


@pytest.mark.parametrize(
    ("name", "path", "found"),
    [
        ("slr83", "irm_03397_00051654763.wav", ("speech", "irm_03397")),
        ("slr41", "jv_id_male/wavs/jvm_00027_00020497515.wav", ("speech", "jvm_00027")),
        ("slr109", "hi_fi_tts_v0/audio/92_clean/10425/secretagent_08_conrad_0001.flac", ("speech", "92")),
        ("slr60", "LibriTTS/train-clean-100/103/1241/103_1241_000000_000001.wav", ("speech", "103")),
        ("slr60", "LibriTTS/train-clean-100/103/1241/103_1241_000000_000001.normalized.txt", None),
        ("slr141", "LibriTTS_R/dev-clean/84/121123/84_121123_000007_000001.wav", ("speech", "84")),
        ("slr93", "test/wav/SSB0005/SSB00050001.wav", ("speech", "SSB0005")),
        ("slr17", "musan/speech/librivox/speech-librivox-0000.wav", None),
        ("slr17", "musan/music/jamendo/music-jamendo-0000.wav", ("music", "music-jamendo-0000")),
        (
            "slr28",
            "RIRS_NOISES/real_rirs_isotropic_noises/air_type1_air_binaural_aula_carolina_1_7_90_3.wav",
            ("impulse_response", "air_type1_air_binaural_aula_carolina_1_7_90_3"),
        ),
        ("vctk", "wav48_silence_trimmed/p225/p225_001_mic1.flac", ("speech", "p225")),
        ("vctk", "VCTK-Corpus-0.92/wav48_silence_trimmed/s5/s5_010_mic1.flac", ("speech", "s5")),
        ("vctk", "wav48_silence_trimmed/p225/p225_001_mic2.flac", None),
        ("vctk", "wav48_silence_trimmed/p225/p226_001_mic1.flac", None),
        ("vctk", "txt/p225/p225_001.txt", None),
    ],
)
def test_known_paths_are_identified(name, path, found):
    assert DATASETS[name].identify(path) == found


def test_vctk_follows_the_protocol_of_bandwidth_extension_papers():
    """The 110 speakers of version 0.92; the last eight are those that ssr_eval and AP-BWE test on."""
    spans = [(225, 234), (236, 241), (243, 288), (292, 295), (297, 308), (310, 318), (323, 323), (326, 326)]
    spans += [(329, 330), (333, 336), (339, 341), (343, 343), (345, 345), (347, 347), (351, 351), (360, 364)]
    spans += [(374, 374), (376, 376)]
    speakers = [f"p{number}" for first, last in spans for number in range(first, last + 1)] + ["s5"]
    assert len(speakers) == DATASETS["vctk"].speakers == 110
    splits = DATASETS["vctk"].protocol.splits(speakers)
    assert len(splits) == 108
    assert sorted(name for name, split in splits.items() if split == "test") == [
        "p360",
        "p361",
        "p362",
        "p363",
        "p364",
        "p374",
        "p376",
        "s5",
    ]
    assert not {"p280", "p315"} & set(splits)
    assert set(splits.values()) == {"train", "val", "test"}
    assert max(name for name, split in splits.items() if split == "train") < min(
        name for name, split in splits.items() if split == "val"
    )


@pytest.mark.parametrize("count", [0, 1, 3, 8, 9, 10, 11, 108])
def test_a_protocol_gives_every_speaker_one_split(count):
    speakers = [f"p{number:03d}" for number in range(count)]
    splits = Protocol((), 8, 0.08).splits(speakers)
    assert list(splits) == speakers
    tally = [list(splits.values()).count(name) for name in ("train", "val", "test")]
    assert tally[2] == min(8, count)
    assert count < 10 or min(tally) >= 1
    assert count != 108 or tally == [92, 8, 8]


@pytest.mark.parametrize("name", ["slr83", "SLR83", "english-uk-ireland", "English UK_Ireland", " vctk-0.92 "])
def test_a_corpus_is_found_by_name_and_alias(name):
    assert CATALOGUE.find(name).name in {"slr83", "vctk"}


@pytest.mark.parametrize(
    ("name", "words"), [("slr38", "Did you mean slr"), ("bask", "basque"), ("../etc", "no such corpus"), ("", "list")]
)
def test_an_unknown_name_is_one_line_with_similar_ones(name, words):
    with pytest.raises(OvertoneError, match=words) as caught:
        CATALOGUE.find(name)
    assert "\n" not in str(caught.value)


def test_mirrors_are_ordered_by_wish():
    dataset = DATASETS["slr83"]
    file = dataset.files[0]
    assert dataset.urls(file)[0] == "https://www.openslr.org/resources/83/irish_english_male.zip"
    preferred = dataset.urls(file, "elda")
    assert preferred[0] == "https://openslr.elda.org/resources/83/irish_english_male.zip"
    assert sorted(preferred) == sorted(dataset.urls(file))
    assert dataset.urls(file, "http://127.0.0.1:8000/") == ["http://127.0.0.1:8000/83/irish_english_male.zip"]


@pytest.mark.parametrize("mirror", ["nowhere", "ftp://x/y", "file:///etc", "https://", "http://[x"])
def test_what_is_no_mirror_is_refused_with_the_known_ones(mirror):
    with pytest.raises(OvertoneError, match="expected a mirror \\(www, us"):
        DATASETS["slr83"].urls(DATASETS["slr83"].files[0], mirror)


@pytest.mark.parametrize(
    ("path", "folder"),
    [("83/x.zip", "x"), ("129/ewe.tgz", "ewe"), ("12/dev-clean.tar.gz", "dev-clean"), ("a.tar", "a")],
)
def test_folders_are_named_after_archives(path, folder):
    assert RemoteFile(path).folder == folder


def test_a_manifest_lists_audio_in_order_with_its_licence(tmp_path):
    dataset = DATASETS["slr83"]
    for path in ("welsh_english_male/wem_00002_01.wav", "irish_english_male/irm_00001_01.wav"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(b"audio")
    (tmp_path / "irish_english_male" / "line_index.tsv").write_text("no audio")
    (tmp_path / "irish_english_male" / "irm_00001_02.wav").mkdir()
    assert write_manifest(dataset, tmp_path) == {"speech": 2}
    with (tmp_path / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == MANIFEST_COLUMNS
    assert rows[0] == {
        "path": "irish_english_male/irm_00001_01.wav",
        "kind": "speech",
        "speaker": "irm_00001",
        "split": "",
        "licence": "CC-BY-SA-4.0",
        "source": "https://www.openslr.org/83/",
        "attribution": "Google",
    }
    assert rows[1]["speaker"] == "wem_00002"


def test_a_layout_that_does_not_fit_is_one_line_with_what_to_do(tmp_path):
    dataset = replace(DATASETS["vctk"], files=(RemoteFile("x.zip"),))
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "p225_001.wav").write_bytes(b"audio")
    with pytest.raises(OvertoneError, match="--speaker-pattern") as caught:
        write_manifest(dataset, tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "manifest.csv").exists()
