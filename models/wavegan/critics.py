"""The WaveGAN critic (Donahue 2019, table 4): strided convolutions over the waveform with phase shuffle."""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.batch_share import drawn_for_batch, mean_over_shares

KERNEL, STRIDE = 25, 4


class PhaseShuffle(nn.Module):
    """Shift each example's activations by a few steps at random, reflecting at the ends (Donahue 2019, 3.3).

    It keeps the critic from judging by the phase of artefacts that the generator's strides leave.
    """

    def __init__(self, radius: int) -> None:
        super().__init__()
        self.radius = radius

    def forward(self, x: Tensor) -> Tensor:
        """Shift ``(batch, channels, steps)`` along steps."""
        if self.radius == 0 or not self.training:
            return x
        steps = x.shape[-1]
        padded = nn.functional.pad(x, (self.radius, self.radius), mode="reflect")
        choices = 2 * self.radius + 1
        shift = drawn_for_batch(lambda examples: torch.randint(0, choices, (examples,)), x.shape[0]).to(x.device)
        index = (shift[:, None] + torch.arange(steps, device=x.device))[:, None, :].expand_as(x)
        return padded.gather(-1, index)


@dataclass(frozen=True)
class Judgement:
    """A critic's scores ``(batch, steps)`` and the features ``(batch, channels, steps)`` they rest on."""

    scores: Tensor
    features: list[Tensor]


class WaveCritic(nn.Module):
    """Five convolutions with kernel 25 and stride 4, doubling channels, phase shuffle between them.

    Deliberate difference from the paper: the last layer is a convolution instead of a fully connected one, so that
    waveforms of any length are judged step by step.
    """

    def __init__(self, channels: int, layers: int = 5, shuffle: int = 2) -> None:
        super().__init__()
        sizes = [1] + [channels * 2**layer for layer in range(layers)]
        self.layers = nn.ModuleList(
            nn.Conv1d(a, b, KERNEL, STRIDE, padding=KERNEL // 2) for a, b in itertools.pairwise(sizes)
        )
        self.activation = nn.LeakyReLU(0.2)
        self.shuffle = PhaseShuffle(shuffle)
        self.score = nn.Conv1d(sizes[-1], 1, 3, padding=1)

    def forward(self, waveform: Tensor) -> Judgement:
        """Judge waveforms ``(batch, samples)``."""
        x, features = waveform[:, None], []
        for layer in self.layers:
            x = self.activation(layer(x))
            features.append(x)
            x = self.shuffle(x)
        return Judgement(self.score(x)[:, 0], features)


def feature_distance(preds: list[Tensor], target: list[Tensor]) -> Tensor:
    """Return the mean absolute distance of features, each layer relative to the target's size (Kumar 2019, eq. 4).

    Args:
        preds: the critic's features of the estimate, a tensor ``(batch, channels, steps)`` a layer.
        target: its features of the wideband, in the same shapes.
    """
    sizes = mean_over_shares(torch.stack([b.detach().abs().mean() for b in target])) + 1e-5
    distances = torch.stack([(a - b.detach()).abs().mean() for a, b in zip(preds, target, strict=True)])
    return (distances / sizes).mean()
