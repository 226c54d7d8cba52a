"""How training speech varies beyond its recordings: voices of other sizes, microphones of other tilts."""

from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray

from datamodules.degradation.filters import filtered, fitted
from overtone.audio import Waveform
from overtone.errors import OvertoneError

_RESAMPLED_SHARE = 0.91  # of the Nyquist frequency that soxr's HQ passes unattenuated
_TILT_PIVOT_HZ = 1000.0
_TILT_LIMIT_DB = 12.0


@dataclass(frozen=True)
class Variation:
    """Draws a speed and a tilt for each training item, before its damage is applied.

    Attributes:
        speed: lowest and highest factor of playback. As on a tape, pitch, formants and the recording's band move with
            it, so that few speakers become many (Ko 2015).
        tilt_db_per_octave: lowest and highest slope, 0 dB at 1 kHz and within 12 dB, as between microphones and rooms.
        epochs: how many epochs vary; None for all. After them speech is heard as it was recorded, to its very top,
            which resampled speech cannot teach: see `band_hz`.

    Raises:
        OvertoneError: a value is no range, or a speed lies outside 0.5 to 2.
    """

    speed: tuple[float, float] = (1.0, 1.0)
    tilt_db_per_octave: tuple[float, float] = (0.0, 0.0)
    epochs: int | None = None

    def __post_init__(self) -> None:
        for name, bounds in {"speed": self.speed, "tilt_db_per_octave": self.tilt_db_per_octave}.items():
            if not _is_range(bounds):
                raise OvertoneError(f"{name}: expected a range [low, high] of numbers, got {bounds!r}.")
        if not 0.5 <= self.speed[0] <= self.speed[1] <= 2.0:
            raise OvertoneError(f"speed: expected factors from 0.5 to 2, got {self.speed[0]:g} to {self.speed[1]:g}.")

    def in_epoch(self, epoch: int) -> "Variation":
        """Return the variation of an epoch: this one, or none once the epochs that vary are over."""
        return self if self.epochs is None or epoch < self.epochs else Variation()

    def draw_speed(self, rng: np.random.Generator) -> float:
        """Return an item's speed; nothing is drawn where there is no choice, so that older runs can be repeated."""
        return _drawn(self.speed, rng)

    def band_hz(self, band_hz: float, speed: float, sample_rate: int) -> float:
        """Return up to where speech teaches its level once it is played at another speed, in Hz.

        Resampling falls off below the Nyquist frequency: slower speech moves the slope of its reading down, faster
        speech meets one of its own. A slope that is taken for content teaches a top that is 16 dB too quiet.

        Args:
            band_hz: up to where the recording teaches it.
            speed: factor of playback, from `draw_speed`.
            sample_rate: of the played speech in Hz.
        """
        if speed == 1.0:
            return min(band_hz, sample_rate / 2)
        flat_hz = _RESAMPLED_SHARE * sample_rate / 2
        return min(speed * min(band_hz, flat_hz), flat_hz)

    def apply(
        self, speech: Waveform, speed: float, samples: int, sample_rate: int, rng: np.random.Generator
    ) -> Waveform:
        """Return ``samples`` of speech ``(speed * samples,)`` played at ``speed``, under a tilt that is drawn here.

        Args:
            speech: ``(speed * samples,)``.
            speed: factor of playback, from `draw_speed`.
            samples: of the result.
            sample_rate: in Hz.
            rng: source of random numbers.
        """
        if speed != 1.0:
            speech = fitted(soxr.resample(speech, speed, 1.0, quality="HQ"), samples)
        slope = _drawn(self.tilt_db_per_octave, rng)
        return tilted(speech, slope, sample_rate) if slope else speech


def tilted(speech: Waveform, db_per_octave: float, sample_rate: int) -> Waveform:
    """Return speech under a zero-phase gain of ``db_per_octave`` around 1 kHz, at most 12 dB either way.

    Args:
        speech: ``(samples,)``.
        db_per_octave: slope, positive for a brighter sound.
        sample_rate: in Hz.
    """

    def gain(hertz: NDArray[np.float64]) -> NDArray[np.float32]:
        slope_db = db_per_octave * np.log2(np.maximum(hertz, 1.0) / _TILT_PIVOT_HZ)
        return (10 ** (np.clip(slope_db, -_TILT_LIMIT_DB, _TILT_LIMIT_DB) / 20)).astype(np.float32)

    return filtered(speech, sample_rate, gain)


def _is_range(bounds: object) -> bool:
    """Tell whether what a preset's author wrote is two numbers in order."""
    if not isinstance(bounds, list | tuple) or len(bounds) != 2:
        return False
    return all(isinstance(bound, int | float) for bound in bounds) and bounds[0] <= bounds[1]


def _drawn(bounds: tuple[float, float], rng: np.random.Generator) -> float:
    low, high = bounds
    return low if low == high else float(rng.uniform(low, high))
