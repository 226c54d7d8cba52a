"""Rows of which everybody knows how good they are: cheats, steps from worse to better, and targets hardly changed.

What a measure makes of them is what it can be believed for. Noise is seeded by the utterance's names, so that each
row is the same again.
"""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from datamodules.degradation.codecs import mp3
from datamodules.degradation.scene import Scene
from evaluation.contracts import System, Utterance
from evaluation.measures.stft import power_spectrogram
from models.baselines import OracleEnvelopeNoise, build_controls
from overtone.audio import Waveform

NOTHING_GAINED = "nothing gained"
BETTER_AND_BETTER = "better and better"
TARGET_CHANGED = "target, changed"
GROUPS = (NOTHING_GAINED, BETTER_AND_BETTER, TARGET_CHANGED)
TILT_PIVOT_HZ = 1000.0
AVERAGE_N_FFT = 1024
CLIPPED_SHARE = 0.5

Array = NDArray[np.float64]
Change = Callable[[Waveform, Utterance], NDArray[np.floating]]


@dataclass(frozen=True)
class Trial:
    """A row of the table.

    Attributes:
        group: `NOTHING_GAINED`: knows nothing of the missing band that counts, so must not score better than the
            unprocessed input. `BETTER_AND_BETTER`: has more of the missing band than ``better_than``.
            `TARGET_CHANGED`: the truth after what a listener hardly minds, so must not score worse than the
            unprocessed input.
        description: what it is, in a few words.
        system: what makes it.
        better_than: the row of which everybody knows that this one is better; None where nobody does.
    """

    group: str
    description: str
    system: System
    better_than: str | None = None

    @property
    def name(self) -> str:
        """The row's name."""
        return self.system.name


@dataclass
class Changed:
    """A change of the narrowband or, where ``of_target``, of the wideband."""

    name: str
    change: Change
    of_target: bool = False

    def __call__(self, utterance: Utterance) -> Waveform:
        """Return the changed waveform ``(samples,)``."""
        waveform = utterance.wideband if self.of_target else utterance.narrowband
        return np.asarray(self.change(waveform, utterance), dtype=np.float32)


@dataclass
class PartlyRestored:
    """The wideband's missing band mixed with noise of its envelope, ``share`` of the energy being the truth."""

    name: str
    share: float

    def __call__(self, utterance: Utterance) -> Waveform:
        """Return the narrowband with the mixture above the cutoff ``(samples,)``."""
        if utterance.cutoff_hz is None:
            return utterance.narrowband
        noise = OracleEnvelopeNoise(self.name)(utterance).astype(np.float64) - utterance.narrowband
        truth = _above_cutoff(utterance.wideband, utterance)
        return (utterance.narrowband + np.sqrt(self.share) * truth + np.sqrt(1 - self.share) * noise).astype(np.float32)


def build_trials(fit_utterances: Iterable[Utterance]) -> list[Trial]:
    """Return every row: controls, cheats, steps and changed targets, in the table's order.

    Args:
        fit_utterances: training utterances under the conditions that will be scored, for the controls that learn.

    Raises:
        OvertoneError: as `models.baselines.build_controls`.
    """
    controls = {control.name: control for control in build_controls(fit_utterances)}

    def control(group: str, name: str, description: str, better_than: str | None = None) -> Trial:
        return Trial(group, description, controls[name], better_than)

    def cheat(name: str, description: str, change: Change) -> Trial:
        return Trial(NOTHING_GAINED, description, Changed(name, change))

    def step(system: System, description: str, better_than: str) -> Trial:
        return Trial(BETTER_AND_BETTER, description, system, better_than)

    def envelope(bands: int, better_than: str) -> Trial:
        system = OracleEnvelopeNoise(f"envelope_{bands}_bands", bands=bands)
        return step(system, f"the same in {bands} bands", better_than)

    def restored(name: str, share: float, better_than: str) -> Trial:
        description = f"{share:.0%} of the missing band's energy is the target's, the rest noise of its 12 bands"
        return step(PartlyRestored(name, share), description, better_than)

    def target(name: str, description: str, change: Change) -> Trial:
        return Trial(TARGET_CHANGED, description, Changed(name, change, of_target=True))

    return [
        control(NOTHING_GAINED, "unprocessed", "the input"),
        control(NOTHING_GAINED, "unprocessed_noise", "the input and white noise at -70 dBFS"),
        cheat("louder_noise", "the input and white noise at -50 dBFS", _noise(-50.0)),
        cheat("silence", "zeros", _gain(0.0)),
        cheat("twice_as_loud", "the input at +6 dB", _gain(2.0)),
        cheat("tilted_up", "the input, +3 dB per octave", _tilt(3.0)),
        cheat("tilted_down", "the input, -3 dB per octave", _tilt(-3.0)),
        cheat("average_noise", "steady noise of the target's own average spectrum above the cutoff", _average_noise),
        cheat("misplaced_band", "the target's missing band, half the clip late", _misplaced_band),
        control(BETTER_AND_BETTER, "cubic_spline", "interpolated by a cubic spline: faint images of the band below"),
        control(BETTER_AND_BETTER, "spectral_band_replication", "the band below copied up", "unprocessed"),
        control(BETTER_AND_BETTER, "ridge_envelope", "the predicted envelope on noise", "unprocessed"),
        control(
            BETTER_AND_BETTER, "oracle_envelope_noise", "the target's envelope in 12 bands on noise", "ridge_envelope"
        ),
        envelope(24, "oracle_envelope_noise"),
        envelope(48, "envelope_24_bands"),
        restored("half_restored", 0.5, "oracle_envelope_noise"),
        restored("mostly_restored", 0.9, "half_restored"),
        restored("nearly_restored", 0.99, "mostly_restored"),
        control(TARGET_CHANGED, "target_gain", "x 0.99"),
        target("target_6_db_up", "x 2", _gain(2.0)),
        target("target_6_db_down", "x 0.5", _gain(0.5)),
        target("target_inverted", "the polarity turned", _gain(-1.0)),
        target("target_1_late", "1 sample late", _delay(1)),
        target("target_10_late", "10 samples late", _delay(10)),
        target("target_100_late", "100 samples late", _delay(100)),
        target("target_tilted_up", "+3 dB per octave", _tilt(3.0)),
        target("target_tilted_down", "-3 dB per octave", _tilt(-3.0)),
        target("target_clipped", "clipped at half of its peak", _clipped),
        target("target_mp3_64k", "MP3 at 64 kbps", _mp3_64k),
    ]


def _gain(factor: float) -> Change:
    return lambda waveform, _: factor * waveform


def _noise(level_dbfs: float) -> Change:
    def change(waveform: Waveform, utterance: Utterance) -> Array:
        noise = _generator(utterance, f"noise {level_dbfs:g}").standard_normal(len(waveform))
        return waveform + 10 ** (level_dbfs / 20) * noise

    return change


def _delay(samples: int) -> Change:
    return lambda waveform, _: np.pad(waveform, (samples, 0))[: len(waveform)]


def _tilt(decibel_per_octave: float) -> Change:
    """A straight line over the logarithm of frequency, 0 dB at 1 kHz, level from 50 Hz down."""

    def change(waveform: Waveform, utterance: Utterance) -> Array:
        spectrum, frequencies = _spectrum(waveform, utterance)
        octaves = np.log2(np.maximum(frequencies, 50.0) / TILT_PIVOT_HZ)
        return np.fft.irfft(spectrum * 10 ** (decibel_per_octave * octaves / 20), len(waveform))

    return change


def _clipped(waveform: Waveform, _: Utterance) -> Waveform:
    limit = CLIPPED_SHARE * float(np.abs(waveform).max())
    return np.clip(waveform, -limit, limit)


def _mp3_64k(waveform: Waveform, utterance: Utterance) -> Waveform:
    return mp3(waveform, Scene(utterance.sample_rate, _generator(utterance, "mp3")), kbps=64)


def _average_noise(waveform: Waveform, utterance: Utterance) -> Array:
    if utterance.cutoff_hz is None:
        return waveform.astype(np.float64)
    average = power_spectrogram(utterance.wideband, AVERAGE_N_FFT, AVERAGE_N_FFT // 2, centred=False).mean(axis=1)
    noise = _generator(utterance, "average noise").standard_normal(len(waveform))
    shaped, frequencies = _spectrum(noise, utterance)
    bins = np.linspace(0.0, utterance.sample_rate / 2, len(average))
    # White noise of unit variance has 3/8 of the frame's length in every bin of a Hann window.
    shaped *= np.sqrt(np.interp(frequencies, bins, average) / (0.375 * AVERAGE_N_FFT))
    shaped[frequencies < utterance.cutoff_hz] = 0.0
    return waveform + np.fft.irfft(shaped, len(waveform))


def _misplaced_band(waveform: Waveform, utterance: Utterance) -> Array:
    return waveform + np.roll(_above_cutoff(utterance.wideband, utterance), len(waveform) // 2)


def _above_cutoff(waveform: NDArray[np.floating], utterance: Utterance) -> Array:
    """What lies above the cutoff, ``(samples,)``; zeros where no band is missing."""
    spectrum, frequencies = _spectrum(waveform, utterance)
    spectrum[frequencies < (np.inf if utterance.cutoff_hz is None else utterance.cutoff_hz)] = 0.0
    return np.fft.irfft(spectrum, len(waveform))


def _spectrum(waveform: NDArray[np.floating], utterance: Utterance) -> tuple[NDArray[np.complex128], Array]:
    """Spectrum of the whole waveform and its frequencies in Hz ``(bins,)``."""
    spectrum = np.fft.rfft(waveform.astype(np.float64))
    return spectrum, np.fft.rfftfreq(len(waveform), 1 / utterance.sample_rate).astype(np.float64)


def _generator(utterance: Utterance, name: str) -> np.random.Generator:
    words = (name, utterance.condition, utterance.speaker, utterance.file)
    return np.random.default_rng([zlib.crc32(word.encode()) for word in words])
