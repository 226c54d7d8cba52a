"""Codecs against independent implementations, published bit rates and measured cutoffs."""

import io

import numpy as np
import pytest
import soundfile
from waveforms import decibels, lag, root_mean_square, scene, speech_like, tone, white

from datamodules.degradation import codecs


def libsndfile_mp3(waveform, sample_rate, level):
    """The same damage by libsndfile's LAME, which lets its delay through at low bit rates."""
    stream = io.BytesIO()
    soundfile.write(
        stream,
        waveform,
        sample_rate,
        format="MP3",
        subtype="MPEG_LAYER_III",
        bitrate_mode="CONSTANT",
        compression_level=level,
    )
    return soundfile.read(io.BytesIO(stream.getvalue()), dtype="float32")[0][1105:][: waveform.size]


def band_end_hz(waveform, sample_rate):
    """Where the spectrum is 20 dB below its middle."""
    power = np.abs(np.fft.rfft(waveform)) ** 2
    smooth = np.convolve(power, np.ones(201) / 201, "same")
    hertz = np.fft.rfftfreq(waveform.size, 1 / sample_rate)
    return hertz[smooth > 0.01 * np.median(smooth[(hertz > 300) & (hertz < 1500)])][-1]


def test_mp3_loses_what_libsndfiles_mp3_loses():
    waveform = white(96000)
    ours = codecs.mp3(waveform, scene(48000), kbps=32)
    theirs = libsndfile_mp3(waveform, 48000, 0.999)
    assert band_end_hz(ours, 48000) == pytest.approx(band_end_hz(theirs, 48000), rel=0.02)
    speech = speech_like(48000, 96000)
    ours, theirs = codecs.mp3(speech, scene(48000), kbps=32), libsndfile_mp3(speech, 48000, 0.999)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.85
    assert root_mean_square(ours) == pytest.approx(root_mean_square(theirs), rel=0.05)


@pytest.mark.parametrize(
    ("sample_rate", "kbps", "cutoff_hz"), [(48000, 32, 8500), (48000, 40, 10800), (48000, 48, 11600), (16000, 64, None)]
)
def test_the_measured_cutoff_of_mp3_is_the_known_one(sample_rate, kbps, cutoff_hz):
    assert codecs.mp3_cutoff_hz(sample_rate, kbps=kbps) == (cutoff_hz and pytest.approx(cutoff_hz, rel=0.04))


def test_cutoffs_rise_with_the_bit_rate():
    for cutoff, settings in ((codecs.mp3_cutoff_hz, (8, 24, 32, 48, 64)), (codecs.opus_cutoff_hz, (6, 10, 16))):
        ends = [cutoff(48000, kbps=kbps) for kbps in settings]
        assert ends == sorted(ends)
        assert ends[0] < 5000 < 15000 < ends[-1]
    assert 14000 < codecs.vorbis_cutoff_hz(48000, quality=0) < 17000
    assert codecs.vorbis_cutoff_hz(48000, quality=10) is None


def test_the_quality_of_mp3_changes_the_error_and_not_the_band():
    waveform = white(48000)
    fast, slow = (codecs.mp3(waveform, scene(48000), kbps=32, quality=quality) for quality in (9, 2))
    assert band_end_hz(fast, 48000) == pytest.approx(band_end_hz(slow, 48000), rel=0.02)
    assert np.abs(fast - slow).max() > 0.01


def test_mp3_takes_the_nearest_bit_rate_of_the_format():
    waveform = speech_like(48000, 24000)
    np.testing.assert_array_equal(
        codecs.mp3(waveform, scene(48000), kbps=33.9), codecs.mp3(waveform, scene(48000), kbps=32)
    )


def test_mp3_keeps_both_ends():
    for sample_rate in (16000, 44100, 48000):
        waveform = speech_like(sample_rate, sample_rate + 777)
        decoded = codecs.mp3(waveform, scene(sample_rate), kbps=32)
        # A wrong trim would leave a millisecond of zeros.
        edge = sample_rate // 20
        assert np.corrcoef(decoded[:edge], waveform[:edge])[0, 1] > 0.8
        assert decoded[-edge:].std() > 0.3 * waveform[-edge:].std()


def test_mp3_of_loud_speech_is_not_clipped():
    loud = 5 * tone(440)
    decoded = codecs.mp3(loud, scene(), kbps=128)
    # LAME turns the level down by up to 6 %, so that its own overshoot does not clip.
    assert 0.93 < np.std(decoded) / np.std(loud) < 1.01
    assert np.corrcoef(decoded[800:-800], loud[800:-800])[0, 1] > 0.999


@pytest.mark.parametrize("kbps", [12, 24, 48])
def test_opus_has_the_bit_rate_that_was_asked_for(kbps, monkeypatch):
    sizes = []
    read = soundfile.read
    monkeypatch.setattr(
        soundfile,
        "read",
        lambda stream, **options: (sizes.append(stream.getbuffer().nbytes), read(stream, **options))[1],
    )
    codecs.opus(speech_like(48000, 4 * 48000), scene(48000), kbps=kbps)
    # The bit rate is variable: pauses take less, and Ogg's pages add some.
    assert 0.9 * kbps < sizes[0] * 8 / 4 / 1000 < 1.1 * kbps + 3


@pytest.mark.parametrize("kbps", [6, 8, 12, 16, 24, 32, 64])
def test_opus_is_aligned_in_each_of_its_modes(kbps):
    for waveform in (speech_like(48000, 48000), (0.5 * tone(300, 48000) * (1 + tone(3, 48000))).astype(np.float32)):
        assert lag(codecs.opus(waveform, scene(48000), kbps=kbps), waveform) == 0


def test_mulaw_is_the_closed_form_within_half_a_step():
    waveform = (0.9 * tone(440, 8000) * np.linspace(0, 1, 8000)).astype(np.float32)
    compressed = np.log1p(255 * np.abs(waveform)) / np.log(256)
    rounded = (np.floor(compressed * 128) + 0.5) / 128
    expected = np.sign(waveform) * (256**rounded - 1) / 255
    decoded = codecs.mulaw(waveform, scene(8000))
    # G.711 draws the logarithm as eight straight lines.
    np.testing.assert_allclose(decoded, expected, atol=0.03)
    assert decibels(np.std(decoded - waveform) / np.std(waveform)) == pytest.approx(-38, abs=2)


def test_alaw_is_its_closed_form_within_half_a_step():
    waveform = (0.9 * tone(440, 8000) * np.linspace(0, 1, 8000)).astype(np.float32)
    factor = 1 + np.log(87.6)
    size = np.abs(waveform)
    compressed = np.where(size < 1 / 87.6, 87.6 * size, 1 + np.log(np.maximum(87.6 * size, 1))) / factor
    rounded = (np.floor(compressed * 128) + 0.5) / 128 * factor
    expected = np.sign(waveform) * np.where(rounded < 1, rounded, np.exp(rounded - 1)) / 87.6
    decoded = codecs.alaw(waveform, scene(8000))
    np.testing.assert_allclose(decoded, expected, atol=0.03)
    assert decibels(np.std(decoded - waveform) / np.std(waveform)) == pytest.approx(-38, abs=2)


def test_gsm_is_full_rate_at_8_khz():
    stream = io.BytesIO()
    soundfile.write(stream, speech_like(8000, 80000), 8000, format="WAV", subtype="GSM610")
    assert stream.getbuffer().nbytes * 8 / 10 / 1000 == pytest.approx(13, abs=0.2)
    waveform = speech_like(8000, 8000)
    decoded = codecs.gsm(waveform, scene(8000))
    assert 0.7 < np.corrcoef(decoded, waveform)[0, 1] < 0.995


@pytest.mark.parametrize("bits", [4, 8, 12])
def test_bits_have_the_error_of_a_uniform_quantiser(bits):
    waveform = (0.85 * tone(441)).astype(np.float32)
    error = codecs.bits(waveform, scene(), bits=bits) - waveform
    step = 2.0 ** (1 - bits)
    assert np.abs(error).max() <= 0.501 * step
    assert root_mean_square(error) == pytest.approx(step / np.sqrt(12), rel=0.1)
    assert len(np.unique(codecs.bits(waveform, scene(), bits=bits))) <= 2**bits
