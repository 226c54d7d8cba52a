"""What can happen to speech: the registry of sample-aligned, length-exact steps.

A step is ``step(waveform, scene, *, parameter=...) -> waveform`` ``(samples,)`` float32; `STEPS` registers them by the
kind that a condition names. Ranges, probabilities, shares and names are the business of
`datamodules.degradation.conditions`.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from datamodules.degradation import backgrounds, channel, codecs, filters, rooms
from overtone.audio import Waveform

Cutoff = Callable[..., float | None]


@dataclass(frozen=True)
class Between:
    """A parameter that is a number.

    Attributes:
        lowest: that is allowed.
        highest: that is allowed.
        whole: whether only whole numbers make sense.
    """

    lowest: float
    highest: float
    whole: bool = False

    def __str__(self) -> str:
        return f"{'a whole number' if self.whole else 'a number'} from {self.lowest:g} to {self.highest:g}"


@dataclass(frozen=True)
class OneOf:
    """A parameter that is one of some names."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return f"one of {', '.join(self.names)}"


Allowed = Between | OneOf


def _no_cutoff(sample_rate: int, **parameters: Any) -> None:  # noqa: ANN401 - numbers and names
    return None


@dataclass(frozen=True)
class Step:
    """A registered step.

    Attributes:
        apply: ``apply(waveform, scene, **parameters)``.
        example: typical parameters, those that have no default at least; the tests run them.
        allowed: what each parameter may be; those with a default in ``apply`` may be left out.
        cutoff_hz: ``cutoff_hz(sample_rate, **parameters)`` says where the step ends the band; None where it takes
            nothing away.
        clean: whether nothing but a band goes missing above the cutoff.
    """

    apply: Callable[..., Waveform]
    example: Mapping[str, float | str] = field(default_factory=dict)
    allowed: Mapping[str, Allowed] = field(default_factory=dict)
    cutoff_hz: Cutoff = _no_cutoff
    clean: bool = False

    @property
    def defaults(self) -> dict[str, float | str]:
        """The parameters that may be left out."""
        signature = inspect.signature(self.apply).parameters
        return {
            name: signature[name].default
            for name in self.allowed
            if signature[name].default is not inspect.Parameter.empty
        }


_HZ = Between(20, 192_000)
_RATE = Between(1000, 384_000)
_ORDER = Between(1, 20, whole=True)
_SNR_DB = Between(-30, 100)

STEPS: dict[str, Step] = {
    "lowpass": Step(
        filters.lowpass,
        example={"cutoff_hz": 3000},
        allowed={
            "cutoff_hz": _HZ,
            "family": OneOf(filters.FAMILIES),
            "order": _ORDER,
            "ripple_db": Between(1e-9, 6),
        },
        cutoff_hz=lambda sample_rate, cutoff_hz, **_: cutoff_hz,
        clean=True,
    ),
    "resample": Step(
        filters.resample,
        example={"rate": 6000},
        allowed={"rate": _RATE, "quality": OneOf(filters.RESAMPLING_QUALITIES)},
        cutoff_hz=lambda sample_rate, rate, quality: round(rate) / 2,
        clean=True,
    ),
    "bandpass": Step(
        filters.bandpass,
        allowed={"low_hz": _HZ, "high_hz": _HZ, "order": _ORDER},
        cutoff_hz=lambda sample_rate, high_hz, **_: high_hz,
    ),
    "bits": Step(codecs.bits, example={"bits": 8}, allowed={"bits": Between(2, 24, whole=True)}),
    "mp3": Step(
        codecs.mp3,
        example={"kbps": 32},
        allowed={"kbps": Between(8, 320), "quality": Between(0, 9, whole=True)},
        cutoff_hz=codecs.mp3_cutoff_hz,
    ),
    "opus": Step(codecs.opus, example={"kbps": 16}, allowed={"kbps": Between(6, 256)}, cutoff_hz=codecs.opus_cutoff_hz),
    "vorbis": Step(
        codecs.vorbis,
        example={"quality": 0},
        allowed={"quality": Between(0, 10)},
        cutoff_hz=codecs.vorbis_cutoff_hz,
    ),
    "mulaw": Step(codecs.mulaw, allowed={"rate": _RATE}, cutoff_hz=lambda sample_rate, rate: round(rate) / 2),
    "alaw": Step(codecs.alaw, allowed={"rate": _RATE}, cutoff_hz=lambda sample_rate, rate: round(rate) / 2),
    "gsm": Step(codecs.gsm, cutoff_hz=lambda sample_rate: codecs.TELEPHONE_RATE / 2),
    "noise": Step(backgrounds.noise, example={"snr_db": 15}, allowed={"snr_db": _SNR_DB}),
    "talkers": Step(
        backgrounds.talkers,
        example={"snr_db": 15},
        allowed={"snr_db": _SNR_DB, "count": Between(1, 20, whole=True)},
    ),
    "music": Step(backgrounds.music, example={"snr_db": 15}, allowed={"snr_db": _SNR_DB}),
    "echo": Step(
        rooms.echo,
        example={"rt60_seconds": 0.4, "direct_to_reverberant_db": 6},
        allowed={"rt60_seconds": Between(0.01, 10), "direct_to_reverberant_db": Between(-20, 60)},
    ),
    "room": Step(rooms.room),
    "transmission": Step(
        channel.transmission,
        example={"snr_db": 15},
        allowed={"snr_db": _SNR_DB, "fading_db": Between(0, 40)},
    ),
    "clip": Step(channel.clip, example={"db": 6}, allowed={"db": Between(0, 60)}),
    "packet_loss": Step(
        channel.packet_loss,
        example={"share": 0.1},
        allowed={
            "share": Between(0, 0.5),
            "packet_ms": Between(1, 200),
            "burst": Between(1, 50),
            "concealment": OneOf(channel.CONCEALMENTS),
        },
    ),
    "gain": Step(channel.gain, example={"db": -6}, allowed={"db": Between(-120, 120)}),
}
