"""Real-time iterative spectrogram inversion with look-ahead (Zhu, Beauregard & Wyse 2007): Griffin-Lim that streams."""

import torch
from torch import Tensor, nn

from models.streaming.causal_layers import History


def phasors(spectra: Tensor) -> Tensor:
    """Return complex numbers of magnitude 1 with the phase of ``spectra``; where those are 0, the phase is 0."""
    return torch.where(spectra == 0, 1, spectra.sgn())


class RealTimeInversion(nn.Module):
    """Magnitudes of a causal stream to a waveform: ``(batch, bins, frames)`` to ``(batch, frames * hop_length)``.

    Takes the place of :class:`Synthesis` where there is no phase. A frame is committed once
    ``look_ahead`` later ones have come; until then its phase is iterated together with theirs, against what has been
    committed before (section III of the paper). The phase of the newest frame starts as that of the signal so far,
    seen through its window.

    Args:
        window: analysis and synthesis window ``(n_fft,)``, whose square overlaps to a constant at this hop.
        hop_length: samples between frames, a divisor of ``n_fft``.
        look_ahead: frames that must follow a frame before it is committed.
        iterations: for each new frame, of all uncommitted frames.

    Attributes:
        delay_samples: how late the output is against the last sample of the last frame that came: a sample is
            complete when the last frame over it is committed.

    Raises:
        ValueError: the window does not overlap to a constant.
    """

    window: Tensor

    def __init__(self, window: Tensor, hop_length: int, look_ahead: int = 3, iterations: int = 4) -> None:
        super().__init__()
        self.n_fft, self.hop_length = len(window), hop_length
        if self.n_fft % hop_length:
            raise ValueError(f"n_fft must be a multiple of hop_length, got {self.n_fft}, {hop_length}")
        overlapped = window.square().view(-1, hop_length).sum(dim=0)
        if not torch.allclose(overlapped, overlapped.mean().expand_as(overlapped), rtol=1e-4):
            raise ValueError("the square of the window must overlap to a constant at this hop")
        self.look_ahead, self.iterations = look_ahead, iterations
        self.overlapped = float(overlapped.mean())
        self.delay_samples = self.n_fft - hop_length + look_ahead * hop_length
        self.register_buffer("window", window, persistent=False)

    def forward(self, magnitudes: Tensor, history: History, known: Tensor | None = None) -> Tensor:
        """Invert a block of frames.

        Args:
            magnitudes: ``(batch, bins, frames)``, 0 or more.
            history: of the frames before.
            known: phasors of the same shape where the phase is known, 0 where it is to be found.

        Returns:
            ``(batch, frames * hop_length)``, ``delay_samples`` late.
        """
        known = torch.zeros_like(magnitudes, dtype=magnitudes.dtype.to_complex()) if known is None else known
        # Before the first frame there is silence. The oldest uncommitted frame of each step is committed.
        levels = history.extend(magnitudes.transpose(1, 2), self.look_ahead, dim=1)
        known = history.extend(known.transpose(1, 2), self.look_ahead, dim=1)
        pending, committed = self._unpacked(history.carried(self._initial(levels)))
        hops = [magnitudes.new_zeros(len(magnitudes), 0)]
        for frame in range(magnitudes.shape[-1]):
            uncommitted = slice(frame, frame + self.look_ahead + 1)
            pending = self._iterated(levels[:, uncommitted], known[:, uncommitted], pending, committed)
            committed = committed + self._synthesised(levels[:, frame] * pending[:, 0])
            hops.append(committed[:, : self.hop_length])
            committed = nn.functional.pad(committed[:, self.hop_length :], (0, self.hop_length))
            pending = pending[:, 1:]
        history.carry(torch.cat([torch.view_as_real(pending).flatten(1), committed], dim=1))
        return torch.cat(hops, dim=1)

    def _initial(self, levels: Tensor) -> Tensor:
        """Return the state before the first frame ``(batch, values)``: phasors of frames without energy, silence."""
        batch, _, bins = levels.shape
        return levels.new_zeros(batch, 2 * self.look_ahead * bins + self.n_fft)

    def _unpacked(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return uncommitted phasors ``(batch, look_ahead, bins)`` and the committed signal ``(batch, n_fft)``."""
        pending, committed = state[:, : -self.n_fft], state[:, -self.n_fft :]
        shape = (len(state), self.look_ahead, self.n_fft // 2 + 1, 2)
        return torch.view_as_complex(pending.reshape(shape).contiguous()), committed

    def _iterated(self, levels: Tensor, known: Tensor, pending: Tensor, committed: Tensor) -> Tensor:
        """Return the phasors ``(batch, look_ahead + 1, bins)`` of all uncommitted frames after the iterations."""
        free = known == 0
        signal = self._signal(levels[:, :-1] * pending, committed)
        phase = torch.cat([pending, phasors(self._analysed(signal)[:, -1:])], dim=1)
        phase = torch.where(free, phase, known)
        for _ in range(self.iterations):
            signal = self._signal(levels * phase, committed)
            phase = torch.where(free, phasors(self._analysed(signal)), known)
        return phase

    def _signal(self, spectra: Tensor, committed: Tensor) -> Tensor:
        """Overlap uncommitted frames onto the committed signal: ``(batch, n_fft + look_ahead * hop_length)``."""
        length = self.n_fft + self.look_ahead * self.hop_length
        signal = nn.functional.pad(committed, (0, length - self.n_fft))
        count = spectra.shape[1]
        if count == 0:
            return signal
        # Rows of one hop more than the signal, read as rows of the signal's length, are late by a hop each.
        rows = nn.functional.pad(self._synthesised(spectra), (0, length + self.hop_length - self.n_fft))
        return signal + rows.flatten(1)[:, : count * length].view(-1, count, length).sum(dim=1)

    def _synthesised(self, spectra: Tensor) -> Tensor:
        return torch.fft.irfft(spectra, self.n_fft) * (self.window / self.overlapped)

    def _analysed(self, signal: Tensor) -> Tensor:
        return torch.fft.rfft(signal.unfold(-1, self.n_fft, self.hop_length) * self.window)
