"""Alignment of an estimate with its reference: sample rate, constant delay, length."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.signal import correlate, correlation_lags

from overtone.audio import AudioError, Waveform, resample
from overtone.audio_files.recordings import read_audio

MOST_DELAY_SECONDS = 1.0
DELAY_SECONDS = 20.0  # of each file that are compared
FEWEST_CORRELATION = 0.2
SAME_DELAY_SECONDS = 0.001
AGREEING_SHARE = 0.75


@dataclass(frozen=True)
class Fitted:
    """An estimate at the rate of its reference, and the part of the reference that it covers.

    Attributes:
        waveform: ``(samples,)``.
        covered: of the reference's samples; as many as the waveform's.
        notes: a short text for every change.
    """

    waveform: Waveform
    covered: slice
    notes: tuple[str, ...]


class NotFitting(Exception):
    """The lengths of an estimate and its reference differ by more than is cut off; the message has both."""


def fit(
    waveform: Waveform,
    sample_rate: int,
    reference_samples: int,
    reference_rate: int,
    delay_seconds: float,
    tolerance_seconds: float,
) -> Fitted:
    """Lay an estimate over its reference.

    Args:
        waveform: the estimate ``(samples,)``.
        sample_rate: its rate in Hz.
        reference_samples: the reference's length.
        reference_rate: the reference's rate in Hz.
        delay_seconds: by how much the estimate is later, which is removed; negative where it is earlier.
        tolerance_seconds: by how much the lengths may differ otherwise; both are cut to the shorter.

    Raises:
        NotFitting: the lengths differ by more.
    """
    notes = [f"resampled from {sample_rate} Hz"] if sample_rate != reference_rate else []
    estimate = resample(waveform, sample_rate, reference_rate)
    delay = round(delay_seconds * reference_rate)
    if excess_seconds(len(estimate) / reference_rate, reference_samples / reference_rate, delay_seconds) > (
        tolerance_seconds + 1 / reference_rate
    ):
        raise NotFitting(f"{len(estimate)} samples against the reference's {reference_samples} at {reference_rate} Hz")
    if delay:
        notes.append(f"delay of {delay} samples removed")
    estimate, first = estimate[max(delay, 0) :], max(-delay, 0)
    samples = min(len(estimate), reference_samples - first)
    rounding = 1 if sample_rate != reference_rate else 0
    if (surplus := len(estimate) - samples) > rounding:
        notes.append(f"last {surplus} samples cut")
    if (unheard := reference_samples - first - samples) > rounding:
        notes.append(f"reference's last {unheard} samples not scored")
    return Fitted(estimate[:samples], slice(first, first + samples), tuple(notes))


def excess_seconds(estimate_seconds: float, reference_seconds: float, delay_seconds: float) -> float:
    """Return by how much lengths differ beyond what a delay explains: as much added, or as much of the end lost.

    Args:
        estimate_seconds: the estimate's length.
        reference_seconds: the reference's length.
        delay_seconds: how much later the estimate is; negative where it is earlier.
    """
    difference = estimate_seconds - reference_seconds
    return max(difference - max(delay_seconds, 0.0), min(delay_seconds, 0.0) - difference, 0.0)


@dataclass(frozen=True)
class Delay:
    """How much later a system's files are than their references.

    Attributes:
        seconds: the median over files; negative where the system's are earlier.
        low: the least over files.
        high: the largest over files.
        files: how many were compared.
        constant: whether most of them agree to a millisecond.
    """

    seconds: float
    low: float
    high: float
    files: int
    constant: bool

    @property
    def span(self) -> str:
        """The least and the largest, for a message."""
        return f"{1000 * self.low:.4g} to {1000 * self.high:.4g} ms in {self.files} files"


def find_delay(pairs: Iterable[tuple[Path, Path | tuple[Waveform, int]]]) -> Delay | None:
    """Measure the constant delay of a system's files.

    Args:
        pairs: paths of some estimates, each with its reference's, or with its samples ``(samples,)`` and rate in Hz.
            Those that cannot be read are left out.

    Returns:
        None where no file resembles its reference: silence, or a waveform with a phase of its own.
    """
    found = (_delay_seconds(estimate, reference) for estimate, reference in pairs)
    delays = np.asarray([seconds for seconds in found if seconds is not None])
    if not delays.size:
        return None
    median = float(np.median(delays))
    agreeing = np.abs(delays - median) <= SAME_DELAY_SECONDS
    return Delay(median, float(delays.min()), float(delays.max()), len(delays), bool(agreeing.mean() >= AGREEING_SHARE))


def _delay_seconds(estimate: Path, reference: Path | tuple[Waveform, int]) -> float | None:
    try:
        waveform, own_rate = _beginning(estimate)
        target, rate = _beginning(reference) if isinstance(reference, Path) else reference
    except AudioError:
        return None
    target = target[: round(DELAY_SECONDS * rate)]
    samples = find_delay_samples(resample(waveform, own_rate, rate), target, round(MOST_DELAY_SECONDS * rate))
    return None if samples is None else samples / rate


def _beginning(path: Path) -> tuple[Waveform, int]:
    """Read the first seconds of a file, and its rate; reading stops at the end of a shorter one."""
    _, rate = read_audio(path, frames=1)
    return read_audio(path, frames=round(DELAY_SECONDS * rate))


def find_delay_samples(waveform: Waveform, target: Waveform, most: int) -> int | None:
    """Return the lag with the largest cross-correlation, of either sign, up to ``most`` samples either way.

    Args:
        waveform: the estimate ``(samples,)``.
        target: what it is compared with, at the same rate ``(samples,)``.
        most: the longest delay.

    Returns:
        Samples by which the estimate is later; None where the normalised correlation stays under 0.2 at every lag.
    """
    lags = correlation_lags(len(waveform), len(target))
    near = np.abs(lags) <= most
    correlation = np.abs(correlate(waveform, target, method="fft"))[near]
    energy = float(np.linalg.norm(waveform.astype(np.float64)) * np.linalg.norm(target.astype(np.float64)))
    best = int(correlation.argmax())
    if energy == 0.0 or correlation[best] < FEWEST_CORRELATION * energy:
        return None
    return int(lags[near][best])
