"""Tests and effect sizes against enumeration, published tables and simulation."""

import itertools

import numpy as np
import pytest
from scipy.stats import rankdata, ttest_1samp

from evaluation.statistics.hypothesis_tests import (
    cohens_d_z,
    holm,
    rank_biserial_correlation,
    signed_rank_test,
    smallest_detectable_difference,
)
from evaluation.statistics.intervals import bootstrap_interval

DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]  # maize, eighths of an inch (Fisher 1935)


def enumerated_p_value(differences):
    """Two-sided p value over all assignments of signs to the ranks."""
    changed = np.array([one for one in differences if one != 0.0])
    ranks = rankdata(np.abs(changed))
    centre = ranks.sum() / 2.0
    observed = abs(ranks[changed > 0].sum() - centre)
    sums = (np.dot(signs, ranks) for signs in itertools.product((0, 1), repeat=len(ranks)))
    return np.mean([abs(one - centre) >= observed - 1e-9 for one in sums])


@pytest.mark.parametrize(
    "differences",
    [
        [-0.3, -0.1, -0.2, -0.4, -0.5, -0.6],
        [0.3, -0.1, 0.2, 0.45, -0.05, 0.6, 0.7],
        [0.1, 0.1, -0.2, 0.3, 0.3, 0.3, -0.1],  # ties
        [0.0, 0.1, 0.2, -0.3, 0.0, 0.5],  # zeros
    ],
)
def test_the_p_value_is_that_of_all_assignments_of_signs(differences):
    assert signed_rank_test(differences).p_value == pytest.approx(enumerated_p_value(differences))


def test_the_published_p_value_of_darwins_maize():
    # R: wilcox.test(x, exact = TRUE) gives V = 96, p = 0.04126; the smaller sum is 24.
    result = signed_rank_test(DARWIN)
    assert (result.statistic, result.speakers) == (24.0, 15)
    assert result.p_value == pytest.approx(0.04126, abs=5e-6)


def test_the_smallest_p_value_halves_with_every_speaker():
    for speakers in (2, 6, 12):
        differences = -np.arange(1.0, speakers + 1.0)
        assert signed_rank_test(differences).p_value == pytest.approx(2.0 ** (1 - speakers))


def test_rounding_neither_breaks_ties_nor_makes_differences():
    exact, rounded = [0.1, 0.1, 0.1, -0.2, 0.0], [0.1, 0.3 - 0.2, 0.1 + 1e-16, -0.2, 1e-17]
    assert signed_rank_test(rounded) == signed_rank_test(exact)
    assert signed_rank_test(rounded).speakers == 4
    assert cohens_d_z([0.1 + 0.2, 0.3]) == np.inf


def test_p_values_of_no_difference_are_uniform_or_cautious():
    generator = np.random.default_rng(0)
    p_values = np.array([signed_rank_test(generator.normal(size=10)).p_value for _ in range(600)])
    for level in (0.05, 0.2, 0.5):
        assert np.mean(p_values <= level) <= level + 3.0 * np.sqrt(level * (1.0 - level) / len(p_values))


def test_holms_adjustment_of_a_known_family():
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([]).shape == (0,)


def test_holm_leaves_out_what_could_not_be_tested():
    adjusted = holm([0.02, np.nan, 0.01])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.02])
    assert np.isnan(adjusted[1])


def test_holm_keeps_the_rate_of_families_with_a_false_alarm():
    p_values = np.random.default_rng(1).uniform(size=(2000, 12))
    alarms = np.mean([holm(family).min() < 0.05 for family in p_values])
    assert 0.03 < alarms < 0.07
    assert np.mean(p_values.min(axis=1) < 0.05) > 0.4  # what it is for


def test_rank_biserial_correlation_by_hand():
    # ranks of 1, 2, -3, 4: (1 + 2 + 4 - 3) / 10
    assert rank_biserial_correlation([0.1, 0.2, -0.3, 0.4]) == pytest.approx(0.4)
    assert rank_biserial_correlation([-1.0, -2.0, 0.0]) == -1.0
    assert rank_biserial_correlation([0.0, 0.0]) == 0.0
    total = len(DARWIN) * (len(DARWIN) + 1) / 2.0
    assert rank_biserial_correlation(DARWIN) == pytest.approx((total - 2 * 24) / total)


def test_effect_sizes_change_their_sign_with_the_systems():
    differences = np.random.default_rng(2).normal(0.3, 1.0, size=9)
    for effect in (rank_biserial_correlation, cohens_d_z):
        assert effect(-differences) == pytest.approx(-effect(differences))


def test_cohens_d_z_is_students_t_without_the_number_of_speakers():
    assert cohens_d_z(DARWIN) == pytest.approx(ttest_1samp(DARWIN, 0.0).statistic / np.sqrt(15))
    assert cohens_d_z([0.0, 0.0]) == 0.0
    assert cohens_d_z([-0.2, -0.2]) == -np.inf


@pytest.mark.parametrize(("speakers", "d_z"), [(15, 0.7786), (20, 0.6604), (34, 0.4950), (199, 0.1996)])
def test_the_detectable_difference_is_that_of_power_tables(speakers, d_z):
    # Cohen's d_z of 0.5 takes 34 pairs, 0.2 takes 199 (G*Power: t tests, matched pairs, two tails, 0.05, 0.80)
    differences = np.random.default_rng(3).normal(size=speakers)
    differences *= 2.5 / differences.std(ddof=1)
    assert smallest_detectable_difference(differences) == pytest.approx(2.5 * d_z, rel=1e-3)


def test_the_detectable_difference_is_detected_as_often_as_it_says():
    """A pilot test set says what it can detect; of further ones with that difference, 80 % must find it."""
    generator = np.random.default_rng(4)

    def test_set(difference):
        of_speakers = generator.normal(difference, 0.03, size=(12, 1))
        return of_speakers + generator.normal(0.0, 0.02, size=(12, 3))

    detectable = np.median([smallest_detectable_difference(test_set(0.0).mean(axis=1)) for _ in range(200)])
    speakers = [f"s{index // 3}" for index in range(36)]
    by_rank, by_interval, trials = 0, 0, 200
    for _ in range(trials):
        values = test_set(detectable)
        by_rank += signed_rank_test(values.mean(axis=1)).p_value < 0.05
        interval = bootstrap_interval(values.ravel(), speakers, resamples=300)
        by_interval += interval.low > 0.0
    assert 0.7 < by_rank / trials < 0.87
    assert 0.65 < by_interval / trials < 0.9


def test_more_power_or_certainty_takes_a_larger_difference():
    differences = np.random.default_rng(5).normal(size=8)
    plain = smallest_detectable_difference(differences)
    assert smallest_detectable_difference(differences, power=0.9) > plain
    assert smallest_detectable_difference(differences, significance=0.01) > plain
    assert smallest_detectable_difference(10.0 * differences) == pytest.approx(10.0 * plain)


@pytest.mark.parametrize("differences", [[], [0.3], [0.3, np.nan, 0.1]])
def test_what_cannot_be_computed_is_nan(differences):
    assert np.isnan(signed_rank_test(differences).p_value)
    assert np.isnan(cohens_d_z(differences))
    assert np.isnan(smallest_detectable_difference(differences))
    assert np.isnan(rank_biserial_correlation(differences)) == (differences != [0.3])


def test_two_speakers_are_few_but_enough():
    assert np.isfinite(smallest_detectable_difference([0.1, 0.2]))
    assert signed_rank_test([0.1, 0.2]).p_value == 0.5
