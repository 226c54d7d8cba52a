"""One training: seed, build, fit within the budget, keep the weights and what they cost."""

import json
import resource
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytorch_lightning as lightning
import torch
import yaml
from pytorch_lightning.callbacks import ModelCheckpoint

from datamodules.conditions import parse_conditions
from datamodules.corpus import Corpus
from datamodules.speech_pairs import SpeechPairsDataModule
from experiments.preset import Preset
from experiments.registry import build_model
from experiments.runs import TrainingPlace
from experiments.tracker import Run
from experiments.training_callbacks import Clock, Divergence, EpochReport, Interruption, Progress, RandomState
from runtime.files import written_whole

SPECTROGRAM_CLIPS = 2
CHECKPOINT_INTERVAL = timedelta(minutes=2)


@dataclass(frozen=True)
class TrainingRecord:
    """What a training cost.

    Attributes:
        examples: training examples seen.
        seconds: wall-clock time, all starts of a resumed training together.
        cpu_seconds: processor time of the last start.
        peak_mb: largest resident memory of the process in MiB.
        over_budget: whether the safety stop ended it.
        val_loss: spectral loss on the validation crops at the end.
        curve: examples seen and that loss, after each epoch.
    """

    examples: int
    seconds: float
    cpu_seconds: float
    peak_mb: float
    over_budget: bool
    val_loss: float
    curve: Sequence[tuple[int, float]]

    @property
    def costs(self) -> dict[str, float]:
        """What is one number each."""
        return {key: float(value) for key, value in asdict(self).items() if key != "curve"}

    @staticmethod
    def read(place: TrainingPlace) -> "TrainingRecord":
        """Read the record of a finished training."""
        return TrainingRecord(**json.loads(place.record.read_text()))


def make_datamodule(preset: Preset, corpus: Corpus, seed: int) -> SpeechPairsDataModule:
    """Return the DataModule that a preset declares; the same pairs for every architecture."""
    data = preset.data
    return SpeechPairsDataModule(
        corpus=corpus,
        sample_rate=preset.sample_rate,
        train_conditions=parse_conditions(data.train_conditions),
        test_conditions=parse_conditions(data.test_conditions, fixed=True),
        crop_seconds=data.crop_seconds,
        batch_size=data.batch_size,
        examples_per_epoch=preset.budget.examples_per_epoch,
        seed=seed,
        num_workers=data.num_workers,
        joined_seconds=data.joined_seconds,
        gap_seconds=data.gap_seconds,
        val_utterances_per_speaker=data.val_utterances_per_speaker,
        test_utterances_per_speaker=data.test_utterances_per_speaker,
        full_band_hz=data.full_band_hz,
        full_band_share=data.full_band_share,
        speaker_balance=data.speaker_balance,
        loudness_lufs=data.loudness_lufs,
    )


def train(
    preset: Preset,
    place: TrainingPlace,
    corpus: Corpus,
    run: Run,
    progress: Progress,
    callbacks: Sequence[lightning.Callback] = (),
) -> TrainingRecord:
    """Train one model of a preset, or continue where it was interrupted; a finished one is only read.

    Args:
        preset: declares data, budget and hyper-parameters.
        place: which model, which seed, where.
        corpus: the clips.
        run: where curves and spectrograms go.
        progress: called with examples seen, the budget, and a note.
        callbacks: what else the trainer is to call, after its own.
    """
    if place.finished:
        return TrainingRecord.read(place)
    if preset.budget.threads is not None:
        torch.set_num_threads(preset.budget.threads)
    lightning.seed_everything(place.seed, verbose=False)
    module = build_model(place.model, preset.sample_rate, preset.models[place.model])
    datamodule = make_datamodule(preset, corpus, place.seed)
    configuration = preset.training_configuration(place.model, place.seed)
    with written_whole(place.folder / "config.yaml") as path:
        path.write_text(yaml.safe_dump(configuration | {"data_digest": corpus.digest}, sort_keys=False))
    run.log_parameters(configuration)
    run.log_file(place.folder / "config.yaml")
    clock = Clock(preset.budget.safety_seconds)
    clips = [utterance for utterance, _ in zip(datamodule.utterances("val"), range(SPECTROGRAM_CLIPS), strict=False)]
    report = EpochReport(run, progress, clips, preset)
    last = place.folder / "checkpoints" / "last.ckpt"
    interruption = Interruption(last)
    trainer = make_trainer(preset, last, [Divergence(), clock, report, RandomState(), interruption, *callbacks])
    try:
        with interruption:
            trainer.fit(module, datamodule, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C, which would end the whole command with code 1 and no word
        if trainer.interrupted and not trainer.received_sigterm:
            raise KeyboardInterrupt from None
        raise
    module.save_weights(place.weights)
    record = make_record(trainer, clock, report, preset)
    with written_whole(place.record) as path:
        path.write_text(json.dumps(asdict(record), indent=2))
    run.log_metrics({f"cost/train_{key}": value for key, value in record.costs.items()}, trainer.current_epoch)
    return record


def make_trainer(preset: Preset, last: Path, callbacks: Sequence[lightning.Callback]) -> lightning.Trainer:
    """Return a quiet trainer that keeps a checkpoint of each epoch's end, and now and then one within an epoch."""
    checkpoint = partial(ModelCheckpoint, last.parent, last.stem, enable_version_counter=False)
    checkpoints = [checkpoint(save_on_train_epoch_end=True), checkpoint(train_time_interval=CHECKPOINT_INTERVAL)]
    return lightning.Trainer(
        max_epochs=preset.budget.epochs,
        accelerator="auto",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[*callbacks, *checkpoints],
        default_root_dir=last.parent,
    )


def make_record(trainer: lightning.Trainer, clock: Clock, report: EpochReport, preset: Preset) -> TrainingRecord:
    """Return what a finished trainer has spent."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
    return TrainingRecord(
        examples=min(batches * preset.data.batch_size, preset.budget.examples),
        seconds=round(clock.seconds, 1),
        cpu_seconds=round(usage.ru_utime + usage.ru_stime, 1),
        peak_mb=round(usage.ru_maxrss / 1024, 1),
        over_budget=clock.over_budget,
        val_loss=float(trainer.callback_metrics.get("val/loss", torch.nan)),
        curve=report.curve,
    )
