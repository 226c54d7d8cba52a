"""Measures of what fills a missing band: hoarseness, hiss above it, and sound where the target has none."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.measures.stft import (
    NotApplicable,
    Power,
    bin_frequencies,
    check_pair,
    mel_filters,
    required_cutoff,
    shared_spectrogram,
)
from evaluation.statistics.separability import shares_less_suspect

FRAME_SECONDS, HOP_SECONDS = 0.064, 0.032
MISSING_BANDS, MINIMUM_BINS, MINIMUM_FRAMES = 9, 4, 8
STATISTICS_BANDS = 12
ACTIVE_RANGE_DB = 40.0
FLOOR_DB = -100.0
VOICE_HZ = 1500.0  # below it the harmonics of a voice are strong and stay apart within a frame
TINY = 1e-30


class MissingBand:
    """Power of both waveforms in 9 linear bands from 1.02 ``cutoff_hz`` to 0.98 min(``band_hz``, Nyquist).

    Periodic Hann frames of 64 ms, hop 32 ms, not centred.

    Attributes:
        preds_power: ``(bins, frames)`` of the estimate, at its own level.
        target_power: ``(bins, frames)``.
        edges: first bin of each of the 9 bands and the end of the last ``(10,)``.
        target_energy: the target's energy in the missing band ``(frames,)``.
        loudest: the largest of ``target_energy``.
        active: frames whose ``target_energy`` is within 40 dB of ``loudest`` ``(frames,)``.

    Raises:
        NotApplicable: no band is missing, the band has under 4 bins in a ninth of it, or the target is
            silent there.
    """

    def __init__(
        self,
        preds: ArrayLike,
        target: ArrayLike,
        sample_rate: int,
        cutoff_hz: float | None,
        band_hz: float,
    ) -> None:
        check_pair(preds, target)
        self.cutoff_hz = required_cutoff(cutoff_hz)
        self.preds_power, self.target_power = short_power(preds, target, sample_rate)
        self.frequencies = bin_frequencies(_frame_length(sample_rate), sample_rate)
        top_hz = 0.98 * min(band_hz, sample_rate / 2)
        limits = np.linspace(1.02 * self.cutoff_hz, max(top_hz, 1.02 * self.cutoff_hz), MISSING_BANDS + 1)
        self.edges = np.searchsorted(self.frequencies, limits)
        if np.diff(self.edges).min() < MINIMUM_BINS:
            raise NotApplicable(f"the missing band {cutoff_hz:.0f} to {band_hz:.0f} Hz is too narrow")
        self.target_energy = self.energy(self.target_power)
        self.loudest = float(self.target_energy.max())
        if self.loudest <= 0.0:
            raise NotApplicable("the target is silent in the missing band")
        self.active = self.target_energy >= self.loudest * 10 ** (-ACTIVE_RANGE_DB / 10)

    def energy(self, power: Power) -> NDArray[np.float64]:
        """Energy in the whole missing band ``(frames,)``."""
        return power[self.edges[0] : self.edges[-1]].sum(axis=0, dtype=np.float64)

    def band_energies(self, power: Power) -> NDArray[np.float64]:
        """Energy in each of the 9 bands ``(9, frames)``."""
        inside = power[self.edges[0] : self.edges[-1]].astype(np.float64)
        return np.add.reduceat(inside, self.edges[:-1] - self.edges[0], axis=0)

    def level_alignment(self) -> float:
        """Factor on the estimate's power that gives it the target's energy below 0.9 ``cutoff_hz``."""
        end = int(np.searchsorted(self.frequencies, 0.9 * self.cutoff_hz))
        preds, target = (float(power[:end].sum(dtype=np.float64)) for power in self._powers())
        return target / preds if preds > 0.0 else 1.0

    def _powers(self) -> tuple[Power, Power]:
        return self.preds_power, self.target_power


def _frame_length(sample_rate: int) -> int:
    return round(FRAME_SECONDS * sample_rate)


def short_power(preds: ArrayLike, target: ArrayLike, sample_rate: int) -> tuple[Power, Power]:
    """Power of both waveforms in frames of 64 ms, hop 32 ms, ``(bins, frames)`` each.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.
    """
    n_fft, hop_length = _frame_length(sample_rate), round(HOP_SECONDS * sample_rate)
    return (
        shared_spectrogram(preds, n_fft, hop_length, centred=False),
        shared_spectrogram(target, n_fft, hop_length, centred=False),
    )


def tonality(
    *,
    preds: ArrayLike,
    target: ArrayLike,
    sample_rate: int,
    cutoff_hz: float | None,
    band_hz: float,
) -> float:
    """Size of the difference of spectral flatness in the missing band of voiced frames, key ``tonality``.

    An envelope filled with noise sounds hoarse where the target has harmonics; one filled with copied
    harmonics sounds buzzy where the target is noisy. See `flatness_difference` for the sign and the
    definition.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.
        cutoff_hz: where the narrowband's own content ends, in Hz; None where no band is missing.
        band_hz: where the wideband's own content ends, in Hz.

    Returns:
        dB, 0 or more; lower is better.

    Raises:
        NotApplicable: as `flatness_difference`.
    """
    return abs(
        flatness_difference(
            preds=preds,
            target=target,
            sample_rate=sample_rate,
            cutoff_hz=cutoff_hz,
            band_hz=band_hz,
        )
    )


def flatness_difference(
    *,
    preds: ArrayLike,
    target: ArrayLike,
    sample_rate: int,
    cutoff_hz: float | None,
    band_hz: float,
) -> float:
    """Mean difference of spectral flatness in the missing band of the target's voiced frames.

    Flatness is the geometric over the arithmetic mean of power (Johnston 1988, equation 5) in each of the 9
    bands of `MissingBand`, in dB, averaged over the bands: within a band the envelope's tilt hardly counts.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.
        cutoff_hz: where the narrowband's own content ends, in Hz; None where no band is missing.
        band_hz: where the wideband's own content ends, in Hz.

    Returns:
        dB; 0 is best, positive is noisier than the target (hoarse), negative is more tonal (buzzy).

    Raises:
        NotApplicable: as `MissingBand`, or under 8 frames are voiced and active in the missing band.
    """
    band = MissingBand(preds, target, sample_rate, cutoff_hz, band_hz)
    chosen = band.active & voiced_frames(band.target_power, sample_rate)
    if chosen.sum() < MINIMUM_FRAMES:
        raise NotApplicable(f"{int(chosen.sum())} voiced frames in the missing band, {MINIMUM_FRAMES} needed")
    flatness = [_flatness_db(power[:, chosen], band.edges) for power in (band.preds_power, band.target_power)]
    return float(np.mean(flatness[0] - flatness[1]))


def _flatness_db(power: Power, edges: NDArray[np.intp]) -> NDArray[np.float64]:
    """Mean over the bands of 10 log10 of geometric over arithmetic mean, ``(frames,)``."""
    inside = np.maximum(power[edges[0] : edges[-1]].astype(np.float64), TINY)
    starts, widths = edges[:-1] - edges[0], np.diff(edges)[:, None]
    geometric = np.add.reduceat(10 * np.log10(inside), starts, axis=0) / widths
    arithmetic = 10 * np.log10(np.add.reduceat(inside, starts, axis=0) / widths)
    return (geometric - arithmetic).mean(axis=0)


def voiced_frames(
    power: Power, sample_rate: int, lowest_hz: float = 60.0, highest_hz: float = 400.0, threshold: float = 0.6
) -> NDArray[np.bool_]:
    """Which frames are voiced, by the autocorrelation of the band below 1.5 kHz over the window's own.

    Args:
        power: ``(bins, frames)`` of Hann frames at least two and a half periods of ``lowest_hz`` long.
        sample_rate: in Hz.
        lowest_hz: lowest fundamental looked for.
        highest_hz: highest fundamental looked for.
        threshold: least normalised autocorrelation of a voiced frame (Boersma 1993, equation 9).

    Returns:
        ``(frames,)``.
    """
    n_fft = 2 * (power.shape[0] - 1)
    bins = np.arange(int(VOICE_HZ * n_fft / sample_rate) + 1)
    low = np.where(bins[:, None] > 0, 2.0, 1.0).astype(np.float32) * power[bins]
    lags = np.arange(int(sample_rate / highest_hz), int(np.ceil(sample_rate / lowest_hz)) + 2)
    # The inverse transform at these lags only, over the periodic Hann window's own autocorrelation (equation 8).
    lag = lags[:, None] / n_fft
    window = (1 - lag) * (2 / 3 + np.cos(2 * np.pi * lag) / 3) + np.sin(2 * np.pi * lag) / (2 * np.pi)
    peak = ((np.cos(2 * np.pi * lag * bins) / window).astype(np.float32) @ low).max(axis=0)
    energy = low.sum(axis=0)
    return (energy > 1e-4 * energy.max()) & (peak > threshold * energy)


def excess_above_band(
    *,
    preds: ArrayLike,
    target: ArrayLike,
    sample_rate: int,
    band_hz: float,
) -> float:
    """Energy above ``band_hz`` against 1 kHz of the target below it, key ``excess_above_band``.

    Hears hiss where nothing was trained. The slope of the encoder or converter that ended the target's band is left
    out: the reference ends at 0.95 ``band_hz``, "above" begins at 1.02.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.
        band_hz: where the wideband's own content ends, in Hz.

    Returns:
        dB, at least -100; lower is better.

    Raises:
        NotApplicable: the wideband's band reaches within 4 bins of Nyquist, or is silent in that 1 kHz.
    """
    check_pair(preds, target)
    preds_power, target_power = short_power(preds, target, sample_rate)
    frequencies = bin_frequencies(_frame_length(sample_rate), sample_rate)
    above = frequencies > 1.02 * band_hz
    if above.sum() < MINIMUM_BINS:
        raise NotApplicable(f"there is nothing above the wideband's own band of {band_hz:.0f} Hz")
    edge_hz = 0.95 * band_hz
    below = (frequencies > edge_hz - 1000.0) & (frequencies <= edge_hz)
    reference = float(target_power[below].sum(dtype=np.float64))
    if reference <= 0.0:
        raise NotApplicable(f"the target is silent in the 1 kHz below {edge_hz:.0f} Hz")
    return decibel(float(preds_power[above].sum(dtype=np.float64)) / reference)


def hallucination(
    *,
    preds: ArrayLike,
    target: ArrayLike,
    sample_rate: int,
    cutoff_hz: float | None,
    band_hz: float,
) -> float:
    """Sound put into the missing band where the target has none, key ``hallucination``.

    In frames whose missing-band energy in the target is 50 dB below its loudest: the mean energy of the
    estimate there, relative to that loudest.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.
        cutoff_hz: where the narrowband's own content ends, in Hz; None where no band is missing.
        band_hz: where the wideband's own content ends, in Hz.

    Returns:
        dB, at least -100; lower is better.

    Raises:
        NotApplicable: as `MissingBand`, or no frame is so quiet.
    """
    band = MissingBand(preds, target, sample_rate, cutoff_hz, band_hz)
    quiet = band.target_energy < band.loudest * 1e-5
    if not quiet.any():
        raise NotApplicable("the target's missing band is never 50 dB below its loudest")
    return decibel(float(band.energy(band.preds_power)[quiet].mean()) / band.loudest)


def band_statistics(
    waveform: ArrayLike, sample_rate: int, cutoff_hz: float | None, band_hz: float
) -> NDArray[np.float64]:
    """Log-mel statistics of one waveform's missing band: what `separability` tells real from generated by.

    Levels in dB of 12 mel bands from 1.02 ``cutoff_hz`` to 0.98 min(``band_hz``, Nyquist), in frames of 64 ms, against
    the mean energy below 0.9 ``cutoff_hz``, so that no level of the recording counts, and at least -100; over the
    frames that are within 40 dB of the loudest below there.

    Args:
        waveform: recorded or generated ``(samples,)``.
        sample_rate: in Hz.
        cutoff_hz: where the narrowband's own content ended, in Hz; None where no band was missing.
        band_hz: where the wideband's own content ends, in Hz.

    Returns:
        ``(36,)``: of each band the mean and the standard deviation over frames, and the standard deviation of the
        steps from frame to frame.

    Raises:
        NotApplicable: no band is missing, it is too narrow, what is below it is silent, or under 8 frames are loud.
    """
    cutoff_hz = required_cutoff(cutoff_hz)
    power = short_power(waveform, waveform, sample_rate)[0]
    low = power[: int(0.9 * cutoff_hz * _frame_length(sample_rate) / sample_rate)].sum(axis=0, dtype=np.float64)
    loud = low >= max(low.max() * 10 ** (-ACTIVE_RANGE_DB / 10), TINY)
    if loud.sum() < MINIMUM_FRAMES:
        raise NotApplicable(f"{int(loud.sum())} loud frames, {MINIMUM_FRAMES} needed")
    bands = _mel_bands(sample_rate, cutoff_hz, band_hz) @ power / low[loud].mean()
    levels = 10 * np.log10(np.maximum(bands, 10 ** (FLOOR_DB / 10)))
    steps = np.diff(levels, axis=1)[:, loud[1:] & loud[:-1]]
    return np.concatenate([levels[:, loud].mean(axis=1), levels[:, loud].std(axis=1), steps.std(axis=1)])


def piece_statistics(
    preds: ArrayLike, target: ArrayLike, sample_rate: int, cutoff_hz: float | None, band_hz: float
) -> NDArray[np.float64]:
    """`band_statistics` of recording and estimate, a second at a time, so that a few utterances are many examples.

    Args:
        preds: the estimate ``(samples,)``.
        target: the wideband ``(samples,)``.
        sample_rate: of both, in Hz.
        cutoff_hz: where the narrowband's own content ends, in Hz; None where no band is missing.
        band_hz: where the wideband's own content ends, in Hz.

    Returns:
        ``(pieces, 2, features)``: of each piece that has statistics the target's, then the estimate's.

    Raises:
        NotApplicable: no piece has any, or the waveforms are shorter than one.
    """
    pieces, reason = [], "shorter than a second"
    for start in range(0, len(np.asarray(target)) - sample_rate + 1, sample_rate):
        sides = (np.asarray(one)[start : start + sample_rate] for one in (target, preds))
        try:
            pieces.append([band_statistics(side, sample_rate, cutoff_hz, band_hz) for side in sides])
        except NotApplicable as error:
            reason = str(error)
    if not pieces:
        raise NotApplicable(reason)
    return np.array(pieces)


def told_apart(pieces: Sequence[NDArray[np.float64]], speakers: Sequence[str]) -> list[float]:
    """Return for each estimate the mean of `shares_less_suspect` over its pieces, which are judged with all others.

    Args:
        pieces: of each pair ``(pieces, 2, features)``, as `piece_statistics` gives them.
        speakers: whom each pair belongs to.

    Raises:
        NotApplicable: there are fewer than two speakers.
    """
    if len(set(speakers)) < 2:
        raise NotApplicable("one speaker, two needed")
    both, counts = np.concatenate(pieces), [len(own) for own in pieces]
    shares = shares_less_suspect(both[:, 0], both[:, 1], np.repeat(speakers, counts).tolist())
    return [float(own.mean()) for own in np.split(shares, np.cumsum(counts)[:-1])]


def _mel_bands(sample_rate: int, cutoff_hz: float, band_hz: float) -> NDArray[np.float64]:
    low_hz, high_hz = 1.02 * cutoff_hz, 0.98 * min(band_hz, sample_rate / 2)
    if high_hz - low_hz < STATISTICS_BANDS * MINIMUM_BINS / FRAME_SECONDS:
        raise NotApplicable(f"the missing band {cutoff_hz:.0f} to {band_hz:.0f} Hz is too narrow")
    return mel_filters(sample_rate, _frame_length(sample_rate), STATISTICS_BANDS, low_hz, high_hz)


def decibel(ratio: float) -> float:
    """Return a ratio of powers in dB, at least -100."""
    return max(FLOOR_DB, 10 * float(np.log10(max(ratio, TINY))))
