"""Timbre and pitch: known values, and what must not count."""

import librosa
import numpy as np
import pytest
from waveforms import white

from evaluation.measures.stft import NotApplicable, mel_filters
from evaluation.measures.voice import mel_cepstral_distance, pitch_correlation, pitch_error, pitches, yin

RATES = [16_000, 48_000]


def voice(rate, factor=1.0, seconds=2.0, vibrato=0.1):
    """Twenty harmonics on a pitch that swings around 140 Hz, half an octave either way for a vibrato of 0.5."""
    time = np.arange(int(seconds * rate)) / rate
    hz = factor * 140 * 2 ** (vibrato * np.sin(2 * np.pi * 1.5 * time))
    phase = 2 * np.pi * np.cumsum(hz) / rate
    return 0.1 * sum(np.cos(number * phase + number**2) / number for number in range(1, 21)) + white(
        len(time), level=1e-4
    )


def score(measure, preds, target, rate):
    return measure(preds=preds, target=target, sample_rate=rate)


@pytest.mark.parametrize("rate", RATES)
def test_the_pitch_of_a_voice_is_found(rate):
    given, wanted = pitches(voice(rate), voice(rate, 1.5, vibrato=0.0), rate)
    assert len(wanted) > 50
    assert wanted == pytest.approx(210.0, rel=0.003)
    assert given.min() == pytest.approx(140 * 2**-0.1, rel=0.02) and given.max() == pytest.approx(
        140 * 2**0.1, rel=0.02
    )


def test_pitch_and_mel_bands_are_librosa_s():
    waveform = np.concatenate([voice(16_000, vibrato=0.5), white(16_000), np.zeros(4_000), voice(16_000, 2.0)])
    waveform = waveform.astype(np.float32).astype(np.float64)
    theirs = librosa.yin(waveform, fmin=60.0, fmax=400.0, sr=16_000, frame_length=1024, hop_length=512, center=False)
    np.testing.assert_allclose(yin(waveform, 16_000), theirs, rtol=1e-5)
    for rate, size, bands, low_hz, high_hz in ((16_000, 1024, 80, 0.0, 8000.0), (48_000, 3072, 24, 4080.0, 23_520.0)):
        theirs = librosa.filters.mel(
            sr=rate, n_fft=size, n_mels=bands, fmin=low_hz, fmax=high_hz, htk=True, norm=None, dtype=np.float64
        )
        np.testing.assert_allclose(mel_filters(rate, size, bands, low_hz, high_hz), theirs, atol=1e-12)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("cents", [-200, 50, 100])
def test_another_pitch_is_wrong_by_its_cents_and_the_same_melody(rate, cents):
    target, preds = voice(rate), voice(rate, 2 ** (cents / 1200))
    assert score(pitch_error, preds, target, rate) == pytest.approx(abs(cents), abs=5)
    assert score(pitch_correlation, preds, target, rate) > 0.98


@pytest.mark.parametrize("rate", RATES)
def test_the_same_voice_at_another_level_has_no_error(rate):
    target = voice(rate)
    for factor in (1.0, 0.1):
        assert score(pitch_error, factor * target, target, rate) == pytest.approx(0.0, abs=0.1)
        assert score(pitch_correlation, factor * target, target, rate) == pytest.approx(1.0, abs=1e-6)
        assert score(mel_cepstral_distance, factor * target, target, rate) == pytest.approx(0.0, abs=0.01)


def test_the_opposite_melody_is_correlated_negatively_and_none_not_at_all():
    rate = 16_000
    assert score(pitch_correlation, voice(rate, vibrato=-0.1), voice(rate), rate) < -0.9
    assert abs(score(pitch_correlation, np.zeros(2 * rate), voice(rate), rate)) < 0.5
    assert np.isfinite(score(pitch_error, np.zeros(2 * rate), voice(rate), rate))


@pytest.mark.parametrize("target", [np.zeros(32_000), white(32_000), white(100)])
def test_without_a_voice_there_is_no_pitch(target):
    for measure in (pitch_error, pitch_correlation):
        with pytest.raises(NotApplicable):
            score(measure, target, target, 16_000)


def test_a_tilt_is_as_far_as_its_root_mean_square_over_the_mel_scale():
    """A spectrum times a power of 10 that swings once over the mel scale: one cepstral coefficient."""
    rate, depth_db = 16_000, 6.0
    target = white(4 * rate, level=0.1).astype(np.float64)
    mel = np.log1p(np.fft.rfftfreq(len(target), 1 / rate) / 700) / np.log1p(rate / 2 / 700)
    gain_db = depth_db * np.sqrt(2) * np.cos(2 * np.pi * mel)
    preds = np.fft.irfft(np.fft.rfft(target) * 10 ** (gain_db / 20), len(target))
    assert score(mel_cepstral_distance, preds, target, rate) == pytest.approx(depth_db, rel=0.03)


def test_mel_cepstra_are_farther_with_more_noise_and_do_not_apply_to_silence():
    target = voice(16_000)
    noise = white(len(target), seed=1, level=1.0)
    far = [score(mel_cepstral_distance, target + level * noise, target, 16_000) for level in (0.0, 0.001, 0.01, 0.1)]
    assert far == sorted(far) and len(set(far)) == 4
    with pytest.raises(NotApplicable):
        score(mel_cepstral_distance, target, 0 * target, 16_000)
