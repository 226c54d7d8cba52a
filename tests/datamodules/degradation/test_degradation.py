"""What holds for every registered step: alignment above all, length, type, its input left alone."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from waveforms import lag, scene, speech_like, white

from datamodules.degradation import codecs, filters
from datamodules.degradation.conditions import parse_conditions
from datamodules.degradation.steps import STEPS, Between, OneOf
from overtone.audio_files.recordings import read_audio

SAMPLE_RATES = (8000, 16000, 24000, 44100, 48000)

VARIANTS = [
    *((kind, dict(step.example)) for kind, step in STEPS.items()),
    *(("lowpass", {"cutoff_hz": 2500, "family": family, "order": 5}) for family in filters.FAMILIES),
    *(("resample", {"rate": 7001, "quality": quality}) for quality in filters.RESAMPLING_QUALITIES),
    *(("mp3", {"kbps": kbps}) for kbps in (8, 16, 24, 40, 64, 128, 320)),
    ("mp3", {"kbps": 32, "quality": 9}),
    *(("opus", {"kbps": kbps}) for kbps in (6, 10, 24, 64)),
    ("vorbis", {"quality": 10}),
    ("bits", {"bits": 4}),
    ("mulaw", {"rate": 11025}),
    ("talkers", {"snr_db": 10, "count": 6}),
    ("transmission", {"snr_db": 10, "fading_db": 20}),
    ("packet_loss", {"share": 0.2, "burst": 3, "concealment": "repeat"}),
]


def only(kind, parameters):
    return parse_conditions({kind: {"steps": [{kind: parameters}]}})[0]


@pytest.mark.parametrize("sample_rate", SAMPLE_RATES)
@pytest.mark.parametrize(("kind", "parameters"), VARIANTS)
def test_the_peak_of_the_cross_correlation_is_at_zero_lag(kind, parameters, sample_rate):
    condition = only(kind, parameters)
    for samples in (sample_rate // 2, sample_rate // 2 + 777, 3 * sample_rate // 4 + 13):
        waveform = speech_like(sample_rate, samples)
        damaged = condition.apply(waveform, scene(sample_rate))
        assert damaged.shape == waveform.shape
        assert damaged.dtype == np.float32
        assert np.isfinite(damaged).all()
        assert lag(damaged, waveform) == 0


@pytest.mark.parametrize("samples", [1, 2, 161, 1600, 15999])
@pytest.mark.parametrize(("kind", "parameters"), VARIANTS)
def test_any_length_comes_back_whole_and_the_input_is_left_alone(kind, parameters, samples):
    waveform = speech_like(16000, samples)
    before = waveform.copy()
    held = {name: [white(500)] for name in ("noises", "talkers", "music", "impulse_responses")}
    damaged = only(kind, parameters).apply(waveform, scene(**held))
    assert damaged.shape == waveform.shape
    assert damaged.dtype == np.float32
    assert np.isfinite(damaged).all()
    np.testing.assert_array_equal(waveform, before)


@pytest.mark.parametrize("samples", [1, 4001])
@pytest.mark.parametrize(("kind", "parameters"), VARIANTS)
def test_silence_stays_all_but_silent(kind, parameters, samples):
    silence = np.zeros(samples, np.float32)
    # A-law has no zero: its quietest step is 1/4096 of full scale.
    assert np.abs(only(kind, parameters).apply(silence, scene())).max() < 1e-3


@pytest.mark.parametrize(("kind", "parameters"), VARIANTS)
def test_one_seed_gives_one_result(kind, parameters):
    waveform = speech_like(16000, 8000)
    held = {name: [white(5000, seed) for seed in range(3)] for name in ("noises", "talkers", "music")}
    first, again = (only(kind, parameters).apply(waveform, scene(seed=3, **held)) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("kind", ["mp3", "opus", "vorbis", "mulaw", "alaw", "gsm", "bits"])
def test_codecs_do_not_clip_what_is_louder_than_full_scale(kind):
    loud = 50 * speech_like(16000, 16000)
    damaged = only(kind, STEPS[kind].example).apply(loud, scene())
    assert np.abs(loud).max() > 3
    assert np.abs(damaged).max() > 0.6 * np.abs(loud).max()
    assert np.corrcoef(damaged, loud)[0, 1] > 0.8


@pytest.mark.parametrize("kind", STEPS)
def test_a_registered_step_says_what_its_parameters_may_be(kind):
    step = STEPS[kind]
    required = set(step.allowed) - set(step.defaults)
    assert required <= set(step.example) <= set(step.allowed)
    for name, value in {**step.defaults, **step.example}.items():
        allowed = step.allowed[name]
        if isinstance(allowed, OneOf):
            assert value in allowed.names
        else:
            assert isinstance(allowed, Between)
            assert allowed.lowest <= value <= allowed.highest


@pytest.mark.parametrize("kind", STEPS)
def test_a_step_empties_the_band_above_the_cutoff_that_it_names(kind):
    cutoff_hz = only(kind, STEPS[kind].example).cutoff_hz(48000)
    waveform = white(48000)
    power = np.abs(np.fft.rfft(only(kind, STEPS[kind].example).apply(waveform, scene(48000)))) ** 2
    hertz = np.fft.rfftfreq(48000, 1 / 48000)
    if cutoff_hz is None:
        lower, upper = power[(hertz > 1000) & (hertz < 2000)].mean(), power[hertz > 22000].mean()
        assert upper > 0.01 * lower
    else:
        inside = power[(hertz > 0.3 * cutoff_hz) & (hertz < 0.9 * cutoff_hz)].mean()
        assert power[(hertz > 1.1 * cutoff_hz) & (hertz < 23500)].mean() < 0.02 * inside


def test_codecs_that_lack_a_rate_are_heard_at_another():
    waveform = speech_like(37000, 37000)
    assert lag(codecs.opus(waveform, scene(37000), kbps=24), waveform) == 0
    assert lag(codecs.mp3(waveform, scene(37000), kbps=32), waveform) == 0
    assert codecs.mp3(speech_like(96000, 48001), scene(96000), kbps=64).size == 48001


@pytest.mark.skipif("OVERTONE_DATA" not in os.environ, reason="OVERTONE_DATA names no corpus of real speech")
@pytest.mark.parametrize(
    ("kind", "parameters"), [(kind, parameters) for kind, parameters in VARIANTS if kind not in {"echo", "room"}]
)
def test_real_speech_is_aligned(kind, parameters):
    # A room moves the peak on real speech, whose own correlation is as wide as the first reflections.
    condition = only(kind, parameters)
    paths = sorted(Path(os.environ["OVERTONE_DATA"]).glob("speech/**/*.flac"))
    for path in paths[:: max(1, len(paths) // 5)]:
        sample_rate = soundfile.info(path).samplerate
        waveform, _ = read_audio(path, frames=sample_rate + 77)
        assert lag(condition.apply(waveform, scene(sample_rate)), waveform) == 0, path
