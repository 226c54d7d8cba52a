"""Which clips are heard: every second equally often, speakers balanced on request, full-band clips by share."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from datamodules.clip_choice import ClipChoice, flat_hz
from datamodules.corpora.corpus import Clip


def clip(name, speaker="ann", seconds=1.0, band_hz=16000.0):
    return Clip(Path(f"{name}.wav"), speaker, "train", seconds, 48000, band_hz)


def draws(choice, count):
    rng = np.random.default_rng(0)
    return [choice.draw(index, rng)[0] for index in range(count)]


def test_long_clips_are_drawn_more_often_than_short_ones():
    drawn = Counter(one.path.stem for one in draws(ClipChoice([clip("short"), clip("long", seconds=9.0)]), 4000))
    assert drawn["long"] / 4000 == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize(("balance", "share"), [(0.0, 0.9), (0.5, 0.75), (1.0, 0.5)])
def test_speakers_are_balanced_as_far_as_asked(balance, share):
    clips = [clip("one", "talkative", 90.0), clip("two", "talkative", 90.0), clip("three", "taciturn", 20.0)]
    drawn = Counter(one.speaker for one in draws(ClipChoice(clips, speaker_balance=balance), 4000))
    assert drawn["talkative"] / 4000 == pytest.approx(share, abs=0.025)


@pytest.mark.parametrize("batch_size", [4, 8, 16])
@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_every_batch_of_every_rank_holds_the_stated_share_of_full_band_clips(batch_size, share, ranks):
    clips = [clip("full", band_hz=22000.0), *(clip(f"narrow{number}", seconds=30.0) for number in range(5))]
    choice = ClipChoice(clips, full_band_hz=21500, full_band_share=share)
    full_band = [one.path.stem == "full" for one in draws(choice, 480)]
    for rank in range(ranks):
        own = np.array(full_band[rank::ranks][: 480 // ranks // batch_size * batch_size])
        counts = own.reshape(-1, batch_size).sum(axis=1)
        assert np.abs(counts - share * batch_size).max() <= 2
        assert counts.mean() == pytest.approx(share * batch_size, abs=0.1 * batch_size / 4)


def test_a_clip_reaches_no_higher_than_its_own_sample_rate():
    low_rate = Clip(Path("upsampled.wav"), "bob", "train", 1.0, 16000, 22000.0)
    choice = ClipChoice([low_rate, clip("full", band_hz=22000.0)], full_band_hz=21500, full_band_share=1.0)
    assert {one.path.stem for one in draws(choice, 50)} == {"full"}


@pytest.mark.parametrize("band_hz", [16000.0, 22000.0])
def test_without_one_of_the_pools_everything_comes_from_the_other(band_hz):
    choice = ClipChoice([clip("only", band_hz=band_hz)], full_band_hz=21500, full_band_share=0.5)
    assert len(draws(choice, 10)) == 10


def test_a_clip_comes_with_those_of_its_speaker_and_its_band():
    clips = [clip("a", "ann"), clip("b", "ann"), clip("c", "ann", band_hz=22000.0), clip("d", "bob")]
    choice = ClipChoice(clips, full_band_hz=21500, full_band_share=0.5)
    rng = np.random.default_rng(0)
    groups = {frozenset(one.path.stem for one in choice.draw(index, rng)[1]) for index in range(100)}
    assert groups == {frozenset("ab"), frozenset("c"), frozenset("d")}


@pytest.mark.parametrize(
    ("band_hz", "flat"),
    [(24_000.0, 24_000.0), (22_050.0, 19_845.0), (16_000.0, 14_400.0), (8_000.0, 8_000.0), (5_500.0, 5_500.0)],
)
def test_a_chain_falls_off_before_its_content_ends(band_hz, flat):
    assert flat_hz(band_hz) == pytest.approx(flat)
