"""What a trainer calls between batches and epochs: interruption, clock, curves and spectrograms."""

import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytorch_lightning as lightning
import torch
from torch import Tensor

from evaluation.contracts import Utterance
from experiments.preset import Preset
from experiments.spectrogram_figures import figure_array, spectrogram_stack
from experiments.systems import enhance_waveform
from experiments.tracker import Run
from models.base import SpeechModule
from runtime.errors import OvertoneError

Progress = Callable[[int, int, str], None]
STEPS_PER_POINT = 10


class Interruption(lightning.Callback):
    """Ends a training between two batches after Ctrl-C or a request to terminate, and keeps what it has learnt.

    An exception thrown in wherever the program happens to be can be swallowed by a library's callback; a second
    Ctrl-C still does that, for the impatient.

    Args:
        checkpoint: the file to continue from.
    """

    def __init__(self, checkpoint: Path) -> None:
        self._checkpoint = checkpoint
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
        """Stop if Ctrl-C was pressed; where the process was told to terminate, the trainer itself stops next."""
        if self._requested or trainer.received_sigterm:
            trainer.save_checkpoint(self._checkpoint)
        if self._requested:
            raise KeyboardInterrupt


class TrainingDiverged(OvertoneError):
    """A training's loss is no number any more."""


class Divergence(lightning.Callback):
    """Ends a training whose loss is no number any more, before a checkpoint keeps its weights."""

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Look at the last batch's loss.

        Raises:
            TrainingDiverged: it is NaN or infinite.
        """
        loss = trainer.callback_metrics.get("train/loss")
        if loss is not None and not torch.isfinite(loss):
            step = trainer.fit_loop.epoch_loop.total_batch_idx + 1
            raise TrainingDiverged(
                f"The training diverged: its loss is {float(loss)} at step {step}. Lower the model's learning_rate in "
                "the preset, or leave the model out with --models."
            )


class RandomState(lightning.Callback):
    """Lets a continued training draw the random numbers that an uninterrupted one would have drawn."""

    def __init__(self) -> None:
        self._kept: Tensor | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state of torch's generator."""
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a checkpoint's state for the next batch: until then, others draw from the generator too."""
        self._kept = state_dict["torch"]

    def on_train_batch_start(self, *_: Any) -> None:  # noqa: ANN401
        """Take up the state of the checkpoint."""
        if self._kept is not None:
            torch.set_rng_state(self._kept.cpu())
            self._kept = None


class Clock(lightning.Callback):
    """Counts the seconds of all starts of a training, as far as they were kept, and stops one that takes too long."""

    def __init__(self, safety_seconds: float) -> None:
        self._safety_seconds = safety_seconds
        self._before = 0.0
        self._started = time.monotonic()
        self.over_budget = False

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return self._before + time.monotonic() - self._started

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds so far."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint's seconds."""
        self._before = state_dict["seconds"]

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Stop when the safety limit is reached."""
        if self.seconds > self._safety_seconds:
            self.over_budget = True
            trainer.should_stop = True


class EpochReport(lightning.Callback):
    """Sends curves, and after each epoch spectrograms of fixed validation clips, to the run and the progress."""

    def __init__(self, run: Run, progress: Progress, clips: Sequence[Utterance], preset: Preset) -> None:
        self._run, self._progress, self._clips, self._preset = run, progress, clips, preset
        self.curve: list[tuple[int, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the curve so far."""
        return {"curve": self.curve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a checkpoint's curve."""
        self.curve = [tuple(point) for point in state_dict["curve"]]

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Log the losses now and then."""
        step = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        loss = float(trainer.callback_metrics.get("train/loss", torch.nan))
        self._progress(self._examples(trainer), self._preset.budget.examples, f"loss {loss:.3f}")
        if step % STEPS_PER_POINT == 0:
            self._run.log_metrics(self._metrics(trainer, "train/"), step)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Log validation losses and draw the spectrograms."""
        assert isinstance(module, SpeechModule)
        metrics = self._metrics(trainer, "val/")
        self._run.log_metrics(metrics, trainer.fit_loop.epoch_loop.total_batch_idx + 1)
        self.curve.append((self._examples(trainer), metrics["val/loss"]))
        for clip in self._clips:
            waveforms = {
                "narrowband": clip.narrowband,
                "enhanced": enhance_waveform(module, clip.narrowband),
                "target": clip.wideband,
            }
            epoch = trainer.current_epoch + 1
            figure = spectrogram_stack(waveforms, clip.sample_rate, f"{clip.condition}, epoch {epoch}", clip.cutoff_hz)
            self._run.log_image(figure_array(figure), f"spectrogram/{clip.condition}", epoch)

    def _examples(self, trainer: lightning.Trainer) -> int:
        batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        return min(batches * self._preset.data.batch_size, self._preset.budget.examples)

    @staticmethod
    def _metrics(trainer: lightning.Trainer, prefix: str) -> dict[str, float]:
        metrics = trainer.callback_metrics.items()
        return {key: float(value) for key, value in metrics if key.startswith(prefix)}
