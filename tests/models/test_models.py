"""Every registered model: the enhance contract, streaming, learning, checkpoints."""

import dataclasses
import itertools

import numpy as np
import pytest
import pytorch_lightning as lightning
import torch
from network_stream import NetworkStream

from experiments.registry import MODELS, build_model, load_model, model_class
from models.base import StreamingModule, read_weights
from overtone.errors import OvertoneError

SAMPLE_RATE = 16000
STREAMING = [name for name in MODELS if issubclass(model_class(name), StreamingModule)]


def speech_like(samples, seed=0):
    """Harmonics under a moving envelope, and noise bursts: something to extend."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / SAMPLE_RATE
    voiced = sum(np.sin(2 * np.pi * 140 * k * time + k) / k for k in range(1, 50))
    noise = rng.standard_normal(samples)
    gate = (np.sin(2 * np.pi * 4 * time + seed) > 0).astype(float)
    return (0.05 * gate * voiced + 0.02 * (1 - gate) * noise + 1e-4 * noise).astype(np.float32)


def pair_batch(size=4, samples=8000):
    wideband = torch.from_numpy(np.stack([speech_like(samples, seed) for seed in range(size)]))
    spectrum = torch.fft.rfft(wideband)
    spectrum[:, spectrum.shape[1] // 2 :] = 0
    narrowband = torch.fft.irfft(spectrum, n=samples)
    bands = {"band_hz": torch.full((size,), SAMPLE_RATE / 2), "cutoff_hz": torch.full((size,), SAMPLE_RATE / 4)}
    return {"narrowband": narrowband, "wideband": wideband} | bands


def make(name, **settings):
    torch.manual_seed(0)
    return build_model(name, SAMPLE_RATE, settings)


class OneBatch(torch.utils.data.IterableDataset):
    def __init__(self, batch, steps):
        self.batch, self.steps = batch, steps

    def __iter__(self):
        return iter([self.batch] * self.steps)

    def __len__(self):
        return self.steps


def fit(module, steps, **trainer_options):
    loader = torch.utils.data.DataLoader(OneBatch(pair_batch(), steps), batch_size=None)
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **trainer_options,
    )
    trainer.fit(module, loader)
    return trainer


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("samples", [1, 2, 127, 1000, 4097])
def test_enhance_keeps_shape_rate_and_finiteness_at_any_length(name, samples):
    module = make(name).eval()
    with torch.no_grad():
        enhanced = module.enhance(torch.from_numpy(speech_like(samples))[None].expand(2, -1))
    assert enhanced.shape == (2, samples)
    assert enhanced.dtype == torch.float32
    assert torch.isfinite(enhanced).all()


@pytest.mark.parametrize("name", MODELS)
def test_the_class_declares_what_a_stream_needs_to_know(name):
    module = make(name)
    assert module.name == name
    assert module.sample_rate == SAMPLE_RATE
    if name in STREAMING:
        assert 0 < module.latency_samples <= 0.040 * SAMPLE_RATE
    else:
        assert module.latency_samples is None
    assert (module.latency_samples is None) == name.endswith("_original")


def octave_levels_db(waveform):
    power = torch.fft.rfft(waveform).abs().square()[0]
    hertz = torch.linspace(0, SAMPLE_RATE / 2, len(power))
    edges = (1000, 2000, 4000, 8000)
    return (
        torch.stack([power[(hertz >= low) & (hertz < high)].sum() for low, high in itertools.pairwise(edges)]).log10()
        * 10
    )


@pytest.mark.parametrize("name", STREAMING)
@pytest.mark.parametrize("gain_db", [-24.0, -40.0])
def test_quieter_speech_gets_the_same_band(name, gain_db):
    module = make(name).eval()
    gain = 10 ** (gain_db / 20)
    narrowband = pair_batch(1)["narrowband"]
    with torch.no_grad():
        for weight in module.network.parameters():  # as it begins, a network adds next to nothing
            weight.add_(0.05 * torch.randn_like(weight))
        loud, quiet = module.enhance(narrowband), module.enhance(gain * narrowband) / gain
    assert (octave_levels_db(loud) - octave_levels_db(narrowband)).abs().max() > 1.0
    assert (octave_levels_db(quiet) - octave_levels_db(loud)).abs().max() < 0.5


@pytest.mark.parametrize("name", STREAMING)
@pytest.mark.parametrize("seed", range(3))
def test_a_stream_in_random_blocks_equals_the_whole_file(name, seed):
    module = make(name).eval()
    rng = np.random.default_rng(seed)
    waveform = speech_like(int(rng.integers(3000, 9000)), seed)
    with torch.no_grad():
        whole = module.enhance(torch.from_numpy(waveform)[None])[0].numpy()
    stream = NetworkStream(module.network)
    pieces, start = [], 0
    while start < len(waveform):
        block = waveform[start : start + int(rng.integers(0, 900))]
        pieces.append(stream.push(block))
        assert len(pieces[-1]) == len(block)
        start += len(block)
    streamed = np.concatenate([*pieces, stream.flush()])
    assert stream.latency_samples == module.latency_samples
    assert not streamed[: stream.latency_samples - module.network.hop_samples].any()
    np.testing.assert_allclose(streamed[stream.latency_samples :], whole, atol=1e-5)


@pytest.mark.parametrize("name", STREAMING)
def test_nothing_later_than_the_latency_is_looked_at(name):
    module = make(name).eval()
    waveform = torch.from_numpy(speech_like(6000))[None]
    changed = waveform.clone()
    changed[:, 4000:] += 0.1
    with torch.no_grad():
        before, after = module.enhance(waveform), module.enhance(changed)
    sure = 4000 - module.latency_samples
    torch.testing.assert_close(before[:, :sure], after[:, :sure], atol=1e-6, rtol=0)
    assert not torch.allclose(before, after)


@pytest.mark.parametrize("name", STREAMING)
def test_digital_silence_stays_silent(name):
    module = make(name).eval()
    with torch.no_grad():
        assert module.enhance(torch.zeros(1, 4000)).abs().max() < 1e-5


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_has_a_gradient(name):
    module = make(name).train()
    module.loss(pair_batch()).backward()
    if hasattr(module, "critic_loss"):
        module.critic_loss(pair_batch()).backward()
    elif hasattr(module, "critic"):
        module.critic(pair_batch()["wideband"]).scores.sum().backward()
    without = [name for name, parameter in module.named_parameters() if parameter.grad is None]
    assert not without
    flat = [key for key, parameter in module.named_parameters() if not torch.isfinite(parameter.grad).all()]
    assert not flat
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.network.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_no_loss_hears_what_the_target_holds_above_its_band(name):
    batch = pair_batch() | {"band_hz": torch.tensor([5000.0, 5000.0, 6000.0, 8000.0])}
    spectrum = torch.fft.rfft(batch["wideband"])
    frequencies = torch.fft.rfftfreq(batch["wideband"].shape[1], 1 / SAMPLE_RATE)
    leakage_hz = 300
    for row, band_hz in enumerate(batch["band_hz"]):
        spectrum[row, frequencies > band_hz + leakage_hz] = 0
    without = batch | {"wideband": torch.fft.irfft(spectrum, batch["wideband"].shape[1])}
    module = make(name).eval()
    losses = [module.loss] + ([module.critic_loss] if hasattr(module, "critic_loss") else [])
    for loss in losses:
        torch.manual_seed(0)
        heard = loss(batch)
        torch.manual_seed(0)
        torch.testing.assert_close(heard, loss(without), rtol=2e-2, atol=2e-3)


def test_no_gradient_comes_from_above_a_clips_band():
    batch = pair_batch() | {"band_hz": torch.tensor([5000.0, 5000.0, 6000.0, 8000.0])}
    module = make("dnn_fft")
    estimate = (0.1 * torch.randn(batch["wideband"].shape)).requires_grad_()
    module.enhance = lambda narrowband: estimate
    judged = module.judged_estimate(batch)
    (module.reconstruction_loss(judged, batch) + judged.tanh().sum()).backward()
    spectrum = torch.fft.rfft(estimate.grad).abs()
    frequencies = torch.fft.rfftfreq(estimate.shape[1], 1 / SAMPLE_RATE)
    for row, band_hz in enumerate(batch["band_hz"]):
        assert (spectrum[row, frequencies > band_hz] < 1e-5 * spectrum[row].max()).all()
        assert (spectrum[row, frequencies <= band_hz] > 0).any()


@pytest.mark.parametrize("name", MODELS)
def test_one_batch_is_overfitted(name):
    module = make(name)
    if name == "wavegan_original":  # its adversarial part has no minimum to reach: the distance to the target has
        module = make(name, learning_rate=1e-3, critic_steps=1, distance_weight=1000.0)
    batch = pair_batch()

    def score():
        with torch.no_grad():
            if name == "wavegan_original":
                return (module.enhance(batch["narrowband"]) - batch["wideband"]).abs().mean()
            bands = {key: batch[key] for key in ("band_hz", "cutoff_hz")}  # at all resolutions, not at one drawn
            return module.spectral_loss(preds=module.enhance(batch["narrowband"]), target=batch["wideband"], **bands)

    before = score()
    fit(module, steps=60)
    assert score() < 0.75 * before


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_trains_the_same_weights(name):
    trained = []
    for _ in range(2):
        lightning.seed_everything(3, verbose=False)
        module = build_model(name, SAMPLE_RATE, {})
        fit(module, steps=2)
        trained.append(module.network.state_dict())
    assert trained[0].keys() == trained[1].keys()
    assert all(torch.equal(trained[0][key], trained[1][key]) for key in trained[0])


@pytest.mark.parametrize("name", MODELS)
def test_saved_weights_rebuild_the_model(name, tmp_path):
    module = make(name).eval()
    module.save_weights(tmp_path / "model.pt")
    rebuilt = load_model(tmp_path / "model.pt")
    waveform = torch.from_numpy(speech_like(3000))[None]
    with torch.no_grad():
        torch.testing.assert_close(rebuilt.enhance(waveform), module.enhance(waveform), atol=0, rtol=0)
    assert rebuilt.settings == module.settings


@pytest.mark.parametrize(
    "changes",
    [
        {"network": None},
        {"network": {}},
        {"network": {"last.weight": torch.zeros(3)}},
        {"overtone": None},
        {"overtone": {"model": "dnn_fft"}},
        {"overtone": {"model": "nobody", "sample_rate": 16000, "settings": {}}},
        {"overtone": {"model": "dnn_fft", "sample_rate": "high", "settings": {}}},
        {"overtone": {"model": "dnn_fft", "sample_rate": 16000, "settings": {"hidden": -3}}},
        {"overtone": {"model": "dnn_fft", "sample_rate": 16000, "settings": {"learning_rate": float("nan")}}},
        {"overtone": {"model": "dnn_fft", "sample_rate": 16000, "settings": 3}},
    ],
    ids=str,
)
def test_damaged_weights_are_one_line(tmp_path, changes):
    make("dnn_fft").save_weights(tmp_path / "model.pt")
    torch.save(read_weights(tmp_path / "model.pt") | changes, tmp_path / "model.pt")
    with pytest.raises(OvertoneError, match=r"model\.pt: ") as refused:
        load_model(tmp_path / "model.pt")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", MODELS)
def test_a_training_checkpoint_pickles_no_class_and_rebuilds_the_model(name, tmp_path):
    module = make(name)
    trainer = fit(module, steps=1)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    rebuilt = load_model(tmp_path / "last.ckpt")
    for key, weight in module.network.state_dict().items():
        assert torch.equal(weight, rebuilt.network.state_dict()[key])


@pytest.mark.parametrize("name", MODELS)
def test_settings_are_plain_values(name):
    settings = dataclasses.asdict(model_class(name).settings_class())
    plain = (int, float, str, bool)
    assert all(isinstance(v, plain) or all(isinstance(e, plain) for e in v) for v in settings.values())


def test_unknown_names_and_settings_are_refused_with_the_known_ones():
    with pytest.raises(OvertoneError, match="dnn_fft"):
        build_model("vocoder", SAMPLE_RATE, {})
    with pytest.raises(OvertoneError, match="hidden"):
        build_model("dnn_fft", SAMPLE_RATE, {"widht": 3})


@pytest.mark.parametrize("content", [None, b"", b"not a checkpoint"])
def test_an_unreadable_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "model.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(OvertoneError, match=r"model\.pt"):
        read_weights(path)


def test_another_programs_checkpoint_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(OvertoneError, match="not an Overtone checkpoint"):
        read_weights(tmp_path / "other.pt")


def test_wide_windows_keep_the_latency_limit_at_48_khz():
    module = build_model("dnn_fft", 48000, {})
    assert module.latency_samples == 1536
