"""Controls: what they must leave alone, what they must show, and that they repeat themselves."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from utterances import RATE, utterance

from evaluation.contracts import Utterance
from evaluation.measures.fingerprints import extended_bit_error_rate
from evaluation.measures.spectral import log_spectral_distance, log_spectral_distance_retained_band
from models.baselines import (
    CONTROLS,
    CubicSplineInterpolation,
    OracleEnvelopeNoise,
    RidgeEnvelope,
    SpectralBandReplication,
    TargetGain,
    Unprocessed,
    UnprocessedNoise,
    build_controls,
)
from overtone.audio import resample
from overtone.audio_files.recordings import read_audio
from overtone.errors import OvertoneError


@pytest.fixture(scope="module")
def controls():
    return {control.name: control for control in build_controls(utterance(i) for i in range(10, 16))}


def extended(control, clip: Utterance) -> float:
    return extended_bit_error_rate(
        preds=control(clip),
        target=clip.wideband,
        sample_rate=clip.sample_rate,
        cutoff_hz=clip.cutoff_hz,
        band_hz=clip.band_hz,
    )


def retained(control, clip: Utterance) -> float:
    return log_spectral_distance_retained_band(
        preds=control(clip),
        target=clip.wideband,
        sample_rate=clip.sample_rate,
        cutoff_hz=clip.cutoff_hz,
        band_hz=clip.band_hz,
    )


def test_controls_come_in_order_and_under_their_names(controls):
    assert tuple(controls) == CONTROLS


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("samples", [1, 7, 513, 20_001])
def test_any_length_comes_back_finite_float32_and_unchanged_in_length(controls, name, samples):
    clip = utterance()
    clip = replace(clip, narrowband=clip.narrowband[:samples], wideband=clip.wideband[:samples])
    estimate = controls[name](clip)
    assert estimate.shape == (samples,) and estimate.dtype == np.float32 and np.isfinite(estimate).all()


@pytest.mark.parametrize("name", CONTROLS)
def test_estimates_repeat_whatever_was_called_before(controls, name):
    first = controls[name](utterance(0))
    controls[name](utterance(1))
    np.testing.assert_array_equal(controls[name](utterance(0)), first)


@pytest.mark.parametrize("name", sorted(set(CONTROLS) - {"target_gain", "oracle_envelope_noise"}))
def test_only_the_two_named_controls_read_the_target(controls, name):
    clip = utterance()
    blind = replace(clip, wideband=np.zeros_like(clip.wideband))
    np.testing.assert_array_equal(controls[name](clip), controls[name](blind))


@pytest.mark.parametrize(
    "name", ["unprocessed", "cubic_spline", "spectral_band_replication", "ridge_envelope", "oracle_envelope_noise"]
)
def test_nothing_missing_means_nothing_done(controls, name):
    clip = utterance(cutoff_hz=None)
    np.testing.assert_array_equal(controls[name](clip), clip.narrowband)


@pytest.mark.parametrize("name", ["spectral_band_replication", "ridge_envelope", "oracle_envelope_noise"])
def test_the_band_below_the_cutoff_is_left_alone(controls, name):
    clip = utterance()
    assert retained(controls[name], clip) < 0.05
    assert np.abs(controls[name](clip) - clip.narrowband).max() > 1e-3


def test_unprocessed_noise_is_at_minus_70_dbfs_and_halves_lsd():
    clip = utterance(seconds=6.0)
    added = UnprocessedNoise()(clip) - clip.narrowband
    assert 20 * np.log10(added.std()) == pytest.approx(-70.0, abs=0.1)
    plain, noisy = (
        log_spectral_distance(preds=c(clip), target=clip.wideband) for c in (Unprocessed(), UnprocessedNoise())
    )
    assert noisy < 0.7 * plain
    assert extended(UnprocessedNoise(), clip) == pytest.approx(0.5, abs=0.06)


def test_target_gain():
    clip = utterance()
    np.testing.assert_allclose(TargetGain()(clip), 0.99 * clip.wideband, rtol=1e-6)


def test_cubic_spline_passes_through_the_picked_samples_and_keeps_a_slow_tone():
    clip = utterance()
    np.testing.assert_allclose(CubicSplineInterpolation()(clip)[::2], clip.narrowband[::2], atol=1e-6)
    tone = np.sin(2 * np.pi * 400 * np.arange(RATE) / RATE).astype(np.float32)
    for cutoff_hz in (4000.0, 3400.0):
        spline = CubicSplineInterpolation()(replace(clip, narrowband=tone, wideband=tone, cutoff_hz=cutoff_hz))
        np.testing.assert_allclose(spline[200:-200], tone[200:-200], atol=5e-3)


def test_band_replication_repeats_the_low_band_and_never_rises():
    time = np.arange(2 * RATE) / RATE
    tones = sum(np.sin(2 * np.pi * hz * time) for hz in range(250, 4000, 250)).astype(np.float32) * 0.02
    clip = replace(utterance(), narrowband=tones, wideband=tones)
    power = np.abs(np.fft.rfft(SpectralBandReplication()(clip) * np.hanning(len(tones)))) ** 2
    frequencies = np.fft.rfftfreq(len(tones), 1 / RATE)
    low, high = (power[(frequencies > a) & (frequencies < b)].sum() for a, b in ((2100, 3900), (4100, 5900)))
    assert 0.3 * low < high <= 1.1 * low


def test_oracle_has_the_target_s_envelope(controls):
    clip = utterance(seconds=6.0)
    assert extended(OracleEnvelopeNoise(), clip) < 0.25
    target, estimate = clip.wideband, OracleEnvelopeNoise()(clip)
    frequencies = np.fft.rfftfreq(len(target), 1 / RATE)
    for low in range(4400, 7600, 400):
        inside = (frequencies >= low) & (frequencies < low + 400)
        energies = [(np.abs(np.fft.rfft(waveform)[inside]) ** 2).sum() for waveform in (estimate, target)]
        assert 10 * np.log10(energies[0] / energies[1]) == pytest.approx(0.0, abs=1.0)


def level_errors_db(estimate, target):
    """Differences of the level between 5 and 6 kHz, in every fifth of a second, of stationary noise."""
    spectra = [np.abs(np.fft.rfft(one[: len(one) // 3200 * 3200].reshape(-1, 3200))) ** 2 for one in (estimate, target)]
    left, right = (spectrum[:, 1000:1200].sum(axis=1) for spectrum in spectra)
    return 10 * np.log10(left / right)


def test_an_envelope_can_be_made_wrong_by_so_many_decibels():
    clip = utterance(seconds=1.0)
    rng = np.random.default_rng(0)
    clip = replace(clip, wideband=0.1 * rng.standard_normal(60 * RATE), narrowband=np.zeros(60 * RATE, np.float32))
    right, wrong = (
        level_errors_db(OracleEnvelopeNoise(bands=1, error_db=error_db)(clip), clip.wideband) for error_db in (0.0, 6.0)
    )
    # 200 bins of noise over 200 bins of noise, 10 log10: 10 / ln 10 * sqrt(2 / 200) dB.
    assert right.std() < 2 * 0.43
    # A fifth of a second averages what changes over a quarter of one, by a third at most.
    assert 4.0 < wrong.std() < 6.0


def test_a_smoothed_envelope_has_the_level_of_a_steady_one_and_no_onsets():
    clip = utterance(seconds=1.0)
    noise = 0.1 * np.random.default_rng(0).standard_normal(20 * RATE)
    steady = replace(clip, wideband=noise, narrowband=np.zeros_like(noise))
    smoothed = OracleEnvelopeNoise(smoothing_seconds=0.25)
    assert np.abs(level_errors_db(smoothed(steady), noise)).mean() < 2 * 0.43 + 2.6  # of the mean of logs: 2.5 dB lower
    burst = np.where(np.arange(noise.size) // RATE % 2 == 0, noise, 1e-4 * noise)
    spread = smoothed(replace(steady, wideband=burst))
    first, last = (np.mean(spread[RATE + start : RATE + start + 800] ** 2) for start in (0, 8000))
    assert first > 100 * last


def test_ridge_learns_what_the_low_band_tells(controls):
    clip = utterance(99, seconds=6.0)
    oracle, ridge, nothing = (
        extended(controls[n], clip) for n in ("oracle_envelope_noise", "ridge_envelope", "unprocessed")
    )
    assert oracle <= ridge < 0.4 < nothing


def test_ridge_equals_a_closed_form_solution():
    generator = np.random.default_rng(0)
    from models import baselines

    equations = baselines._NormalEquations()
    features = np.vstack([generator.standard_normal((baselines.RIDGE_FEATURES, 500)), np.ones(500)])
    truth = generator.standard_normal((baselines.ENVELOPE_BANDS, baselines.RIDGE_FEATURES + 1))
    equations.features += features @ features.T
    equations.products += truth @ features @ features.T
    equations.frames += 500
    np.testing.assert_allclose(equations.solve(1e-9), truth, atol=1e-6)


def test_ridge_keeps_a_regression_per_condition_and_cutoff_and_falls_back_to_the_nearest():
    ridge = RidgeEnvelope()
    ridge.fit(
        [
            utterance(0, condition="a"),
            utterance(1, condition="b"),
            utterance(2, low_rate=4000, cutoff_hz=2000.0, condition="a"),
        ]
    )
    assert ridge._nearest("a", 4000.0) is ridge._weights["a", 4000.0]
    assert ridge._nearest("b", 4000.0) is ridge._weights["b", 4000.0]
    assert ridge._nearest("a", 2300.0) is ridge._weights["a", 2000.0]
    assert ridge._nearest("c", 3700.0) in (ridge._weights["a", 4000.0], ridge._weights["b", 4000.0])
    assert np.isfinite(ridge(utterance(3, low_rate=6000, cutoff_hz=3000.0, condition="z"))).all()


def test_ridge_does_not_learn_an_encoder_s_low_pass():
    clips = [utterance(i) for i in range(3)]
    dull = [
        replace(clip, wideband=resample(resample(clip.wideband, RATE, 12_000), 12_000, RATE), band_hz=6000.0)
        for clip in (utterance(i) for i in range(3, 9))
    ]
    ridge = RidgeEnvelope()
    ridge.fit(dull + clips)
    clip = utterance(50)
    frequencies = np.fft.rfftfreq(len(clip.wideband), 1 / RATE)
    inside = (frequencies > 6500) & (frequencies < 7500)
    energies = [(np.abs(np.fft.rfft(waveform)[inside]) ** 2).sum() for waveform in (ridge(clip), clip.wideband)]
    assert abs(10 * np.log10(energies[0] / energies[1])) < 6.0


def test_ridge_says_what_it_misses():
    with pytest.raises(OvertoneError, match="not fitted"):
        RidgeEnvelope()(utterance())
    with pytest.raises(OvertoneError, match="no training clip of condition telephone reaches above 4000 Hz"):
        RidgeEnvelope().fit([replace(utterance(), band_hz=4000.0)])


def test_other_rates(controls):
    clip = utterance(rate=44_100, low_rate=16_000, cutoff_hz=8000.0, seconds=1.0)
    for name, control in controls.items():
        if name != "ridge_envelope":
            assert control(clip).shape == clip.wideband.shape
    ridge = RidgeEnvelope()
    ridge.fit([clip])
    assert np.isfinite(ridge(clip)).all()


def real_utterances(count: int) -> list[Utterance]:
    root = Path(os.environ["OVERTONE_DATA"])
    manifest = pd.read_csv(root / "manifest.csv")
    chosen = manifest[(manifest.kind == "speech") & (manifest.split == "test") & (manifest.seconds > 3)]
    clips = []
    for row in chosen.groupby("speaker").head(1).head(count).itertuples():
        waveform, rate = read_audio(root / row.path, frames=5 * 48_000)
        wideband = resample(waveform, rate, RATE)
        narrowband = resample(resample(wideband, RATE, 8000), 8000, RATE)
        narrowband = np.pad(narrowband, (0, max(0, len(wideband) - len(narrowband))))[: len(wideband)]
        clip = utterance(seconds=0.1)
        clips.append(replace(clip, file=row.path, speaker=row.speaker, narrowband=narrowband, wideband=wideband))
    return clips


@pytest.mark.skipif("OVERTONE_DATA" not in os.environ, reason="OVERTONE_DATA names no folder of real speech")
def test_controls_on_real_speech():
    clips = real_utterances(12)
    controls = (Unprocessed(), UnprocessedNoise(), TargetGain(), SpectralBandReplication(), OracleEnvelopeNoise())
    means = {control.name: np.mean([extended(control, clip) for clip in clips]) for control in controls}
    assert means["target_gain"] < 0.01 and means["oracle_envelope_noise"] < 0.25
    assert 0.25 < means["spectral_band_replication"] < 0.45
    assert means["unprocessed"] == pytest.approx(0.5, abs=0.02)
    assert means["unprocessed_noise"] == pytest.approx(0.5, abs=0.02)
