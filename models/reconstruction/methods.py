"""Waveforms from magnitude spectrograms: one family of ways to find the phase, behind one call."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from evaluation.measures.bandwidth import effective_band_hz
from models.reconstruction.rtisi import RealTimeInversion, phasors
from models.reconstruction.torchaudio_guard import GriffinLim
from models.streaming.causal_layers import History, overlap_add
from overtone.errors import OvertoneError

FAST_MOMENTUM = 0.99
LOOK_AHEAD_FRAMES = 3  # with hops of a quarter, all later frames that overlap the one that is committed


@dataclass(frozen=True)
class Task:
    """What a method works on; of the optional parts those are there that the method needs.

    Attributes:
        magnitudes: ``(batch, bins, frames)``.
        n_fft: window in samples.
        hop_length: samples between frames.
        samples: length of the waveform, at least a window.
        iterations: for methods that iterate.
        narrowband: ``(batch, samples)``, or None.
        cutoff_bins: first bin that each narrowband lacks, ``(batch,)``, or None.
        phase: ``(batch, bins, frames)`` in radians, or None.
    """

    magnitudes: Tensor
    n_fft: int
    hop_length: int
    samples: int
    iterations: int
    narrowband: Tensor | None = None
    cutoff_bins: Tensor | None = None
    phase: Tensor | None = None

    @property
    def window(self) -> Tensor:
        """Periodic Hann window ``(n_fft,)``."""
        return torch.hann_window(self.n_fft, device=self.magnitudes.device, dtype=self.magnitudes.dtype)

    def spectra(self, waveform: Tensor) -> Tensor:
        """Return the centred spectra ``(batch, bins, frames)`` of ``(batch, samples)``."""
        return torch.stft(waveform, self.n_fft, self.hop_length, window=self.window, return_complex=True)

    def waveform(self, spectra: Tensor) -> Tensor:
        """Return the waveform whose spectra are nearest to the given ones (Griffin & Lim 1984, equation 6)."""
        return torch.istft(spectra, self.n_fft, self.hop_length, window=self.window, length=self.samples)

    def narrowband_phasors(self) -> Tensor:
        """Return the narrowband's phase as complex numbers of magnitude 1 ``(batch, bins, frames)``."""
        assert self.narrowband is not None
        return phasors(self.spectra(self.narrowband))

    def kept(self) -> Tensor:
        """Return where the narrowband's phase is to be kept, ``(batch, bins, 1)``: below its cutoff."""
        assert self.cutoff_bins is not None
        bins = torch.arange(self.n_fft // 2 + 1, device=self.magnitudes.device)
        return (bins < self.cutoff_bins[:, None])[..., None]


def _given(task: Task) -> Tensor:
    assert task.phase is not None
    return task.waveform(torch.polar(task.magnitudes, task.phase))


def _inverse_fft(task: Task) -> Tensor:
    return task.waveform(task.magnitudes.to(task.magnitudes.dtype.to_complex()))


def _griffin_lim(task: Task, *, momentum: float) -> Tensor:
    # A phase that starts at zero makes the same waveform each time; a random one would not.
    transform = GriffinLim(
        task.n_fft,
        task.iterations,
        task.n_fft,
        task.hop_length,
        power=1.0,
        momentum=momentum,
        length=task.samples,
        rand_init=False,
    )
    return transform.to(task.magnitudes)(task.magnitudes)


def _from_narrowband(task: Task, *, momentum: float) -> Tensor:
    return _iterated(task, task.narrowband_phasors(), momentum)


def _low_phase_kept(task: Task, *, folded: bool) -> Tensor:
    return _iterated(task, _raised(task, folded=folded), FAST_MOMENTUM, task.kept())


def _raised_once(task: Task, *, folded: bool) -> Tensor:
    return task.waveform(task.magnitudes * _raised(task, folded=folded))


def _iterated(task: Task, phase: Tensor, momentum: float, kept: Tensor | None = None) -> Tensor:
    """Run torchaudio's iteration, with its momentum, from a given phase, part of which may be kept throughout."""
    start, previous = phase, torch.zeros_like(phase)
    for _ in range(task.iterations):
        rebuilt = task.spectra(task.waveform(task.magnitudes * phase))
        phase = phasors(rebuilt - momentum / (1 + momentum) * previous)
        if kept is not None:
            phase = torch.where(kept, start, phase)
        previous = rebuilt
    return task.waveform(task.magnitudes * phase)


def _raised(task: Task, *, folded: bool) -> Tensor:
    """Return phasors ``(batch, bins, frames)``: the narrowband's, continued above its cutoff from below.

    As modulation with carriers makes them, at multiples of the cutoff (copied) or of twice the cutoff (folded, the
    images of upsampling with zeros): each carrier's own advance from frame to frame is part of the phase, without
    which neighbouring frames would contradict each other.
    """
    assert task.cutoff_bins is not None
    low = task.narrowband_phasors()
    frames = torch.arange(low.shape[-1], device=low.device)
    starts = frames * task.hop_length - task.n_fft // 2
    bins = torch.arange(low.shape[1], device=low.device)
    raised = torch.empty_like(low)
    for item, cutoff in enumerate(task.cutoff_bins.tolist()):
        period = 2 * cutoff - 1 if folded else cutoff
        place = bins % period
        mirrored = place >= cutoff
        source = torch.where(mirrored, period - place, place)
        shift = torch.where(mirrored, bins + source, bins - source)
        # Whole turns are taken off as integers: in float32 they would cost digits.
        turns = (shift[:, None] * starts % task.n_fft).to(low.real.dtype) / task.n_fft
        carrier = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns)
        found = low[item, source]
        raised[item] = carrier * torch.where(mirrored[:, None], found.conj(), found)
    return raised


def _rtisi_la(task: Task, *, keep_low_phase: bool) -> Tensor:
    known = None
    if keep_low_phase:
        known = torch.where(task.kept(), task.narrowband_phasors(), 0)
    inversion = RealTimeInversion(task.window, task.hop_length, LOOK_AHEAD_FRAMES, task.iterations)
    half, frames = task.n_fft // 2, task.magnitudes.shape[-1]
    following = -(-(task.samples + half) // task.hop_length) + LOOK_AHEAD_FRAMES - frames
    padding = (0, max(following, 0))
    magnitudes = nn.functional.pad(task.magnitudes, padding)
    known = None if known is None else nn.functional.pad(known, padding)
    waveform = inversion(magnitudes, History(), known)[:, LOOK_AHEAD_FRAMES * task.hop_length :]
    # The first and the last samples lie under fewer frames than a stream's.
    weights = task.window.square().expand(1, frames, -1)
    covered = overlap_add(nn.functional.pad(weights, (0, 0, *padding)), task.hop_length, History())
    inside = slice(half, half + task.samples)
    return waveform[:, inside] * (inversion.overlapped / covered[:, inside])


@dataclass(frozen=True)
class Method:
    """A way from magnitudes to a waveform.

    Attributes:
        description: what it does, in a line.
        function: does it.
        needs: of ``narrowband``, ``cutoff`` and ``phase``, what it cannot do without.
        iterations: how many, when the caller does not say; None for methods that do not iterate.
        streams: whether the same waveform can be made frame by frame, with
            `models.reconstruction.rtisi.RealTimeInversion`, `models.streaming.causal_layers.Synthesis` or
            carriers that run along.
    """

    description: str
    function: Callable[[Task], Tensor]
    needs: frozenset[str] = frozenset()
    iterations: int | None = None
    streams: bool = False


_LOW = frozenset({"narrowband", "cutoff"})
_NARROWBAND = frozenset({"narrowband"})

METHODS: dict[str, Method] = {
    "given": Method("a phase that came with the magnitudes", _given, frozenset({"phase"}), streams=True),
    "inverse_fft": Method("all phases zero, as the original's first model", _inverse_fft, streams=True),
    "griffin_lim": Method("Griffin & Lim 1984 from phases of zero", partial(_griffin_lim, momentum=0.0), iterations=32),
    "fast_griffin_lim": Method(
        "with momentum 0.99 (Perraudin, Balazs & Søndergaard 2013)",
        partial(_griffin_lim, momentum=FAST_MOMENTUM),
        iterations=32,
    ),
    "griffin_lim_from_narrowband": Method(
        "Griffin-Lim from the narrowband's phase", partial(_from_narrowband, momentum=0.0), _NARROWBAND, 32
    ),
    "fast_griffin_lim_from_narrowband": Method(
        "fast Griffin-Lim from the narrowband's phase",
        partial(_from_narrowband, momentum=FAST_MOMENTUM),
        _NARROWBAND,
        32,
    ),
    "folded_phase": Method(
        "the narrowband's phase, mirrored at its cutoff", partial(_raised_once, folded=True), _LOW, streams=True
    ),
    "copied_phase": Method(
        "the narrowband's phase, copied up above its cutoff", partial(_raised_once, folded=False), _LOW, streams=True
    ),
    "low_phase_kept_folded": Method(
        "fast Griffin-Lim of the missing band from the mirrored phase; below it the narrowband's phase stays",
        partial(_low_phase_kept, folded=True),
        _LOW,
        32,
    ),
    "low_phase_kept_copied": Method(
        "fast Griffin-Lim of the missing band from the copied phase; below it the narrowband's phase stays",
        partial(_low_phase_kept, folded=False),
        _LOW,
        32,
    ),
    "rtisi_la": Method(
        "frame by frame with a look-ahead of three (Zhu, Beauregard & Wyse 2007)",
        partial(_rtisi_la, keep_low_phase=False),
        iterations=8,
        streams=True,
    ),
    "rtisi_la_low_phase_kept": Method(
        "the same for the missing band; below it the narrowband's phase stays",
        partial(_rtisi_la, keep_low_phase=True),
        _LOW,
        iterations=8,
        streams=True,
    ),
}


def reconstruct(
    magnitudes: Tensor,
    method: str,
    *,
    n_fft: int,
    hop_length: int,
    samples: int | None = None,
    narrowband: Tensor | None = None,
    sample_rate: int | None = None,
    cutoff_hz: float | None = None,
    phase: Tensor | None = None,
    iterations: int | None = None,
) -> Tensor:
    """Return a waveform for the magnitudes of its centred short-time spectra.

    Args:
        magnitudes: ``(batch, bins, frames)``, as ``torch.stft`` with a periodic Hann window gives them; a waveform
            shorter than a window is filled up with zeros to one.
        method: a key of `METHODS`.
        n_fft: window in samples.
        hop_length: samples between frames.
        samples: length of the waveform; None for the narrowband's, or for what the frames span.
        narrowband: ``(batch, samples)``, for methods that use its phase.
        sample_rate: in Hz, for methods that need to know where the narrowband ends.
        cutoff_hz: where the narrowband ends. Only a study knows it; None measures it in each narrowband, whole, by
            `evaluation.measures.bandwidth.effective_band_hz`.
        phase: ``(batch, bins, frames)`` in radians, for ``given``.
        iterations: for methods that iterate, 0 or more; None for the method's own number. Those of ``rtisi_la`` count
            for each new frame, and each frame is among the uncommitted ones four times.

    Returns:
        ``(batch, samples)``.

    Raises:
        OvertoneError: the method is unknown or lacks something that it needs, or shapes do not belong together.
    """
    chosen = METHODS.get(method)
    if chosen is None:
        raise OvertoneError(f"Unknown reconstruction {method!r}. Known: {', '.join(METHODS)}.")
    _refuse_lacks(method, chosen, narrowband, sample_rate, phase)
    if samples is None:
        samples = hop_length * (magnitudes.shape[-1] - 1) if narrowband is None else narrowband.shape[-1]
    padded = max(samples, n_fft)
    _refuse_shape("magnitudes", magnitudes, (n_fft // 2 + 1, 1 + padded // hop_length))
    cutoff_bins = None
    if narrowband is not None:
        _refuse_shape("narrowband", narrowband, (samples,))
        if "cutoff" in chosen.needs and sample_rate is not None:
            cutoff_bins = _cutoff_bins(narrowband, sample_rate, cutoff_hz, n_fft)
        narrowband = nn.functional.pad(narrowband, (0, padded - samples))
    if phase is not None:
        _refuse_shape("phase", phase, tuple(magnitudes.shape[1:]))
    task = Task(
        magnitudes=magnitudes,
        n_fft=n_fft,
        hop_length=hop_length,
        samples=padded,
        iterations=(chosen.iterations or 0) if iterations is None else iterations,
        narrowband=narrowband,
        cutoff_bins=cutoff_bins,
        phase=phase,
    )
    return chosen.function(task)[..., :samples]


def _refuse_lacks(
    name: str, method: Method, narrowband: Tensor | None, sample_rate: int | None, phase: Tensor | None
) -> None:
    there = {"narrowband": narrowband is not None, "cutoff": sample_rate is not None, "phase": phase is not None}
    lacking = [need for need in sorted(method.needs) if not there[need]]
    if lacking:
        words = ", ".join("sample_rate" if need == "cutoff" else need for need in lacking)
        raise OvertoneError(f"Reconstruction {name} needs {words}; give it, or choose another of {', '.join(METHODS)}.")


def _refuse_shape(name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape[1:]) != expected:
        shape = ", ".join(map(str, expected))
        raise OvertoneError(f"{name}: expected shape (batch, {shape}), received {tuple(tensor.shape)}.")


def _cutoff_bins(narrowband: Tensor, sample_rate: int, cutoff_hz: float | None, n_fft: int) -> Tensor:
    """Return the first bin that each narrowband lacks ``(batch,)``; at least 2, so that something can be copied."""
    if cutoff_hz is None:
        cutoffs = [effective_band_hz(one.detach().cpu().numpy(), sample_rate) for one in narrowband]
    else:
        cutoffs = [cutoff_hz] * len(narrowband)
    bins = [min(max(int(hz * n_fft / sample_rate), 2), n_fft // 2 + 1) for hz in cutoffs]
    return torch.tensor(bins, device=narrowband.device)
