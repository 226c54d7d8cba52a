"""The stream resampler against soxr, its stated filter, and its count of samples."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
import soxr
from waveforms import decibels, rng, tone, white

from overtone import stream_resampler
from overtone.stream_resampler import FilterDesign, StreamResampler

# without a large common divisor: their outputs are interpolated between phases
AWKWARD = [(12345, 48000), (44099, 48000), (48000, 44099), (191993, 48000), (48000, 191999), (15999, 8000)]
RATES = [(8000, 48000), (11025, 48000), (44100, 48000), (96000, 48000), (48000, 44100), (48000, 8000), (192000, 16000)]


def resampled(waveform, from_rate, to_rate):
    """The waveform at another rate, aligned by the stated delay."""
    resampler = StreamResampler(1, from_rate, to_rate)
    tail = np.zeros(round(0.02 * from_rate), np.float32)
    output = resampler(np.concatenate([waveform, tail])[None])[0]
    return output[round(resampler.delay * to_rate) :], resampler


@pytest.mark.parametrize(("from_rate", "to_rate"), [*RATES, *AWKWARD])
def test_it_agrees_with_soxr_below_its_pass_band_and_its_delay_is_true(from_rate, to_rate):
    pass_hz = FilterDesign(min(from_rate, to_rate)).pass_hz
    time = np.arange(from_rate // 2) / from_rate
    envelope = np.hanning(len(time))
    sweep = (envelope * np.sin(2 * np.pi * (200 * time + (pass_hz - 250) * time**2))).astype(np.float32)
    ours, resampler = resampled(sweep, from_rate, to_rate)
    theirs = soxr.resample(sweep, from_rate, to_rate, quality="VHQ")
    count = min(len(ours), len(theirs))
    assert np.abs(ours[:count] - theirs[:count]).max() < 2e-3
    assert 0 < resampler.delay <= Fraction(5, 1000)


@pytest.mark.parametrize("lower_rate", [4000, 6000, 8000, 11025, 16000, 22050, 44100, 48000])
def test_the_filter_keeps_its_stated_pass_and_stop_band(lower_rate):
    design = FilterDesign(lower_rate)
    fine_rate = 16 * lower_rate
    half = int(float(design.half_seconds) * fine_rate)
    response = np.abs(np.fft.rfft(design(np.arange(-half, half + 1) / fine_rate), 1 << 17))
    response /= response[0]
    frequencies = np.fft.rfftfreq(1 << 17, 1 / fine_rate)
    assert design.pass_hz >= 0.9 * lower_rate / 2 - 1e-6
    assert design.stop_hz <= (1.0001 if lower_rate >= 8000 else 1.09) * lower_rate / 2
    assert np.abs(decibels(response[frequencies <= design.pass_hz])).max() < 0.02
    assert decibels(response[frequencies >= design.stop_hz].max()) < -(design.attenuation_db - 2)
    assert design.attenuation_db >= 60


def test_images_of_telephone_speech_stay_below_60_db():
    speech_band = sum(tone(frequency, 8000) for frequency in (500, 1500, 2700, 3400)) / 4
    output, _ = resampled(speech_band.astype(np.float32), 8000, 48000)
    spectrum = np.abs(np.fft.rfft(output * np.blackman(len(output))))
    frequencies = np.fft.rfftfreq(len(output), 1 / 48000)
    assert decibels(spectrum[frequencies > 4000].max() / spectrum.max()) < -60


@pytest.mark.parametrize(("from_rate", "to_rate"), [(44100, 48000), (48000, 11025), *AWKWARD])
def test_samples_do_not_depend_on_blocks_to_the_last_bit(from_rate, to_rate):
    waveform = np.stack([white(4000, 0), white(4000, 1)])
    whole = StreamResampler(2, from_rate, to_rate)(waveform)
    resampler, generator, start, parts = StreamResampler(2, from_rate, to_rate), rng(1), 0, []
    while start < 4000:
        size = int(generator.integers(0, 300))
        parts.append(resampler(waveform[:, start : start + size]))
        start += size
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)


@pytest.mark.parametrize(("from_rate", "to_rate"), RATES)
def test_all_output_is_there_as_soon_as_the_input_is(from_rate, to_rate):
    resampler, received, given = StreamResampler(1, from_rate, to_rate), 0, 0
    for size in (1, 2, 3, 50, 441, 1):
        received += size
        given += resampler(np.zeros((1, size), np.float32)).shape[1]
        assert given >= received * to_rate / from_rate


@pytest.mark.parametrize(("from_rate", "to_rate"), AWKWARD)
def test_interpolated_phases_are_the_exact_filter_within_120_db(from_rate, to_rate):
    """The sum over the filter itself, in double precision, at some outputs; noise is in all of the band."""
    resampler = StreamResampler(1, from_rate, to_rate)
    waveform = white(round(0.05 * from_rate))
    output = resampler(waveform[None])[0]
    design = FilterDesign(min(from_rate, to_rate), Fraction(5, 1000) - Fraction(1, to_rate))
    chosen = rng(1).choice(np.arange(len(output) // 2, len(output) - 1), 200)
    times = chosen / to_rate - float(resampler.delay)
    response = design(times[:, None] - np.arange(len(waveform)) / from_rate)
    exact = (response @ waveform) / response.sum(axis=1)
    assert decibels(np.std(output[chosen] - exact) / np.std(exact)) < -120


@pytest.mark.parametrize(("from_rate", "to_rate"), [*AWKWARD, (191984, 16000), (8191, 48000)])
def test_the_table_is_small_for_any_rates(from_rate, to_rate):
    stream_resampler._coefficients.cache_clear()
    tracemalloc.start()
    try:
        StreamResampler(1, from_rate, to_rate)(np.zeros((1, 100), np.float32))
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 8e6
    assert most < 150e6


def test_a_former_delay_is_completed_to_whole_samples():
    former = Fraction(1001, 48000)
    resampler = StreamResampler(1, 48000, 44100, former)
    assert ((former + resampler.delay) * 44100).denominator == 1


def test_silence_stays_digital_silence_and_a_constant_stays_constant():
    assert not StreamResampler(1, 8000, 48000)(np.zeros((1, 800), np.float32)).any()
    constant = StreamResampler(1, 44100, 48000)(np.ones((1, 4410), np.float32))[0, 600:]
    np.testing.assert_allclose(constant, 1, atol=1e-6)
