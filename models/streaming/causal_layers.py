"""Causal layers that remember: the same code enhances a whole file, a training crop and a stream.

Every layer reads its past from a :class:`History` and leaves there what the next block will need. A whole file is
one block with an empty history, so that streaming equals it by construction and not by a second implementation.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

NOISE_PERIOD = 1 << 16


class History:
    """The past of every causal layer of a network, in the order in which the layers ask for it.

    Args:
        tensors: what the last block left, or None before the first sample, when all past is zero.
    """

    def __init__(self, tensors: Sequence[Tensor] | None = None) -> None:
        self._past = tensors
        self.next: list[Tensor] = []

    def extend(self, x: Tensor, length: int, dim: int = -1) -> Tensor:
        """Return ``x`` with the ``length`` steps before it on the axis ``dim``, ``(..., length + steps)``.

        Args:
            x: a block, with its steps on the axis ``dim``.
            length: how many earlier steps are needed, 0 or more.
            dim: axis of time.
        """
        if length == 0:
            return x
        shape = list(x.shape)
        shape[dim] = length
        extended = torch.cat([self.carried(x.new_zeros(shape)), x], dim=dim)
        self.carry(extended.narrow(dim, extended.shape[dim] - length, length))
        return extended

    def carried(self, initial: Tensor) -> Tensor:
        """Return the state that :meth:`carry` kept after the last block, ``initial`` before the first."""
        return initial if self._past is None else self._past[len(self.next)]

    def carry(self, state: Tensor) -> None:
        """Keep a recurrent layer's state for the next block."""
        self.next.append(state)

    def position(self, x: Tensor, period: int) -> Tensor:
        """Return the number of steps before this block modulo ``period``, a scalar, and count this block's.

        Args:
            x: a block ``(..., steps)``.
            period: positions are counted modulo this.
        """
        past = self.carried(torch.zeros((), dtype=torch.long, device=x.device))
        self.carry((past + x.shape[-1]) % period)
        return past


def running_mean(x: Tensor, frames: int, history: History) -> Tensor:
    """Return the mean of the last frames ``(batch, channels, frames)``, or of those that there were since the start.

    Args:
        x: ``(batch, channels, frames)``.
        frames: how far it looks back, the current one included.
        history: the past of the stream.
    """
    summed, heard = (
        nn.functional.avg_pool1d(history.extend(one, frames - 1), frames, stride=1) for one in (x, torch.ones_like(x))
    )
    return summed / heard


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


def framed(waveform: Tensor, length: int, hop_length: int, history: History) -> Tensor:
    """Return the frames that end with each hop: ``(batch, samples)`` to ``(batch, frames, length)``.

    Args:
        waveform: ``(batch, samples)``, a whole number of hops.
        length: of a frame, in samples.
        hop_length: from frame to frame, in samples.
        history: the past of the stream.
    """
    return history.extend(waveform, length - hop_length).unfold(-1, length, hop_length)


def overlap_add(frames: Tensor, hop_length: int, history: History) -> Tensor:
    """Add overlapping frames ``(batch, frames, length)`` up to ``(batch, frames * hop_length)``.

    The output is late by ``length - hop_length`` samples against what :func:`framed` took: a sample is complete when
    its last frame has come.

    Args:
        frames: windowed frames, ``length`` a multiple of ``hop_length``.
        hop_length: from frame to frame, in samples.
        history: the past of the stream.
    """
    batch, count, length = frames.shape
    last = length // hop_length - 1
    segments = history.extend(frames.view(batch, count, last + 1, hop_length), last, dim=1)
    # Unbound first: slices of the whole would each cost a zero-filled gradient of the whole.
    by_age = segments.unbind(dim=2)
    hops = by_age[0][:, last:]
    for age in range(1, last + 1):
        hops = hops + by_age[age][:, last - age : last - age + count]
    return hops.reshape(batch, count * hop_length)


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
        frames = framed(waveform, self.n_fft, self.hop_length, history)
        return torch.fft.rfft(frames * self.window).transpose(1, 2)


class Synthesis(nn.Module):
    """The inverse of :class:`Analysis`: complex ``(batch, bins, frames)`` to ``(batch, samples)``, a window late."""

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int) -> None:
        super().__init__()
        if n_fft % hop_length or n_fft < 2 * hop_length:
            raise ValueError(f"n_fft must be a multiple of hop_length, at least twice; got {n_fft}, {hop_length}")
        self.hop_length = hop_length
        # Squared square-root Hann windows, `overlap` of them, add up to overlap / 2.
        overlap = n_fft // hop_length
        self.register_buffer("window", torch.hann_window(n_fft).sqrt() * 2 / overlap, persistent=False)

    def forward(self, spectra: Tensor, history: History) -> Tensor:
        """Invert a block of frames."""
        frames = torch.fft.irfft(spectra.transpose(1, 2)) * self.window
        return overlap_add(frames, self.hop_length, history)


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
        """Map a block ``(batch, hops * hop_samples)`` to one of the same shape, ``delay_samples`` late.

        Args:
            waveform: ``(batch, hops * hop_samples)`` at the network's sample rate.
            history: the past of the layers; takes what the next block needs.
        """
        raise NotImplementedError

    def forward(self, narrowband: Tensor) -> Tensor:
        """Enhance whole waveforms ``(batch, samples)``, any length from 1; the output is aligned with the input."""
        samples = narrowband.shape[-1]
        padding = self.delay_samples + -(samples + self.delay_samples) % self.hop_samples
        padded = nn.functional.pad(narrowband, (0, padding))
        output = self.process(padded, History())
        return output[..., self.delay_samples : self.delay_samples + samples]
