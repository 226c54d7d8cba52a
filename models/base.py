"""What all architectures share: the enhance contract, the optimiser, validation, and the checkpoint's form."""

import io
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as lightning
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torchmetrics import MeanMetric

from models.batch_share import mean_over_shares
from models.losses import CrossoverLoss, MultiResolutionSpectralLoss, with_target_above_band
from models.muon import Muon
from models.search_space import FloatRange, SearchSpace
from models.streaming.causal_layers import StreamingNetwork
from overtone.errors import OvertoneError
from overtone.files import written_whole

Batch = dict[str, Any]

BETAS = (0.9, 0.99)


@dataclass(frozen=True)
class Settings:
    """Hyper-parameters that every architecture has; each architecture adds its own.

    Attributes:
        learning_rate: peak of the one-cycle schedule (Smith & Topin 2018) over the declared budget.
        gradient_clip: largest norm of a gradient step.
        weight_decay: of the optimiser, decoupled.
        muon: whether layers' weights are stepped by Muon instead of AdamW.
        waveform_weight: weight of the waveform's distance in :meth:`SpeechModule.reconstruction_loss`.
        envelope_weight: weight of the spectral envelope's distance in that loss.
        retained_weight: weight of the log-spectral distance in the band that is there, against the missing one.
        quiet_weight: weight of the missing band's distance in its quiet frames, against its loud ones.
        crossover_weight: weight of level errors beside the cutoff.
    """

    learning_rate: float = 2e-3
    gradient_clip: float = 1.0
    weight_decay: float = 0.1
    muon: bool = True
    waveform_weight: float = 0.1
    envelope_weight: float = 3.0
    retained_weight: float = 0.3
    quiet_weight: float = 0.2
    crossover_weight: float = 1.0


OPTIMISER_SPACE: SearchSpace = {
    "learning_rate": FloatRange(3e-4, 1e-2, log=True),
    "gradient_clip": FloatRange(0.3, 10.0, log=True),
    "weight_decay": FloatRange(1e-3, 0.5, log=True),
}
LOSS_SPACE: SearchSpace = {
    "waveform_weight": FloatRange(0.01, 1.0, log=True),
    "envelope_weight": FloatRange(0.3, 10.0, log=True),
    "retained_weight": FloatRange(0.1, 1.0, log=True),
    "quiet_weight": FloatRange(0.05, 1.0, log=True),
    "crossover_weight": FloatRange(0.1, 3.0, log=True),
}


class SpeechModule(lightning.LightningModule):
    """Base of the LightningModules: a plain network, its losses, its optimisers.

    Attributes:
        name: the registry's name of the architecture.
        settings_class: the architecture's hyper-parameters, plain values only.
        search_space: what a sweep may change of them, by field.
        latency_samples: how late a stream's output is, None for an architecture that needs the whole file.
        block_samples: distance of block borders that may be heard, None where there are none.
    """

    name: ClassVar[str]
    settings_class: ClassVar[type[Settings]] = Settings
    search_space: ClassVar[SearchSpace]
    latency_samples: int | None
    block_samples: int | None = None
    network: nn.Module

    def __init__(self, sample_rate: int, settings: Settings) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.settings = settings
        self.spectral_loss = MultiResolutionSpectralLoss(sample_rate)
        self.crossover_loss = CrossoverLoss(sample_rate)
        self.validation_loss = MeanMetric(nan_strategy=math.nan)  # NaN stays NaN; "disable" would leave out weights

    def enhance(self, narrowband: Tensor) -> Tensor:
        """Return the wideband estimate of ``(batch, samples)`` float32, same shape, any length from 1."""
        return self.network(narrowband)

    def loss(self, batch: Batch) -> Tensor:
        """Return the training loss of a batch; architectures with a loss of their own override it."""
        return self.reconstruction_loss(self.judged_estimate(batch), batch)

    def judged_estimate(self, batch: Batch) -> Tensor:
        """Enhance a batch's narrowband; above each clip's band the target stands in, so that no loss hears there."""
        estimate = self.enhance(batch["narrowband"])
        return with_target_above_band(estimate, batch["wideband"], batch["band_hz"], self.sample_rate)

    def reconstruction_loss(self, estimate: Tensor, batch: Batch) -> Tensor:
        """Return the spectral loss at a resolution drawn anew, plus a small waveform term for the low band's phase.

        Args:
            estimate: ``(batch, samples)``, from :meth:`judged_estimate`.
            batch: the pairs that it was made from, with ``wideband``, ``band_hz`` and ``cutoff_hz``.
        """
        wideband = batch["wideband"]
        waveform = (estimate - wideband).abs().mean() / (mean_over_shares(wideband.abs().mean()) + 1e-4)
        spectral = self.spectral_loss(
            preds=estimate,
            target=wideband,
            band_hz=batch["band_hz"],
            cutoff_hz=batch["cutoff_hz"],
            retained_weight=self.settings.retained_weight,
            quiet_weight=self.settings.quiet_weight,
            envelope_weight=self.settings.envelope_weight,
            resolutions=[self.spectral_loss.drawn_resolution()],
        )
        crossover = self.crossover_loss(
            preds=estimate, target=wideband, band_hz=batch["band_hz"], cutoff_hz=batch["cutoff_hz"]
        )
        return spectral + self.settings.waveform_weight * waveform + self.settings.crossover_weight * crossover

    def training_step(self, batch: Batch, batch_index: int) -> Tensor | None:
        """Take one step on a batch."""
        loss = self.loss(batch)
        self.log_losses(loss=loss)
        return loss

    def log_losses(self, **losses: Tensor) -> None:
        """Log losses of the whole batch, whatever share of it this process has, under ``train/``."""
        values = mean_over_shares(torch.stack(list(losses.values())).detach())
        self.log_dict({f"train/{name}": value for name, value in zip(losses, values, strict=True)})

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Log the spectral loss that all architectures are compared by while they train."""
        estimate = self.enhance(batch["narrowband"])
        loss = self.spectral_loss(preds=estimate, target=batch["wideband"], band_hz=batch["band_hz"])
        self.validation_loss.update(loss, batch["clips"])
        self.log("val/loss", self.validation_loss)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Muon or AdamW under a one-cycle schedule that ends with the budget."""
        optimiser, schedule = self.optimiser_with_schedule(self.network, self.settings.learning_rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def optimiser_with_schedule(
        self, network: nn.Module, learning_rate: float
    ) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
        """Return Muon or AdamW and its one-cycle schedule over all the batches that the trainer will see.

        Args:
            network: whose parameters are trained.
            learning_rate: peak of the schedule.
        """
        weight_decay = self.settings.weight_decay
        optimiser = (
            Muon(network, learning_rate, betas=BETAS, weight_decay=weight_decay)
            if self.settings.muon
            else torch.optim.AdamW(network.parameters(), learning_rate, betas=BETAS, weight_decay=weight_decay)
        )
        steps = max(int(self.trainer.estimated_stepping_batches), 2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, learning_rate, total_steps=steps, pct_start=0.15, cycle_momentum=False
        )
        return optimiser, schedule

    def optimiser_pair(self) -> tuple[LightningOptimizer, LightningOptimizer]:
        """Return the optimisers of generator and critic, for manual optimisation."""
        optimisers = self.optimizers()
        assert isinstance(optimisers, list)
        return optimisers[0], optimisers[1]

    def manual_step(self, optimiser: LightningOptimizer, loss: Tensor) -> None:
        """Take one step of a manual optimisation.

        Args:
            optimiser: of the network that is to be changed.
            loss: a scalar with a gradient.
        """
        optimiser.zero_grad()
        self.manual_backward(loss)
        self.configure_gradient_clipping(optimiser.optimizer)
        optimiser.step()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip by the architecture's own norm."""
        self.clip_gradients(optimizer, self.settings.gradient_clip, gradient_clip_algorithm="norm")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what rebuilds the module: the registry's name and plain hyper-parameters."""
        checkpoint["overtone"] = self.description()

    def description(self) -> dict[str, Any]:
        """Return name, sample rate and hyper-parameters as plain values."""
        return {"model": self.name, "sample_rate": self.sample_rate, "settings": asdict(self.settings)}

    def save_weights(self, path: Path) -> None:
        """Write the enhancing part alone: description and weights, no class, no optimiser."""
        buffer = io.BytesIO()  # torch reports a full disk as an internal error of its own writer
        torch.save({"overtone": self.description(), "network": self.network.state_dict()}, buffer)
        with written_whole(path) as temporary:
            temporary.write_bytes(buffer.getvalue())


class StreamingModule(SpeechModule):
    """A module whose network streams."""

    network: StreamingNetwork

    def __init__(self, sample_rate: int, settings: Settings, network: StreamingNetwork) -> None:
        super().__init__(sample_rate, settings)
        self.network = network
        self.latency_samples = network.latency_samples


def read_weights(path: Path) -> dict[str, Any]:
    """Read what :meth:`SpeechModule.save_weights` wrote, or the same part of a training checkpoint.

    Raises:
        OvertoneError: the file is missing, is no checkpoint, or is one of another program.
    """
    if not path.is_file():
        raise OvertoneError(f"{path}: no such checkpoint. Train first, or name the file that `overtone train` printed.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise OvertoneError(f"{path}: not readable as a checkpoint ({type(error).__name__}).") from None
    if not isinstance(checkpoint, dict) or "overtone" not in checkpoint:
        raise OvertoneError(f"{path}: not an Overtone checkpoint: it names no registered model.")
    if not isinstance(checkpoint.get("network", checkpoint.get("state_dict")), dict):
        raise OvertoneError(f"{path}: damaged: it holds no weights.")
    if "network" not in checkpoint:
        weights = checkpoint["state_dict"].items()
        network = {key.removeprefix("network."): value for key, value in weights if key.startswith("network.")}
        checkpoint = {"overtone": checkpoint["overtone"], "network": network}
    return checkpoint
