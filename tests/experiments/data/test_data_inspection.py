"""What `overtone data inspect` prints and draws."""

import numpy as np
import pytest
import soundfile
from figures import figure_array

from datamodules.corpora.preparation import prepare
from experiments.cli.main import main
from experiments.data.figures import clip_figure, corpus_figure
from experiments.data.inspect import is_prepared, read_table, splits_table, typical_clip


def sound(seed, seconds=1.0, rate=16000):
    rng = np.random.default_rng(seed)
    turns = np.maximum(np.sin(2 * np.pi * 4 * np.arange(round(seconds * rate)) / rate), 0.001)
    return (0.1 * turns * rng.standard_normal(len(turns))).astype(np.float32)


@pytest.fixture
def folder(tmp_path):
    for number, speaker in enumerate(["ann", "bob", "cem", "dee", "eve"]):
        for clip in range(2):
            path = tmp_path / "audio" / speaker / f"{clip}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, sound(10 * number + clip, seconds=1 + number / 2), 16000)
    (tmp_path / "audio" / "ann" / "broken.wav").write_text("no audio")
    soundfile.write(tmp_path / "audio" / "ann" / "short.wav", sound(99, 0.05), 16000)
    return tmp_path / "audio"


@pytest.fixture
def prepared(folder, tmp_path):
    prepare(folder, tmp_path / "prepared", licence="CC0-1.0")
    return tmp_path / "prepared"


def test_a_prepared_corpus_is_described_and_drawn(prepared, capsys):
    assert main(["data", "inspect", str(prepared)]) == 0
    printed = capsys.readouterr().out
    for word in ("speech", "train", "val", "test", "bandwidth, kHz", "loudness, LUFS", "16000", "CC0-1.0", "ms long"):
        assert word in printed
    assert "Measured for this look only" not in printed
    for name in ("corpus.png", "clip.png"):
        assert (prepared / name).read_bytes().startswith(b"\x89PNG")


def test_a_folder_is_measured_for_the_look(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("experiments.data.inspect.available_cores", lambda: 1)
    before = {path for path in folder.rglob("*")}
    assert main(["data", "inspect", str(folder), "--out", str(tmp_path / "pictures")]) == 0
    assert "Measured for this look only" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {"corpus.png", "clip.png"}
    assert {path for path in folder.rglob("*")} == before


def test_a_clip_and_a_presets_conditions_can_be_named(prepared, folder, tmp_path, tiny_preset):
    clip, out = folder / "bob" / "1.wav", tmp_path / "pictures"
    options = ["--clip", str(clip), "--condition-preset", str(tiny_preset), "--out", str(out)]
    assert main(["data", "inspect", str(prepared), *options]) == 0
    assert (out / "clip.png").is_file()
    labels = [axes.get_title() for axes in clip_figure(clip, None, str(tiny_preset)).axes if axes.get_title()]
    assert sorted(labels) == ["mp3", "telephone", "uncompressed"]


def test_the_four_stages_share_one_scale_and_reach_the_nyquist_frequency(folder):
    figure = clip_figure(folder / "eve" / "0.wav", folder / "ann" / "0.wav")
    panels = [axes for axes in figure.axes if axes.images]
    assert [panel.get_title().replace("\n", " ") for panel in panels] == [
        "uncompressed",
        "with noise, 15 dB SNR",
        "standardised to -23 LUFS",
        "compressed, MP3 32 kbps",
    ]
    assert len({panel.images[0].get_clim() for panel in panels}) == 1
    assert all(panel.get_ylim() == (0, 8) for panel in panels)
    assert figure_array(figure).std() > 10


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 96000])
def test_a_clip_of_any_rate_is_drawn(tmp_path, rate):
    soundfile.write(tmp_path / "clip.wav", sound(0, 0.5, rate), rate)
    (top,) = {axes.get_ylim()[1] for axes in clip_figure(tmp_path / "clip.wav", None).axes if axes.images}
    assert top == pytest.approx(min(rate, 48000) / 2000)


def test_the_splits_are_counted(prepared):
    files = read_table(prepared / "manifest.csv")
    table = splits_table(files)
    cells = list(zip(*(list(column.cells) for column in table.columns), strict=True))
    assert [row[:2] for row in cells] == [("speech", "train"), ("speech", "val"), ("speech", "test")]
    assert sum(int(row[2]) for row in cells) == 10
    assert sum(int(row[3]) for row in cells) == 5


def test_a_typical_clip_is_of_middling_length(prepared):
    assert typical_clip(read_table(prepared / "manifest.csv")).endswith(("eve/0.wav", "eve/1.wav"))


def test_the_picture_of_one_speaker_and_of_many(prepared):
    files = read_table(prepared / "manifest.csv")
    many = files.loc[files.index.repeat(20)].assign(speaker=[f"s{number}" for number in range(200)])
    for some in (files[files["speaker"] == "ann"], files, many, files.assign(kind="noise", loudness_lufs=np.nan)):
        assert figure_array(corpus_figure(some, "name")).std() > 5


def test_only_a_prepared_manifest_is_taken_for_one(prepared, tmp_path):
    assert is_prepared(prepared / "manifest.csv")
    (tmp_path / "plain.csv").write_text("path,speaker\n")
    assert not is_prepared(tmp_path / "plain.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "no such folder or manifest"),
        ((".", "--clip", "nowhere.wav"), "nowhere.wav: no such audio file"),
        (("empty",), "found none"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["data", "inspect", *arguments]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
