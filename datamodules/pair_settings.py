"""How pairs and utterances are made: the settings that a preset declares and the DataModule takes."""

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from datamodules.degradation.conditions import parse_conditions
from datamodules.degradation.variation import Variation
from overtone.errors import OvertoneError

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
Range = tuple[float, float]


@dataclass(frozen=True)
class PairSettings:
    """How training pairs and utterances for scoring are made, as plain values.

    Attributes:
        train_conditions: as `datamodules.degradation.conditions.parse_conditions` takes them; one is drawn for each
            training item by its share, and may hold ranges.
        test_conditions: the same without ranges; each utterance of val and test is heard under each of them.
        crop_seconds: length of a batch's items.
        batch_size: items in a batch, over all processes of a training, each of which has an equal share.
        joined_seconds: a speaker's clips are joined to utterances of at least this length.
        gap_seconds: silence between joined clips.
        val_utterances_per_speaker: at most so many for validation; None for all.
        test_utterances_per_speaker: at most so many for the test; None for all.
        full_band_hz: clips whose band reaches up to here, in Hz, are full-band; None for no distinction.
        full_band_share: of each batch's items, 0 to 1, cut from full-band clips.
        speaker_balance: 0 draws training clips by duration alone, 1 draws all speakers equally often.
        loudness_lufs: what each clip is brought to first, by ITU-R BS.1770; None to leave levels as they are.
        speed: lowest and highest factor of playback of training speech, 0.5 to 2.
        tilt_db_per_octave: lowest and highest spectral slope of training speech.
        varied_epochs: speed and slope vary in so many first epochs, and no longer after them; None to vary in all.
        num_workers: processes that make training items; the items are the same for any number.

    Raises:
        OvertoneError: an unknown or impossible condition, a test condition with a range, no training condition with a
            share, or a speed or slope that is no range.
    """

    train_conditions: dict[str, Any]
    test_conditions: dict[str, Any]
    crop_seconds: Seconds = 1.0
    batch_size: Count = 16
    joined_seconds: Seconds = 3.0
    gap_seconds: Annotated[float, Field(ge=0, le=3600)] = 0.3
    val_utterances_per_speaker: Count | None = 4
    test_utterances_per_speaker: Count | None = 4
    full_band_hz: Annotated[float, Field(gt=0, le=1e6)] | None = None
    full_band_share: Share = 0.0
    speaker_balance: Share = 0.0
    loudness_lufs: Annotated[float, Field(ge=-70, le=0)] | None = None
    speed: Range = (1.0, 1.0)
    tilt_db_per_octave: Range = (0.0, 0.0)
    varied_epochs: Count | None = None
    num_workers: Annotated[int, Field(strict=True, ge=0, le=1024)] = 0

    def __post_init__(self) -> None:
        if not sum(condition.share for condition in parse_conditions(self.train_conditions)) > 0:
            raise OvertoneError("train_conditions: expected at least one with a share above 0, found none.")
        parse_conditions(self.test_conditions, fixed=True)
        self.variation  # noqa: B018 - made to check its ranges

    @property
    def variation(self) -> Variation:
        """How training speech varies before it is degraded."""
        return Variation(self.speed, self.tilt_db_per_octave, self.varied_epochs)
