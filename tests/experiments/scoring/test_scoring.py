"""Scoring a split: one pass for all systems, tables as of each alone, few utterances in memory, and going on."""

import os
import weakref

import numpy as np
import pandas as pd
import pytest

from evaluation.contracts import Utterance
from experiments.scoring import splits as scoring
from experiments.scoring.rows import KILLED, score_pairs
from experiments.scoring.splits import ScoredSplit, ScoringTask, Utterances, read_scores, scored
from models.baselines import SpectralBandReplication, TargetGain, Unprocessed
from overtone.worker_pool import JOBS_PER_WORKER, WorkerPool

RATE = 8000
COUNT = 6


class Split:
    """Makes utterances anew and counts them: how often, and how many are alive."""

    def __init__(self):
        self.made = 0
        self.alive = weakref.WeakSet()
        self.most_alive = 0

    def __call__(self):
        for index in range(COUNT):
            rng = np.random.default_rng(index)
            wideband = (0.1 * rng.standard_normal(4000)).astype(np.float32)
            narrowband = np.convolve(wideband, np.hanning(9) / 4, "same").astype(np.float32)
            utterance = Utterance(
                f"{index}", ("NA", "p225")[index % 2], "low", RATE, narrowband, wideband, 1000.0, 4000.0, True
            )
            self.made += 1
            self.alive.add(utterance)
            self.most_alive = max(self.most_alive, len(self.alive))
            yield utterance


class Blocks(Unprocessed):
    """Has block borders, so that its seam is scored."""

    def __init__(self):
        super().__init__("blocks", block_samples=512)


@pytest.fixture
def made(monkeypatch):
    """Utterances are compared by identity here, as a weak reference wants it."""
    monkeypatch.setattr(Utterance, "__hash__", object.__hash__)
    return Split()


@pytest.fixture
def split(made):
    return ScoredSplit("val", Utterances(made, COUNT), "key")


def tasks(folder, *systems):
    return [ScoringTask(system.name, lambda system=system: system, folder / system.name) for system in systems]


def test_tables_are_those_of_each_system_alone_and_utterances_are_made_once(split, made, tmp_path):
    systems = [Unprocessed(), Blocks(), SpectralBandReplication()]
    listed = tasks(tmp_path, *systems)
    listed[1] = ScoringTask("blocks", listed[1].load, listed[1].folder, seed=3.0)
    with WorkerPool(1) as pool:
        tables = scored(pool, listed, split)
    assert made.made == COUNT
    for system, table in zip(systems, tables, strict=True):
        pairs = ((utterance, system(utterance)) for utterance in Split()())
        alone = score_pairs(pairs, system.name, block_samples=system.block_samples)
        pd.testing.assert_frame_equal(table.drop(columns="seed"), alone, check_exact=True, check_dtype=False)
    assert [table["seed"].iloc[0] for table in tables] == [
        pytest.approx(value, nan_ok=True) for value in (np.nan, 3.0, np.nan)
    ]
    assert tables[1]["seam"].notna().all()
    assert tables[0]["seam"].isna().all()


def test_few_utterances_are_alive_at_any_time(split, made, tmp_path):
    with WorkerPool(1) as pool:
        scored(pool, tasks(tmp_path, Unprocessed(), TargetGain()), split)
    assert made.most_alive <= 3


def test_what_is_there_is_read_and_only_the_rest_is_scored(split, made, tmp_path):
    def never():
        raise AssertionError("loaded again")

    with WorkerPool(1) as pool:
        first = scored(pool, tasks(tmp_path, Unprocessed()), split)[0]
        again = scored(pool, [ScoringTask("unprocessed", never, tmp_path / "unprocessed")], split)[0]
        assert made.made == COUNT
        both = scored(
            pool, [ScoringTask("unprocessed", never, tmp_path / "unprocessed"), *tasks(tmp_path, TargetGain())], split
        )
    pd.testing.assert_frame_equal(first, again)
    assert [table["system"].iloc[0] for table in both] == ["unprocessed", "target_gain"]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["scores-val-key.csv"] * 2


def test_a_stopped_pass_goes_on_where_it_was(split, made, tmp_path, monkeypatch):
    class Stopped(Unprocessed):
        calls = 0

        def __call__(self, utterance):
            Stopped.calls += 1
            if Stopped.calls == 4:
                raise KeyboardInterrupt
            return utterance.narrowband

    with WorkerPool(1) as pool, pytest.raises(KeyboardInterrupt):
        scored(pool, tasks(tmp_path, Stopped()), split)
    progress = []
    with WorkerPool(1) as pool:
        table = scored(pool, tasks(tmp_path, Stopped()), split, lambda *done: progress.append(done))[0]
    assert Stopped.calls == 4 + 3
    assert progress[-1][:2] == (COUNT, COUNT)
    whole = score_pairs(((utterance, utterance.narrowband) for utterance in Split()()), "unprocessed")
    pd.testing.assert_frame_equal(table.drop(columns="seed"), whole, check_exact=True, check_dtype=False)


def test_an_utterance_that_ends_its_process_fails_and_is_tried_again(split, made, tmp_path, monkeypatch):
    def killed_by_the_third(pool, function, jobs):
        return ((job, None if job.utterance.file == "2" else function(job)) for job in jobs)

    listed = tasks(tmp_path, Unprocessed(), TargetGain())
    with WorkerPool(1) as pool, monkeypatch.context() as patch:
        patch.setattr(WorkerPool, "map", killed_by_the_third)
        tables = scored(pool, listed, split)
    for table in tables:
        assert list(table["file"]) == [str(index) for index in range(COUNT)]
        assert list(table["file"][table["lsd"].isna()]) == ["2"]
        assert f"lsd: {KILLED.replace(';', ',')}" in table["failures"][2]
        assert (table["speaker"][2], table["condition"][2]) == ("NA", "low")
    assert not list(tmp_path.rglob("scores-*"))
    with WorkerPool(1) as pool:
        again = scored(pool, listed, split)
    assert made.made == 2 * COUNT
    for table, before in zip(again, tables, strict=True):
        assert table["lsd"].notna().all()
        pd.testing.assert_frame_equal(table.drop(index=2), before.drop(index=2), check_dtype=False)


def test_utterances_are_found_by_name(made):
    utterances = Utterances(made, COUNT)
    assert len(utterances) == len(list(utterances)) == COUNT
    made.made = 0
    found = utterances.find([("3", "low"), ("1", "low")])
    assert {name: utterance.file for name, utterance in found.items()} == {("1", "low"): "1", ("3", "low"): "3"}
    assert made.made == 4
    assert utterances.find([("3", "high")]) == {}


def test_scores_survive_a_file_bit_by_bit(tmp_path):
    table = pd.DataFrame(
        {"lsd": [0.1 + 0.2, np.nan, 1e-17], "failures": ["", "lsd: x", ""], "not_applicable": ["seam", "", ""]}
    )
    scoring.write_scores(table, tmp_path / "scores.csv")
    pd.testing.assert_frame_equal(read_scores(tmp_path / "scores.csv"), table, check_exact=True)


# The pool


def double(number):
    return 2 * number


def die_of_three(number):
    if number == 3:
        os._exit(1)
    return number


def test_a_pool_holds_few_jobs_and_survives_a_process_that_dies():
    ahead = []
    done = []

    def jobs():
        for number in range(20):
            ahead.append(number - len(done))
            yield number

    with WorkerPool(2) as pool:
        for job, result in pool.map(double, jobs()):
            done.append((job, result))
        assert sorted(done) == [(number, 2 * number) for number in range(20)]
        assert max(ahead) <= 2 * JOBS_PER_WORKER
        assert dict(pool.map(die_of_three, range(6))) == {0: 0, 1: 1, 2: 2, 3: None, 4: 4, 5: 5}
