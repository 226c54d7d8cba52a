"""Short-time power spectra, computed once per waveform and shared by the measures."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

Power = NDArray[np.float32]

FRAMES_PER_BLOCK = 512  # bounds the memory of long files: at most 512 frames are complex double at once


class NotApplicable(Exception):
    """The measure has no meaning for this utterance: a state of its own, neither a failure nor a score."""


def check_pair(preds: ArrayLike, target: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both waveforms ``(samples,)`` as double.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.

    Raises:
        ValueError: not one-dimensional, empty, or of different lengths.
    """
    pair = np.asarray(preds, dtype=np.float64), np.asarray(target, dtype=np.float64)
    shapes = pair[0].shape, pair[1].shape
    if shapes[0] != shapes[1] or len(shapes[1]) != 1 or shapes[1][0] == 0:
        raise ValueError(f"expected preds and target of one shape (samples,), received {shapes[0]}, {shapes[1]}")
    return pair


def periodic_hann(length: int) -> NDArray[np.float64]:
    """Periodic Hann window ``(length,)``, as ``torch.hann_window`` gives it."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)


def mel_filters(sample_rate: int, n_fft: int, bands: int, low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Triangular bands on O'Shaughnessy's mel scale, 2595 log10(1 + Hz / 700), each 1 at its centre.

    Args:
        sample_rate: in Hz.
        n_fft: frame length in samples.
        bands: how many.
        low_hz: where the lowest begins.
        high_hz: where the highest ends.

    Returns:
        ``(bands, bins)`` with ``n_fft // 2 + 1`` bins, to be multiplied with a power spectrum.
    """
    lowest, highest = 2595 * np.log10(1 + np.array([low_hz, high_hz]) / 700)
    mels = np.linspace(lowest, highest, bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    distance = np.fft.rfftfreq(n_fft, 1 / sample_rate) - edges[:, None]
    widths = np.diff(edges)[:, None]
    return np.maximum(0.0, np.minimum(distance[:-2] / widths[:-1], -distance[2:] / widths[1:]))


def power_spectrogram(
    waveform: ArrayLike, n_fft: int, hop_length: int, *, centred: bool, single: bool = False
) -> Power:
    """Power of the short-time Fourier transform with a periodic Hann window.

    Args:
        waveform: ``(samples,)``.
        n_fft: frame and window length in samples.
        hop_length: samples from one frame to the next.
        centred: pad half a frame by reflection at both ends, as librosa and torch do with ``center=True``;
            otherwise frames lie wholly inside the waveform, which is zero-padded to one frame if shorter.
        single: transform in single precision, as librosa and torch do: in half the time, with rounding noise some
            140 dB below a frame's energy, which measures with a floor above that do not hear.

    Returns:
        ``(bins, frames)`` with ``n_fft // 2 + 1`` bins.
    """
    return np.concatenate(list(power_blocks(waveform, n_fft, hop_length, centred=centred, single=single))).T


def power_blocks(
    waveform: ArrayLike,
    n_fft: int,
    hop_length: int,
    *,
    centred: bool,
    single: bool = False,
    window_length: int | None = None,
) -> Iterator[Power]:
    """Powers as `power_spectrogram` computes them, a few frames at a time: ``(frames, bins)`` each.

    Args:
        waveform: ``(samples,)``.
        n_fft: frame length in samples.
        hop_length: samples from one frame to the next.
        centred: as in `power_spectrogram`.
        single: as in `power_spectrogram`.
        window_length: length of the window, which lies in the middle of the frame; None for the whole frame.
    """
    samples = np.asarray(waveform, dtype=np.float32 if single else np.float64)
    if centred:
        samples = np.pad(samples, n_fft // 2, mode="reflect")
    elif len(samples) < n_fft:
        samples = np.pad(samples, (0, n_fft - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, n_fft)[::hop_length]
    length = n_fft if window_length is None else window_length
    before = (n_fft - length) // 2
    window = np.pad(periodic_hann(length), (before, n_fft - length - before)).astype(samples.dtype)
    for start in range(0, len(frames), FRAMES_PER_BLOCK):
        spectrum = scipy.fft.rfft(frames[start : start + FRAMES_PER_BLOCK] * window, axis=1)
        yield (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)


_Known = dict[tuple[int, int, int, bool, bool], tuple[ArrayLike, Power]]
_known: ContextVar[_Known | None] = ContextVar("spectrograms", default=None)


@contextmanager
def spectrograms_shared() -> Iterator[None]:
    """Inside this block measures that need the same spectrogram of the same array compute it once."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)


def shared_spectrogram(
    waveform: ArrayLike, n_fft: int, hop_length: int, *, centred: bool, single: bool = False
) -> Power:
    """As `power_spectrogram`, computed once per array inside `spectrograms_shared`; not to be changed in place.

    Args:
        waveform: ``(samples,)``.
        n_fft: frame length in samples.
        hop_length: samples from one frame to the next.
        centred: as in `power_spectrogram`.
        single: as in `power_spectrogram`.

    Returns:
        ``(bins, frames)``.
    """
    known = _known.get()
    known = {} if known is None else known
    # The waveform is kept beside its power, so that its id is not given to another object.
    key = (id(waveform), n_fft, hop_length, centred, single)
    if key not in known:
        known[key] = (waveform, power_spectrogram(waveform, n_fft, hop_length, centred=centred, single=single))
    return known[key][1]


def bin_frequencies(n_fft: int, sample_rate: int) -> NDArray[np.float64]:
    """Return the centre frequency of each bin in Hz ``(n_fft // 2 + 1,)``.

    Args:
        n_fft: frame length in samples.
        sample_rate: in Hz.
    """
    return np.arange(n_fft // 2 + 1, dtype=np.float64) * (sample_rate / n_fft)


def required_cutoff(cutoff_hz: float | None) -> float:
    """Return the cutoff in Hz.

    Raises:
        NotApplicable: there is none, so that no band is missing.
    """
    if cutoff_hz is None:
        raise NotApplicable("no band is missing")
    return cutoff_hz
