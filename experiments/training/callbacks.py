"""What a trainer calls between batches and epochs: divergence, cost, curves and spectrograms."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import pytorch_lightning as lightning
import torch
from torch import Tensor

from evaluation.contracts import Utterance
from evaluation.harness import band_levels
from experiments.pages.embedding import spectrogram_webp
from experiments.pages.epochs import WatchedClip, epochs_page
from experiments.pages.samples import playable
from experiments.pages.spectrograms import loudest_db, spectrogram_db
from experiments.presets.preset import Preset
from experiments.ranking.band_levels import grouped_metrics
from experiments.tracking.run import Run
from experiments.training.resource_use import resource_use
from experiments.training.trained_system import enhance_waveform
from models.base import SpeechModule
from overtone.audio import Waveform
from overtone.errors import OvertoneError

Progress = Callable[[int, int, str], None]
STEPS_PER_POINT = 10
PICTURES = "epochs"  # of the clips after each epoch: a folder, and a page with a slider, in the run


class TrainingDiverged(OvertoneError):
    """A training's loss became NaN or infinite."""


class Divergence(lightning.Callback):
    """Ends a training whose loss is NaN or infinite, before a checkpoint keeps its weights."""

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


class Spending(lightning.Callback):
    """Adds up what all processes of all starts of a training use, as far as checkpoints kept it.

    Attributes:
        cpu_seconds: processor time, loader processes included.
        peak_mb: the largest start's memory: the sum over processes, loaders included, of each one's peak, in MiB.
        gpu_peak_mb: the same of memory on GPUs, in MiB.
    """

    def __init__(self) -> None:
        self._cpu_before = 0.0
        self._cpu_at_start, _ = resource_use()
        self.cpu_seconds = self.peak_mb = self.gpu_peak_mb = 0.0

    def on_fit_start(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Forget what earlier trainings of this process had on the GPU."""
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)

    def on_train_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Look for the last time."""
        self._look(trainer)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add what was used so far; at the end of each epoch, when the loader's processes are there."""
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
        cpu_now, peak_now = resource_use()
        gpu = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0
        spent = torch.tensor([cpu_now - self._cpu_at_start, peak_now, gpu], device=device)
        if trainer.world_size > 1:
            torch.distributed.all_reduce(spent)
        cpu_seconds, peak_mb, gpu_peak_mb = spent.tolist()
        self.cpu_seconds = self._cpu_before + cpu_seconds
        self.peak_mb, self.gpu_peak_mb = max(self.peak_mb, peak_mb), max(self.gpu_peak_mb, gpu_peak_mb)


class EpochReport(lightning.Callback):
    """Sends curves, and after each epoch what fixed validation clips look like, to the run and the progress."""

    def __init__(self, run: Run, progress: Progress, clips: Sequence[Utterance], preset: Preset) -> None:
        self._run, self._progress, self._clips, self._preset = run, progress, clips, preset
        self.curve: list[tuple[int, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the curve so far."""
        return {"curve": self.curve}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a checkpoint's curve."""
        self.curve = [tuple(point) for point in state_dict["curve"]]

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Draw what the model does before it has learnt anything."""
        if trainer.global_step == 0:
            self._draw(trainer, module, 0)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Log the losses now and then."""
        step = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        loss = float(trainer.callback_metrics.get("train/loss", torch.nan))
        self._progress(self._examples(trainer), self._preset.budget.examples, f"loss {loss:.3f}")
        if step % STEPS_PER_POINT == 0:
            self._run.log_metrics(self._metrics(trainer, "train/"), step)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Log validation losses, and of the clips the spectrograms and the levels over frequency."""
        metrics, step = self._metrics(trainer, "val/"), trainer.fit_loop.epoch_loop.total_batch_idx + 1
        self._run.log_metrics(metrics, step)
        self.curve.append((self._examples(trainer), metrics["val/loss"]))
        levels: defaultdict[str, list[float]] = defaultdict(list)
        for clip, enhanced in zip(self._clips, self._draw(trainer, module, trainer.current_epoch + 1), strict=False):
            for name, level in band_levels(clip, enhanced).items():
                levels[name].append(level)
        self._run.log_metrics(grouped_metrics({name: fmean(found) for name, found in levels.items()}, "val"), step)

    def _draw(self, trainer: lightning.Trainer, module: lightning.LightningModule, epoch: int) -> list[Waveform]:
        """Show the clips as the model enhances them now; return them, nothing where the run keeps nothing."""
        assert isinstance(module, SpeechModule)
        if not (trainer.is_global_zero and self._run.keeps):
            return []
        training = module.training
        module.eval()
        enhanced = [enhance_waveform(module, clip.narrowband) for clip in self._clips]
        module.train(training)
        for number, (clip, waveform) in enumerate(zip(self._clips, enhanced, strict=True), start=1):
            self._run.log_bytes(_picture(clip, waveform), f"{PICTURES}/{number}-enhanced-{epoch:04d}.webp")
        watched = [self._watched(number, clip) for number, clip in enumerate(self._clips, start=1)]
        self._run.log_text(epochs_page("Epoch by epoch", watched), f"{PICTURES}.html")
        return enhanced

    def _watched(self, number: int, clip: Utterance) -> WatchedClip:
        """A clip with the pictures of all epochs: a training that is continued goes on with those in its run."""
        assert self._run.folder is not None
        found = {
            int(path.stem.rpartition("-")[2]): path.read_bytes()
            for path in (self._run.folder.path / PICTURES).glob(f"{number}-enhanced-*.webp")
        }
        title = f"{clip.condition}: {clip.file}"
        shown = _picture(clip, clip.narrowband), _picture(clip, clip.wideband)
        return WatchedClip(title, *shown, found, clip.sample_rate / 2000)

    def _examples(self, trainer: lightning.Trainer) -> int:
        batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        return min(batches * self._preset.data.batch_size, self._preset.budget.examples)

    @staticmethod
    def _metrics(trainer: lightning.Trainer, prefix: str) -> dict[str, float]:
        metrics = trainer.callback_metrics.items()
        return {key: float(value) for key, value in metrics if key.startswith(prefix)}


def _picture(clip: Utterance, waveform: Waveform) -> bytes:
    """A spectrogram in colours that mean the same levels in all pictures of the clip."""
    top_db = loudest_db([spectrogram_db(one, clip.sample_rate) for one in (clip.narrowband, clip.wideband)])
    return spectrogram_webp(playable(waveform), clip.sample_rate, top_db)
