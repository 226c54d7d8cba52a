"""How many cores a process takes: those that it may use, not those that the machine has."""

import os

import pytest

from overtone import worker_pool
from overtone.worker_pool import available_cores


@pytest.fixture
def share(tmp_path, monkeypatch):
    monkeypatch.setattr(worker_pool, "CGROUP_SHARE", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("text", "cores"),
    [("200000 100000", 2), ("50000 100000", 1), ("max 100000", 8), ("6400000 100000", 8), ("nonsense", 8)],
)
def test_a_container_has_its_share(share, text, cores):
    share.write_text(text)
    assert available_cores() == cores


def test_without_a_container_the_affinity_counts(share):
    assert available_cores() == 8
