"""The original's WaveGAN: raw waveform to a difference of waveforms, judged by a Wasserstein critic.

Generator and critic keep the paper's kernel 25, stride 4, phase shuffle and gradient penalty (Donahue 2019); an encoder
that mirrors the paper's decoder takes the place of the latent vector, since there is an input.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from models.base import Batch, Settings, SpeechModule
from models.losses import gradient_penalty
from models.search_space import Choice, FloatRange, IntRange, SearchSpace
from models.wavegan.critics import KERNEL, STRIDE, WaveCritic


@dataclass(frozen=True)
class WaveganOriginalSettings(Settings):
    """Hyper-parameters of :class:`WaveganOriginalModule`.

    Attributes:
        learning_rate: of both optimisers, the paper's.
        muon: off, since the paper used Adam.
        weight_decay: small, since there was hardly any.
        channels: channels of the first layers of generator and critic.
        layers: contractions by 4.
        critic_steps: critic's steps for each of the generator's.
        penalty_weight: weight of the gradient penalty.
        distance_weight: weight of the mean absolute difference to the target, which ties the output to the input.
    """

    learning_rate: float = 1e-4
    muon: bool = False
    weight_decay: float = 1e-3
    channels: int = 8
    layers: int = 5
    critic_steps: int = 5
    penalty_weight: float = 10.0
    distance_weight: float = 1.0


class WaveganOriginalGenerator(nn.Module):
    """Strided encoder and transposed decoder around a bottleneck; the tanh output is a difference of waveforms."""

    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        sizes = [1] + [channels * 2**layer for layer in range(layers)]
        pairs = list(itertools.pairwise(sizes))
        self.stride = STRIDE**layers
        padding = (KERNEL - STRIDE + 1) // 2
        self.encoder = nn.ModuleList(nn.Conv1d(a, b, KERNEL, STRIDE, padding=padding) for a, b in pairs)
        self.decoder = nn.ModuleList(
            nn.ConvTranspose1d(b, a, KERNEL, STRIDE, padding=padding, output_padding=1) for a, b in pairs[::-1]
        )

    def forward(self, narrowband: Tensor) -> Tensor:
        """Enhance whole waveforms ``(batch, samples)``."""
        samples = narrowband.shape[-1]
        x = nn.functional.pad(narrowband, (0, -samples % self.stride))[:, None]
        for layer in self.encoder:
            x = nn.functional.leaky_relu(layer(x), 0.2)
        for index, layer in enumerate(self.decoder):
            x = torch.relu(x) if index else x
            x = layer(x)
        return narrowband + torch.tanh(x[:, 0, :samples])


class WaveganOriginalModule(SpeechModule):
    """Wasserstein objective with gradient penalty (Gulrajani 2017), manual optimisation."""

    name: ClassVar[str] = "wavegan_original"
    settings_class: ClassVar[type[Settings]] = WaveganOriginalSettings
    search_space: ClassVar[SearchSpace] = {
        "learning_rate": FloatRange(3e-5, 2e-3, log=True),
        "gradient_clip": FloatRange(0.3, 10.0, log=True),
        "channels": Choice((4, 8, 12)),
        "layers": IntRange(3, 5),
        "critic_steps": IntRange(1, 5),
        "penalty_weight": FloatRange(1.0, 30.0, log=True),
        "distance_weight": FloatRange(0.3, 100.0, log=True),
    }
    settings: WaveganOriginalSettings

    def __init__(self, sample_rate: int, settings: WaveganOriginalSettings) -> None:
        super().__init__(sample_rate, settings)
        self.automatic_optimization = False
        self.latency_samples = None
        self.network = WaveganOriginalGenerator(settings.channels, settings.layers)
        self.critic = WaveCritic(settings.channels)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam as in the paper, one for generator and critic each."""
        return [
            torch.optim.Adam(network.parameters(), self.settings.learning_rate, betas=(0.5, 0.9))
            for network in (self.network, self.critic)
        ]

    def training_step(self, batch: Batch, batch_index: int) -> None:
        """Step the critic on every batch, the generator on every ``critic_steps``-th."""
        generator_optimiser, critic_optimiser = self.optimiser_pair()
        critic_loss = self.critic_loss(batch)
        self.log_losses(critic=critic_loss)
        self.manual_step(critic_optimiser, critic_loss)
        if (batch_index + 1) % self.settings.critic_steps == 0:
            with self.toggled_optimizer(generator_optimiser):
                loss = self.loss(batch)
                self.log_losses(loss=loss)
                self.manual_step(generator_optimiser, loss)

    def critic_loss(self, batch: Batch) -> Tensor:
        """Return the critic's loss: fake minus real plus the penalty (Gulrajani 2017, eq. 3)."""
        with torch.no_grad():
            fake = self.judged_estimate(batch)
        real = batch["wideband"]
        difference = self.critic(fake).scores.mean() - self.critic(real).scores.mean()
        penalty = gradient_penalty(lambda waveform: self.critic(waveform).scores.mean(dim=1), real, fake)
        return difference + self.settings.penalty_weight * penalty

    def loss(self, batch: Batch) -> Tensor:
        """Return the generator's loss: the critic's opinion and the distance to the target."""
        fake = self.judged_estimate(batch)
        distance = (fake - batch["wideband"]).abs().mean()
        return self.settings.distance_weight * distance - self.critic(fake).scores.mean()
