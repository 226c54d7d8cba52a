"""One training: seed, build, fit within the budget, keep the weights and what they cost."""

import json
import resource
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytorch_lightning as lightning
import torch
import yaml
from pytorch_lightning.callbacks import ModelCheckpoint

from datamodules.conditions import parse_conditions
from datamodules.corpus import Corpus
from datamodules.speech_pairs import SpeechPairsDataModule
from evaluation.contracts import Utterance
from experiments.preset import Preset
from experiments.registry import build_model
from experiments.runs import TrainingPlace
from experiments.spectrogram_figures import figure_array, spectrogram_stack
from experiments.systems import enhance_waveform
from experiments.tracker import Run
from models.base import SpeechModule
from runtime.files import written_whole

Progress = Callable[[int, int, str], None]
STEPS_PER_POINT = 10
SPECTROGRAM_CLIPS = 2


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
    """

    examples: int
    seconds: float
    cpu_seconds: float
    peak_mb: float
    over_budget: bool
    val_loss: float

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
    )


def train(preset: Preset, place: TrainingPlace, corpus: Corpus, run: Run, progress: Progress) -> TrainingRecord:
    """Train one model of a preset, or continue where it was interrupted; a finished one is only read.

    Args:
        preset: declares data, budget and hyper-parameters.
        place: which model, which seed, where.
        corpus: the clips.
        run: where curves and spectrograms go.
        progress: called with examples seen, the budget, and a note.
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
    clock = Clock(place.folder / "seconds.json", preset.budget.safety_seconds)
    clips = [utterance for utterance, _ in zip(datamodule.utterances("val"), range(SPECTROGRAM_CLIPS), strict=False)]
    report = EpochReport(run, progress, clips, preset)
    interruption = Interruption()
    trainer = make_trainer(preset, place.folder / "checkpoints", [clock, report, interruption])
    last = place.folder / "checkpoints" / "last.ckpt"
    try:
        with interruption:
            trainer.fit(module, datamodule, ckpt_path=str(last) if last.is_file() else None, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C, which would end the whole command with code 1 and no word
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    module.save_weights(place.weights)
    record = make_record(trainer, clock, preset)
    with written_whole(place.record) as path:
        path.write_text(json.dumps(asdict(record), indent=2))
    run.log_metrics({f"cost/train_{key}": float(value) for key, value in asdict(record).items()}, trainer.current_epoch)
    return record


def make_trainer(preset: Preset, checkpoints: Path, callbacks: Sequence[lightning.Callback]) -> lightning.Trainer:
    """Return a quiet trainer that keeps a checkpoint of each epoch's end."""
    checkpoint = ModelCheckpoint(
        dirpath=checkpoints, filename="last", enable_version_counter=False, save_on_train_epoch_end=True
    )
    return lightning.Trainer(
        max_epochs=preset.budget.epochs,
        accelerator="auto",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[*callbacks, checkpoint],
        default_root_dir=checkpoints,
    )


def make_record(trainer: lightning.Trainer, clock: "Clock", preset: Preset) -> TrainingRecord:
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
    )


class Interruption(lightning.Callback):
    """Ends a training between two batches after Ctrl-C.

    An exception thrown in wherever the program happens to be can be swallowed by a library's callback; a second
    Ctrl-C still does that, for the impatient.
    """

    def __init__(self) -> None:
        self._requested = False

    def __enter__(self) -> Self:
        self._previous = signal.getsignal(signal.SIGINT)
        if self._previous is signal.default_int_handler:  # not where somebody else decides, as in a worker
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Stop if Ctrl-C was pressed."""
        if self._requested:
            raise KeyboardInterrupt


class Clock(lightning.Callback):
    """Counts the seconds of all starts of a training and stops one that takes too long."""

    def __init__(self, path: Path, safety_seconds: float) -> None:
        self._path = path
        self._safety_seconds = safety_seconds
        self._before = float(json.loads(path.read_text())) if path.is_file() else 0.0
        self._started = time.monotonic()
        self.over_budget = False

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._before + time.monotonic() - self._started

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Stop when the safety limit is reached."""
        if self.seconds > self._safety_seconds:
            self.over_budget = True
            trainer.should_stop = True

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Keep the count beside the checkpoint."""
        with written_whole(self._path) as path:
            path.write_text(json.dumps(self.seconds))


class EpochReport(lightning.Callback):
    """Sends curves, and after each epoch spectrograms of fixed validation clips, to the run and the progress."""

    def __init__(self, run: Run, progress: Progress, clips: Sequence[Utterance], preset: Preset) -> None:
        self._run, self._progress, self._clips, self._preset = run, progress, clips, preset

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Log the losses now and then."""
        step = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        loss = float(trainer.callback_metrics.get("train/loss", torch.nan))
        examples = min(step * self._preset.data.batch_size, self._preset.budget.examples)
        self._progress(examples, self._preset.budget.examples, f"loss {loss:.3f}")
        if step % STEPS_PER_POINT == 0:
            self._run.log_metrics(self._metrics(trainer, "train/"), step)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Log validation losses and draw the spectrograms."""
        assert isinstance(module, SpeechModule)
        self._run.log_metrics(self._metrics(trainer, "val/"), trainer.fit_loop.epoch_loop.total_batch_idx + 1)
        for clip in self._clips:
            waveforms = {
                "narrowband": clip.narrowband,
                "enhanced": enhance_waveform(module, clip.narrowband),
                "target": clip.wideband,
            }
            epoch = trainer.current_epoch + 1
            figure = spectrogram_stack(waveforms, clip.sample_rate, f"{clip.condition}, epoch {epoch}", clip.cutoff_hz)
            self._run.log_image(figure_array(figure), f"spectrogram/{clip.condition}", epoch)

    @staticmethod
    def _metrics(trainer: lightning.Trainer, prefix: str) -> dict[str, float]:
        metrics = trainer.callback_metrics.items()
        return {key: float(value) for key, value in metrics if key.startswith(prefix)}
