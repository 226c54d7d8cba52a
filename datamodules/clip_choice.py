"""Which clip a training item is cut from: by duration, balanced over speakers, with a share of full-band clips."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from datamodules.corpora.corpus import Clip

# The golden ratio spreads indices over 0..1 so evenly that any few in a row hold the stated share, within one item.
_GOLDEN = (5**0.5 - 1) / 2
# Of bands that reach this many Hz, the share that is flat; only what was recorded at 48 kHz reaches the first.
_FLAT_SHARES = ((23_000.0, 1.0), (12_000.0, 0.9), (0.0, 1.0))


class ClipChoice:
    """Draws clips so that, within each pool, every second of speech is equally likely to be heard.

    Args:
        clips: at least one.
        full_band_hz: clips whose own band reaches up to here are full-band; None for no distinction.
        full_band_share: of the items, 0 to 1, cut from full-band clips. It is kept in every few items in a row, so in
            every batch; without full-band clips, or without others, all items come from those that there are.
        speaker_balance: 0 draws speakers by their duration, 1 all of them equally often, 0.5 by its square root.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        *,
        full_band_hz: float | None = None,
        full_band_share: float = 0.0,
        speaker_balance: float = 0.0,
    ) -> None:
        self._share = full_band_share
        full_band = [clip for clip in clips if full_band_hz is not None and own_band_hz(clip) >= full_band_hz]
        others = [clip for clip in clips if full_band_hz is None or own_band_hz(clip) < full_band_hz]
        weight = _speaker_weights(clips, speaker_balance)
        self._full_band = _Pool(full_band or others, weight)
        self._others = _Pool(others or full_band, weight)

    def draw(self, index: int, rng: np.random.Generator) -> tuple[Clip, Sequence[Clip]]:
        """Return the clip for an item's index, and all clips of its speaker and pool, itself included.

        Args:
            index: of the item.
            rng: source of random numbers.
        """
        pool = self._full_band if index * _GOLDEN % 1 < self._share else self._others
        return pool.draw(rng)


class _Pool:
    def __init__(self, clips: Sequence[Clip], weight: dict[str, float]) -> None:
        self._clips = clips
        self._ends = cumulative_shares([clip.seconds * weight[clip.speaker] for clip in clips])
        self._of_speaker: dict[str, list[Clip]] = {}
        for clip in clips:
            self._of_speaker.setdefault(clip.speaker, []).append(clip)

    def draw(self, rng: np.random.Generator) -> tuple[Clip, Sequence[Clip]]:
        clip = self._clips[drawn(self._ends, rng)]
        return clip, self._of_speaker[clip.speaker]


def own_band_hz(clip: Clip) -> float:
    """Return where a clip's content ends: as measured, and at most at its Nyquist frequency, in Hz."""
    return min(clip.band_hz or np.inf, clip.sample_rate / 2)


def flat_hz(band_hz: float) -> float:
    """Return up to where speech teaches its level, in Hz: a recording's chain falls off before its content ends.

    Recordings stored at 44.1 kHz end in the slope of a converter from about 20 kHz, those of encoders in that of a
    low-pass. Those made at 48 kHz, and at 16 kHz or less, teach all that they have: what such chains do to their last
    kHz is much the same in all.

    Args:
        band_hz: where the content ends.
    """
    share = next(share for least_hz, share in _FLAT_SHARES if band_hz >= least_hz)
    return share * band_hz


def cumulative_shares(weights: Sequence[float]) -> NDArray[np.float64]:
    """Return the ends ``(choices,)`` of intervals in 0..1 that are as wide as the weights; see `drawn`."""
    ends = np.cumsum(weights)
    return ends / ends[-1]


def drawn(ends: NDArray[np.float64], rng: np.random.Generator) -> int:
    """Return the index of the interval that a uniform random number falls into.

    Args:
        ends: ``(choices,)``, as `cumulative_shares` returns them.
        rng: source of random numbers.
    """
    return int(np.searchsorted(ends, rng.random(), side="right"))


def _speaker_weights(clips: Sequence[Clip], balance: float) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for clip in clips:
        seconds[clip.speaker] = seconds.get(clip.speaker, 0.0) + clip.seconds
    return {speaker: duration**-balance for speaker, duration in seconds.items()}
