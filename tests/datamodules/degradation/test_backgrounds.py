"""Noise, talkers and music at the active-speech level that was asked for, and what stands in where there are none."""

import numpy as np
import pytest
from waveforms import decibels, rng, root_mean_square, scene, speech_like, tone, white

from datamodules.degradation import backgrounds, noise

SAMPLES = 64000


def level_apart_db(step, held, **parameters):
    speech = speech_like(16000, SAMPLES)
    added = step(speech, scene(seed=1, **held), **parameters) - speech
    return decibels(noise.active_level(speech, 16000) / noise.active_level(added, 16000))


@pytest.mark.parametrize("snr_db", [-5.0, 10.0, 30.0])
def test_backgrounds_have_the_asked_level_under_the_active_speech(snr_db):
    held = [white(16000, 7)]
    for step, recordings, parameters in (
        (backgrounds.noise, {"noises": held}, {}),
        (backgrounds.talkers, {"talkers": [speech_like(16000, 20000, 5)]}, {}),
        (backgrounds.talkers, {"talkers": [speech_like(16000, 20000, 5)]}, {"count": 5}),
        (backgrounds.music, {"music": held}, {}),
        (backgrounds.noise, {}, {}),
        (backgrounds.talkers, {}, {"count": 3}),
        (backgrounds.music, {}, {}),
    ):
        assert level_apart_db(step, recordings, snr_db=snr_db, **parameters) == pytest.approx(snr_db, abs=0.1)


def test_steady_noise_has_its_level_against_the_bursts_and_not_the_pauses():
    speech = speech_like(16000, SAMPLES)
    added = backgrounds.noise(speech, scene(noises=[white(SAMPLES, 7)]), snr_db=10) - speech
    bursts = np.arange(SAMPLES) / 16000 % 0.3 < 0.2
    assert decibels(root_mean_square(speech[bursts]) / root_mean_square(added)) == pytest.approx(10, abs=0.3)


def test_pauses_do_not_change_the_level_that_noise_refers_to():
    speech = speech_like(16000, 16000)
    with_pause = np.concatenate([speech, np.zeros(32000, np.float32)])
    assert noise.active_level(with_pause, 16000) == pytest.approx(noise.active_level(speech, 16000), rel=1e-6)
    assert noise.active_level(tone(440), 16000) == pytest.approx(np.sqrt(0.5), rel=1e-3)


def test_the_generator_alone_draws_what_plays():
    speech, held = speech_like(16000, 16000), [white(8000, seed) for seed in range(3)]
    first, again, other = (backgrounds.noise(speech, scene(seed=seed, noises=held), snr_db=10) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def test_noise_without_noises_is_pink():
    speech = speech_like(16000, SAMPLES)
    for held in ([], [np.zeros(1000, np.float32)]):
        added = backgrounds.noise(speech, scene(noises=held), snr_db=10) - speech
        power = np.abs(np.fft.rfft(added)) ** 2
        frequencies = np.fft.rfftfreq(added.size, 1 / 16000)
        low, high = (power[(frequencies > f) & (frequencies < 2 * f)].mean() for f in (500, 4000))
        assert 10 * np.log10(low / high) == pytest.approx(9, abs=1)  # 3 dB an octave, three octaves


def test_talkers_without_talkers_come_in_syllables_with_the_spectrum_of_speech():
    talker = noise.speech_shaped(32000, 16000, rng())
    frames = np.sqrt(np.mean(np.square(talker[:32000].reshape(100, 320)), axis=1))
    assert frames.min() < 0.2 * frames.max()
    power = np.abs(np.fft.rfft(talker)) ** 2
    frequencies = np.fft.rfftfreq(talker.size, 1 / 16000)
    low, high = (power[(frequencies > f) & (frequencies < 2 * f)].mean() for f in (1000, 4000))
    assert 10 * np.log10(low / high) == pytest.approx(18, abs=2)  # 9 dB an octave, two octaves


def test_music_without_music_has_steady_pitches():
    piece = noise.arpeggios(64000, 16000, rng())
    power = np.abs(np.fft.rfft(piece * np.hanning(piece.size))) ** 2
    assert np.sort(power)[-400:].sum() > 0.8 * power.sum()
    assert np.isfinite(piece).all()


def test_hum_is_the_mains_frequency_and_its_harmonics():
    spectrum = np.abs(np.fft.rfft(noise.hum(16000, 16000, rng(), 60)))
    assert np.argmax(spectrum) == 60
    assert spectrum[120] / spectrum[60] == pytest.approx(0.5, rel=0.05)
    assert spectrum[90] < 0.01 * spectrum[60]


def test_more_talkers_leave_fewer_gaps():
    held = [speech_like(16000, 30000, seed) for seed in range(4)]
    speech = speech_like(16000, SAMPLES)
    shares = []
    for count in (1, 8):
        added = backgrounds.talkers(speech, scene(talkers=held), snr_db=0, count=count) - speech
        frames = np.mean(np.square(added.reshape(-1, 320)), axis=1)
        shares.append(np.mean(frames < 0.01 * frames.max()))
    assert shares[0] > 0.2
    assert shares[1] < 0.05
