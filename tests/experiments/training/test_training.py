"""A training that was stopped anywhere ends with the weights of one that was not."""

import signal
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import yaml

from datamodules.corpora.corpus import load_corpus
from experiments.presets.preset import load_preset
from experiments.registry import MODELS
from experiments.runs import count_test_use
from experiments.tracking.run import Run
from experiments.training.checkpoints import checkpoint_damage
from experiments.training.fit import TrainingRecord, train
from experiments.training.places import training_place
from experiments.training.train import tell_damaged
from experiments.training.trained_system import cost_of
from models.base import SpeechModule, read_weights
from overtone.errors import OvertoneError
from overtone.progress import Board

SMALL = {
    "wavegan": {"critic_from": 0.3},
    "wavegan_original": {"channels": 2, "critic_steps": 2},
    "dnn_fft": {"hidden": 16, "layers": 1},
}
BATCHES = 6


@pytest.fixture(scope="module")
def corpus(tiny_corpus):
    return load_corpus(tiny_corpus)


@pytest.fixture
def preset(tiny_preset):
    plain = yaml.safe_load(tiny_preset.read_text())
    plain["budget"] |= {"examples": 4 * BATCHES, "epochs": 2}
    plain["models"] = {name: SMALL.get(name, {}) for name in MODELS}
    tiny_preset.write_text(yaml.safe_dump(plain))
    return load_preset(str(tiny_preset))


def trained(preset, corpus, runs: Path, name: str, stop_after=None, sign=signal.SIGINT):
    """Train, or continue; send the process a signal after so many batches of this start."""
    batches = 0

    def progress(done, total, note):
        nonlocal batches
        batches += 1
        if batches == stop_after:
            signal.raise_signal(sign)

    place = training_place(runs, preset, name, 0, corpus.digest)
    train(preset, place, corpus, Run(), progress)
    return batches, read_weights(place.weights)["network"]


def curve_of(preset, corpus, runs, name):
    return TrainingRecord.read(training_place(runs, preset, name, 0, corpus.digest)).curve


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_an_interrupted_training_learns_what_an_uninterrupted_one_learns(name, preset, corpus, tmp_path):
    batches, expected = trained(preset, corpus, tmp_path / "whole", name)
    assert batches == BATCHES
    runs = tmp_path / "stopped"
    for stop_after in (2, 1, 2):  # within the first epoch, at its end, within the second
        with pytest.raises(KeyboardInterrupt):
            trained(preset, corpus, runs, name, stop_after)
    batches, weights = trained(preset, corpus, runs, name)
    assert batches == BATCHES - 5
    assert weights.keys() == expected.keys()
    assert curve_of(preset, corpus, runs, name) == curve_of(preset, corpus, tmp_path / "whole", name)
    for key, weight in weights.items():
        torch.testing.assert_close(weight, expected[key], rtol=0, atol=0, msg=key)


@pytest.mark.filterwarnings("ignore")
def test_a_training_that_is_told_to_terminate_keeps_what_it_has_learnt(preset, corpus, tmp_path):
    with pytest.raises(SystemExit):
        trained(preset, corpus, tmp_path, "dnn_fft", stop_after=2, sign=signal.SIGTERM)
    batches, _ = trained(preset, corpus, tmp_path, "dnn_fft")
    assert batches == BATCHES - 2


@pytest.mark.parametrize("name", ["dnn_fft", "wavegan"])
@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_within_an_epoch_also_of_a_model_with_two_optimisers(name, preset, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.training.fit.CHECKPOINT_INTERVAL", timedelta(0))

    def fail_at_the_second_batch(done, total, note):
        if done == 8:
            raise ValueError

    place = training_place(tmp_path, preset, name, 0, corpus.digest)
    with pytest.raises(ValueError):
        train(preset, place, corpus, Run(), fail_at_the_second_batch)
    checkpoint = torch.load(place.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["SpeechPairsDataModule"] == {"examples": 4}


@pytest.mark.parametrize("damage", ["cut", "zero", "foreign", "flipped"])
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_checkpoint_is_named_and_the_training_begins_anew(damage, preset, corpus, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        trained(preset, corpus, tmp_path, "dnn_fft", stop_after=2)
    place = training_place(tmp_path, preset, "dnn_fft", 0, corpus.digest)
    assert checkpoint_damage(place.checkpoint) is None
    whole = place.checkpoint.read_bytes()
    if damage == "foreign":
        torch.save({"weights": torch.zeros(3)}, place.checkpoint)
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 64]) + whole[middle + 64 :]
        damaged = {"cut": whole[: len(whole) // 3], "zero": b"", "flipped": flipped}
        place.checkpoint.write_bytes(damaged[damage])
    said = []
    board = Board(None)
    board.say = said.append
    tell_damaged([place], board)
    assert len(said) == 1
    assert "last.ckpt is damaged (" in said[0]
    assert said[0].endswith("dnn_fft-seed0 is begun anew.")
    batches, _ = trained(preset, corpus, tmp_path, "dnn_fft")
    assert batches == BATCHES


@pytest.mark.parametrize("text", ["", "[]", "{", '{"examples": 3}', "null", '{"examples": "many"}'])
def test_damaged_records_are_named_with_what_to_do(text, preset, corpus, tmp_path):
    place = training_place(tmp_path, preset, "dnn_fft", 0, corpus.digest)
    place.folder.mkdir(parents=True)
    for name in ("training.json", "cost.json"):
        (place.folder / name).write_text(text)
    with pytest.raises(OvertoneError, match=r"training\.json: damaged; .*Remove the file"):
        TrainingRecord.read(place)
    with pytest.raises(OvertoneError, match=r"cost\.json: damaged; .*Remove the file"):
        cost_of(place)
    (tmp_path / "test-uses.json").write_text(text)
    with pytest.raises(OvertoneError, match=r"test-uses\.json: damaged; .*restore it, or remove it"):
        count_test_use(tmp_path, "data", "comparison")


@pytest.mark.filterwarnings("ignore")
def test_a_training_that_diverges_ends_in_one_line_and_keeps_no_broken_weights(preset, corpus, tmp_path, monkeypatch):
    place = training_place(tmp_path, preset, "dnn_fft", 0, corpus.digest)
    monkeypatch.setattr(SpeechModule, "loss", lambda self, batch: self.judged_estimate(batch).sum() * float("nan"))
    with pytest.raises(OvertoneError, match=r"diverged: its loss is nan at step 1\. Lower the model's learning_rate"):
        trained(preset, corpus, tmp_path, "dnn_fft")
    assert not place.finished
    assert not list(place.folder.glob("checkpoints/*"))
