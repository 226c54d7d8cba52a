"""Log-spectral distance: whole, in the missing band, and in what the narrowband already has."""

import numpy as np
from numpy.typing import ArrayLike

from evaluation.measures.stft import NotApplicable, Power, check_pair, required_cutoff, shared_spectrogram

LSD_N_FFT, LSD_HOP_LENGTH, LSD_POWER_FLOOR = 2048, 512, 1e-8


def _log_spectral_distance(
    preds: ArrayLike,
    target: ArrayLike,
    sample_rate: int = 1,
    low_hz: float = 0.0,
    high_hz: float = np.inf,
) -> float:
    """Equation of the module's measures over the bins from ``low_hz`` up to, not including, ``high_hz``."""
    check_pair(preds, target)
    # NU-Wave 2 splits at int(1025 * narrow rate / wide rate): the same rule, written for a cutoff in Hz.
    bins = LSD_N_FFT // 2 + 1
    first, last = (int(min(1.0, hz / (sample_rate / 2)) * bins) for hz in (low_hz, high_hz))
    if last <= first:
        raise NotApplicable(f"no bin between {low_hz:.0f} and {high_hz:.0f} Hz")
    difference, logs = (
        _log_power(shared_spectrogram(waveform, LSD_N_FFT, LSD_HOP_LENGTH, centred=True, single=True)[first:last])
        for waveform in (preds, target)
    )
    difference -= logs
    squares = np.einsum("fb,fb->f", difference.T, difference.T, dtype=np.float64)
    return float(np.sqrt(squares / (last - first)).mean())


def _log_power(power: Power) -> Power:
    clamped = np.maximum(power, np.float32(LSD_POWER_FLOOR))
    return np.log10(clamped, out=clamped)


def log_spectral_distance(*, preds: ArrayLike, target: ArrayLike) -> float:
    """Log-spectral distance over the whole spectrum, key ``lsd``.

    The convention of AERO, NU-Wave 2 and AP-BWE: centred STFT 2048/512, periodic Hann, log10 of power
    clamped at 1e-8, root mean square over bins, mean over frames. A unit is 10 dB.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.

    Returns:
        0 or more; lower is better. Noise at -70 dBFS halves it, so read it beside the controls.

    Raises:
        ValueError: shapes differ.
    """
    return _log_spectral_distance(preds, target)


def log_spectral_distance_low_frequencies(
    *,
    preds: ArrayLike,
    target: ArrayLike,
    sample_rate: int,
    cutoff_hz: float | None,
) -> float:
    """`log_spectral_distance` below ``cutoff_hz``, key ``lsd_lf`` (NU-Wave 2, section 4.2).

    Mostly sees the resampler's transition band: a perfect pass-through scores 0.2 to 0.7.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.
        cutoff_hz: where the narrowband's own content ends, in Hz; None where no band is missing.

    Raises:
        NotApplicable: no band is missing.
    """
    cutoff_hz = required_cutoff(cutoff_hz)
    return _log_spectral_distance(preds, target, sample_rate, 0.0, cutoff_hz)


def log_spectral_distance_high_frequencies(
    *,
    preds: ArrayLike,
    target: ArrayLike,
    sample_rate: int,
    cutoff_hz: float | None,
) -> float:
    """`log_spectral_distance` from ``cutoff_hz`` to Nyquist, key ``lsd_hf`` (NU-Wave 2, section 4.2).

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.
        cutoff_hz: where the narrowband's own content ends, in Hz; None where no band is missing.

    Raises:
        NotApplicable: no band is missing.
    """
    cutoff_hz = required_cutoff(cutoff_hz)
    return _log_spectral_distance(preds, target, sample_rate, cutoff_hz)


def log_spectral_distance_missing_band(
    *,
    preds: ArrayLike,
    target: ArrayLike,
    sample_rate: int,
    cutoff_hz: float | None,
    band_hz: float,
) -> float:
    """`log_spectral_distance` from ``cutoff_hz`` to ``band_hz``, key ``lsd_hf_band``.

    Leaves out everything above the wideband clip's own band, where an encoder's low-pass would be the target.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.
        cutoff_hz: where the narrowband's own content ends, in Hz; None where no band is missing.
        band_hz: where the wideband's own content ends, in Hz.

    Raises:
        NotApplicable: no band is missing.
    """
    cutoff_hz = required_cutoff(cutoff_hz)
    return _log_spectral_distance(preds, target, sample_rate, cutoff_hz, band_hz)


def log_spectral_distance_retained_band(
    *,
    preds: ArrayLike,
    target: ArrayLike,
    sample_rate: int,
    cutoff_hz: float | None,
    band_hz: float,
) -> float:
    """`log_spectral_distance` up to 0.9 ``cutoff_hz``, key ``lsd_low``: harm done to what was already there.

    Where no band is missing (``cutoff_hz`` None) the narrowband's content ends with the wideband's, at
    ``band_hz``.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.
        cutoff_hz: where the narrowband's own content ends, in Hz; None where no band is missing.
        band_hz: where the wideband's own content ends, in Hz.
    """
    end_hz = 0.9 * (band_hz if cutoff_hz is None else cutoff_hz)
    return _log_spectral_distance(preds, target, sample_rate, 0.0, end_hz)
