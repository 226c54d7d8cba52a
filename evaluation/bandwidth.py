"""Where a recording's own content ends, whatever its sample rate says."""

from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray

FRAME_SECONDS = 0.032
BINS_PER_BAND = 4  # 125 Hz
BANDS_PER_GROUP = 8  # 1 kHz
LOUD_SHARE, QUIET_SHARE = 0.1, 0.3
FEWEST_FRAMES = 3
LEAST_RATIO = 1.4
SIGMAS = 3.0
DEPTH_DB = 80.0
CLIFF_DB, CLIFF_BANDS = 40.0, 24
ROUNDING_MARGIN = 6.0
CONTENT_OF_GROUP = 5  # bands that must be content among the last eight: one alone is an accident

EXCERPT_SECONDS = 4.0
MOST_EXCERPTS = 16

Powers = NDArray[np.float32]


class BandwidthMeter:
    """Measures, over consecutive excerpts, the highest frequency in which sound comes and goes as speech does.

    Powers are taken in bands of 125 Hz over frames of 32 ms. For each group of 1 kHz the loud frames are the tenth in
    which the 2 kHz *below* it are loudest, the quiet ones the 30 % in which they are softest: steady noise above the
    content, such as hiss or dither, cannot be louder in the former, since nothing of itself had a say in the choice.
    A band belongs to the content if its mean power is higher in the loud frames by more than chance (3 standard errors
    of noise, at least 1.5 dB, and above what rounding to 16 bits adds), if what is added lies within 80 dB of the
    loudest band's and within 40 dB of the loudest in the 3 kHz below (a resampler's or an encoder's stop band lies
    deeper), and if most bands of the 1 kHz below it do as well.

    Of a long recording, excerpts spread evenly over it are used, and never more than 17 to bound time and memory:
    when there are more, every other one is dropped, and from then on only every second, fourth, ... is taken.

    Args:
        sample_rate: in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self._sample_rate = sample_rate
        self._excerpts: list[Powers] = []
        self._stride, self._seen = 1, 0

    def add(self, excerpt: ArrayLike) -> None:
        """Take the next excerpt ``(samples,)``, `EXCERPT_SECONDS` long; the last one may be shorter."""
        if self._seen % self._stride == 0:
            self._excerpts.append(_band_powers(np.asarray(excerpt, dtype=np.float32), self._sample_rate))
            if len(self._excerpts) > MOST_EXCERPTS:
                self._excerpts = self._excerpts[::2]
                self._stride *= 2
        self._seen += 1

    @property
    def band_hz(self) -> float:
        """The upper edge of the highest such band in Hz, at most half the sample rate.

        Where no band comes and goes (steady noise), only the rules on depth hold; half the sample rate where there is
        nothing at all.
        """
        return _band_hz(np.concatenate(self._excerpts), self._sample_rate) if self._excerpts else self._sample_rate / 2


def effective_band_hz(waveform: ArrayLike, sample_rate: int) -> float:
    """Measure the highest frequency in which sound comes and goes as speech does; see `BandwidthMeter`.

    Args:
        waveform: ``(samples,)``.
        sample_rate: in Hz.

    Returns:
        Hz, the upper edge of the highest such band, at most half the sample rate; half the sample rate for silence.
    """
    samples = np.asarray(waveform, dtype=np.float32)
    step = round(EXCERPT_SECONDS * sample_rate)
    meter = BandwidthMeter(sample_rate)
    for start in range(0, len(samples), step):
        meter.add(samples[start : start + step])
    return meter.band_hz


@lru_cache(maxsize=8)
def _window(sample_rate: int) -> Powers:
    frame = round(FRAME_SECONDS * sample_rate)
    return np.hanning(frame + 1)[:-1].astype(np.float32)


def _band_powers(samples: Powers, sample_rate: int) -> Powers:
    """Return the powers ``(frames, bands)`` of an excerpt; one shorter than a frame is filled up with zeros."""
    window = _window(sample_rate)
    frame = len(window)
    if len(samples) < frame:
        samples = np.pad(samples, (0, frame - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, frame)[:: frame // 2]
    spectrum = scipy.fft.rfft(frames * window)
    power = spectrum.real**2 + spectrum.imag**2
    bands = power.shape[1] // BINS_PER_BAND
    return np.asarray(power[:, : bands * BINS_PER_BAND].reshape(len(power), bands, BINS_PER_BAND).sum(-1))


def _band_hz(powers: Powers, sample_rate: int) -> float:
    rounding = BINS_PER_BAND * float((_window(sample_rate) ** 2).sum()) * (2.0**-15) ** 2 / 12
    if powers.max() <= rounding:
        return sample_rate / 2
    loud, quiet, frames = _loud_and_quiet(powers, rounding)
    content = _content(loud, quiet, frames, rounding)
    if not len(content):
        content = np.flatnonzero(_within_reach(loud))
    bin_hz = sample_rate / len(_window(sample_rate))
    return float(min((content[-1] + 1) * BINS_PER_BAND * bin_hz, sample_rate / 2))


def _loud_and_quiet(
    powers: Powers, rounding: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[int, int]]:
    """Return each band's mean power ``(bands,)`` in loud and in quiet frames, and how many frames these were."""
    count, bands = powers.shape
    loudest = min(max(FEWEST_FRAMES, round(LOUD_SHARE * count)), max(count // 2, 1))
    quietest = min(max(FEWEST_FRAMES, round(QUIET_SHARE * count)), max(count // 2, 1))
    starts = np.arange(0, bands, BANDS_PER_GROUP)
    whitened = powers / (powers.mean(axis=0) + np.float32(rounding))
    groups = np.add.reduceat(whitened, starts, axis=1)
    loud, quiet = np.empty(bands), np.empty(bands)
    for group, start in enumerate(starts):
        own = slice(start, start + BANDS_PER_GROUP)
        others = slice(max(group - 2, 0), group) if group else slice(1, 2)
        order = np.argsort(groups[:, others].sum(axis=1))
        loud[own] = powers[order[-loudest:], own].mean(axis=0)
        quiet[own] = powers[order[:quietest], own].mean(axis=0)
    return loud, quiet, (loudest, quietest)


def _content(
    loud: NDArray[np.float64], quiet: NDArray[np.float64], frames: tuple[int, int], rounding: float
) -> NDArray[np.intp]:
    """Return the indices of the bands that belong to the content."""
    # Bins and frames overlap: under a Hann window, 1.5 bins and 1.4 frames count as one independent value.
    error = np.sqrt(1.5 * 1.4 / BINS_PER_BAND * sum(1 / number for number in frames))
    speech = loud > max(LEAST_RATIO, 1 + SIGMAS * error) * (quiet + ROUNDING_MARGIN * rounding)
    speech &= _within_reach(np.maximum(loud - quiet, 0.0))
    company = np.convolve(speech, np.ones(BANDS_PER_GROUP))[: len(speech)]
    return np.flatnonzero(speech & (company >= np.minimum(CONTENT_OF_GROUP, np.arange(len(speech)) + 1)))


def _within_reach(power: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which bands lie neither too far below the loudest nor below a cliff."""
    near = np.lib.stride_tricks.sliding_window_view(np.pad(power, (CLIFF_BANDS, 0)), CLIFF_BANDS + 1).max(axis=1)
    return (power >= power.max() * 10 ** (-DEPTH_DB / 10)) & (power >= near * 10 ** (-CLIFF_DB / 10))
