"""The declared limits of a preset and what they say about one candidate.

They are declared before anything is trained, so that the rule cannot be chosen after the result.
"""

import math
from dataclasses import dataclass, fields

from overtone.errors import OvertoneError

UNPROCESSED = "unprocessed"


@dataclass(frozen=True)
class WinnerRule:
    """The limits of a preset; an infinite one is off.

    Raises:
        OvertoneError: a limit is NaN.

    Attributes:
        gain_over_unprocessed: by how much the primary score has to be better than that of the unprocessed input; the
            whole paired 95 % interval has to lie beyond it, so that no champion is as good as doing nothing.
        content_ber_margin: how far ``content_ber`` may lie above that of the unprocessed input.
        lsd_low_clean: largest ``lsd_low`` where nothing but a band is missing.
        lsd_low_margin: how far ``lsd_low`` may lie above that of the unprocessed input elsewhere. A band filled over
            an untouched input leaks up to 0.002 into it through the analysis window; noise at -70 dBFS adds 0.009.
        crossover_db: largest hole or bump, in dB, where what is there meets what is made, where nothing but a band is
            missing. Off until a model stays within 3 dB under every filter: so far they miss 4 to 9.
        visqol_above_unprocessed: whether ViSQOL has to be above that of the unprocessed input.
        tonality: largest difference of spectral flatness in the missing band, dB: above it speech is hoarse or buzzy.
        excess_above_band_db: largest energy above the target's own band, dB.
        latency_ms: largest algorithmic latency in ms.
        rtf: largest real-time factor on one core.
        equivalence_gap: a smaller gap in the primary score is no difference.
        each_condition: whether the limits on scores hold under every condition, instead of for their average.
    """

    gain_over_unprocessed: float = 0.0
    content_ber_margin: float = 0.01
    lsd_low_clean: float = 0.15
    lsd_low_margin: float = 0.005
    crossover_db: float = math.inf
    visqol_above_unprocessed: bool = True
    tonality: float = 2.5
    excess_above_band_db: float = 6.0
    latency_ms: float = 40.0
    rtf: float = 0.5
    equivalence_gap: float = 0.005
    each_condition: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            if math.isnan(getattr(self, field.name)):  # no comparison with it holds: the guard would pass everything
                raise OvertoneError(
                    f"Winner rule: {field.name} is not a number. Give a limit, or .inf to switch it off."
                )
