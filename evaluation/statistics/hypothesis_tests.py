"""Tests and effect sizes on speaker means, and the smallest difference that a test set can detect.

The observations are `statistics.speaker_differences`: one paired difference per speaker, since utterances of a speaker
are alike and would count as far more evidence than they are.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import chi2, nct, norm, rankdata, t, wilcoxon

POWER = 0.8
SIGNIFICANCE = 0.05
DECIMALS = 9  # differences that only rounding tells apart are ties

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SignedRankTest:
    """A Wilcoxon signed-rank test.

    Attributes:
        p_value: two-sided; NaN below two speakers.
        statistic: the smaller of the sums of positive and negative ranks.
        speakers: how many of them differ at all; the others tell nothing.
    """

    p_value: float
    statistic: float
    speakers: int


def signed_rank_test(differences: ArrayLike) -> SignedRankTest:
    """Test whether the differences are centred on 0 (Wilcoxon 1945), without assuming a normal distribution.

    By `scipy.stats.wilcoxon`: exact up to 50 speakers, and with ties up to 13, the normal approximation beyond.
    Speakers without a difference are left out, as Wilcoxon did. No p value can be under ``2 ** (1 - speakers)``.

    Args:
        differences: one per speaker ``(speakers,)``.

    Returns:
        A p value of 1 where all differences are 0, NaN where a difference is NaN or there are fewer than two speakers.
    """
    values = _rounded(differences)
    if len(values) < 2 or np.isnan(values).any():
        return SignedRankTest(math.nan, math.nan, 0)
    changed = values[values != 0.0]
    if len(changed) == 0:
        return SignedRankTest(1.0, 0.0, 0)
    result = wilcoxon(changed)
    return SignedRankTest(float(result.pvalue), float(result.statistic), len(changed))


def holm(p_values: ArrayLike) -> Array:
    """Adjust the p values of a family so that one of them is under 5 % by chance in 5 % of all families at most.

    Holm 1979, "A simple sequentially rejective multiple test procedure": sorted upwards, the i-th of m (from 0) is
    multiplied by m - i, then made monotonous and cut at 1.

    Args:
        p_values: ``(tests,)``; NaN is a test that could not be made, and does not count.

    Returns:
        ``(tests,)``, NaN where the p value is.
    """
    given = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(given.shape, np.nan)
    known = np.flatnonzero(~np.isnan(given))
    order = known[np.argsort(given[known], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1.0)
    return adjusted


def rank_biserial_correlation(differences: ArrayLike) -> float:
    """Effect size of the signed-rank test: matched-pairs rank-biserial correlation, -1 to 1.

    Kerby 2014, "The simple difference formula": (sum of positive ranks - sum of negative ranks) / sum of all ranks. -1
    is a system below the other for every speaker, 1 above for every one, 0 neither; better is the measure's own
    direction.

    Args:
        differences: one per speaker ``(speakers,)``; zeros have no rank.

    Returns:
        0 where all differences are 0, NaN where a difference is NaN or there is none.
    """
    values = _rounded(differences)
    if len(values) == 0 or np.isnan(values).any():
        return math.nan
    changed = values[values != 0.0]
    if len(changed) == 0:
        return 0.0
    ranks = rankdata(np.abs(changed))
    return float((ranks * np.sign(changed)).sum() / ranks.sum())


def cohens_d_z(differences: ArrayLike) -> float:
    """Effect size in standard deviations: mean over speakers / standard deviation of the speakers' differences.

    Cohen 1988, section 2.3.5. Unbounded; its sign is that of the mean. 0.2, 0.5 and 0.8 are called small, medium and
    large, but paired scores vary so little that values of several are usual here.

    Args:
        differences: one per speaker ``(speakers,)``.

    Returns:
        NaN below two speakers or where a difference is NaN; infinite where all speakers differ by the same amount, 0
        where they do not differ.
    """
    values = _rounded(differences)
    if len(values) < 2 or np.isnan(values).any():
        return math.nan
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    if deviation < 10.0**-DECIMALS:
        return math.copysign(math.inf, mean) if mean else 0.0
    return mean / deviation


def smallest_detectable_difference(
    differences: ArrayLike, *, power: float = POWER, significance: float = SIGNIFICANCE
) -> float:
    """The true difference that such a test set would find significant with a probability of ``power``.

    ``noncentrality * s / sqrt(speakers)`` with the standard deviation s of the speakers' paired differences, and the
    noncentrality at which a two-sided Student test of ``speakers - 1`` degrees of freedom has the power (Cohen 1988,
    chapter 2). The Wilcoxon test needs about 1 / 0.955 as many speakers for the same. s is measured, so that with few
    speakers the answer is rough itself. A gap below it that is not significant says nothing either way.

    Args:
        differences: one per speaker ``(speakers,)``.
        power: probability to find it.
        significance: two-sided level, of one test on its own.

    Returns:
        In the measure's units, 0 or more; NaN below two speakers or where a difference is NaN.
    """
    values = _rounded(differences)
    if len(values) < 2 or np.isnan(values).any():
        return math.nan
    return _noncentrality(len(values), power, significance) * float(values.std(ddof=1)) / math.sqrt(len(values))


@cache
def _noncentrality(speakers: int, power: float, significance: float) -> float:
    freedom = speakers - 1
    critical = float(t.ppf(1.0 - significance / 2.0, freedom))

    def missing(noncentrality: float) -> float:
        return float(nct.sf(critical, freedom, noncentrality)) - power  # found with the wrong sign is not found

    # Much further out, scipy's noncentral t gives NaN.
    largest = critical * math.sqrt(chi2.ppf(power, freedom) / freedom) + norm.ppf(power) + 1.0
    return float(brentq(missing, 0.0, largest))


def _rounded(differences: ArrayLike) -> Array:
    values: Array = np.asarray(differences, dtype=np.float64)
    return values.round(DECIMALS)
