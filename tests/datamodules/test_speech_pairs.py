"""Pairs: the same for every run, worker and resumption; utterances: joined, fixed, paired over seeds."""

import os
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import soundfile
import torch

from datamodules import clip_reader
from datamodules.corpora.corpus import load_corpus
from datamodules.degradation.noise import pink
from datamodules.pair_settings import PairSettings
from datamodules.speech_pairs import SpeechPairsDataModule
from overtone.audio import resample
from overtone.errors import OvertoneError

RATE = 16000
TELEPHONE = {"steps": [{"resample": {"rate": 8000}}]}
TRAIN = {
    "telephone": TELEPHONE | {"share": 0.5},
    "telephone_noise": {"share": 0.25, "steps": [{"noise": {"snr_db": [10, 30]}}, TELEPHONE["steps"][0]]},
    "mp3_32k": {"share": 0.25, "steps": [{"mp3": {"kbps": 32}}]},
}
TEST = {
    "telephone": TELEPHONE,
    "telephone_noise": {"steps": [{"noise": {"snr_db": 15}}, TELEPHONE["steps"][0]]},
    "mp3_32k": {"steps": [{"mp3": {"kbps": 32}}]},
}
SPLIT_OF = {"ann": "train", "bob": "train", "cem": "val", "dee": "test", "eve": "test"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five speakers with six clips of 0.4 to 2.4 s at 22 050 Hz, and a noise for train and test each."""
    folder = tmp_path_factory.mktemp("corpus")
    lines = ["path,speaker,split,kind,effective_bandwidth_hz"]
    for number, (speaker, split) in enumerate(SPLIT_OF.items()):
        for clip in range(6):
            samples = round((0.4 + 0.4 * clip) * 22050)
            name = f"{speaker}_{clip}.wav"
            soundfile.write(folder / name, 0.1 * pink(samples, 22050, np.random.default_rng([number, clip])), 22050)
            lines.append(f"{name},{speaker},{split},speech,{6000 if speaker == 'eve' else 11025}")
    for split, frequency in (("train", 300), ("test", 700)):
        hum = np.sin(2 * np.pi * frequency * np.arange(44100) / 22050)
        soundfile.write(folder / f"hum_{split}.wav", 0.1 * hum, 22050)
        lines.append(f"hum_{split}.wav,hum,{split},noise,")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def corpus(folder):
    return load_corpus(folder)


def make(corpus, sample_rate=RATE, examples_per_epoch=12, seed=0, **changes):
    everything = {"val_utterances_per_speaker": None, "test_utterances_per_speaker": None}
    usual = {"train_conditions": TRAIN, "test_conditions": TEST, "crop_seconds": 0.5, "batch_size": 4} | everything
    settings = PairSettings(**(usual | changes))
    module = SpeechPairsDataModule(corpus, sample_rate, settings, examples_per_epoch=examples_per_epoch, seed=seed)
    module.setup("fit")
    return module


def epoch_of(module, epoch=0):
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def waveforms(batches, key="narrowband"):
    return torch.cat([batch[key] for batch in batches])


def lag(later, earlier):
    size = 2 ** int(np.ceil(np.log2(2 * later.size)))
    correlation = np.fft.irfft(np.fft.rfft(later, size) * np.conj(np.fft.rfft(earlier, size)))
    peak = int(np.argmax(correlation))
    return peak - size if peak > size // 2 else peak


def test_a_batch_holds_what_the_contract_says(corpus):
    batches = epoch_of(make(corpus))
    assert len(batches) == 3
    for batch in batches:
        for key in ("narrowband", "wideband"):
            assert batch[key].shape == (4, RATE // 2)
            assert batch[key].dtype == torch.float32
            assert torch.isfinite(batch[key]).all()
        assert batch["cutoff_hz"].shape == batch["band_hz"].shape == (4,)
        expected = [RATE / 2 if name == "mp3_32k" else 4000 for name in batch["condition"]]
        assert batch["cutoff_hz"].tolist() == expected
        assert batch["band_hz"].tolist() == [8000] * 4
        assert set(batch["speaker"]) <= {"ann", "bob"}
        assert all(file.split("_")[0] == speaker for file, speaker in zip(batch["file"], batch["speaker"], strict=True))


def test_pairs_are_aligned_and_only_the_narrowband_is_damaged(corpus):
    for batch in epoch_of(make(corpus, examples_per_epoch=40)):
        for row, condition in enumerate(batch["condition"]):
            narrowband, wideband = batch["narrowband"][row].numpy(), batch["wideband"][row].numpy()
            assert lag(narrowband, wideband) == 0
            if condition == "telephone":
                spectrum = np.abs(np.fft.rfft(narrowband * np.hanning(narrowband.size)))
                assert spectrum[spectrum.size * 5 // 8 :].max() < 1e-3 * spectrum.max()


def test_the_target_is_the_speech_without_noise(corpus):
    only_noise = {"noise": {"steps": [{"noise": {"snr_db": 0}}]}}
    batch = epoch_of(make(corpus, train_conditions=only_noise))[0]
    added = (batch["narrowband"] - batch["wideband"]).numpy()
    spectrum = np.abs(np.fft.rfft(added[0] * np.hanning(added.shape[1])))
    assert np.argmax(spectrum) / added.shape[1] * RATE == pytest.approx(300, abs=4)  # the hum of train, not of test


def test_the_seed_the_epoch_and_the_index_decide_an_item(corpus):
    first, again = waveforms(epoch_of(make(corpus))), waveforms(epoch_of(make(corpus)))
    assert torch.equal(first, again)
    assert not torch.equal(first, waveforms(epoch_of(make(corpus), epoch=1)))
    assert not torch.equal(first, waveforms(epoch_of(make(corpus, seed=1))))
    other_batches = waveforms(epoch_of(make(corpus, batch_size=3, examples_per_epoch=9)))
    assert torch.equal(first[:9], other_batches)


def test_worker_processes_change_nothing(corpus):
    module = make(corpus, num_workers=2)
    loader = module.train_dataloader()
    for epoch in (0, 3):
        loader.sampler.set_epoch(epoch)
        parallel = list(loader)
        alone = epoch_of(make(corpus), epoch)
        assert torch.equal(waveforms(parallel), waveforms(alone))
        assert [batch["file"] for batch in parallel] == [batch["file"] for batch in alone]


def test_a_corpus_that_is_not_kept_in_memory_gives_nearly_the_same_items(corpus, monkeypatch):
    kept = waveforms(epoch_of(make(corpus, train_conditions={"telephone": TRAIN["telephone"]})), "wideband")
    monkeypatch.setattr(clip_reader, "_MOST_KEPT_BYTES", 0)
    read = waveforms(epoch_of(make(corpus, train_conditions={"telephone": TRAIN["telephone"]})), "wideband")
    assert read.shape == kept.shape
    # A crop read by itself starts up to one native sample earlier, so only its level and content can be compared.
    assert torch.allclose(read.std(dim=1), kept.std(dim=1), rtol=0.05)
    assert all(abs(lag(one.numpy(), other.numpy())) <= 1 for one, other in zip(read, kept, strict=True))


class Recorder(pl.LightningModule):
    """Trains one number and remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch):
        self.seen.append(batch["narrowband"].clone())
        return (self.weight * batch["narrowband"] - batch["wideband"]).square().mean()

    def validation_step(self, batch):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(corpus, epochs, *callbacks, checkpoint=None, **changes):
    model = Recorder()
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=bool(callbacks),
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, datamodule=make(corpus, **changes), ckpt_path=checkpoint)
    return torch.cat(model.seen)


@pytest.mark.parametrize("num_workers", [0, 1])
@pytest.mark.parametrize("after_training", [True, False])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_resumed_training_goes_on_with_the_next_epoch(corpus, tmp_path, num_workers, after_training):
    saving = pl.callbacks.ModelCheckpoint(
        tmp_path, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=after_training
    )
    whole = fit(corpus, 3, saving, num_workers=num_workers)
    expected = torch.cat([waveforms(epoch_of(make(corpus), epoch)) for epoch in range(3)])
    assert torch.equal(whole, expected)
    resumed = fit(corpus, 3, checkpoint=tmp_path / "epoch=0.ckpt", num_workers=num_workers)
    assert torch.equal(resumed, expected[12:])


def test_conditions_and_clips_are_drawn_by_share_and_duration(corpus):
    module = make(corpus, examples_per_epoch=600, crop_seconds=0.1)
    batches = epoch_of(module)
    names = [name for batch in batches for name in batch["condition"]]
    assert names.count("telephone") / 600 == pytest.approx(0.5, abs=0.07)
    assert names.count("mp3_32k") / 600 == pytest.approx(0.25, abs=0.06)
    files = [file for batch in batches for file in batch["file"]]
    longest = sum(file.endswith("_5.wav") for file in files) / 600
    assert longest == pytest.approx(2.4 / (0.4 + 0.8 + 1.2 + 1.6 + 2.0 + 2.4), abs=0.07)


def test_short_clips_are_joined_with_others_of_their_speaker(corpus):
    batch = epoch_of(make(corpus, crop_seconds=3.0))[0]
    assert batch["wideband"].shape == (4, 3 * RATE)
    assert all("+" in file for file in batch["file"])
    assert (batch["wideband"].abs() > 0).float().mean() > 0.6


def test_levels_vary_but_do_not_clip(corpus):
    wideband = waveforms(epoch_of(make(corpus, examples_per_epoch=60)), "wideband")
    levels = 20 * wideband.std(dim=1).log10()
    assert 8 < levels.max() - levels.min() < 16
    assert wideband.abs().max() <= 1


def test_faster_speech_reaches_higher_and_only_training_varies(corpus):
    conditions = {"undamaged": {"steps": [{"gain": {"db": 0}}]}}
    arguments = {"train_conditions": conditions, "sample_rate": 44100}
    plain = epoch_of(make(corpus, **arguments))
    varied = make(corpus, speed=(1.2, 1.2), tilt_db_per_octave=(-3, 3), **arguments)
    for before, after in zip(plain, epoch_of(varied), strict=True):
        torch.testing.assert_close(after["band_hz"], 1.2 * before["band_hz"])
        assert after["wideband"].shape == before["wideband"].shape
        torch.testing.assert_close(after["narrowband"], after["wideband"])
    for utterance, same in zip(make(corpus, **arguments).utterances("val"), varied.utterances("val"), strict=True):
        np.testing.assert_array_equal(utterance.wideband, same.wideband)


def test_variation_ends_with_the_epochs_that_vary(corpus):
    settings = {"speed": (0.9, 1.1), "tilt_db_per_octave": (-3, 3), "varied_epochs": 2}
    module, plain = make(corpus, **settings), make(corpus)
    for epoch, as_recorded in [(0, False), (1, False), (2, True), (3, True)]:
        heard, recorded = (waveforms(epoch_of(one, epoch), "wideband") for one in (module, plain))
        assert torch.equal(heard, recorded) == as_recorded


def test_utterances_last_three_seconds_with_silent_gaps(corpus):
    utterances = [one for one in make(corpus).utterances("test") if one.condition == "telephone"]
    assert {one.speaker for one in utterances} == {"dee", "eve"}
    assert all(one.wideband.size >= 3 * RATE for one in utterances)
    first = utterances[0]
    assert first.file == "dee_0.wav+2"
    pieces = [soundfile.read(corpus.root / f"dee_{clip}.wav", dtype="float32")[0] for clip in range(3)]
    start = 0
    for piece in pieces:
        speech = resample(piece, 22050, RATE)
        np.testing.assert_array_equal(first.wideband[start : start + speech.size], speech)
        start += speech.size
        gap = first.wideband[start : start + round(0.3 * RATE)]
        assert not gap.any()
        start += gap.size


def test_what_is_left_over_joins_the_last_utterance(corpus):
    (only,) = {one.file for one in make(corpus, joined_seconds=8.0).utterances("test") if one.speaker == "dee"}
    assert only == "dee_0.wav+5"
    last = [one.file for one in make(corpus, joined_seconds=6.5).utterances("test") if one.speaker == "dee"]
    assert set(last) == {"dee_0.wav+5"}
    everything = {one.file for one in make(corpus, joined_seconds=60.0).utterances("val")}
    assert everything == {"cem_0.wav+5"}


def test_utterances_are_as_the_contract_says(corpus):
    for one in make(corpus).utterances("test"):
        assert one.sample_rate == RATE
        assert one.narrowband.shape == one.wideband.shape
        assert one.narrowband.dtype == one.wideband.dtype == np.float32
        assert lag(one.narrowband, one.wideband) == 0
        assert one.cutoff_hz == (None if one.condition == "mp3_32k" else 4000)
        assert one.band_hz == (6000 if one.speaker == "eve" else 8000)
        assert one.clean == (one.condition == "telephone")


def test_utterances_do_not_depend_on_the_seed_and_are_told_apart(corpus):
    first = list(make(corpus, seed=0).utterances("test"))
    second = list(make(corpus, seed=1).utterances("test"))
    keys = [(one.file, one.condition) for one in first]
    assert len(keys) == len(set(keys))
    assert keys == [(one.file, one.condition) for one in second]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.narrowband, other.narrowband)
    alone = next(
        iter(
            make(corpus, test_conditions={name: TEST[name] for name in ("telephone_noise", "mp3_32k")}).utterances(
                "test"
            )
        )
    )
    np.testing.assert_array_equal(alone.narrowband, first[1].narrowband)


def test_a_speaker_gives_at_most_so_many_utterances(corpus):
    module = make(corpus, joined_seconds=0.3, test_utterances_per_speaker=3, val_utterances_per_speaker=2)
    dee = [one.file for one in module.utterances("test") if one.speaker == "dee" and one.condition == "mp3_32k"]
    assert dee == ["dee_0.wav", "dee_2.wav", "dee_4.wav"]
    assert len(list(module.utterances("val"))) == 2 * len(TEST)
    assert len(list(module.utterances("val", per_speaker=1))) == len(TEST)
    assert len({one.file for one in module.utterances("train")}) == 12


def test_validation_is_fixed(corpus):
    first, second = (make(corpus, seed=seed).val_dataloader() for seed in (0, 1))
    assert torch.equal(waveforms(first), waveforms(second))
    assert {speaker for batch in first for speaker in batch["speaker"]} == {"cem"}
    assert sorted({name for batch in first for name in batch["condition"]}) == sorted(TEST)
    padded = next(iter(make(corpus, crop_seconds=30.0).val_dataloader()))
    assert padded["wideband"].shape[1] == 30 * RATE


def test_mistakes_are_named(corpus):
    with pytest.raises(OvertoneError, match="range"):
        make(corpus, test_conditions=TRAIN)
    with pytest.raises(OvertoneError, match="share above 0"):
        make(corpus, train_conditions={"telephone": TELEPHONE | {"share": 0}})
    with pytest.raises(OvertoneError, match=r"train, val, test, got 'dev'"):
        list(make(corpus).utterances("dev"))


def test_a_file_that_vanished_is_named(corpus, folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    module = make(load_corpus(tmp_path))
    (tmp_path / "dee_0.wav").unlink()
    with pytest.raises(OvertoneError, match=r"dee_0\.wav"):
        list(module.utterances("test"))


def test_real_data():
    folder = os.environ.get("OVERTONE_DATA")
    if not folder:
        pytest.skip("OVERTONE_DATA names no corpus of real speech")
    module = make(load_corpus(Path(folder)), sample_rate=48000, test_utterances_per_speaker=1)
    assert torch.isfinite(waveforms(epoch_of(module))).all()
    for one in module.utterances("test"):
        assert one.narrowband.shape == one.wideband.shape
        assert 0 < one.band_hz <= 24000
