"""Spread over training seeds: known values, coverage of intervals that draw trainings, and what a single one leaves."""

import numpy as np
import pandas as pd
import pytest

from evaluation.statistics.intervals import bootstrap_interval, paired_difference
from evaluation.statistics.training_spread import paired_difference_over_trainings, training_spread


def scores_of(trainings, speakers=6, noise=0.0, system="m", generator=None):
    """A system whose trainings have the given scores; speakers add their own."""
    generator = generator or np.random.default_rng(0)
    rows = []
    effects = generator.normal(0.0, noise, size=speakers)
    for seed, score in enumerate(trainings):
        for speaker in range(speakers):
            for condition in ("telephone", "mp3"):
                row = {"system": system, "speaker": f"s{speaker}", "file": f"s{speaker}-0", "condition": condition}
                rows.append(row | {"seed": float(seed), "lsd": score + effects[speaker]})
    return pd.DataFrame(rows).assign(not_applicable="", failures="")


def control_like(scores, value):
    return scores[scores["seed"] == 0].assign(system="control", seed=np.nan, lsd=value)


def test_the_standard_deviation_is_that_of_the_trainings_means():
    spread = training_spread(scores_of([1.0, 1.2, 1.7], noise=0.5), "m", "lsd")
    assert spread.seeds == 3
    assert spread.standard_deviation == pytest.approx(np.std([1.0, 1.2, 1.7], ddof=1))


def test_without_spread_it_is_the_interval_over_speakers():
    scores = scores_of([1.0, 1.0], noise=0.5)
    one = scores[scores["seed"] == 0]
    plain = bootstrap_interval(
        one["lsd"], one["speaker"].tolist(), conditions=one["condition"].tolist(), files=one["file"].tolist()
    )
    interval = training_spread(scores, "m", "lsd").interval
    assert interval.mean == pytest.approx(plain.mean)
    assert (interval.low, interval.high) == pytest.approx((plain.low, plain.high))
    assert (interval.speakers, interval.utterances) == (6, 6)


def test_the_variance_of_drawn_trainings_is_that_of_their_mean():
    """With one draw fewer than trainings; with as many draws it would be half of that for two."""
    interval = training_spread(scores_of([0.0, 1.0]), "m", "lsd").interval
    assert (interval.low, interval.high) == (0.0, 1.0)  # one of the two is drawn


def test_an_interval_over_trainings_covers_the_architectures_mean():
    generator, covered, narrow = np.random.default_rng(1), 0, 0
    for _ in range(60):
        scores = scores_of(generator.normal(0.0, 1.0, size=6), speakers=8, noise=1.0, generator=generator)
        interval = training_spread(scores, "m", "lsd", resamples=200).interval
        covered += interval.low <= 0.0 <= interval.high
        averaged = scores.groupby(["speaker", "file", "condition"])["lsd"].mean().reset_index()
        plain = bootstrap_interval(averaged["lsd"], averaged["speaker"].tolist(), resamples=200)
        narrow += plain.low <= 0.0 <= plain.high
    assert 0.88 <= covered / 60 <= 1.0
    assert narrow < covered


def test_the_paired_interval_widens_with_the_trainings_of_either_side():
    alike = pd.concat([scores_of([1.0, 1.0], noise=0.5), scores_of([1.3, 1.3], noise=0.5, system="n")])
    apart = pd.concat([scores_of([0.7, 1.3], noise=0.5), scores_of([1.0, 1.6], noise=0.5, system="n")])
    for scores, certain in ((alike, True), (apart, False)):
        difference = paired_difference_over_trainings(scores, "m", "n", "lsd")
        assert difference.mean == pytest.approx(-0.3)
        assert difference.includes_zero != certain
        assert not paired_difference(scores, "m", "n", "lsd").includes_zero


def test_a_control_has_no_trainings_to_draw():
    scores = scores_of([1.0, 1.4], noise=0.5)
    scores = pd.concat([scores, control_like(scores, 2.0)])
    difference = paired_difference_over_trainings(scores, "m", "control", "lsd")
    assert difference.mean == pytest.approx(paired_difference(scores, "m", "control", "lsd").mean)
    assert difference.low < difference.mean < difference.high
    assert training_spread(scores, "control", "lsd").seeds == 0


def test_a_single_training_says_nothing_of_another():
    scores = scores_of([1.0], noise=0.5)
    spread = training_spread(scores, "m", "lsd")
    assert spread.seeds == 1
    assert np.isnan([spread.standard_deviation, spread.interval.low, spread.interval.high]).all()
    scores = pd.concat([scores, control_like(scores, 2.0)])
    assert np.isnan(paired_difference_over_trainings(scores, "m", "control", "lsd").low)


def test_failed_scores_and_absent_systems():
    scores = scores_of([1.0, 1.2])
    scores.loc[3, "lsd"] = np.nan
    assert np.isnan(training_spread(scores, "m", "lsd").interval.low)
    with pytest.raises(KeyError, match="'z'"):
        training_spread(scores, "z", "lsd")
