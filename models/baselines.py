"""Controls and baselines: the rows that show what a measure hears, and what a candidate must be better than.

`target_gain` and `oracle_envelope_noise` read the utterance's wideband; all others its narrowband only. Those that
fill a band read ``cutoff_hz``, which no candidate is given, leave the band below it as it is, and return the
narrowband unchanged where no band is missing. Their noise is seeded by the utterance's names: it depends neither on
the order of calls nor on the process.
"""

import itertools
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.ndimage import uniform_filter1d
from scipy.signal import ShortTimeFFT

from evaluation.contracts import System, Utterance
from evaluation.measures.stft import periodic_hann
from overtone.audio import Waveform, resample
from overtone.errors import OvertoneError

CONTROLS = (
    "unprocessed",
    "unprocessed_noise",
    "target_gain",
    "cubic_spline",
    "spectral_band_replication",
    "ridge_envelope",
    "oracle_envelope_noise",
)
ENVELOPE_BANDS = 12
RIDGE_FEATURES = 24
POWER_FLOOR = 1e-10
ERROR_SECONDS = 0.25  # a syllable

Spectrum = NDArray[np.complex128]
Array = NDArray[np.float64]
Bins = NDArray[np.intp]


def build_controls(fit_utterances: Iterable[Utterance] | None = None) -> list[System]:
    """Every control of `CONTROLS`, in that order; those that learn are fitted on ``fit_utterances``.

    Args:
        fit_utterances: training utterances under the conditions that will be scored; read once. None leaves those
            that learn out.

    Raises:
        OvertoneError: as `RidgeEnvelope.fit`.
    """
    learned: list[System] = []
    if fit_utterances is not None:
        ridge_envelope = RidgeEnvelope()
        ridge_envelope.fit(fit_utterances)
        learned.append(ridge_envelope)
    return [
        Unprocessed(),
        UnprocessedNoise(),
        TargetGain(),
        CubicSplineInterpolation(),
        SpectralBandReplication(),
        *learned,
        OracleEnvelopeNoise(),
    ]


@dataclass
class Unprocessed:
    """Doing nothing: the narrowband itself."""

    name: str = "unprocessed"
    latency_samples: int | None = 0
    block_samples: int | None = None

    def __call__(self, utterance: Utterance) -> Waveform:
        """Return the narrowband ``(samples,)``."""
        return utterance.narrowband


@dataclass
class UnprocessedNoise:
    """The narrowband with white noise at -70 dBFS: nothing is gained, and log-spectral distance halves."""

    name: str = "unprocessed_noise"
    latency_samples: int | None = 0
    block_samples: int | None = None
    level_dbfs: float = -70.0

    def __call__(self, utterance: Utterance) -> Waveform:
        """Return the noisy narrowband ``(samples,)``."""
        noise = _noise_generator(utterance, self.name).standard_normal(len(utterance.narrowband))
        return (utterance.narrowband + 10 ** (self.level_dbfs / 20) * noise).astype(np.float32)


@dataclass
class TargetGain:
    """The wideband at 0.99 of its level: all but perfect, so what a measure takes off is the measure's."""

    name: str = "target_gain"
    latency_samples: int | None = None
    block_samples: int | None = None

    def __call__(self, utterance: Utterance) -> Waveform:
        """Return the attenuated wideband ``(samples,)``."""
        return (0.99 * utterance.wideband).astype(np.float32)


@dataclass
class CubicSplineInterpolation:
    """A cubic spline through the samples that a recording at twice the cutoff would have (Kuleshov 2017)."""

    name: str = "cubic_spline"
    latency_samples: int | None = None
    block_samples: int | None = None

    def __call__(self, utterance: Utterance) -> Waveform:
        """Return the interpolated narrowband ``(samples,)``."""
        samples, low_rate = utterance.narrowband, round(2 * (utterance.cutoff_hz or 0))
        if not 0 < low_rate < utterance.sample_rate:
            return samples
        step, remainder = divmod(utterance.sample_rate, low_rate)
        picked = samples[::step] if remainder == 0 else resample(samples, utterance.sample_rate, low_rate)
        if len(picked) < 2:
            return samples
        spline = CubicSpline(np.arange(len(picked)) / low_rate, picked)
        return spline(np.arange(len(samples)) / utterance.sample_rate).astype(np.float32)


@dataclass
class SpectralBandReplication:
    """The upper half of the band below the cutoff copied upwards, along the low band's extrapolated tilt.

    Copy-up in the manner of Dietz 2002, without its transmitted envelope: per frame a line is fitted to the low
    band's level in dB over frequency and continued, never upwards and by at most 12 dB per kHz.
    """

    name: str = "spectral_band_replication"
    latency_samples: int | None = None
    block_samples: int | None = None

    def __call__(self, utterance: Utterance) -> Waveform:
        """Return the narrowband with its copy above the cutoff ``(samples,)``."""
        if utterance.cutoff_hz is None:
            return utterance.narrowband
        transform = _Transform(utterance.sample_rate)
        spectrum = transform.forward(utterance.narrowband)
        first = transform.first_missing_bin(utterance.cutoff_hz)
        source_first = first // 2
        if first - source_first < 2 or first >= len(spectrum):
            return utterance.narrowband
        slope = _tilt(spectrum[max(1, first // 8) : first])
        destination = np.arange(first, len(spectrum))
        source = source_first + (destination - first) % (first - source_first)
        slope = np.clip(slope, -12.0 / 1000 * transform.bin_hz, 0.0)
        gain = 10 ** ((destination - source)[:, None] * slope / 20)
        missing = np.zeros_like(spectrum)
        missing[first:] = spectrum[source] * gain
        return _added(utterance.narrowband, transform.inverse(missing, len(utterance.narrowband)))


@dataclass
class OracleEnvelopeNoise:
    """The wideband's own envelope in 12 (or so many) bands of the missing band, filled with noise.

    What no envelope predictor can beat, and what a measure that rates it best cannot hear. Made worse on purpose, it
    says what an error of the envelope costs.

    Attributes:
        bands: of the envelope; with one, only the level of a frame is right.
        smoothing_seconds: over how long the envelope's level in dB is averaged.
        error_db: standard deviation of an error of the envelope that changes over `ERROR_SECONDS`, in dB.
    """

    name: str = "oracle_envelope_noise"
    latency_samples: int | None = None
    block_samples: int | None = None
    bands: int = ENVELOPE_BANDS
    smoothing_seconds: float = 0.0
    error_db: float = 0.0

    def __call__(self, utterance: Utterance) -> Waveform:
        """Return the narrowband with shaped noise above the cutoff ``(samples,)``."""
        if utterance.cutoff_hz is None:
            return utterance.narrowband
        transform = _Transform(utterance.sample_rate)
        edges = transform.missing_band_edges(utterance.cutoff_hz, self.bands)
        envelope = _band_log_power(transform.forward(utterance.wideband), edges)
        if self.smoothing_seconds:
            envelope = transform.smoothed(envelope, self.smoothing_seconds)
        if self.error_db:
            error = _noise_generator(utterance, f"{self.name} error").standard_normal(envelope.shape)
            slow = transform.smoothed(error, ERROR_SECONDS)
            envelope += self.error_db * np.log(10) / 10 * slow / slow.std()
        return _filled_with_noise(utterance, transform, edges, envelope, self.name)


@dataclass
class RidgeEnvelope:
    """Linear (ridge) regression of the missing band's log envelope on the low band's, filled with noise.

    One regression per condition and cutoff, per frame, without context: what a toy is better than. A band above a
    training clip's own ``band_hz`` is not learned from that clip.
    """

    name: str = "ridge_envelope"
    latency_samples: int | None = None
    block_samples: int | None = None
    penalty: float = 1.0
    _weights: dict[tuple[str, float], Array] = field(default_factory=dict, init=False, repr=False)

    def fit(self, utterances: Iterable[Utterance]) -> None:
        """Fit on training utterances, read once; those without a missing band are skipped.

        Raises:
            OvertoneError: a condition's utterances hold no frame of a band to learn from.
        """
        sums: dict[tuple[str, float], _NormalEquations] = {}
        for utterance in utterances:
            if utterance.cutoff_hz is not None:
                key = (utterance.condition, float(utterance.cutoff_hz))
                sums.setdefault(key, _NormalEquations()).add(utterance)
        for (condition, cutoff_hz), equations in sums.items():
            weights = equations.solve(self.penalty)
            if weights is None:
                raise OvertoneError(
                    f"ridge_envelope: no training clip of condition {condition} reaches above {cutoff_hz:.0f} Hz. "
                    "Expected wideband speech; leave the condition out or use another corpus."
                )
            self._weights[condition, cutoff_hz] = weights

    def __call__(self, utterance: Utterance) -> Waveform:
        """Return the narrowband with shaped noise above the cutoff ``(samples,)``.

        Raises:
            OvertoneError: `fit` has seen no utterance with a missing band.
        """
        if utterance.cutoff_hz is None:
            return utterance.narrowband
        transform = _Transform(utterance.sample_rate)
        features = _features(transform, utterance)
        envelope = self._nearest(utterance.condition, utterance.cutoff_hz) @ features
        edges = transform.missing_band_edges(utterance.cutoff_hz)
        return _filled_with_noise(utterance, transform, edges, envelope, self.name)

    def _nearest(self, condition: str, cutoff_hz: float) -> Array:
        """The weights ``(bands, features)`` of the nearest cutoff, of the same condition where there is one."""
        if not self._weights:
            raise OvertoneError("ridge_envelope is not fitted. Expected training utterances with a missing band.")
        return self._weights[
            min(self._weights, key=lambda known: (abs(known[1] - cutoff_hz), known[0] != condition, known))
        ]


class _NormalEquations:
    """Sums of the ridge regressions of the bands, one per band since each may leave clips out."""

    def __init__(self) -> None:
        size = RIDGE_FEATURES + 1
        self.features = np.zeros((ENVELOPE_BANDS, size, size))
        self.products = np.zeros((ENVELOPE_BANDS, size))
        self.frames = np.zeros(ENVELOPE_BANDS)

    def add(self, utterance: Utterance) -> None:
        assert utterance.cutoff_hz is not None
        transform = _Transform(utterance.sample_rate)
        edges = transform.missing_band_edges(utterance.cutoff_hz)
        features = _features(transform, utterance)
        envelope = _band_log_power(transform.forward(utterance.wideband), edges)
        covered = edges[1:] * transform.bin_hz <= utterance.band_hz + transform.bin_hz
        self.features[covered] += features @ features.T
        self.products[covered] += envelope[covered] @ features.T
        self.frames[covered] += features.shape[1]

    def solve(self, penalty: float) -> Array | None:
        """Weights ``(bands, features)``; a band that no clip covers follows the highest one that some do."""
        if not self.frames[0]:
            return None
        diagonal = penalty * np.eye(RIDGE_FEATURES + 1)
        diagonal[-1, -1] = 1e-6  # the bias is free
        highest = np.maximum.accumulate(np.where(self.frames > 0, np.arange(ENVELOPE_BANDS), 0))
        solved = [np.linalg.solve(self.features[band] + diagonal, self.products[band]) for band in highest]
        return np.stack(solved)


class _Transform:
    """STFT of 32 ms every 8 ms with a periodic Hann window, whose inverse restores the waveform."""

    def __init__(self, sample_rate: int) -> None:
        hop_length = round(0.008 * sample_rate)
        self.hop_seconds = hop_length / sample_rate
        self.n_fft = 4 * hop_length
        self.bin_hz = sample_rate / self.n_fft
        self._transform = ShortTimeFFT(periodic_hann(self.n_fft), hop_length, sample_rate)

    def forward(self, waveform: NDArray[np.floating]) -> Spectrum:
        """``(samples,)`` to ``(bins, frames)``; short waveforms are padded, which `inverse` takes off again."""
        samples = np.asarray(waveform, dtype=np.float64)
        return self._transform.stft(np.pad(samples, (0, max(0, self.n_fft - len(samples)))))

    def inverse(self, spectrum: Spectrum, samples: int) -> Array:
        """``(bins, frames)`` to ``(samples,)``."""
        return self._transform.istft(spectrum, k1=max(samples, self.n_fft))[:samples]

    def smoothed(self, values: Array, seconds: float) -> Array:
        """The moving average over time of ``(bands, frames)``."""
        return uniform_filter1d(values, max(1, round(seconds / self.hop_seconds)), axis=1, mode="nearest")

    def first_missing_bin(self, cutoff_hz: float) -> int:
        return int(np.ceil(cutoff_hz / self.bin_hz))

    def missing_band_edges(self, cutoff_hz: float, bands: int = ENVELOPE_BANDS) -> Bins:
        """First bins of the bands from the cutoff to Nyquist and the end of the last ``(bands + 1,)``."""
        return self._edges(min(self.first_missing_bin(cutoff_hz), self.n_fft // 2), self.n_fft // 2 + 1, bands)

    def low_band_edges(self, cutoff_hz: float) -> Bins:
        """First bins of the features' bands from the lowest bin to the cutoff, and the end ``(25,)``."""
        return self._edges(1, max(2, min(self.first_missing_bin(cutoff_hz), self.n_fft // 2)), RIDGE_FEATURES)

    @staticmethod
    def _edges(first: int, last: int, bands: int) -> Bins:
        return np.linspace(first, last, bands + 1).round().astype(np.intp)


def _band_log_power(spectrum: Spectrum, edges: Bins) -> Array:
    """Natural log of mean power per bin in each band ``(bands, frames)``; an empty band has its first bin's."""
    power = spectrum.real**2 + spectrum.imag**2
    bands = [power[first : max(last, first + 1)].mean(axis=0) for first, last in itertools.pairwise(edges)]
    return np.log(np.stack(bands) + POWER_FLOOR)


def _features(transform: _Transform, utterance: Utterance) -> Array:
    """The low band's log envelope and a bias ``(25, frames)``."""
    assert utterance.cutoff_hz is not None
    envelope = _band_log_power(transform.forward(utterance.narrowband), transform.low_band_edges(utterance.cutoff_hz))
    return np.vstack([envelope, np.ones(envelope.shape[1])])


def _tilt(spectrum: Spectrum) -> Array:
    """Slope of a line through the level over the bins, dB per bin ``(frames,)``."""
    level = 10 * np.log10(spectrum.real**2 + spectrum.imag**2 + POWER_FLOOR)
    position = np.arange(len(level)) - (len(level) - 1) / 2
    return position @ level / (position @ position)


def _filled_with_noise(
    utterance: Utterance, transform: _Transform, edges: Bins, envelope: Array, name: str
) -> Waveform:
    """Add noise whose mean log power per band and frame is ``envelope`` ``(bands, frames)`` to the narrowband."""
    samples = len(utterance.narrowband)
    noise = transform.forward(_noise_generator(utterance, name).standard_normal(samples))
    missing = np.zeros_like(noise)
    # White noise of unit variance has this power in every bin on average.
    unit = float(np.sum(periodic_hann(transform.n_fft) ** 2))
    for band, (first, last) in enumerate(itertools.pairwise(edges)):
        missing[first:last] = noise[first:last] * np.sqrt(np.exp(envelope[band]) / unit)
    return _added(utterance.narrowband, transform.inverse(missing, samples))


def _added(narrowband: Waveform, missing: Array) -> Waveform:
    return (narrowband + missing).astype(np.float32)


def _noise_generator(utterance: Utterance, name: str) -> np.random.Generator:
    words = (name, utterance.condition, utterance.speaker, utterance.file)
    return np.random.default_rng([zlib.crc32(word.encode()) for word in words])
