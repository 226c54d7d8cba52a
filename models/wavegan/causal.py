"""WaveGAN (Donahue 2019) turned into a conditional, causal generator: waveform to difference of waveforms.

Kernel 25 and stride 4 as in the paper. What the original lacked: a look at the input on every scale (skip
connections), noise and harmonics to shape instead of to invent, spectral losses beside the critic, causality.
"""

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from models.base import LOSS_SPACE, OPTIMISER_SPACE, Batch, Settings, StreamingModule
from models.search_space import Choice, FloatRange, IntRange, SearchSpace
from models.streaming.causal_layers import (
    CausalConv1d,
    CausalConvTranspose1d,
    Excitation,
    History,
    StreamingNetwork,
    framed,
    overlap_add,
    running_mean,
)
from models.wavegan.critics import WaveCritic, feature_distance

KERNEL, STRIDE = 25, 4
FILTER_KERNEL = 64
LEVEL_SAMPLES = 64
LOUDNESS_SECONDS = 1.0
QUIET = 1e-6
LOUDNESS_FLOOR = 1e-4
SOURCES = 3  # the waveform itself, its harmonics, noise


@dataclass(frozen=True)
class WaveganSettings(Settings):
    """Hyper-parameters of :class:`WaveganModule`.

    Attributes:
        learning_rate: gains bear more than spectra.
        channels: channels after each contraction by 4, from the waveform down.
        bands: of the filterbank whose gains the generator sets.
        memory_layers: dilated layers at the slowest scale.
        look_ahead: samples that the generator sees beyond the sample it writes.
        critic_channels: channels of the critic's first layer.
        critic_learning_rate: learning rate of the critic.
        critic_from: share of the budget after which the critic's opinion counts.
        adversarial_weight: weight of the critic's opinion in the generator's loss.
        feature_weight: weight of the distance between the critic's features.
    """

    learning_rate: float = 4e-3
    channels: tuple[int, ...] = (16, 32, 64)
    bands: int = 24
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


class Filterbank(nn.Module):
    """Learned analysis and synthesis filters, stride 4, that start as bands of equal width.

    Each band is a pair of filters in quadrature under one gain, so that what the stride folds over cancels out
    (a complex-modulated filterbank); random filters would have to learn that first, and buzz meanwhile.
    """

    def __init__(self, bands: int, sources: int) -> None:
        super().__init__()
        kernels, scale = modulated_filters(bands)
        self.analysis = nn.Parameter(kernels.T.repeat(sources, 1, 1))
        self.synthesis = nn.Parameter(scale * kernels.repeat(sources, 1, 1))
        self.delay_samples = FILTER_KERNEL - STRIDE

    def forward(self, material: Tensor, gains: Tensor, history: History) -> Tensor:
        """Shape material ``(batch, sources, samples)`` by gains ``(batch, sources, bands, samples / 4)``.

        Returns:
            ``(batch, samples)``, late by ``delay_samples``.
        """
        by_source = zip(material.unbind(dim=1), gains.unbind(dim=1), self.synthesis, strict=True)
        shaped = [
            (self.analyse(waveform, source, history) * gain.transpose(1, 2)[:, :, None]).flatten(2) @ synthesis
            for source, (waveform, gain, synthesis) in enumerate(by_source)
        ]
        return overlap_add(torch.stack(shaped).sum(dim=0), STRIDE, history)

    def analyse(self, waveform: Tensor, source: int, history: History) -> Tensor:
        """Return a source's bands in quadrature: ``(batch, samples)`` to ``(batch, samples / 4, 2, bands)``.

        Args:
            waveform: ``(batch, samples)``.
            source: index of the source whose filters are used.
            history: the past of the stream.
        """
        frames = framed(waveform, FILTER_KERNEL, STRIDE, history)
        return (frames @ self.analysis[source]).unflatten(-1, (2, -1))


def modulated_filters(bands: int) -> tuple[Tensor, float]:
    """Return all cosine then all sine filters ``(2 * bands, taps)``, and what makes their matched synthesis unity."""
    steps = torch.arange(FILTER_KERNEL) - (FILTER_KERNEL - 1) / 2
    centres = math.pi * (torch.arange(bands) + 0.5) / bands
    angles = centres[:, None] * steps
    window = torch.hann_window(FILTER_KERNEL, periodic=False)
    kernels = torch.cat([angles.cos(), angles.sin()]) * window
    response = torch.fft.rfft(kernels, 1024).abs().square().sum(dim=0).mean() / STRIDE
    return kernels, float(1 / response)


class Generator(StreamingNetwork):
    """Encoder and decoder of strided convolutions; the answer is the gains of a filterbank.

    The filterbank runs over the waveform itself, its continued harmonics, and noise. Gains that change over time make
    a time-varying filter of it, which is what a difference between narrowband and wideband speech is. The encoder sees
    the waveform, and how loud the filterbank's own bands of it are, relative to the level of that moment, which the
    material gives back; and that level relative to the second before, so that quieter speech gets the same band.

    Args:
        sample_rate: in Hz.
        settings: sizes.
    """

    def __init__(self, sample_rate: int, settings: WaveganSettings) -> None:
        super().__init__()
        channels = settings.channels
        self.hop_samples = STRIDE ** len(channels)
        self.loudness_hops = max(round(LOUDNESS_SECONDS * sample_rate / self.hop_samples), 1)
        self.delay_samples = settings.look_ahead
        self.excitation = Excitation()
        inputs = [3, channels[0] + settings.bands, *channels[1:-1]]
        self.encoder = nn.ModuleList(
            CausalConv1d(a, b, KERNEL, stride=STRIDE) for a, b in zip(inputs, channels, strict=True)
        )
        self.memory = nn.ModuleList(Memory(channels[-1], 2**layer) for layer in range(settings.memory_layers))
        self.decoder = nn.ModuleList(
            CausalConvTranspose1d(2 * a if index else a, b, KERNEL, stride=STRIDE)
            for index, (a, b) in enumerate(itertools.pairwise(channels[::-1]))
        )
        self.filterbank = Filterbank(settings.bands, SOURCES)
        self.gains = nn.Conv1d(2 * channels[0], SOURCES * settings.bands, 1)
        self.activation = nn.LeakyReLU(0.2)
        nn.init.normal_(self.gains.weight, std=1e-2)
        nn.init.zeros_(self.gains.get_parameter("bias"))

    def process(self, waveform: Tensor, history: History) -> Tensor:
        """Add the difference to the delayed waveform."""
        samples = waveform.shape[-1]
        harmonics, noise = self.excitation(waveform, history)
        level = history.extend(waveform.abs(), LEVEL_SAMPLES - 1)[:, None]
        level = nn.functional.avg_pool1d(level, LEVEL_SAMPLES, stride=1)[:, 0] + QUIET
        before = running_mean(level[:, None, :: self.hop_samples], self.loudness_hops, history)
        relative_level = level / before[:, 0].repeat_interleave(self.hop_samples, dim=1)
        seen = torch.stack([waveform / level, harmonics / level, relative_level.log() / 3], dim=1)
        bands = self.filterbank.analyse(waveform / level, 0, history)
        loudness = (bands.square().sum(dim=2) + LOUDNESS_FLOOR).log().transpose(1, 2) / 6
        gains = self._gains(self._decode(self._encode(seen, loudness, history), history))
        early = self.delay_samples - self.filterbank.delay_samples
        past = history.extend(torch.stack([waveform, harmonics, level], dim=1), self.delay_samples)
        material = past[..., self.delay_samples - early :][..., :samples]
        material = torch.cat([material[:, :2], (material[:, 2] - QUIET)[:, None] * noise[:, None]], dim=1)
        return past[:, 0, :samples] + self.filterbank(material, gains, history)

    def _gains(self, decoded: Tensor) -> Tensor:
        """Return signed gains for the waveform itself, positive ones with a wide range for what is generated."""
        gains = self.gains(decoded).unflatten(1, (SOURCES, -1))
        return torch.cat([gains[:, :1], torch.exp((3.0 * gains[:, 1:] - 3.0).clamp(-12, 5))], dim=1)

    def _encode(self, seen: Tensor, loudness: Tensor, history: History) -> list[Tensor]:
        """Return the outputs of all encoder layers; the bands' loudness joins where the strides agree."""
        x, scales = seen, []
        for layer in self.encoder:
            x = self.activation(layer(x, history))
            scales.append(x)
            x = x if len(scales) > 1 else torch.cat([x, loudness], dim=1)
        for memory in self.memory:
            scales[-1] = memory(scales[-1], history)
        return scales

    def _decode(self, scales: list[Tensor], history: History) -> Tensor:
        x = scales.pop()
        for layer in self.decoder:
            x = torch.cat([self.activation(layer(x, history)), scales.pop()], dim=1)
        return x


class WaveganModule(StreamingModule):
    """Generator and critic, least-squares objective with feature matching (Mao 2017, Kumar 2019), spectral losses."""

    name: ClassVar[str] = "wavegan"
    settings_class: ClassVar[type[Settings]] = WaveganSettings
    search_space: ClassVar[SearchSpace] = {
        **OPTIMISER_SPACE,
        **LOSS_SPACE,
        "channels": Choice(((8, 16, 32), (16, 32, 64), (24, 48, 96))),
        "bands": IntRange(16, 40, step=8),
        "memory_layers": IntRange(2, 6),
        "look_ahead": Choice((128, 256, 512)),
        "critic_channels": Choice((4, 8, 16)),
        "critic_learning_rate": FloatRange(1e-4, 2e-3, log=True),
        "critic_from": FloatRange(0.3, 0.9),
        "adversarial_weight": FloatRange(0.002, 0.2, log=True),
        "feature_weight": FloatRange(0.02, 2.0, log=True),
    }
    settings: WaveganSettings

    def __init__(self, sample_rate: int, settings: WaveganSettings) -> None:
        super().__init__(sample_rate, settings, Generator(sample_rate, settings))
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
        estimate = self.judged_estimate(batch)
        loss = self.reconstruction_loss(estimate, batch)
        self.log_losses(loss=loss)
        critic_counts = self._critic_counts()
        if critic_counts:
            self._step_critic(critic_optimiser, estimate.detach(), batch["wideband"])
        with self.toggled_optimizer(generator_optimiser):
            if critic_counts:
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
        self.log_losses(critic=loss)
        self.manual_step(optimiser, loss)

    def _opinion(self, fake: Tensor, real: Tensor) -> Tensor:
        judged, reference = self.critic(fake), self.critic(real)
        adversarial = (judged.scores - 1).square().mean()
        features = feature_distance(judged.features, reference.features)
        self.log_losses(adversarial=adversarial, features=features)
        return self.settings.adversarial_weight * adversarial + self.settings.feature_weight * features
