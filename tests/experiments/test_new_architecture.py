"""A new architecture is one module and one registry entry: docs/architectures.md's example works."""

import importlib
import re
import sys

import numpy as np
import pytest
import pytorch_lightning as lightning
import torch
from network_stream import NetworkStream
from project import PROJECT
from waveforms import speech_like

import models
from experiments.export.package import export_package
from experiments.export.source import ModelSource
from experiments.registry import MODELS, build_model, load_model, model_class
from overtone.errors import OvertoneError

RATE = 16000


@pytest.fixture(autouse=True)
def registered(tmp_path, monkeypatch):
    page = (PROJECT / "docs" / "architectures.md").read_text()
    name, place = re.search(r'^\+ +"(\w+)": "([\w.:]+)",$', page, re.MULTILINE).groups()
    (source,) = re.findall(r"```python\n(.+?)```", page, re.DOTALL)
    assert (name, place) == ("mine", "models.mine:MineModule")
    (tmp_path / "mine.py").write_text(source)
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    monkeypatch.setitem(MODELS, name, place)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("models.mine", None)


def batch():
    wideband = torch.from_numpy(np.stack([speech_like(RATE, 8000, seed=seed) for seed in range(2)]))
    bands = {"band_hz": torch.full((2,), 8000.0), "cutoff_hz": torch.full((2,), 4000.0)}
    return {"narrowband": 0.5 * wideband, "wideband": wideband} | bands


def test_it_trains_and_its_checkpoint_is_read(tmp_path):
    module = build_model("mine", RATE, {"channels": 8})
    before = [parameter.detach().clone() for parameter in module.network.parameters()]
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, torch.utils.data.DataLoader([batch()] * 2, batch_size=None))
    assert all(not torch.equal(one, other) for one, other in zip(before, module.network.parameters(), strict=True))
    module.save_weights(tmp_path / "mine.ckpt")
    loaded = load_model(tmp_path / "mine.ckpt")
    waveform = batch()["narrowband"]
    torch.testing.assert_close(loaded.enhance(waveform), module.enhance(waveform), rtol=0, atol=0)


def test_it_streams_and_silence_stays_silence():
    module = build_model("mine", RATE, {}).eval()
    clip = speech_like(RATE, 3001)
    stream = NetworkStream(module.network)
    streamed = np.concatenate([*(stream.push(block) for block in np.split(clip, [1, 100, 999])), stream.flush()])
    with torch.no_grad():
        whole = module.enhance(torch.from_numpy(clip)[None])[0].numpy()
        assert not module.enhance(torch.zeros(1, 500)).any()
    np.testing.assert_allclose(streamed[stream.latency_samples :], whole, atol=1e-6)


def test_it_is_exported_with_proof(tmp_path):
    parity = export_package(ModelSource(build_model("mine", RATE, {}).eval(), "a test", "tiny"), tmp_path / "package")
    assert parity.holds


def test_it_is_named_where_a_name_is_unknown_and_can_be_swept():
    with pytest.raises(OvertoneError, match=r"Registered: .*mine"):
        model_class("absent")
    assert "channels" in model_class("mine").search_space
