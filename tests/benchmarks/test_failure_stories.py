"""The page on the original's failures, from trainings that are finished."""

import re

import numpy as np
import pytest
import soundfile
import torch
import yaml

from benchmarks.pages.failure_stories import BLOCK_SAMPLES, STORIES, _in_blocks, main
from datamodules.corpora.corpus import load_corpus
from experiments.presets.preset import load_preset
from experiments.registry import build_model
from experiments.training.places import training_place

SMALL = {
    "dnn_fft": {"hidden": 16, "layers": 1},
    "wavegan": {"channels": [4, 4, 4], "bands": 8, "memory_layers": 1},
    "spectrogram_autoencoder": {"channels": 4, "memory": 8},
    "dnn_fft_original": {"widening": 1},
    "wavegan_original": {"channels": 2},
    "spectrogram_autoencoder_original": {},
}


@pytest.fixture
def preset(tiny_settings, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny_settings | {"models": SMALL}))
    return path


def run(preset, corpus, tmp_path, *options):
    command = [str(preset), "--data", str(corpus), "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "page")]
    return main([*command, *options])


def finish_trainings(preset_path, corpus, runs):
    """Leave what trainings leave, with the weights that they start from."""
    preset = load_preset(str(preset_path))
    digest = load_corpus(corpus).digest
    torch.manual_seed(0)
    for name, settings in SMALL.items():
        place = training_place(runs.resolve(), preset, name, 0, digest)
        place.folder.mkdir(parents=True)
        build_model(name, preset.sample_rate, settings).save_weights(place.weights)
        place.record.write_text("{}")


def test_each_failure_has_its_table_picture_and_players(preset, tiny_corpus, tmp_path, capsys):
    finish_trainings(preset, tiny_corpus, tmp_path / "runs")
    assert run(preset, tiny_corpus, tmp_path, "--speaker", "finn", "--credit", "Spoken by nobody.") == 0
    folder = tmp_path / "page"
    page = (folder / "index.md").read_text()
    assert page.count("\n## ") == len(STORIES)
    assert page.count("*Spoken by nobody.*") == len(STORIES)
    for story in STORIES:
        for form in story.forms:
            assert f"| {form.label} | " in page
    linked = set(re.findall(r'src="([^"]+)"', page) + re.findall(r"\]\((failure[^)]+)\)", page))
    assert sorted(linked) == sorted(path.name for path in folder.iterdir() if path.name != "index.md")
    sound, rate = soundfile.read(folder / next(name for name in linked if name.endswith("target.flac")))
    assert rate == 16000
    assert sound.size > rate
    assert re.search(r"\| narrowband \| -?\d+\.\d\d \(", page)
    assert str(folder) in capsys.readouterr().out


def test_blocks_alone_know_nothing_of_each_other():
    torch.manual_seed(0)
    module = build_model("spectrogram_autoencoder_original", 16000, {}).eval()
    speech = np.random.default_rng(0).standard_normal(3 * BLOCK_SAMPLES + 100).astype(np.float32)
    changed = speech.copy()
    changed[:BLOCK_SAMPLES] = 0
    before, after = (_in_blocks(module, waveform) for waveform in (speech, changed))
    np.testing.assert_array_equal(before[3 * BLOCK_SAMPLES :], speech[3 * BLOCK_SAMPLES :])
    assert np.abs(before[:BLOCK_SAMPLES] - after[:BLOCK_SAMPLES]).max() > 0.01
    assert before.shape == speech.shape


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--condition", "fax"], "expected one of mp3, telephone"),
        (["--speaker", "zoe"], "expected one of eve, finn"),
    ],
)
def test_unknown_names_are_answered_in_a_line(preset, tiny_corpus, tmp_path, capsys, options, message):
    finish_trainings(preset, tiny_corpus, tmp_path / "runs")
    assert run(preset, tiny_corpus, tmp_path, *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


def test_without_trainings_it_says_what_to_run(preset, tiny_corpus, tmp_path, capsys):
    assert run(preset, tiny_corpus, tmp_path) == 2
    assert "Run `overtone compare tiny` first" in capsys.readouterr().err
