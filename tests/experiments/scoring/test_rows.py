"""The one way from estimates to rows: order, processes, and what cannot be scored."""

import os
from dataclasses import dataclass

import numpy as np
import pandas as pd
from utterances import utterance

from evaluation.harness import IDENTITY_COLUMNS
from experiments.scoring.rows import KILLED, Pair, Unusable, score, score_pairs
from overtone.worker_pool import WorkerPool


@dataclass(frozen=True)
class Files:
    """A job of three systems: one that is scored, one without a file, and one that may end the process."""

    name: str
    deadly: bool
    systems: tuple[str, ...] = ("good", "missing", "last")

    @property
    def identity(self):
        return {"file": self.name}

    def pairs(self):
        one = utterance()
        yield Pair("good", one, one.wideband, notes="delay removed")
        yield Unusable("missing", "no such; file")
        if self.deadly:
            os._exit(1)
        yield Pair("last", one, one.narrowband)


def test_what_cannot_be_scored_is_a_row_of_nan_with_the_reason():
    with WorkerPool(2) as pool:
        scored = list(score([Files("a", False), Files("b", True)], pool, ["snr", "lsd"]))
    assert {job.name: lasting for job, _, lasting in scored} == {"a": True, "b": False}
    found = {job.name: rows for job, rows, _ in scored}
    assert found["a"]["good"]["lsd"] == 0.0 and found["a"]["good"]["notes"] == "delay removed"
    missing = found["a"]["missing"]
    assert np.isnan(missing["lsd"]) and missing["failures"] == "snr: no such, file; lsd: no such, file"
    assert set(found["b"]) == {"good", "missing", "last"}
    for row in found["b"].values():
        assert row["file"] == "b" and np.isnan(row["snr"]) and np.isnan(row["lsd"])
        assert row["failures"] == f"snr: {KILLED}; lsd: {KILLED}"


def test_no_pairs_give_an_empty_table_with_its_columns():
    scores = score_pairs([], "none", ["lsd"])
    assert list(scores.columns) == ["system", *IDENTITY_COLUMNS, "lsd", "failures", "not_applicable"]
    assert scores.empty


def test_processes_give_the_same_table_and_hold_few_pairs():
    consumed = []
    done = []
    ahead = []

    def pairs():
        for index in range(9):
            consumed.append(index)
            ahead.append(len(consumed) - len(done))
            yield utterance(index, seconds=0.6), utterance(index, seconds=0.6).narrowband

    with WorkerPool(2) as pool:
        parallel = score_pairs(pairs(), "unprocessed", ["lsd", "extended_ber"], pool=pool, progress=done.append)
    assert done == list(range(1, 10))
    assert max(ahead) <= 5
    alone = score_pairs(pairs(), "unprocessed", ["lsd", "extended_ber"])
    pd.testing.assert_frame_equal(parallel, alone)
