"""Steps against known values, alignment above all; conditions as plain values."""

import io

import numpy as np
import pytest
import soundfile

from datamodules import degradation
from datamodules.conditions import parse_conditions
from datamodules.noise import active_level, pink
from runtime.errors import OvertoneError

TELEPHONE = {"steps": [{"resample": {"rate": 8000}}]}


def rng(seed=0):
    return np.random.default_rng(seed)


def tone(frequency, sample_rate=16000, seconds=1.0):
    return np.sin(2 * np.pi * frequency * np.arange(round(seconds * sample_rate)) / sample_rate).astype(np.float32)


def speech_like(sample_rate, samples, seed=0):
    """Pink noise in bursts of 200 ms, 100 ms apart."""
    bursts = (np.arange(samples) / sample_rate % 0.3) < 0.2
    return (0.1 * pink(samples, sample_rate, rng(seed)) * bursts).astype(np.float32)


def lag(later, earlier):
    """Samples by which ``later`` follows ``earlier``, by cross-correlation of whole signals."""
    size = 2 ** int(np.ceil(np.log2(later.size + earlier.size)))
    correlation = np.fft.irfft(np.fft.rfft(later, size) * np.conj(np.fft.rfft(earlier, size)))
    peak = int(np.argmax(correlation))
    return peak - size if peak > size // 2 else peak


def decibels(ratio):
    return 20 * np.log10(ratio)


def test_resampling_keeps_a_tone_below_the_cutoff_sample_for_sample_and_removes_one_above():
    kept = degradation.resample(tone(1000), 16000, rng(), (), rate=8000)
    removed = degradation.resample(tone(6000), 16000, rng(), (), rate=8000)
    inner = slice(800, -800)
    np.testing.assert_allclose(kept[inner], tone(1000)[inner], atol=1e-3)
    assert decibels(np.abs(removed[inner]).max()) < -80


def test_resampling_agrees_with_a_brick_wall_in_the_frequency_domain():
    waveform = speech_like(16000, 32000)
    spectrum = np.fft.rfft(waveform)
    frequencies = np.fft.rfftfreq(waveform.size, 1 / 16000)
    band = np.fft.irfft(spectrum * (frequencies < 3500))
    narrowband = degradation.resample(waveform, 16000, rng(), (), rate=8000).astype(np.float64)
    passed = np.fft.irfft(np.fft.rfft(narrowband) * (frequencies < 3500))
    assert decibels(np.std(passed - band) / np.std(band)) < -50


def test_resampling_to_the_target_rate_or_above_changes_nothing():
    waveform = speech_like(16000, 1600)
    assert degradation.resample(waveform, 16000, rng(), (), rate=16000) is waveform


@pytest.mark.parametrize(
    ("sample_rate", "kbps"),
    [(16000, 24), *((rate, kbps) for rate in (16000, 44100, 48000) for kbps in (32, 40, 48, 64, 128))],
)
def test_mp3_comes_back_aligned(sample_rate, kbps):
    for samples in (sample_rate, sample_rate + 777, 3 * sample_rate // 2 + 13):
        waveform = speech_like(sample_rate, samples)
        decoded = degradation.mp3(waveform, sample_rate, rng(), (), kbps=kbps)
        assert decoded.size == samples
        assert lag(decoded, waveform) == 0
        # The start and the end are there: a wrong trim would leave a millisecond of zeros.
        edge = sample_rate // 20
        assert np.corrcoef(decoded[:edge], waveform[:edge])[0, 1] > 0.8
        assert decoded[-edge:].std() > 0.3 * waveform[-edge:].std()


@pytest.mark.parametrize(("sample_rate", "kbps"), [(16000, 32), (16000, 64), (44100, 32), (48000, 128)])
def test_mp3_has_the_bit_rate_that_was_asked_for(sample_rate, kbps):
    stream = degradation.encode_mp3(speech_like(sample_rate, 5 * sample_rate), sample_rate, kbps)
    assert len(stream) * 8 / 5 / 1000 == pytest.approx(kbps, rel=0.03)
    assert soundfile.info(io.BytesIO(stream)).samplerate == sample_rate


def test_mp3_of_silence_is_silence_and_of_loud_speech_is_not_clipped():
    silence = np.zeros(16000, np.float32)
    assert not degradation.mp3(silence, 16000, rng(), (), kbps=32).any()
    loud = 5 * tone(440)
    decoded = degradation.mp3(loud, 16000, rng(), (), kbps=128)
    # LAME turns the level down by up to 5 % at such rates, so that its own overshoot does not clip.
    assert 0.94 < np.std(decoded) / np.std(loud) < 1.01
    assert np.corrcoef(decoded[800:-800], loud[800:-800])[0, 1] > 0.999


def test_mp3_refuses_rates_that_the_format_lacks():
    with pytest.raises(OvertoneError, match="sample rate"):
        degradation.mp3(tone(440, 20000), 20000, rng(), (), kbps=32)
    with pytest.raises(OvertoneError, match="32 to 320 kbps at 48000 Hz, got 8"):
        degradation.mp3(tone(440, 48000), 48000, rng(), (), kbps=8)


@pytest.mark.parametrize("snr_db", [-5.0, 10.0, 30.0])
def test_noise_has_the_asked_level_under_the_active_speech(snr_db):
    speech = speech_like(16000, 64000)
    background = [pink(16000, 16000, rng(7))]
    added = degradation.noise(speech, 16000, rng(1), background, snr_db=snr_db) - speech
    assert decibels(active_level(speech, 16000) / np.std(added)) == pytest.approx(snr_db, abs=0.3)


def test_pauses_do_not_change_the_level_that_noise_refers_to():
    speech = speech_like(16000, 16000)
    with_pause = np.concatenate([speech, np.zeros(32000, np.float32)])
    assert active_level(with_pause, 16000) == pytest.approx(active_level(speech, 16000), rel=1e-6)
    assert active_level(tone(440), 16000) == pytest.approx(np.sqrt(0.5), rel=1e-3)


def test_noise_is_drawn_by_the_generator_alone():
    speech, background = speech_like(16000, 16000), [pink(8000, 16000, rng(n)) for n in range(3)]
    first, again, other = (degradation.noise(speech, 16000, rng(seed), background, snr_db=10) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


def test_noise_without_noises_is_pink_and_silence_stays_silent():
    speech = speech_like(16000, 64000)
    for background in ([], [np.zeros(1000, np.float32)]):
        added = degradation.noise(speech, 16000, rng(), background, snr_db=10) - speech
        power = np.abs(np.fft.rfft(added)) ** 2
        frequencies = np.fft.rfftfreq(added.size, 1 / 16000)
        low, high = (power[(frequencies > f) & (frequencies < 2 * f)].mean() for f in (500, 4000))
        assert 10 * np.log10(low / high) == pytest.approx(9, abs=1)  # 3 dB an octave, three octaves
    silence = np.zeros(1000, np.float32)
    assert degradation.noise(silence, 16000, rng(), [], snr_db=10) is silence


def test_gain_of_6_decibels_doubles():
    np.testing.assert_allclose(degradation.gain(tone(440), 16000, rng(), (), db=6.0206), 2 * tone(440), rtol=1e-5)


PARAMETERS = {
    "resample": {"rate": 8000},
    "mp3": {"kbps": 32},
    "noise": {"snr_db": 15},
    "gain": {"db": -6},
}


@pytest.mark.parametrize("samples", [1, 2, 161, 1600, 15999])
@pytest.mark.parametrize("kind", degradation.STEPS)
def test_every_step_keeps_length_type_and_its_input(kind, samples):
    waveform = speech_like(16000, samples)
    before = waveform.copy()
    damaged = degradation.STEPS[kind](waveform, 16000, rng(), [pink(500, 16000, rng())], **PARAMETERS[kind])
    assert damaged.shape == waveform.shape
    assert damaged.dtype == np.float32
    assert np.isfinite(damaged).all()
    np.testing.assert_array_equal(waveform, before)


def test_a_condition_applies_its_steps_in_order():
    (condition,) = parse_conditions(
        {"both": {"share": 0.5, "steps": [{"noise": {"snr_db": 10}}, {"resample": {"rate": 8000}}]}}
    )
    waveform = speech_like(16000, 16000)
    noisy = degradation.noise(waveform, 16000, rng(3), (), snr_db=10)
    expected = degradation.resample(noisy, 16000, rng(), (), rate=8000)
    np.testing.assert_array_equal(condition.apply(waveform, 16000, rng(3)), expected)
    assert (condition.name, condition.share, condition.clean) == ("both", 0.5, False)


def test_cutoff_is_the_lowest_resampling_below_the_target():
    conditions = parse_conditions(
        {
            "telephone": TELEPHONE,
            "twice": {"steps": [{"resample": {"rate": 6000}}, {"resample": {"rate": 12000}}]},
            "mp3": {"steps": [{"mp3": {"kbps": 32}}]},
            "none": {"steps": [{"resample": {"rate": 16000}}]},
        },
        fixed=True,
    )
    assert [one.cutoff_hz(16000) for one in conditions] == [4000, 3000, None, None]
    assert [one.clean for one in conditions] == [True, True, False, True]
    assert conditions[3].cutoff_hz(48000) == 8000


def test_ranges_are_drawn_for_each_item():
    (condition,) = parse_conditions({"any": {"steps": [{"resample": {"rate": [6000, 12000]}}]}})
    cutoffs = [condition.draw(rng(seed)).cutoff_hz(16000) for seed in range(50)]
    assert min(cutoffs) >= 3000
    assert max(cutoffs) <= 6000
    assert len(set(cutoffs)) > 40
    assert condition.draw(rng(5)) == condition.draw(rng(5))
    with pytest.raises(ValueError, match="draw"):
        condition.cutoff_hz(16000)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({}, "expected a mapping"),
        ({"a": {"steps": []}}, "condition 'a'.*list 'steps'"),
        ({"a": {"steps": "mp3"}}, "list of steps"),
        ({"a": {"steps": [{"reverb": {}}]}}, "unknown step 'reverb'; known are resample, mp3, noise, gain"),
        ({"a": {"steps": [{"mp3": {"bitrate": 32}}]}}, "takes the parameters kbps; got bitrate"),
        ({"a": {"steps": [{"mp3": {}}]}}, "takes the parameters kbps"),
        ({"a": {"steps": [{"mp3": {"kbps": "32k"}}]}}, "mp3.kbps expects a number"),
        ({"a": {"steps": [{"mp3": {"kbps": [64, 32]}}]}}, "number or \\[low, high\\]"),
        ({"a": {"steps": [{"mp3": {"kbps": True}}]}}, "expects a number"),
        ({"a": {"steps": ["mp3"]}}, "expected a step like"),
        ({"a": {"steps": [{"mp3": 32}]}}, "mapping of parameters"),
        ({"a": {**TELEPHONE, "share": -1}}, "share of 0 or more"),
        ({"a": {**TELEPHONE, "weight": 1}}, "unknown key 'weight'"),
    ],
)
def test_mistakes_in_conditions_are_named(plain, message):
    with pytest.raises(OvertoneError, match=message):
        parse_conditions(plain)


def test_test_conditions_hold_no_ranges():
    plain = {"noisy": {"steps": [{"noise": {"snr_db": [10, 30]}}]}}
    parse_conditions(plain)
    with pytest.raises(OvertoneError, match=r"test condition 'noisy'.*range"):
        parse_conditions(plain, fixed=True)
