"""What a trainer calls between batches and epochs: interruption, checkpoints, clock, cost, curves and spectrograms."""

import signal
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from evaluation.contracts import Utterance
from experiments.preset import Preset
from experiments.resource_use import resource_use
from experiments.spectrogram_figures import figure_array, spectrogram_stack
from experiments.systems import enhance_waveform
from experiments.tracker import Run
from models.base import SpeechModule
from runtime.errors import OvertoneError

Progress = Callable[[int, int, str], None]
STEPS_PER_POINT = 10
TERMINATED = 128 + signal.SIGTERM  # the code with which a process ends that was told to terminate


def largest_of_all(trainer: lightning.Trainer, value: int) -> int:
    """Return the largest value that any of a training's processes has; all must ask for it at the same point."""
    if trainer.world_size == 1:
        return value
    shared = torch.tensor(value, device=trainer.strategy.root_device)
    torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
    return int(shared)


def keep_checkpoint(trainer: lightning.Trainer, path: Path) -> None:
    """Keep a checkpoint whole or not at all; all processes of a training call this.

    The trainer moves what it writes from the system's temporary folder, which may be on another disk: a full one, or
    one that is killed then, would leave half a file in place of the checkpoint before.
    """
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            part.replace(path)
    finally:
        if trainer.is_global_zero:
            part.unlink(missing_ok=True)


def is_whole_checkpoint(path: Path) -> bool:
    """Return whether there is a checkpoint, and not half a one, as a disk leaves that loses its power."""
    return zipfile.is_zipfile(path)


class Interruption(lightning.Callback):
    """Ends a training between two batches after Ctrl-C or a request to terminate, and keeps what it has learnt.

    An exception thrown in wherever the program happens to be can be swallowed by a library's callback; a second
    Ctrl-C still does that, for the impatient. Several processes stop after the same batch, whichever of them it was
    that was told to.

    Args:
        checkpoint: the file to continue from.
    """

    def __init__(self, checkpoint: Path) -> None:
        self._checkpoint = checkpoint
        self._received = 0
        self._resumed = is_whole_checkpoint(checkpoint)

    def __enter__(self) -> Self:
        self._previous = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread():
            self._previous = None
        if self._previous is signal.default_int_handler:  # not where somebody else decides, as in a worker
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_fit_start(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """See that all processes continue from the same point.

        Raises:
            OvertoneError: only some of them see the checkpoint.
        """
        some, all_but_some = largest_of_all(trainer, self._resumed), largest_of_all(trainer, not self._resumed)
        if some and all_but_some:
            raise OvertoneError(
                f"{self._checkpoint}: only some of the processes see this checkpoint. Expected a folder that all "
                "machines share; name it with --runs."
            )

    def on_train_start(self, *_: Any) -> None:  # noqa: ANN401
        """Take over SIGTERM: the trainer's own answer talks to other processes from wherever this one happens to be."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Stop if Ctrl-C was pressed or a process was told to terminate; after an epoch's last batch, validate first.

        A training that goes on from an epoch's last batch would leave that validation out.
        """
        self._stop(trainer, waits=trainer.is_last_batch)

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Stop if that was put off."""
        self._stop(trainer, waits=False)

    def _stop(self, trainer: lightning.Trainer, waits: bool) -> None:
        received = largest_of_all(trainer, self._received)
        if not received:
            return
        keep_checkpoint(trainer, self._checkpoint)
        if waits:
            return
        if received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(TERMINATED)


class Checkpoints(Checkpoint):
    """Keeps a checkpoint of each epoch's end, and now and then one within an epoch.

    The trainer's own callback, asked for a time interval, keeps none of a model that takes its optimisers' steps
    itself.

    Args:
        path: the file; the last checkpoint is the only one.
        interval: after which one is kept within an epoch.
    """

    def __init__(self, path: Path, interval: timedelta) -> None:
        self._path, self._interval_seconds = path, interval.total_seconds()
        self._saved = time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Keep one if the last is old."""
        if largest_of_all(trainer, time.monotonic() - self._saved >= self._interval_seconds):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Keep one."""
        self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        keep_checkpoint(trainer, self._path)
        self._saved = time.monotonic()


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
    """Lets a training draw the same random numbers however often it is interrupted and over however many processes.

    It is made when the model has been: several processes seed their generators again when they meet.
    """

    def __init__(self) -> None:
        self._kept: Tensor | None = torch.get_rng_state()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of torch's generator."""
        return {"torch": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep a checkpoint's state for the next batch: until then, others draw from the generator too."""
        self._kept = state_dict["torch"]

    def on_train_batch_start(self, *_: Any) -> None:  # noqa: ANN401
        """Take up the state that the model's making, or the checkpoint, left."""
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
        if largest_of_all(trainer, self.seconds > self._safety_seconds):
            self.over_budget = True
            trainer.should_stop = True


class Spending(lightning.Callback):
    """Adds up what all processes of all starts of a training use, as far as checkpoints kept it.

    Attributes:
        cpu_seconds: processor time, loader processes included.
        peak_mb: the largest start's memory: the sum over processes, loaders included, of each one's peak, in MiB.
        gpu_peak_mb: the same of memory on GPUs, in MiB.
    """

    def __init__(self) -> None:
        self._cpu_before = 0.0
        self._cpu_at_start = resource_use().cpu_seconds
        self.cpu_seconds = self.peak_mb = self.gpu_peak_mb = 0.0

    def on_fit_start(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Forget what earlier trainings of this process had on the GPU."""
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Look while the loader's processes are there."""
        self._look(trainer)

    def on_train_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Look for the last time."""
        self._look(trainer)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what was used so far."""
        self._look(trainer)
        checkpoint["callbacks"][self.state_key] = {
            "cpu_seconds": self.cpu_seconds,
            "peak_mb": self.peak_mb,
            "gpu_peak_mb": self.gpu_peak_mb,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self._cpu_before = state_dict["cpu_seconds"]
        self.peak_mb, self.gpu_peak_mb = state_dict["peak_mb"], state_dict["gpu_peak_mb"]

    def _look(self, trainer: lightning.Trainer) -> None:
        device = trainer.strategy.root_device
        use = resource_use()
        gpu = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0
        spent = torch.tensor([use.cpu_seconds - self._cpu_at_start, use.peak_mb, gpu], device=device)
        if trainer.world_size > 1:
            torch.distributed.all_reduce(spent)
        cpu_seconds, peak_mb, gpu_peak_mb = spent.tolist()
        self.cpu_seconds = self._cpu_before + cpu_seconds
        self.peak_mb, self.gpu_peak_mb = max(self.peak_mb, peak_mb), max(self.gpu_peak_mb, gpu_peak_mb)


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
        if not (trainer.is_global_zero and self._run.keeps):
            return
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
