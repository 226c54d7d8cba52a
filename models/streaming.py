"""Causal layers that remember: the same code enhances a whole file, a training crop and a stream.

Every layer reads its past from a :class:`History` and leaves there what the next block will need. A whole file is
one block with an empty history, so that streaming equals it by construction and not by a second implementation.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from runtime.audio import Waveform

NOISE_PERIOD = 1 << 16


class History:
    """The past of every causal layer of a network, in the order in which the layers ask for it.

    Args:
        tensors: what the last block left, or None before the first sample, when all past is zero.
    """

    def __init__(self, tensors: Sequence[Tensor] | None = None) -> None:
        self._past = tensors
        self.next: list[Tensor] = []

    def extend(self, x: Tensor, length: int) -> Tensor:
        """Return ``x`` with the ``length`` steps before it on its last axis, ``(..., length + steps)``."""
        if length == 0:
            return x
        past = x.new_zeros(*x.shape[:-1], length) if self._past is None else self._past[len(self.next)]
        extended = torch.cat([past, x], dim=-1)
        self.next.append(extended[..., extended.shape[-1] - length :])
        return extended

    def carried(self, initial: Tensor) -> Tensor:
        """Return the state that :meth:`carry` kept after the last block, ``initial`` before the first."""
        return initial if self._past is None else self._past[len(self.next)]

    def carry(self, state: Tensor) -> None:
        """Keep a recurrent layer's state for the next block."""
        self.next.append(state)

    def position(self, x: Tensor, period: int) -> Tensor:
        """Return the number of steps before this block modulo ``period``, a scalar, and count this block's."""
        past = self.carried(torch.zeros((), dtype=torch.long, device=x.device))
        self.carry((past + x.shape[-1]) % period)
        return past


class CausalConv1d(nn.Module):
    """Convolution over time that sees no later step: ``(batch, channels, steps)`` to ``(batch, out, steps / stride)``.

    The number of steps must be a multiple of the stride.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.past = (kernel_size - 1) * dilation + 1 - stride
        self.convolution = nn.Conv1d(in_channels, out_channels, kernel_size, stride, dilation=dilation)

    def forward(self, x: Tensor, history: History) -> Tensor:
        """Convolve a block after its past."""
        return self.convolution(history.extend(x, self.past))


class CausalConvTranspose1d(nn.Module):
    """Transposed convolution whose output needs no later input: ``(batch, channels, steps)`` to ``steps * stride``."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int) -> None:
        super().__init__()
        self.past = (kernel_size - 1) // stride
        self.stride = stride
        self.convolution = nn.ConvTranspose1d(in_channels, out_channels, kernel_size, stride)

    def forward(self, x: Tensor, history: History) -> Tensor:
        """Upsample a block after its past."""
        start = self.past * self.stride
        upsampled = self.convolution(history.extend(x, self.past))
        return upsampled[..., start : start + x.shape[-1] * self.stride]


class Analysis(nn.Module):
    """Short-time spectra of a causal stream: ``(batch, samples)`` to complex ``(batch, bins, frames)``.

    One frame per hop; the frame's window ends with the hop. Square-root Hann window, as for :class:`Synthesis`.
    """

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, hop_length
        self.register_buffer("window", torch.hann_window(n_fft).sqrt(), persistent=False)

    def forward(self, waveform: Tensor, history: History) -> Tensor:
        """Transform a block of whole hops."""
        extended = history.extend(waveform, self.n_fft - self.hop_length)
        frames = extended.unfold(-1, self.n_fft, self.hop_length) * self.window
        return torch.fft.rfft(frames).transpose(1, 2)


class Synthesis(nn.Module):
    """Overlap-add of :class:`Analysis` frames: complex ``(batch, bins, frames)`` to ``(batch, samples)``.

    The output is late by ``n_fft - hop_length`` samples: a sample is complete when its last window has come.
    """

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int) -> None:
        super().__init__()
        if n_fft % hop_length or n_fft < 2 * hop_length:
            raise ValueError(f"n_fft must be a multiple of hop_length, at least twice; got {n_fft}, {hop_length}")
        self.overlap = n_fft // hop_length
        self.hop_length = hop_length
        # Squared square-root Hann windows, `overlap` of them, add up to overlap / 2.
        self.register_buffer("window", torch.hann_window(n_fft).sqrt() * 2 / self.overlap, persistent=False)

    def forward(self, spectra: Tensor, history: History) -> Tensor:
        """Invert a block of frames."""
        frames = torch.fft.irfft(spectra.transpose(1, 2)) * self.window
        batch, count, _ = frames.shape
        segments = frames.view(batch, count, self.overlap, self.hop_length).permute(0, 2, 3, 1)
        extended = history.extend(segments, self.overlap - 1)
        last = self.overlap - 1
        hops = sum(extended[:, r, :, last - r : last - r + count] for r in range(self.overlap))
        assert isinstance(hops, Tensor)
        return hops.transpose(1, 2).reshape(batch, count * self.hop_length)


class Excitation(nn.Module):
    """Raw material for a missing band: the narrowband's own harmonics continued, and noise.

    Full-wave rectification puts energy at every multiple of the fundamental, in phase with the harmonics that are
    there, the classic source of bandwidth extension (Makhoul & Berouti 1979). The noise is a fixed sequence read at
    the stream's position, so that a stream and a whole file hear the same one.
    """

    noise: Tensor

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(NOISE_PERIOD, generator=generator)
        self.register_buffer("noise", noise, persistent=False)

    def forward(self, waveform: Tensor, history: History) -> tuple[Tensor, Tensor]:
        """Return harmonics and unit-variance noise, each ``(batch, samples)``, for a block."""
        rectified = waveform.abs()
        extended = history.extend(rectified, 1)
        harmonics = extended[..., 1:] - extended[..., :-1]  # without the rectifier's direct current
        start = history.position(waveform, NOISE_PERIOD)
        index = (start + torch.arange(waveform.shape[-1], device=waveform.device)) % NOISE_PERIOD
        return harmonics, self.noise[index].expand_as(waveform)


class StreamingNetwork(nn.Module):
    """A causal network over waveforms; subclasses implement :meth:`process`.

    Attributes:
        hop_samples: blocks are multiples of this.
        delay_samples: how late the output of :meth:`process` is against its input.
    """

    hop_samples: int
    delay_samples: int

    @property
    def latency_samples(self) -> int:
        """Samples between a sample's arrival in a stream and its leaving it."""
        return self.hop_samples + self.delay_samples

    def process(self, waveform: Tensor, history: History) -> Tensor:
        """Map a block ``(batch, hops * hop_samples)`` to one of the same shape, ``delay_samples`` late."""
        raise NotImplementedError

    def forward(self, narrowband: Tensor) -> Tensor:
        """Enhance whole waveforms ``(batch, samples)``, any length from 1; the output is aligned with the input."""
        samples = narrowband.shape[-1]
        padding = self.delay_samples + -(samples + self.delay_samples) % self.hop_samples
        padded = nn.functional.pad(narrowband, (0, padding))
        output = self.process(padded, History())
        return output[..., self.delay_samples : self.delay_samples + samples]


class NetworkStep:
    """A :class:`StreamingNetwork` as a step of a :class:`runtime.stream.Stream`, one channel, one stream."""

    def __init__(self, network: StreamingNetwork) -> None:
        self.hop_samples = network.hop_samples
        self.delay_samples = network.delay_samples
        self._network = network.eval()
        self._past: list[Tensor] | None = None

    @torch.inference_mode()
    def __call__(self, block: Waveform) -> Waveform:
        """Process the hops that follow those of the last call."""
        history = History(self._past)
        output = self._network.process(torch.from_numpy(np.ascontiguousarray(block))[None], history)
        self._past = history.next
        return output[0].numpy()
