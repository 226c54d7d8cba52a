"""Recordings held in memory: any part, round and round."""

import numpy as np
from waveforms import rng

from datamodules.degradation.scene import HeldRecordings, Scene


def test_a_segment_goes_round_and_round_from_anywhere():
    held = HeldRecordings([np.arange(5, dtype=np.float32)])
    starts = set()
    for seed in range(50):
        segment = held.segment(0, rng(seed), 12)
        starts.add(segment[0])
        np.testing.assert_array_equal(segment, (segment[0] + np.arange(12)) % 5)
    assert starts == {0, 1, 2, 3, 4}


def test_an_empty_recording_is_silent():
    held = HeldRecordings([np.zeros(0, np.float32)])
    np.testing.assert_array_equal(held.segment(0, rng(), 3), np.zeros(3))


def test_a_scene_starts_with_no_recordings():
    scene = Scene(16000, rng())
    for recordings in (scene.noises, scene.talkers, scene.music, scene.impulse_responses):
        assert len(recordings) == 0
    assert HeldRecordings([np.ones(3, np.float32)]).whole(0).size == 3
