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
from torch.optim.lr_scheduler import LRScheduler

from models.base import Batch, Settings, StreamingModule
from models.critics import WaveCritic, feature_distance
from models.streaming import CausalConv1d, CausalConvTranspose1d, Excitation, History, StreamingNetwork

KERNEL, STRIDE = 25, 4
FILTER_KERNEL = 64
NOISE_LEVEL = 0.05  # about that of speech


@dataclass(frozen=True)
class WaveganSettings(Settings):
    """Hyper-parameters of :class:`WaveganModule`.

    Attributes:
        channels: channels after each contraction by 4, from the waveform down.
        filters: filters over the waveform and its excitations, whose gains the generator sets.
        memory_layers: dilated layers at the slowest scale.
        look_ahead: samples that the generator sees beyond the sample it writes.
        critic_channels: channels of the critic's first layer.
        critic_learning_rate: learning rate of the critic.
        critic_from: share of the budget after which the critic's opinion counts.
        adversarial_weight: weight of the critic's opinion in the generator's loss.
        feature_weight: weight of the distance between the critic's features.
    """

    channels: tuple[int, ...] = (16, 32, 64)
    filters: int = 48
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
    """Encoder and decoder of strided convolutions; the last layer writes what gated filters let through.

    The filters run over the waveform, its harmonics and noise. A positive gain per filter and step makes a time-varying
    filter of them, which is what a difference between narrowband and wideband speech is.
    """

    def __init__(self, settings: WaveganSettings) -> None:
        super().__init__()
        channels = settings.channels
        self.hop_samples = STRIDE ** len(channels)
        self.delay_samples = settings.look_ahead
        self.excitation = Excitation()
        self.encoder = nn.ModuleList(
            CausalConv1d(a, b, KERNEL, stride=STRIDE) for a, b in itertools.pairwise([3, *channels])
        )
        self.memory = nn.ModuleList(Memory(channels[-1], 2**layer) for layer in range(settings.memory_layers))
        scales = channels[::-1]
        self.decoder = nn.ModuleList(
            CausalConvTranspose1d(2 * a if index else a, b, KERNEL, stride=STRIDE)
            for index, (a, b) in enumerate(itertools.pairwise(scales))
        )
        self.gains = nn.Conv1d(2 * channels[0], settings.filters, 1)
        self.filters = CausalConv1d(3, settings.filters, FILTER_KERNEL, stride=STRIDE)
        self.last = CausalConvTranspose1d(settings.filters, 1, KERNEL, stride=STRIDE)
        self.activation = nn.LeakyReLU(0.2)
        nn.init.constant_(self.gains.get_parameter("bias"), -2.0)  # start near the narrowband

    def process(self, waveform: Tensor, history: History) -> Tensor:
        """Add the difference to the delayed waveform."""
        harmonics, noise = self.excitation(waveform, history)
        sources = torch.stack([waveform, harmonics], dim=1)
        delayed = history.extend(sources, self.delay_samples)[..., : waveform.shape[-1]]
        seen = torch.cat([sources, loudness(waveform)[:, None]], dim=1)
        material = torch.cat([delayed, NOISE_LEVEL * noise[:, None]], dim=1)
        gains = self.gains(self._decode(self._encode(seen, history), history))
        difference = self.last(self.filters(material, history) * torch.exp(gains.clamp(-12, 4)), history)
        return delayed[:, 0] + difference[:, 0]

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
            x = torch.cat([self.activation(layer(x, history)), scales.pop()], dim=1)
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
        """One optimiser each; the critic, which comes late, keeps its rate."""
        generator, schedule = self.optimiser_with_schedule(self.network, self.settings.learning_rate)
        critic = torch.optim.Adam(self.critic.parameters(), self.settings.critic_learning_rate, betas=(0.5, 0.9))
        return [generator, critic], [schedule]

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
        schedule = self.lr_schedulers()
        assert isinstance(schedule, LRScheduler)
        schedule.step()

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
