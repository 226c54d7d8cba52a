"""Where a recording's own content ends, whatever its sample rate says."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import scipy.fft
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import maximum_filter1d

FRAME_SECONDS = 0.032
BINS_PER_BAND = 4  # 125 Hz
BANDS_PER_GROUP = 8  # 1 kHz
LOUD_SHARE, QUIET_SHARE = 0.1, 0.3
OVERLAP_BELOW_SECONDS = 1.0  # a short word needs every frame that it can give
FEWEST_FRAMES = 3
LEAST_RATIO, LEAST_OWN_RATIO = 1.4, 8.0
SIGMAS = 3.0
DEPTH_DB = 80.0
CLIFF_DB, CLIFF_BANDS = 40.0, 24
ROUNDING_MARGIN = 6.0
FORMER_RATES = (8000, 11025, 16000, 22050, 24000, 32000)  # that recordings are often resampled from
IMAGE_BANDS = 16
FEWEST_IMAGE_FRAMES = 10
IMAGE_SPREAD_DB, IMAGE_SPREAD_SHARE = 2.5, 0.6
_TINY = np.float32(1e-30)
CONTENT_OF_GROUP = 5  # bands that must be content among the last eight: one alone is an accident

EXCERPT_SECONDS = 4.0
MOST_EXCERPTS = 16
_HALVINGS = (2 * BINS_PER_BAND).bit_length() - 1

Powers = NDArray[np.float32]  # (frames, bands)
Levels = NDArray[np.float64]  # (bands,)


class BandwidthMeter:
    """Measures, over consecutive excerpts, the highest frequency in which sound comes and goes as speech does.

    Powers are taken in bands of 125 Hz over frames of 32 ms. For each group of 1 kHz the loud frames are the tenth in
    which the 2 kHz *below* it are loudest, the quiet ones the 30 % in which they are softest: steady noise above the
    content, such as hiss or dither, cannot be louder in the former, since nothing of itself had a say in the choice.
    A band belongs to the content if

    - its mean power is higher in the loud frames by more than chance (3 standard errors of noise, at least 1.5 dB),
      or by 9 dB where its own group chooses the frames, as a sound may that nothing below accompanies;
    - it is more than rounding to 16 bits adds;
    - the added energy is within 80 dB of the loudest band's and within 40 dB of the loudest in the 3 kHz below: the
      stop band of a resampler or an encoder is deeper;
    - most bands of the 1 kHz below it belong to it as well;
    - it is no image: above half a usual sample rate, bands do not follow their mirror's power below to within 2.5 dB,
      and not much more closely than any other band's.

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


@lru_cache(maxsize=8)
def _rounding(sample_rate: int) -> float:
    """Return the power that rounding to 16 bits adds to a band."""
    return BINS_PER_BAND * float((_window(sample_rate) ** 2).sum()) * (2.0**-15) ** 2 / 12


def _band_powers(samples: Powers, sample_rate: int) -> Powers:
    """Return the powers ``(frames, bands)`` of an excerpt; one shorter than a frame is filled up with zeros."""
    window = _window(sample_rate)
    frame = len(window)
    if len(samples) < frame:
        samples = np.pad(samples, (0, frame - len(samples)))
    overlapping = len(samples) < OVERLAP_BELOW_SECONDS * sample_rate
    hop = frame // 2 if overlapping else frame
    frames = np.lib.stride_tricks.sliding_window_view(samples, frame)[::hop]
    power = scipy.fft.rfft(frames * window, overwrite_x=True).view(np.float32)
    np.square(power, out=power)
    # Real and imaginary parts alternate. Summing halves is several times as fast as summing along a short axis.
    power = power[:, : 2 * BINS_PER_BAND * (power.shape[1] // (2 * BINS_PER_BAND))]
    for _ in range(_HALVINGS):
        power = power[:, ::2] + power[:, 1::2]
    return power


def _band_hz(powers: Powers, sample_rate: int) -> float:
    rounding = _rounding(sample_rate)
    if powers.max() <= rounding:
        return sample_rate / 2
    loud, content = _content(powers, rounding)
    if not len(content):
        content = np.flatnonzero(_within_reach(loud))
    band_hz = BINS_PER_BAND * sample_rate / len(_window(sample_rate))
    end = int(content[-1]) + 1
    folds = [round(rate / 2 / band_hz) for rate in FORMER_RATES]
    images = _mirrored(powers, [fold for fold in folds if IMAGE_BANDS <= fold <= end - IMAGE_BANDS])
    return float(min(min([end, *images]) * band_hz, sample_rate / 2))


def _mirrored(powers: Powers, folds: Sequence[int]) -> list[int]:
    """Return those of some bands above which there is nothing but a resampler's image of what is below.

    Then their power is the same multiple of their mirror's in every frame; the ratio to another band varies.
    """
    count = max(FEWEST_IMAGE_FRAMES, round(LOUD_SHARE * len(powers)))
    if len(powers) < count or not folds:
        return []
    around = powers[:, np.array(folds)[:, None] + np.arange(-IMAGE_BANDS, IMAGE_BANDS)]
    loudest = np.argpartition(around[:, :, IMAGE_BANDS:].sum(axis=2), -count, axis=0)[-count:, :, None]
    around = np.take_along_axis(around, loudest, axis=0)
    pairs = 10 * np.log10(np.maximum(around[:, :, ::2] + around[:, :, 1::2], _TINY))
    half = IMAGE_BANDS // 2
    above, below = pairs[:, :, half:], pairs[:, :, :half]
    # The two bands next to the fold are its mirror's own edge, smeared.
    mirrored = np.sort((above - below[:, :, ::-1]).std(axis=0)[:, 1:])[:, half // 2 - 1]
    unmirrored = np.sort((above - below).std(axis=0))[:, half // 2]
    alike = mirrored < np.minimum(IMAGE_SPREAD_DB, IMAGE_SPREAD_SHARE * unmirrored)
    return [fold for fold, image in zip(folds, alike, strict=True) if image]


def _content(powers: Powers, rounding: float) -> tuple[Levels, NDArray[np.intp]]:
    """Return each band's level in loud frames, and the indices of the bands that belong to the content."""
    count, bands = powers.shape
    loudest = min(max(FEWEST_FRAMES, round(LOUD_SHARE * count)), max(count // 2, 1))
    quietest = min(max(FEWEST_FRAMES, round(QUIET_SHARE * count)), max(count // 2, 1))
    grouped = np.zeros((count, -(-bands // BANDS_PER_GROUP), BANDS_PER_GROUP), np.float32)
    grouped.reshape(count, -1)[:, :bands] = powers
    groups = np.einsum("tgb,gb->tg", grouped, 1 / (grouped.mean(axis=0) + np.float32(rounding)))
    below = np.concatenate([groups[:, 1:2] if groups.shape[1] > 1 else groups, groups[:, :-1]], axis=1)
    below[:, 2:] += groups[:, :-2]
    # Bins and frames overlap: under a Hann window, 1.5 bins and 1.4 frames count as one independent value.
    error = np.sqrt(1.5 * 1.4 / BINS_PER_BAND * (1 / loudest + 1 / quietest))
    loud, added, speech = np.zeros(bands), np.zeros(bands), np.zeros(bands, dtype=bool)
    for activity, least in ((below, max(LEAST_RATIO, 1 + SIGMAS * error)), (groups, LEAST_OWN_RATIO)):
        order = np.argpartition(activity, (quietest - 1, count - loudest), axis=0)[:, :, None]
        high = np.take_along_axis(grouped, order[-loudest:], axis=0).mean(axis=0, dtype=np.float64).ravel()[:bands]
        low = np.take_along_axis(grouped, order[:quietest], axis=0).mean(axis=0, dtype=np.float64).ravel()[:bands]
        loud = np.maximum(loud, high)
        added = np.maximum(added, high - low)
        speech |= high > least * (low + ROUNDING_MARGIN * rounding)
    speech &= _within_reach(added)
    company = np.convolve(speech, np.ones(BANDS_PER_GROUP))[:bands]
    return loud, np.flatnonzero(speech & (company >= np.minimum(CONTENT_OF_GROUP, np.arange(bands) + 1)))


def _within_reach(power: Levels) -> NDArray[np.bool_]:
    """Return which bands are neither too far below the loudest nor below a cliff."""
    near = maximum_filter1d(power, CLIFF_BANDS + 1, origin=CLIFF_BANDS // 2, mode="constant")
    return (power >= power.max() * 10 ** (-DEPTH_DB / 10)) & (power >= near * 10 ** (-CLIFF_DB / 10))
