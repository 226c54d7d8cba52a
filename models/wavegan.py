"""WaveGAN (Donahue 2019) turned into a conditional, causal generator: waveform to difference of waveforms.

Kernel 25 and stride 4 as in the paper. What the original lacked: a look at the input on every scale (skip
connections), noise and harmonics to shape instead of to invent, spectral losses beside the critic, causality.
"""

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

from models.base import Batch, Settings, StreamingModule
from models.critics import WaveCritic, feature_distance
from models.streaming import CausalConv1d, CausalConvTranspose1d, Excitation, History, StreamingNetwork

KERNEL, STRIDE = 25, 4
FILTER_KERNEL = 65


@dataclass(frozen=True)
class WaveganSettings(Settings):
    """Hyper-parameters of :class:`WaveganModule`.

    Attributes:
        channels: channels after each contraction by 4, from the waveform down.
        filters: filters over the waveform and its excitations whose gains the generator sets.
        memory_layers: dilated layers at the slowest scale.
        look_ahead: samples that the generator sees beyond the sample it writes.
        critic_channels: channels of the critic's first layer.
        critic_learning_rate: peak learning rate of the critic.
        critic_from: share of the budget after which the critic's opinion counts.
        adversarial_weight: weight of the critic's opinion in the generator's loss.
        feature_weight: weight of the distance between the critic's features.
    """

    channels: tuple[int, ...] = (16, 32, 64)
    filters: int = 12
    memory_layers: int = 4
    look_ahead: int = 256
    critic_channels: int = 8
    critic_learning_rate: float = 5e-4
    critic_from: float = 0.6
    adversarial_weight: float = 0.02
    feature_weight: float = 0.2


class Memory(nn.Module):
    """Residual dilated convolution at the slowest scale, gated as in WaveNet."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.convolution = CausalConv1d(channels, 2 * channels, 3, dilation=dilation)
        self.mix = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor, history: History) -> Tensor:
        """Add what the past says."""
        signal, gate = self.convolution(x, history).chunk(2, dim=1)
        return x + self.mix(torch.tanh(signal) * torch.sigmoid(gate))


class Generator(StreamingNetwork):
    """Encoder and decoder of strided convolutions; its last layer sets the gains of learned filters.

    The filters run over the waveform, its harmonics and noise; a gain per filter and sample, positive, makes a
    time-varying filter of them, which is what a difference between narrowband and wideband speech is.
    """

    def __init__(self, settings: WaveganSettings) -> None:
        super().__init__()
        channels = settings.channels
        self.hop_samples = STRIDE ** len(channels)
        self.delay_samples = settings.look_ahead
        self.excitation = Excitation()
        sizes = [3, *channels]
        self.encoder = nn.ModuleList(CausalConv1d(a, b, KERNEL, stride=STRIDE) for a, b in itertools.pairwise(sizes))
        self.memory = nn.ModuleList(Memory(channels[-1], 2**layer) for layer in range(settings.memory_layers))
        outputs = [*channels[:-1][::-1], 2 * settings.filters]
        inputs = [channels[-1], *(2 * size for size in outputs[:-1])]
        self.decoder = nn.ModuleList(
            CausalConvTranspose1d(a, b, KERNEL, stride=STRIDE) for a, b in zip(inputs, outputs, strict=True)
        )
        self.filters = CausalConv1d(3, settings.filters, FILTER_KERNEL)
        self.last = CausalConv1d(settings.filters, 1, KERNEL)
        self.activation = nn.LeakyReLU(0.2)

    def process(self, waveform: Tensor, history: History) -> Tensor:
        """Add the difference to the delayed waveform."""
        harmonics, noise = self.excitation(waveform, history)
        delayed = history.extend(waveform, self.delay_samples)[..., : waveform.shape[-1]]
        delayed_harmonics = history.extend(harmonics, self.delay_samples)[..., : waveform.shape[-1]]
        seen = torch.stack([waveform, harmonics, loudness(waveform)], dim=1)
        material = torch.stack([delayed, delayed_harmonics, 0.05 * noise], dim=1)
        gains, signal = self._decode(self._encode(seen, history), history).chunk(2, dim=1)
        shaped = self.filters(material, history) * torch.exp(gains.clamp(-12, 4)) + 0.01 * signal
        return delayed + self.last(shaped, history)[:, 0]

    def _encode(self, x: Tensor, history: History) -> list[Tensor]:
        scales = []
        for layer in self.encoder:
            x = self.activation(layer(x, history))
            scales.append(x)
        for layer in self.memory:
            scales[-1] = layer(scales[-1], history)
        return scales

    def _decode(self, scales: list[Tensor], history: History) -> Tensor:
        x = scales.pop()
        for layer in self.decoder:
            x = layer(x, history)
            if scales:
                x = torch.cat([self.activation(x), scales.pop()], dim=1)
        return x


def loudness(waveform: Tensor) -> Tensor:
    """Return the waveform on a scale on which faint speech is not lost: signed fourth root."""
    return waveform.sign() * (waveform.abs() + 1e-8).pow(0.25)


class WaveganModule(StreamingModule):
    """Generator and critic, least-squares objective with feature matching (Mao 2017, Kumar 2019), spectral losses."""

    name: ClassVar[str] = "wavegan"
    settings_class: ClassVar[type[Settings]] = WaveganSettings
    settings: WaveganSettings

    def __init__(self, sample_rate: int, settings: WaveganSettings) -> None:
        super().__init__(sample_rate, settings, Generator(settings))
        self.automatic_optimization = False
        self.critic = WaveCritic(settings.critic_channels)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """One optimiser each for generator and critic."""
        generator, generator_schedule = self.optimiser_with_schedule(self.network, self.settings.learning_rate)
        critic, critic_schedule = self.optimiser_with_schedule(
            self.critic, self.settings.critic_learning_rate, betas=(0.5, 0.9)
        )
        return [generator, critic], [generator_schedule, critic_schedule]

    def training_step(self, batch: Batch, batch_index: int) -> None:
        """Step the generator, and from the declared point on the critic."""
        generator_optimiser, critic_optimiser = self.optimiser_pair()
        estimate = self.enhance(batch["narrowband"])
        loss = self.reconstruction_loss(estimate, batch)
        self.log("train/loss", loss)
        if self._critic_counts():
            self._step_critic(critic_optimiser, estimate.detach(), batch["wideband"])
            loss = loss + self._opinion(estimate, batch["wideband"])
        self.manual_step(generator_optimiser, loss)
        schedules = self.lr_schedulers()
        assert isinstance(schedules, list)
        for schedule in schedules:
            schedule.step()  # type: ignore[call-arg]  # none of them waits for a metric

    def _critic_counts(self) -> bool:
        seen = self.trainer.fit_loop.epoch_loop.total_batch_idx
        return seen >= self.settings.critic_from * self.trainer.estimated_stepping_batches

    def _step_critic(self, optimiser: LightningOptimizer, fake: Tensor, real: Tensor) -> None:
        loss = (self.critic(real).scores - 1).square().mean() + self.critic(fake).scores.square().mean()
        self.log("train/critic", loss)
        self.manual_step(optimiser, loss)

    def _opinion(self, fake: Tensor, real: Tensor) -> Tensor:
        judged, reference = self.critic(fake), self.critic(real)
        adversarial = (judged.scores - 1).square().mean()
        features = feature_distance(judged.features, reference.features)
        self.log_dict({"train/adversarial": adversarial, "train/features": features})
        return self.settings.adversarial_weight * adversarial + self.settings.feature_weight * features
