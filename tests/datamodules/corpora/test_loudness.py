"""Loudness against the values that the standards state."""

import numpy as np
import pytest

from datamodules.corpora.loudness import LoudnessMeter, k_weighting

MONO_LU = -3.01  # a channel alone is half of the two that EBU Tech 3341 speaks of


def sine(level_dbfs, seconds, rate=48000, hertz=1000):
    return (10 ** (level_dbfs / 20) * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype("f4")


def lufs(waveform, rate=48000, block=None):
    meter = LoudnessMeter(rate)
    for start in range(0, len(waveform), block or max(len(waveform), 1)):
        meter.add(waveform[start : start + (block or len(waveform))])
    return meter.lufs


def test_the_filters_are_those_of_the_standard():
    # ITU-R BS.1770-4, annex 1, tables 1 and 2.
    shelf = [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585]
    high_pass = [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621]
    np.testing.assert_allclose(k_weighting(48000), [shelf, high_pass], atol=1e-12)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000])
def test_a_full_scale_sine_at_997_hz_is_at_minus_3_01(rate):
    assert lufs(sine(0, 5, rate, 997), rate) == pytest.approx(-3.01, abs=0.05)


@pytest.mark.parametrize(
    ("passages", "expected"),
    [
        ([(-23, 20)], -23),
        ([(-33, 20)], -33),
        ([(-36, 10), (-23, 60), (-36, 10)], -23),
        ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23),
        ([(-26, 20), (-20, 20.1), (-26, 20)], -23),
    ],
    ids=["1", "2", "3", "4", "5"],
)
def test_the_cases_of_ebu_tech_3341(passages, expected):
    waveform = np.concatenate([sine(level, seconds) for level, seconds in passages])
    assert lufs(waveform) == pytest.approx(expected + MONO_LU, abs=0.1)


@pytest.mark.parametrize("rate", [11025, 48000])
@pytest.mark.parametrize("block", [1, 777, 48000])
def test_blocks_do_not_matter(rate, block):
    waveform = (0.1 * np.random.default_rng(0).standard_normal(rate // (10 if block == 1 else 1))).astype("f4")
    assert lufs(waveform, rate, block) == pytest.approx(lufs(waveform, rate), abs=1e-9)


def test_half_the_level_is_6_lu_less():
    waveform = (0.1 * np.random.default_rng(0).standard_normal(48000)).astype("f4")
    assert lufs(waveform) - lufs(waveform / 2) == pytest.approx(20 * np.log10(2), abs=1e-3)


def test_short_sounds_are_one_block():
    assert lufs(sine(-20, 0.3)) == pytest.approx(-20 + MONO_LU, abs=0.3)


def test_what_no_block_hears_has_no_loudness():
    for waveform in (np.zeros(48000, "f4"), np.zeros(1, "f4"), np.zeros(0, "f4"), sine(-80, 2)):
        assert lufs(waveform) is None
