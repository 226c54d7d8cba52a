"""Real or generated: chance, what is always told apart, and what a speaker gives away."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from waveforms import breathing_speech, white

from evaluation.measures.missing_band import band_statistics, piece_statistics, told_apart
from evaluation.measures.stft import NotApplicable
from evaluation.statistics.separability import separability, shares_less_suspect

SPEAKERS = [f"speaker{number // 4}" for number in range(80)]


def features(seed, shift=0.0):
    return np.random.default_rng(seed).standard_normal((80, 6)) + shift * np.eye(6)[0]


def test_the_same_and_others_of_the_same_kind_are_at_chance():
    real = features(0)
    assert separability(real, real, SPEAKERS) == pytest.approx(0.5)
    # The standard error of an area under the curve of two times 80 is 0.046 at chance (Hanley and McNeil 1982).
    assert separability(real, features(1), SPEAKERS) == pytest.approx(0.5, abs=4 * 0.046)


def test_a_shift_is_told_as_often_as_normal_distributions_overlap():
    # The area under the curve of two normal distributions d apart is Phi(d / sqrt 2): 0.76 at 1, 0.92 at 2.
    assert separability(features(0), features(1, shift=1.0), SPEAKERS) == pytest.approx(0.76, abs=4 * 0.038)
    assert separability(features(0), features(1, shift=2.0), SPEAKERS) == pytest.approx(0.92, abs=4 * 0.022)
    assert separability(features(0), features(0) + 100, SPEAKERS) == 1.0


def test_a_difference_that_only_one_speaker_has_is_not_learnt_from_that_speaker():
    real, generated = features(0), features(0)
    of_one = np.array(SPEAKERS) == "speaker0"
    generated[of_one, 0] += 50.0
    assert separability(real, generated, SPEAKERS) < 0.6


def test_it_is_the_area_that_scikit_learn_finds_and_the_mean_of_the_shares_of_each():
    real, generated = features(0), features(1, shift=1.0)
    shares = shares_less_suspect(real, generated, SPEAKERS)
    assert shares.shape == (80,) and shares.min() >= 0 and shares.max() <= 1
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    labels = np.repeat([0, 1], 80)
    decided = cross_val_predict(
        classifier,
        np.concatenate([real, generated]),
        labels,
        groups=SPEAKERS * 2,
        cv=GroupKFold(5),
        method="decision_function",
    )
    assert separability(real, generated, SPEAKERS) == pytest.approx(roc_auc_score(labels, decided), abs=1e-12)
    assert shares.mean() == separability(real, generated, SPEAKERS)
    for number in (0, 41):
        taken = decided[:80] < decided[80 + number]
        assert shares[number] == pytest.approx(taken.mean())


def test_an_utterance_is_judged_by_all_of_its_pieces_against_those_of_everybody():
    real, generated = features(0), features(1, shift=1.0)
    pieces = [np.stack([real[start:end], generated[start:end]], axis=1) for start, end in ((0, 4), (4, 48), (48, 80))]
    names = ["a", "b", "c"]
    shares = shares_less_suspect(real, generated, ["a"] * 4 + ["b"] * 44 + ["c"] * 32)
    assert told_apart(pieces, names) == pytest.approx([shares[:4].mean(), shares[4:48].mean(), shares[48:].mean()])
    with pytest.raises(NotApplicable, match="one speaker"):
        told_apart(pieces, ["a"] * 3)


def test_pieces_are_seconds_of_both_and_silent_ones_are_left_out():
    speech = breathing_speech(16_000, 3.5)
    quiet = speech.copy()
    quiet[16_000:32_000] = 0.0
    pieces = piece_statistics(preds=0.5 * speech, target=quiet, sample_rate=16_000, cutoff_hz=4000.0, band_hz=8000.0)
    assert pieces.shape == (2, 2, 36)
    for number, start in enumerate((0, 32_000)):
        piece = speech[start : start + 16_000]
        assert pieces[number] == pytest.approx(np.stack([statistics(piece), statistics(0.5 * piece)]))
    with pytest.raises(NotApplicable, match="shorter than a second"):
        piece_statistics(speech[:15_999], speech[:15_999], 16_000, 4000.0, 8000.0)


@pytest.mark.parametrize(
    ("real", "generated", "speakers"),
    [(np.ones((4, 2)), np.ones((4, 3)), "abab"), (np.ones((4, 2)), np.ones((4, 2)), "aaaa"), ([1], [1], "ab")],
)
def test_bad_tables_are_refused(real, generated, speakers):
    with pytest.raises(ValueError, match="expected"):
        separability(real, generated, list(speakers))


def statistics(waveform, rate=16_000, cutoff_hz=4000.0, band_hz=8000.0):
    return band_statistics(waveform, rate, cutoff_hz, band_hz)


def test_statistics_are_of_the_missing_band_at_any_level_of_the_recording():
    speech = breathing_speech(16_000, 2.0)
    means, deviations, steps = statistics(speech).reshape(3, 12)
    assert statistics(0.1 * speech) == pytest.approx(statistics(speech), abs=0.05)
    assert (deviations > 1).all() and (steps > 0.5).all() and (means < 0).all()
    low = speech + 0.0 * white(len(speech))
    spectrum, hz = np.fft.rfft(low), np.fft.rfftfreq(len(low), 1 / 16_000)
    spectrum[hz > 3800] *= 0.5
    quieter = np.fft.irfft(spectrum, len(low))
    assert statistics(quieter)[:12] == pytest.approx(means - 6.02, abs=0.1)
    assert statistics(quieter)[12:] == pytest.approx([*deviations, *steps], abs=0.1)


@pytest.mark.parametrize(("cutoff_hz", "band_hz", "factor"), [(None, 8000, 1), (4000, 4300, 1), (4000, 8000, 0)])
def test_statistics_need_a_missing_band_and_sound(cutoff_hz, band_hz, factor):
    with pytest.raises(NotApplicable):
        statistics(factor * breathing_speech(16_000, 2.0), 16_000, cutoff_hz, band_hz)
