"""Bad channels: interference at its level, clipping at its height, packets lost in the stated share and bursts."""

import numpy as np
import pytest
from waveforms import decibels, rng, scene, speech_like, tone, white

from datamodules.degradation import channel, noise


@pytest.mark.parametrize("snr_db", [0, 10, 30])
def test_interference_has_the_asked_level_under_the_active_speech(snr_db):
    speech = speech_like(16000, 64000)
    for seed in range(5):
        added = channel.transmission(speech, scene(seed=seed), snr_db=snr_db, fading_db=0) - speech
        apart = decibels(noise.active_level(speech, 16000) / noise.active_level(added, 16000))
        assert apart == pytest.approx(snr_db, abs=0.1)


def test_fading_takes_no_more_than_was_asked_for_and_is_slow():
    speech = tone(440, seconds=4)
    faded = channel.transmission(speech, scene(), snr_db=100, fading_db=12)
    levels = decibels(np.abs(faded.reshape(-1, 400)).max(axis=1))
    assert -12.1 < levels.min() < -4
    assert levels.max() < 0.1
    assert np.abs(np.diff(levels)).max() < 2  # within 25 ms


def test_each_line_sounds_different():
    speech = speech_like(16000, 16000)
    first, other = (channel.transmission(speech, scene(seed=seed), snr_db=0) for seed in (1, 2))
    assert np.abs(first - other).max() > 0.01


def test_clipping_is_hard_and_below_the_peak():
    waveform = 0.3 * tone(440)
    clipped = channel.clip(waveform, scene(), db=6.0206)
    assert np.abs(clipped).max() == pytest.approx(0.15, rel=1e-3)
    untouched = np.abs(waveform) < 0.149
    np.testing.assert_array_equal(clipped[untouched], waveform[untouched])
    np.testing.assert_array_equal(channel.clip(waveform, scene(), db=0), waveform)


@pytest.mark.parametrize(("share", "burst"), [(0.0, 1), (0.05, 1), (0.2, 1), (0.2, 4), (0.5, 10)])
def test_packets_are_lost_in_the_asked_share_and_bursts(share, burst):
    lost = channel.lost_packets(200_000, share, burst, rng())
    assert lost.mean() == pytest.approx(share, abs=0.01)
    if share > 0:
        bursts = np.count_nonzero(np.diff(lost.astype(int)) == 1)
        assert lost.sum() / bursts == pytest.approx(burst, rel=0.1)


def test_a_lost_packet_is_silent_and_all_others_arrive():
    waveform = white(160000) + 1
    received = channel.packet_loss(waveform, scene(), share=0.2)
    lost = received == 0
    assert lost.mean() == pytest.approx(0.2, abs=0.04)
    np.testing.assert_array_equal(received[~lost], waveform[~lost])
    edges = np.flatnonzero(np.diff(lost.astype(int)))
    assert set(np.unique(np.diff(edges) % 320)) == {0}  # 20 ms


def test_concealment_repeats_what_arrived_last_and_fades_out():
    waveform = white(160000) + 1
    silent = channel.packet_loss(waveform, scene(seed=4), share=0.3, burst=3)
    repeated = channel.packet_loss(waveform, scene(seed=4), share=0.3, burst=3, concealment="repeat")
    lost = silent == 0
    np.testing.assert_array_equal(repeated[~lost], waveform[~lost])
    starts = np.flatnonzero(np.diff(lost.astype(int)) == 1) + 1
    start = next(start for start in starts if start > 320 and lost[start : start + 960].all())
    before = waveform[start - 320 : start]
    for number, level in enumerate((1, 0.5, 0.25)):
        heard = repeated[start + 320 * number : start + 320 * (number + 1)]
        np.testing.assert_allclose(heard, level * before, rtol=1e-5)


def test_no_share_loses_nothing():
    waveform = white(16000)
    np.testing.assert_array_equal(channel.packet_loss(waveform, scene(), share=0), waveform)


def test_gain_of_6_decibels_doubles():
    np.testing.assert_allclose(channel.gain(tone(440), scene(), db=6.0206), 2 * tone(440), rtol=1e-5)
