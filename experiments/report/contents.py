"""What a report tells: plain values and tables, from whichever comparison they come."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

import pandas as pd

from experiments.pages.samples import Sample
from experiments.ranking.conditions import ConditionFactors
from experiments.ranking.selection import Selection

LIBRARIES = ("overtone", "torch", "pytorch-lightning", "numpy", "scipy", "soxr", "visqol-python", "pesq", "pystoi")


@dataclass(frozen=True)
class TrainingCurve:
    """How a training went.

    Attributes:
        system: what was trained.
        seed: of its weights and its order of examples.
        points: (training examples seen, loss on `val`), in order.
    """

    system: str
    seed: int
    points: Sequence[tuple[float, float]]


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that decide what a comparison finds."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@dataclass(frozen=True)
class ReportContents:
    """Everything on the page; what is empty leaves its section out or says so.

    Attributes:
        preset: the preset's name.
        leaderboard: as `experiments.ranking.leaderboard.build_leaderboard` gives it.
        scores: the score table that it sums up: one row per system, file, condition and training seed.
        selection: what was decided on `val`.
        reproduce: the commands that give this result.
        samples: utterances to hear and see, as `experiments.report.report.report_samples` gives them.
        split: what the scores are of.
        test_uses: how many different comparisons have scored this split; None says nothing.
        commit: of the sources.
        data_digest: of the corpus.
        created: when the comparison ended; None says nothing.
        versions: of the libraries.
        facts: further lines for "How to reproduce", such as the corpus or the machine.
        trainings: one row per training: ``system, seed, examples, seconds``, and what else a training record has.
        curves: of the trainings.
        factors: codec, noise and cutoff of each condition, by its name; None where nobody knows.
        conditions: as `experiments.ranking.conditions.condition_rows` gives them; None computes them.
        tests: as `experiments.ranking.paired_tests.paired_tests` gives them; None computes them.
        failures: what failed besides scores, a sentence each, such as a training that diverged.
        links: label to address of pages beside this one, such as a listening test.
    """

    preset: str
    leaderboard: pd.DataFrame
    scores: pd.DataFrame
    selection: Selection
    reproduce: Sequence[str]
    samples: Sequence[Sample] = ()
    split: str = "test"
    test_uses: int | None = None
    commit: str = "unknown"
    data_digest: str = "unknown"
    created: datetime | None = None
    versions: Mapping[str, str] = field(default_factory=library_versions)
    facts: Mapping[str, str] = field(default_factory=dict)
    trainings: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: Sequence[TrainingCurve] = ()
    factors: Mapping[str, ConditionFactors] | None = None
    conditions: pd.DataFrame | None = None
    tests: pd.DataFrame | None = None
    failures: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)
