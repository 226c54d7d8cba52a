"""Input of the harness: utterances, and systems that turn them into estimates."""

from dataclasses import dataclass
from typing import Protocol

from overtone.audio import Waveform


@dataclass(frozen=True)
class Utterance:
    """One scored clip under one condition.

    Attributes:
        file: a name that is unique within split and condition.
        speaker: whom the clip belongs to; results are means over speakers.
        condition: the named degradation that made ``narrowband``.
        sample_rate: rate of both waveforms in Hz.
        narrowband: the system's input ``(samples,)``, sample-aligned with ``wideband`` and of the same length.
        wideband: the target ``(samples,)``.
        cutoff_hz: where the narrowband's own content ends; None where no band is missing.
        band_hz: where the wideband's own content ends.
        clean: whether nothing but a band is missing, so that the low band must come out unharmed.
    """

    file: str
    speaker: str
    condition: str
    sample_rate: int
    narrowband: Waveform
    wideband: Waveform
    cutoff_hz: float | None
    band_hz: float
    clean: bool


class System(Protocol):
    """Anything that turns an utterance into an estimate of its wideband."""

    name: str

    def __call__(self, utterance: Utterance) -> Waveform:
        """Return the estimate ``(samples,)``, as long as ``utterance.narrowband``.

        A candidate looks at ``utterance.narrowband`` only; a control may look at everything.
        """
        ...
