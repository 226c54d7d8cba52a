"""Steps that take a band away: low-pass families, the radio band, and resampling. All are zero-phase."""

import functools
from collections.abc import Callable

import numpy as np
import scipy.fft
import scipy.signal
import soxr
from numpy.typing import NDArray

from datamodules.degradation.scene import Scene
from overtone.audio import Waveform

FAMILIES = ("brickwall", "chebyshev1", "butterworth", "bessel", "elliptic", "resampling")
RESAMPLING_QUALITIES = ("HQ", "VHQ", "MQ", "LQ", "QQ")

# Zeros after the waveform, so that what rings beyond its end does not come round to its start.
_RINGING_SECONDS = 0.05
_ELLIPTIC_STOP_BAND_DB = 60.0
# tan() at the Nyquist frequency is 1.6e16, whose powers overflow; nothing audible is left this far out.
_FURTHEST = 1e6

_Gain = NDArray[np.float32]


def lowpass(
    waveform: Waveform,
    scene: Scene,
    *,
    cutoff_hz: float,
    family: str = "chebyshev1",
    order: float = 8,
    ripple_db: float = 0.05,
) -> Waveform:
    """Low-pass with the magnitude response of a classic filter and no phase at all.

    The magnitude is applied once, in the frequency domain. Filtering forth and back (``sosfiltfilt``, as NU-Wave 2
    does) is zero-phase too, but squares the response: twice the order, twice the ripple, -6 dB at the cutoff. Here
    order, ripple and cutoff are those of the design; a published ``sosfiltfilt`` recipe has half of each.

    Args:
        waveform: ``(samples,)``.
        scene: its sample rate counts.
        cutoff_hz: where the pass band ends: -3 dB for butterworth and bessel, -``ripple_db`` for chebyshev1 and
            elliptic; from the Nyquist frequency up, nothing happens.
        family: one of `FAMILIES`; elliptic stops 60 dB, resampling is soxr HQ to twice the cutoff and back.
        order: of the analogue prototype; not used by brickwall and resampling.
        ripple_db: in the pass band of chebyshev1 and elliptic.
    """
    if cutoff_hz >= scene.sample_rate / 2:
        return waveform
    if family == "resampling":
        return resample(waveform, scene, rate=2 * cutoff_hz)
    if family == "brickwall":
        return filtered(waveform, scene.sample_rate, lambda hertz: (hertz <= cutoff_hz).astype(np.float32))
    return filtered(
        waveform,
        scene.sample_rate,
        lambda hertz: lowpass_gain(hertz, scene.sample_rate, cutoff_hz, family, round(order), ripple_db),
    )


def bandpass(
    waveform: Waveform, scene: Scene, *, low_hz: float = 300.0, high_hz: float = 3400.0, order: float = 4
) -> Waveform:
    """Keep a band, by default that of telephone and radio, with a zero-phase Butterworth magnitude.

    Args:
        waveform: ``(samples,)``.
        scene: its sample rate counts.
        low_hz: -3 dB point below.
        high_hz: -3 dB point above; at most 0.99 of the Nyquist frequency is used.
        order: of the low-pass prototype, so that each side falls 6 ``order`` dB an octave.
    """
    high_hz = min(high_hz, 0.495 * scene.sample_rate)
    low_hz = min(low_hz, 0.99 * high_hz)
    return filtered(
        waveform,
        scene.sample_rate,
        lambda hertz: bandpass_gain(hertz, scene.sample_rate, low_hz, high_hz, round(order)),
    )


def resample(waveform: Waveform, scene: Scene, *, rate: float, quality: str = "HQ") -> Waveform:
    """Take away everything above ``rate`` / 2 by resampling to ``rate`` and back with soxr.

    Args:
        waveform: ``(samples,)``.
        scene: its sample rate counts.
        rate: in Hz, rounded to a whole number; nothing happens from the waveform's own rate up.
        quality: of the way down, soxr's name: VHQ, HQ, MQ and LQ end the band more and more softly, QQ lets all of it
            fold back, as cheap devices do. The way up is HQ.
    """
    rate = round(rate)
    if rate >= scene.sample_rate:
        return waveform
    low = soxr.resample(waveform, scene.sample_rate, rate, quality=quality)
    return fitted(soxr.resample(low, rate, scene.sample_rate, quality="HQ"), waveform.size)


def fitted(waveform: Waveform, samples: int) -> Waveform:
    """Cut or zero-pad the end so that ``samples`` remain, as float32.

    Args:
        waveform: ``(samples before,)``.
        samples: wanted.
    """
    cut = np.asarray(waveform[:samples], dtype=np.float32)
    return cut if cut.size == samples else np.pad(cut, (0, samples - cut.size))


def lowpass_gain(
    hertz: NDArray[np.float64], sample_rate: int, cutoff_hz: float, family: str, order: int, ripple_db: float
) -> _Gain:
    """Return the magnitude response at ``hertz`` of a digital low-pass, as scipy.signal designs it.

    Args:
        hertz: ``(bins,)`` up to the Nyquist frequency.
        sample_rate: in Hz.
        cutoff_hz: below the Nyquist frequency.
        family: an analogue prototype: chebyshev1, butterworth, bessel or elliptic.
        order: from 1 on.
        ripple_db: of chebyshev1 and elliptic.
    """
    # The bilinear transform maps a digital frequency to the tangent of half its angle.
    analogue = np.tan(np.pi / sample_rate * hertz) / np.tan(np.pi / sample_rate * cutoff_hz)
    return _prototype_gain(np.minimum(np.abs(analogue), _FURTHEST), family, order, ripple_db)


def bandpass_gain(hertz: NDArray[np.float64], sample_rate: int, low_hz: float, high_hz: float, order: int) -> _Gain:
    """Return the magnitude response at ``hertz`` ``(bins,)`` of a digital Butterworth band-pass.

    Args:
        hertz: frequencies ``(bins,)``.
        sample_rate: in Hz.
        low_hz: lower corner.
        high_hz: upper corner.
        order: of the filter.
    """
    low, high = np.tan(np.pi / sample_rate * np.array([low_hz, high_hz]))
    analogue = np.clip(np.tan(np.pi / sample_rate * hertz), 1 / _FURTHEST, _FURTHEST)
    around = np.abs(analogue - low * high / analogue) / (high - low)
    return _prototype_gain(np.minimum(around, _FURTHEST), "butterworth", order, 0.0)


def _prototype_gain(analogue: NDArray[np.float64], family: str, order: int, ripple_db: float) -> _Gain:
    zeros, poles, gain = _prototype(family, order, ripple_db)
    power = np.full(analogue.shape, gain**2)
    for index, pole in enumerate(poles):
        if index < len(zeros):  # one zero to each pole keeps the product within the range of floats
            power *= np.square(analogue - zeros[index].imag)
        power /= np.square(analogue - pole.imag) + pole.real**2
    return np.sqrt(power).astype(np.float32)


@functools.cache
def _prototype(
    family: str, order: int, ripple_db: float
) -> tuple[NDArray[np.complex128], NDArray[np.complex128], float]:
    """Zeros, poles and gain of an analogue low-pass that ends at 1: the same for every cutoff and rate."""
    designs: dict[str, Callable[[], tuple[NDArray, NDArray, float]]] = {
        "chebyshev1": lambda: scipy.signal.cheb1ap(order, ripple_db),
        "butterworth": lambda: scipy.signal.buttap(order),
        "bessel": lambda: scipy.signal.besselap(order, norm="mag"),
        "elliptic": lambda: scipy.signal.ellipap(order, ripple_db, _ELLIPTIC_STOP_BAND_DB),
    }
    zeros, poles, gain = designs[family]()
    return np.atleast_1d(zeros), np.atleast_1d(poles), float(np.real(gain))


def filtered(
    waveform: Waveform, sample_rate: int, gain: Callable[[NDArray[np.float64]], NDArray[np.float32]]
) -> Waveform:
    """Return a waveform ``(samples,)`` under a zero-phase gain, a function of frequencies in Hz.

    Args:
        waveform: ``(samples,)``.
        sample_rate: in Hz.
        gain: returns the factor for each of the frequencies ``(bins,)`` in Hz.
    """
    size = scipy.fft.next_fast_len(waveform.size + round(_RINGING_SECONDS * sample_rate), real=True)
    spectrum = scipy.fft.rfft(waveform, size)
    spectrum *= gain(scipy.fft.rfftfreq(size, 1 / sample_rate))
    return scipy.fft.irfft(spectrum, size, overwrite_x=True)[: waveform.size]
