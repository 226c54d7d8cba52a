"""Whole arrays and streams: the same samples for any blocks, a true latency, any rate, form and number of channels."""

import subprocess
import sys

import numpy as np
import pytest
import soxr
from packages import STREAMING, delay_model, exported_model
from waveforms import breathing_speech, decibels, rng, root_mean_square, speech_like, tone, white

from overtone.enhancer import Enhancer
from overtone.errors import OvertoneError
from overtone.model_package import load_model
from overtone.packed_models import PROFILES, default_model

RATES = [4000, 8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000]


def in_blocks(stream, samples, sizes):
    """Push blocks and flush; every push must return as many samples as it owes."""
    parts, taken, given = [], 0, 0
    for block in np.split(samples, np.cumsum(sizes)):
        parts.append(stream.push(block))
        taken += len(block)
        given += len(parts[-1])
        assert given == taken * stream.output_rate // stream.rate
    return np.concatenate([*parts, stream.flush()])


@pytest.mark.parametrize("name", STREAMING)
@pytest.mark.parametrize("seed", range(3))
def test_a_stream_equals_the_whole_file_for_any_blocks_rates_and_channels(name, seed):
    generator = rng(seed)
    rate, output_rate = generator.choice([8000, 11025, 16000, 22050, 44100, 48000, 96000], 2).tolist()
    channels = int(generator.integers(1, 4))
    length = int(generator.integers(1, rate))
    samples = np.stack([speech_like(rate, length, seed + channel) for channel in range(channels)], axis=1)
    enhancer = Enhancer(exported_model(name), denoise=bool(seed % 2))
    whole, _ = enhancer.enhance(samples, rate, output_rate)
    stream = enhancer.stream(rate, channels, output_rate)
    sizes = generator.integers(0, int(generator.choice([3, 300, 5000])), 500)
    streamed = in_blocks(stream, samples, sizes)
    assert len(whole) == round(length * output_rate / rate)
    np.testing.assert_allclose(streamed[stream.latency_samples :], whole, atol=1e-4)


@pytest.mark.parametrize("size", [1, 63, 64, 65])
def test_blocks_of_one_size_give_the_same_samples(size):
    samples = speech_like(16000, 2000)
    enhancer = Enhancer(exported_model("wavegan"))
    stream = enhancer.stream(16000)
    streamed = in_blocks(stream, samples, [size] * (len(samples) // size))
    assert not streamed[: stream.latency_samples].any()
    np.testing.assert_allclose(streamed[stream.latency_samples :], enhancer.enhance(samples, 16000)[0], atol=1e-5)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("output_rate", [8000, 16000, 44100])
def test_the_latency_is_true_to_the_sample(rate, output_rate):
    """A pulse comes out where the latency says: its cross-correlation with soxr's is largest there, by symmetry."""
    enhancer = Enhancer(delay_model(delay_samples=96), denoise=True)
    pulse = np.zeros(rate // 4, np.float32)
    pulse[rate // 8] = 1
    narrow = 1500  # below all pass bands
    steps = np.arange(len(pulse)) - rate // 8
    pulse = (np.sinc(narrow * steps / rate) ** 2 * np.exp(-((steps * 400 / rate) ** 2))).astype(np.float32)
    stream = enhancer.stream(rate, 1, output_rate)
    output = np.concatenate([stream.push(pulse), stream.flush()])
    peak = stream.latency_samples + rate // 8 * output_rate / rate
    weights = np.square(output, dtype=np.float64)
    centre = (weights * np.arange(len(output))).sum() / weights.sum()
    assert centre == pytest.approx(peak, abs=0.02)
    assert stream.latency_seconds <= 160 / 16000 + 0.010 + 1 / output_rate


@pytest.mark.parametrize("name", STREAMING)
def test_the_stated_latency_of_models_is_that_of_what_they_keep(name):
    """Full-band input passes; what comes out is the input that many samples later, once the bandwidth is found."""
    enhancer = Enhancer(exported_model(name))
    samples = breathing_speech(16000, 3.0)
    stream = enhancer.stream(16000)
    output = np.concatenate([stream.push(samples), stream.flush()])[stream.latency_samples :]
    assert stream.bandwidth_hz[0] >= 7200
    np.testing.assert_allclose(output[24000:], samples[24000:], atol=2e-6)


@pytest.mark.parametrize(("rate", "output_rate"), [(8000, 48000), (44100, 44100), (48000, 11025), (192000, 192000)])
def test_what_a_model_that_does_nothing_gives_is_soxr_within_the_pass_band(rate, output_rate):
    model_rate = 48000
    enhancer = Enhancer(delay_model(model_rate, 384, 100), denoise=True)
    lowest = min(rate, output_rate, model_rate)
    time = np.arange(rate // 4) / rate
    sweep = np.hanning(len(time)) * np.sin(2 * np.pi * (100 + 0.8 * lowest * time) * time)
    ours, given_rate = enhancer.enhance(sweep.astype(np.float32), rate, output_rate)
    theirs = soxr.resample(sweep, rate, output_rate, quality="VHQ")
    assert given_rate == output_rate
    assert np.abs(ours - theirs[: len(ours)]).max() < 5e-3


def test_the_default_output_is_at_the_models_rate():
    samples, rate = Enhancer(exported_model("dnn_fft")).enhance(tone(440, 8000), 8000)
    assert (len(samples), rate, samples.dtype) == (16000, 16000, np.float32)


@pytest.mark.parametrize("name", STREAMING)
@pytest.mark.parametrize("denoise", [False, True])
def test_digital_silence_gives_digital_silence_also_after_speech(name, denoise):
    samples = np.concatenate([speech_like(8000, 8000), np.zeros(8000, np.float32)])
    enhanced, _ = Enhancer(exported_model(name), denoise=denoise).enhance(samples, 8000)
    assert enhanced[:16000].any()
    assert not enhanced[-8000:].any()
    # WaveGAN's own first 4 ms answer a level of 0 that no input has: inaudible, and the same in PyTorch.
    silence, _ = Enhancer(exported_model(name), denoise=denoise).enhance(np.zeros(5000, np.float32), 8000)
    assert np.abs(silence).max() < 1e-5
    assert not silence[800:].any()


def test_channels_do_not_hear_each_other():
    left, right = speech_like(16000, 8000, 0), speech_like(16000, 8000, 1)
    enhancer = Enhancer(exported_model("spectrogram_autoencoder"))
    both, _ = enhancer.enhance(np.stack([left, right], axis=1), 16000)
    for channel, alone in enumerate((left, right)):
        np.testing.assert_allclose(both[:, channel], enhancer.enhance(alone, 16000)[0], atol=1e-5)


def test_shorts_and_doubles_are_read_at_full_scale():
    enhancer = Enhancer(delay_model(), denoise=True)
    samples = np.array([0, 16384, -32768, 32767], np.int16)
    expected = samples / 32768
    np.testing.assert_allclose(enhancer.enhance(samples, 16000)[0], expected, atol=1e-7)
    np.testing.assert_allclose(enhancer.enhance(expected, 16000)[0], expected, atol=1e-7)


def test_the_form_of_blocks_is_kept():
    enhancer = Enhancer(delay_model())
    assert enhancer.enhance(np.zeros((100, 1), np.float32), 16000)[0].shape == (100, 1)
    assert enhancer.enhance(np.zeros(100, np.float32), 16000)[0].shape == (100,)
    stream = enhancer.stream(16000, 2)
    assert stream.push(np.zeros((0, 2), np.float32)).shape == (0, 2)
    assert stream.push(np.zeros((7, 2), np.float32)).shape == (7, 2)
    assert stream.flush().shape == (stream.latency_samples, 2)


def test_peaks_are_reported_and_not_limited():
    stream = Enhancer(delay_model(gain=4.0), denoise=True).stream(16000)
    output = np.concatenate([stream.push(np.full(1000, 0.5, np.float32)), stream.flush()])
    assert stream.peak == output.max() == 2.0


@pytest.mark.parametrize(
    ("samples", "rate", "words"),
    [
        (np.zeros(0, np.float32), 16000, r"shape .*\(0,\)"),
        (np.zeros((2, 2, 2), np.float32), 16000, r"\(2, 2, 2\)"),
        (np.zeros(10, np.float32), 3999, "3999"),
        (np.zeros(10, np.float32), 192001, "192001"),
        (np.zeros(10, np.int32), 16000, "int32"),
        (np.array([0, 0, np.nan, 1], np.float32), 16000, "Sample 2 is NaN"),
        (np.array([0, np.inf]), 16000, "Sample 1 is NaN or infinite"),
    ],
)
def test_what_cannot_be_enhanced_is_refused_in_one_line(samples, rate, words):
    with pytest.raises(OvertoneError, match=words) as caught:
        Enhancer(delay_model()).enhance(samples, rate)
    assert "\n" not in str(caught.value)


def test_a_stream_names_the_first_bad_sample_of_all_and_refuses_other_forms():
    stream = Enhancer(delay_model()).stream(16000, 2)
    stream.push(np.zeros((1000, 2), np.float32))
    bad = np.zeros((10, 2), np.float32)
    bad[4, 1] = np.nan
    with pytest.raises(OvertoneError, match="Sample 1004"):
        stream.push(bad)
    with pytest.raises(OvertoneError, match=r"\(samples, 2\)"):
        stream.push(np.zeros(10, np.float32))
    stream.flush()
    with pytest.raises(OvertoneError, match="flushed"):
        stream.push(bad)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, 1e300])
def test_a_block_that_was_refused_leaves_no_trace(value):
    samples = speech_like(16000, 4000).astype(np.float64)
    bad = samples[:500].copy()
    bad[77] = value
    for rate, output_rate in ((16000, 16000), (8000, 48000)):
        clean, stream = (Enhancer(delay_model()).stream(rate, 1, output_rate) for _ in range(2))
        for block in np.split(samples, 8):
            with pytest.raises(OvertoneError, match=r"is (NaN|1e\+30)"):
                stream.push(bad)
            np.testing.assert_array_equal(stream.push(block), clean.push(block))


@pytest.mark.parametrize("profile", PROFILES)
def test_the_loudest_block_that_is_taken_is_forgotten(profile):
    """A million times full scale: what comes two seconds later is what would have come without it."""
    enhancer = Enhancer(load_model(default_model(profile)))
    samples = 0.3 * breathing_speech(8000, 6.0)
    loud = samples.copy()
    loud[8000:8160] = 1e6
    expected, found = (enhancer.stream(8000).push(one) for one in (samples, loud))
    assert np.isfinite(found).all()
    late = slice(len(found) // 2, None)
    assert decibels(root_mean_square(found[late] - expected[late]) / root_mean_square(expected[late])) < -60


@pytest.mark.parametrize("profile", PROFILES)
def test_quieter_speech_gets_the_same_band(profile):
    """From 0 to -40 dB: the level of the band that is made, relative to the speech, within half a decibel."""
    enhancer = Enhancer(load_model(default_model(profile)))
    speech, cutoff_hz = breathing_speech(8000, 4.0), 4000
    levels = []
    for gain_db in (0, -12, -24, -40):
        enhanced, rate = enhancer.enhance(np.float32(10 ** (gain_db / 20)) * speech, 8000)
        power = np.abs(np.fft.rfft(enhanced)) ** 2
        made = power[np.fft.rfftfreq(len(enhanced), 1 / rate) > 1.05 * cutoff_hz].sum()
        levels.append(10 * np.log10(made) - gain_db)
    assert max(levels) - min(levels) < 0.5, levels


def test_streams_of_one_model_do_not_share_a_past():
    model = exported_model("wavegan")
    samples = speech_like(16000, 3000)
    first, second = Enhancer(model).stream(16000), Enhancer(model).stream(16000)
    second.push(white(500))
    alone = Enhancer(model).stream(16000).push(samples)
    np.testing.assert_array_equal(first.push(samples), alone)


def test_what_the_input_holds_survives_a_model_that_says_nothing():
    """Below the telephone's band the input comes out, though the model is mute; above it nothing was there to keep."""
    enhancer = Enhancer(delay_model(48000, 384, 100, gain=0.0))
    samples = breathing_speech(8000, 3.0)
    stream = enhancer.stream(8000)
    output = np.concatenate([stream.push(samples), stream.flush()])[stream.latency_samples :]
    assert 3000 <= stream.bandwidth_hz[0] <= 4000
    reference = soxr.resample(samples, 8000, 48000, quality="VHQ")
    low = soxr.resample(output[72000:] - reference[72000 : len(output)], 48000, 6000)
    assert decibels(root_mean_square(low) / root_mean_square(reference[72000:])) < -35


def test_the_runtime_works_where_torch_is_not_installed():
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'scipy', 'librosa', 'onnx', 'pandas')))\n"
        "import numpy as np; from overtone.enhancer import Enhancer; from overtone.model_package import load_model\n"
        "samples, rate = Enhancer(load_model(sys.argv[1])).enhance(np.ones(800, np.float32), 8000)\n"
        "print(len(samples), rate)"
    )
    folder = str(exported_model("dnn_fft").folder)
    result = subprocess.run([sys.executable, "-c", program, folder], capture_output=True, text=True, check=False)
    assert result.stdout.split() == ["1600", "16000"], result.stderr
