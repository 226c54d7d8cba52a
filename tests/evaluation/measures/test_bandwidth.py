"""Where a band ends: low-passes of every kind, under hiss, dither and rounding, in words and in hours."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from scipy import signal

from evaluation.measures.bandwidth import EXCERPT_SECONDS, MOST_EXCERPTS, BandwidthMeter, effective_band_hz

RATE = 48000


def speech(seconds=3.0, seed=0, pauses=True):
    """Vowels and fricatives in turn, with the tilt of a voice: 50 dB from the lowest to the highest frequency."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    noise = rng.standard_normal((2, len(time)))
    tilt = 10 ** (-np.linspace(0, 50, len(time) // 2 + 1) / 20)
    vowels = np.fft.irfft(np.fft.rfft(noise[0]) * tilt**1.5, len(time))
    fricatives = np.fft.irfft(np.fft.rfft(noise[1]) * tilt**0.5, len(time)) * 0.1
    turn = np.sin(2 * np.pi * 4 * time + seed)
    loud = np.clip(np.sin(2 * np.pi * 0.9 * time + 1), 0, 1) if pauses else 1.0
    return (0.3 * loud * (np.maximum(turn, 0.02) * vowels + np.maximum(-turn, 0.01) * fricatives)).astype(np.float32)


def brick_wall(waveform, cutoff_hz):
    spectrum = np.fft.rfft(waveform)
    spectrum[np.fft.rfftfreq(len(waveform), 1 / RATE) > cutoff_hz] = 0
    return np.fft.irfft(spectrum, len(waveform)).astype(np.float32)


def elliptic(waveform, cutoff_hz):
    return signal.sosfilt(signal.ellip(12, 0.1, 90, cutoff_hz, fs=RATE, output="sos"), waveform).astype(np.float32)


def resampled(waveform, cutoff_hz):
    return soxr.resample(soxr.resample(waveform, RATE, 2 * cutoff_hz), 2 * cutoff_hz, RATE)[: len(waveform)]


def rounded(waveform):
    return np.round(waveform * 2**15) / 2**15


@pytest.mark.parametrize("low_pass", [brick_wall, elliptic, resampled])
@pytest.mark.parametrize("cutoff_hz", [4000, 7000, 8000, 12000, 16000, 20000])
def test_a_low_pass_is_found(low_pass, cutoff_hz):
    # soxr HQ passes nine tenths of the band and takes the rest away gradually.
    below = 0.08 * cutoff_hz if low_pass is resampled else 125
    assert cutoff_hz - below <= effective_band_hz(low_pass(speech(), cutoff_hz), RATE) <= cutoff_hz + 500


def test_full_band_speech_is_full_band():
    assert effective_band_hz(speech(), RATE) == RATE / 2
    assert effective_band_hz(rounded(speech()), RATE) >= 23000


@pytest.mark.parametrize("pauses", [True, False], ids=["with pauses", "without a pause"])
@pytest.mark.parametrize("cutoff_hz", [7000, 12000])
@pytest.mark.parametrize("snr_db", [20, 30, 40, 60])
def test_hiss_is_not_the_band(cutoff_hz, snr_db, pauses):
    voice = brick_wall(speech(pauses=pauses), cutoff_hz)
    hiss = voice.std() * 10 ** (-snr_db / 20) * np.random.default_rng(1).standard_normal(len(voice))
    band_hz = effective_band_hz(voice + hiss, RATE)
    assert band_hz <= cutoff_hz + 250
    assert band_hz >= (cutoff_hz - 1000 if snr_db >= 30 else 4000)


@pytest.mark.parametrize("level", [1.0, 0.1, 0.01])
def test_rounding_and_dither_are_not_the_band(level):
    voice = level * brick_wall(speech(), 7000)
    rng = np.random.default_rng(2)
    dither = (rng.random(len(voice)) - rng.random(len(voice))) / 2**15
    assert effective_band_hz(rounded(voice), RATE) == pytest.approx(7000, abs=250)
    assert effective_band_hz(rounded(voice + dither), RATE) <= 7250


@pytest.mark.parametrize("fold", [4000, 8000, 12000])
def test_images_of_a_poor_resampler_are_not_the_band(fold):
    low = soxr.resample(speech(), RATE, 2 * fold)
    held = np.interp(np.arange(3 * RATE) * 2 * fold / RATE, np.arange(len(low)), low)
    assert effective_band_hz(held, RATE) == pytest.approx(fold, abs=250)


@pytest.mark.parametrize("level", [0.9, 0.6, 0.0])
def test_an_encoders_stop_band_is_not_the_band(level):
    def coded(waveform):
        file = io.BytesIO()
        soundfile.write(file, waveform, RATE, format="MP3", compression_level=level, bitrate_mode="CONSTANT")
        file.seek(0)
        return soundfile.read(file, dtype="float32")[0]

    frequencies, density = signal.welch(
        coded(0.1 * np.random.default_rng(0).standard_normal(4 * RATE)), RATE, nperseg=4096
    )
    truth = frequencies[density > density[(frequencies > 500) & (frequencies < 4000)].mean() / 10].max()
    assert effective_band_hz(coded(speech()), RATE) == pytest.approx(truth, abs=1000)


@pytest.mark.parametrize("cutoff_hz", [7000, 12000, 16000])
@pytest.mark.parametrize("start", [0.1, 0.7])
def test_half_a_second_without_a_pause_is_enough(cutoff_hz, start):
    word = speech(pauses=False)[round(start * RATE) :][: RATE // 2]
    assert effective_band_hz(brick_wall(word, cutoff_hz), RATE) == pytest.approx(cutoff_hz, abs=500)


@pytest.mark.parametrize("seconds", [0.001, 0.05, 0.3, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_steady_noise_of_any_length_ends_where_it_ends(seconds, seed):
    noise = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    assert effective_band_hz(noise, RATE) >= 20000
    if seconds >= 0.3:
        assert effective_band_hz(brick_wall(noise, 8000), RATE) == pytest.approx(8000, abs=250)


@pytest.mark.parametrize("rate", [4000, 8000, 11025, 16000, 22050, 44100, 96000, 192000])
def test_any_sample_rate_will_do(rate):
    voice = soxr.resample(speech(), RATE, rate)
    assert 0 < effective_band_hz(voice, rate) <= rate / 2
    assert effective_band_hz(voice, rate) >= min(0.9 * rate / 2, 23000)


def test_silence_and_constants_have_no_band_of_their_own():
    for silent in (np.zeros(RATE), np.zeros(1), np.zeros(0)):
        assert effective_band_hz(silent, RATE) == RATE / 2
    assert 0 < effective_band_hz(np.full(RATE, 0.3), RATE) <= RATE / 2


def test_the_level_does_not_matter():
    voice = brick_wall(speech(), 12000)
    assert len({effective_band_hz(gain * voice, RATE) for gain in (1.0, 0.5, 0.1)}) == 1


def test_hours_take_no_more_memory_than_a_minute():
    meter = BandwidthMeter(RATE)
    excerpt = brick_wall(speech(EXCERPT_SECONDS), 9000)
    for number in range(10 * MOST_EXCERPTS):
        meter.add(excerpt)
        assert len(meter._excerpts) <= MOST_EXCERPTS, number
    assert meter.band_hz == pytest.approx(9000, abs=125)


def test_real_speech_agrees_with_another_measurement():
    folder = os.environ.get("OVERTONE_DATA")
    if not folder:
        pytest.skip("OVERTONE_DATA names no corpus of real speech")
    import pandas as pd

    table = pd.read_csv(Path(folder) / "manifest.csv")
    errors = []
    for row in table[table["kind"] == "speech"].iloc[::20].itertuples():
        waveform, rate = soundfile.read(Path(folder) / row.path, dtype="float32")
        errors.append(abs(effective_band_hz(waveform, rate) - min(row.effective_bandwidth_hz, rate / 2)))
    assert np.median(errors) <= 300
    assert np.mean(np.array(errors) <= 1000) >= 0.8
