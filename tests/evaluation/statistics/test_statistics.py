"""Speaker means and bootstrap intervals: known values, coverage, pairing, and what failed or does not apply."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, t

from evaluation.statistics.intervals import bootstrap_interval, paired_difference, speaker_mean, summary


def table(values: dict[tuple[str, str, str, str], float], **columns: object) -> pd.DataFrame:
    """Rows (system, speaker, file, condition) -> lsd."""
    frame = pd.DataFrame([*values], columns=["system", "speaker", "file", "condition"])
    return frame.assign(lsd=list(values.values()), failures="", not_applicable="").assign(**columns)


def random_scores(systems: dict[str, float], speakers: int = 6, files: int = 4, seed: int = 0) -> pd.DataFrame:
    """Scores that share the utterance's difficulty, so that systems differ by little else than their offset."""
    generator = np.random.default_rng(seed)
    values = {}
    for speaker in range(speakers):
        for file in range(files):
            for condition in ("telephone", "mp3"):
                difficulty = generator.normal() + 2.0 * speaker
                for system, offset in systems.items():
                    key = (system, f"s{speaker}", f"s{speaker}-{file}", condition)
                    values[key] = difficulty + offset + 0.01 * generator.normal()
    return table(values)


def test_speaker_mean_weighs_speakers_not_utterances():
    scores = table(
        {("m", "a", "1", "c"): 1.0, ("m", "a", "2", "c"): 1.0, ("m", "a", "3", "c"): 1.0, ("m", "b", "4", "c"): 3.0}
    )
    assert speaker_mean(scores, "lsd") == 2.0
    interval = bootstrap_interval(scores["lsd"], scores["speaker"].tolist())
    assert (interval.mean, interval.speakers, interval.utterances) == (2.0, 2, 4)


@pytest.mark.parametrize(("values", "mean"), [((np.inf, 1.0), np.inf), ((np.inf, -np.inf), np.nan)])
def test_infinite_scores_have_a_mean(values, mean):
    scores = table({("m", "a", str(file), "c"): value for file, value in enumerate(values)})
    np.testing.assert_equal(speaker_mean(scores, "lsd"), mean)


def test_speaker_mean_weighs_conditions_alike():
    scores = table({("m", "a", "1", "c"): 1.0, ("m", "b", "2", "c"): 1.0, ("m", "a", "1", "d"): 4.0})
    assert speaker_mean(scores, "lsd") == 2.5
    interval = bootstrap_interval(
        scores["lsd"],
        scores["speaker"].tolist(),
        conditions=scores["condition"].tolist(),
        files=scores["file"].tolist(),
    )
    assert (interval.mean, interval.speakers, interval.utterances) == (2.5, 2, 2)


def test_a_failed_score_makes_its_mean_nan_and_an_inapplicable_one_is_left_out():
    values = {("m", "a", "1", "c"): 1.0, ("m", "b", "2", "c"): np.nan}
    failed = table(values, failures=["", "lsd: broke"])
    inapplicable = table(values, not_applicable=["lsd_hf", "seam,lsd"])
    assert np.isnan(speaker_mean(failed, "lsd"))
    assert speaker_mean(inapplicable, "lsd") == 1.0
    assert np.isnan(summary(failed, ["lsd"])["mean"].item())
    assert summary(inapplicable, ["lsd"])["mean"].item() == 1.0
    assert summary(inapplicable, ["lsd"])["utterances"].item() == 1


def slow_bootstrap(values: dict[str, list[float]], resamples: int, seed: int) -> tuple[float, float]:
    generator, means = np.random.default_rng(seed), []
    speakers = list(values)
    for _ in range(resamples):
        drawn = [values[speakers[i]] for i in generator.integers(len(speakers), size=len(speakers))]
        means.append(np.mean([np.mean(generator.choice(one, size=len(one))) for one in drawn]))
    tail = 0.025
    if len(speakers) > 1:
        tail = norm.cdf(-np.sqrt(len(speakers) / (len(speakers) - 1)) * t.ppf(0.975, len(speakers) - 1))
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return float(low), float(high)


@pytest.mark.parametrize("speakers", [1, 2, 10])
def test_interval_equals_a_plain_loop(speakers):
    generator = np.random.default_rng(1)
    values = {f"s{i}": list(generator.normal(i, 1.0, size=3 + i)) for i in range(speakers)}
    flat = [(value, speaker) for speaker, column in values.items() for value in column]
    interval = bootstrap_interval([v for v, _ in flat], [s for _, s in flat], resamples=8000)
    low, high = slow_bootstrap(values, 8000, seed=2)
    tolerance = (0.2 if speakers == 2 else 0.05) * (high - low)  # of two speakers it is the extremes
    assert interval.low == pytest.approx(low, abs=tolerance)
    assert interval.high == pytest.approx(high, abs=tolerance)


def test_interval_covers_the_truth_about_as_often_as_it_says():
    generator, covered = np.random.default_rng(3), 0
    for _ in range(200):
        speaker_effects = generator.normal(0.0, 1.0, size=15)
        values = (speaker_effects[:, None] + generator.normal(0.0, 0.5, size=(15, 4))).ravel()
        interval = bootstrap_interval(values, [f"s{i // 4}" for i in range(60)], resamples=300)
        covered += interval.low <= 0.0 <= interval.high
    assert 0.87 <= covered / 200 <= 0.99


def test_interval_is_seeded_and_independent_of_row_order():
    scores = random_scores({"m": 0.0})
    arguments = {"conditions": scores["condition"].tolist(), "files": scores["file"].tolist()}
    first = bootstrap_interval(scores["lsd"], scores["speaker"].tolist(), **arguments)
    assert first == bootstrap_interval(scores["lsd"], scores["speaker"].tolist(), **arguments)
    shuffled = scores.sample(frac=1.0, random_state=0)
    again = bootstrap_interval(
        shuffled["lsd"],
        shuffled["speaker"].tolist(),
        conditions=shuffled["condition"].tolist(),
        files=shuffled["file"].tolist(),
    )
    assert (again.mean, again.low, again.high) == pytest.approx((first.mean, first.low, first.high))
    assert bootstrap_interval(scores["lsd"], scores["speaker"].tolist(), **arguments, seed=1).low != first.low


def test_interval_of_one_value_or_none_has_no_bounds():
    one, none = bootstrap_interval([2.0], ["a"]), bootstrap_interval([], [])
    assert one.mean == 2.0 and np.isnan(one.low) and np.isnan(one.high)
    assert np.isnan(none.mean) and none.speakers == 0
    with pytest.raises(ValueError, match="2 speakers"):
        bootstrap_interval([1.0, 2.0], ["a"])


def test_paired_difference_sees_what_unpaired_intervals_cannot():
    scores = random_scores({"better": -0.05, "worse": 0.0})
    difference = paired_difference(scores, "better", "worse", "lsd")
    assert difference.mean == pytest.approx(-0.05, abs=0.01)
    assert difference.high < 0.0 and not difference.includes_zero
    assert (difference.speakers, difference.utterances) == (6, 24)
    intervals = summary(scores, ["lsd"]).set_index(["system", "condition"])
    assert intervals.loc[("better", "mp3"), "high"] > intervals.loc[("worse", "mp3"), "low"]
    reverse = paired_difference(scores, "worse", "better", "lsd")
    assert reverse.mean == pytest.approx(-difference.mean)


def test_paired_difference_of_equals_includes_zero():
    assert paired_difference(random_scores({"a": 0.0, "b": 0.0}), "a", "b", "lsd").includes_zero


@pytest.mark.parametrize("speakers", [1, 2])
def test_paired_difference_works_with_few_speakers(speakers):
    difference = paired_difference(random_scores({"a": 0.0, "b": 1.0}, speakers=speakers), "a", "b", "lsd")
    assert -1.1 < difference.low <= difference.mean <= difference.high < -0.9


def test_paired_difference_pairs_by_file_and_condition():
    scores = table(
        {
            ("a", "s", "1", "c"): 1.0,
            ("a", "s", "1", "d"): 5.0,
            ("b", "s", "1", "d"): 2.0,
            ("b", "s", "1", "c"): 1.5,
            ("b", "s", "2", "c"): 99.0,
        }
    )
    assert paired_difference(scores, "a", "b", "lsd").mean == pytest.approx((-0.5 + 3.0) / 2)
    assert paired_difference(scores, "a", "b", "lsd", conditions=["c"]).mean == pytest.approx(-0.5)
    with pytest.raises(KeyError, match="'z'"):
        paired_difference(scores, "a", "z", "lsd")


def test_training_seeds_are_averaged_per_utterance():
    one = random_scores({"a": 0.0, "b": 1.0})
    seeds = pd.concat(
        [one[one.system == "a"], one[one.system == "a"].assign(lsd=lambda f: f.lsd + 0.5), one[one.system == "b"]]
    )
    difference = paired_difference(seeds, "a", "b", "lsd")
    assert difference.mean == pytest.approx(-0.75, abs=0.01)
    assert difference.utterances == 24


def test_failed_and_inapplicable_pairs():
    scores = random_scores({"a": 0.0, "b": 1.0})
    scores.loc[0, ["lsd", "not_applicable"]] = [np.nan, "lsd"]
    left_out = paired_difference(scores, "a", "b", "lsd")
    assert left_out.mean == pytest.approx(-1.0, abs=0.02)
    scores.loc[0, ["not_applicable", "failures"]] = ["", "lsd: broke"]
    assert np.isnan(paired_difference(scores, "a", "b", "lsd").mean)


def test_summary_has_a_row_per_system_condition_and_measure():
    scores = random_scores({"a": 0.0, "b": 1.0}).assign(snr=1.0)
    rows = summary(scores, ["lsd", "snr"])
    assert list(rows.columns) == ["system", "condition", "key", "mean", "low", "high", "speakers", "utterances"]
    assert len(rows) == 2 * 2 * 2
    assert ((rows["low"] <= rows["mean"]) & (rows["mean"] <= rows["high"])).all()
