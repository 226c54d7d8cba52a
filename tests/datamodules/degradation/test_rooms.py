"""Rooms: the direct path at sample 0, the decay and the energies that were asked for."""

import numpy as np
import pytest
from waveforms import decibels, rng, scene, speech_like

from datamodules.degradation import rooms


def response_of(step, **parameters):
    click = np.zeros(32000, np.float32)
    click[0] = 1.0
    return step(click, **parameters)


@pytest.mark.parametrize("rt60_seconds", [0.2, 0.5, 1.0])
def test_an_echo_decays_by_60_decibels_in_the_asked_time(rt60_seconds):
    response = response_of(rooms.echo, scene=scene(), rt60_seconds=rt60_seconds, direct_to_reverberant_db=3)
    remaining = 10 * np.log10(np.cumsum(response[:0:-1].astype(np.float64) ** 2)[::-1] + 1e-30)
    # Schroeder's integral from -5 to -25 dB, as ISO 3382 has it.
    first, last = (int(np.argmax(remaining < remaining[0] - down)) for down in (5, 25))
    assert 3 * (last - first) / 16000 == pytest.approx(rt60_seconds, rel=0.1)


def test_the_direct_path_comes_first_with_its_share_of_the_energy():
    response = response_of(rooms.echo, scene=scene(), rt60_seconds=0.4, direct_to_reverberant_db=6)
    assert response[0] == pytest.approx(1, abs=1e-5)
    assert np.abs(response[1:32]).max() < 1e-5
    assert -10 * np.log10(np.sum(response[1:] ** 2)) == pytest.approx(6, abs=0.05)


def test_a_measured_room_starts_at_its_peak_and_keeps_the_direct_level():
    measured = np.zeros(4000, np.float32)
    measured[100], measured[900], measured[3000] = -0.5, 0.25, 0.05
    response = response_of(rooms.room, scene=scene(impulse_responses=[measured]))
    expected = np.zeros(32000, np.float32)
    expected[0], expected[800], expected[2900] = 1, -0.5, -0.1
    np.testing.assert_allclose(response, expected, atol=1e-5)


def test_what_nobody_hears_of_a_measured_room_is_cut():
    decaying = (rng().standard_normal(80000) * 10 ** (-3 * np.arange(80000) / 8000) + 1e-7).astype(np.float32)
    decaying[0] = 5
    response = response_of(rooms.room, scene=scene(impulse_responses=[decaying]))
    assert 6000 < np.flatnonzero(np.abs(response) > 1e-6)[-1] < 12000


def test_without_a_measured_room_one_is_simulated():
    speech = speech_like(16000, 16000)
    simulated = rooms.room(speech, scene())
    assert decibels(np.std(simulated - speech) / np.std(speech)) > -20
    np.testing.assert_array_equal(rooms.room(speech, scene(impulse_responses=[np.zeros(50, np.float32)])).shape, 16000)


def test_convolution_is_that_of_numpy():
    speech, response = speech_like(16000, 3001), speech_like(16000, 500)
    response[0] = 1
    expected = np.convolve(speech, response / response[0])[:3001]
    np.testing.assert_allclose(rooms.room(speech, scene(impulse_responses=[response])), expected, atol=1e-4)
