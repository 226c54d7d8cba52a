"""What a comparison found: one value, from which every table and page is written."""

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
from pydantic import TypeAdapter

from evaluation.measures.catalogue import keys_shown
from evaluation.measures.declaration import Shown
from experiments.ranking.band_levels import band_level_rows
from experiments.ranking.columns import Row, rows_of
from experiments.ranking.conditions import ConditionFactors, condition_rows, level_rows
from experiments.ranking.leaderboard import build_leaderboard
from experiments.ranking.paired_tests import paired_tests
from experiments.ranking.primary import PRIMARY, failed_scores
from experiments.ranking.selection import Selection
from overtone.errors import OvertoneError
from overtone.files import written_whole

FILE = "findings.json"
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
    points: tuple[tuple[float, float], ...]


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
class Provenance:
    """Where a comparison's numbers come from.

    Attributes:
        commands: the command lines that give this result.
        commit: of the sources.
        data_digest: of the corpus.
        created: when the comparison ended; None where that is not known.
        versions: of the libraries.
    """

    commands: tuple[str, ...] = ()
    commit: str = "unknown"
    data_digest: str = "unknown"
    created: datetime | None = None
    versions: Mapping[str, str] = field(default_factory=library_versions)


@dataclass(frozen=True)
class Findings:
    """What a comparison found. What follows from it is computed once, when it is first asked for.

    Attributes:
        preset: the preset's name.
        scores: the score table with the column ``primary``: a row per system, file, condition and training seed.
        selection: what was decided on `val`.
        costs: indexed by system: ``rtf, latency_ms, macs, parameters``.
        trainings: one row per training: ``system, seed, examples, seconds``, its ``key``, and what else a training
            record has.
        curves: of the trainings.
        factors: codec, noise and cutoff of each condition, by its name; empty where the steps are not known.
        provenance: where the numbers come from.
        test_uses: how many different comparisons have scored this split; None where that is not counted.
        split: what the scores are of.
        external: Markdown about each system from outside, by its name: what it is, and how its estimates lay.
        ratings: what listeners gave, as `build_leaderboard` takes it; None without a listening test.
        remarks: further sections of the reports: Markdown by title.
    """

    preset: str
    scores: pd.DataFrame
    selection: Selection
    costs: pd.DataFrame = field(default_factory=pd.DataFrame)
    trainings: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: tuple[TrainingCurve, ...] = ()
    factors: Mapping[str, ConditionFactors] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
    test_uses: int | None = None
    split: str = "test"
    external: Mapping[str, str] = field(default_factory=dict)
    ratings: pd.DataFrame | None = None
    remarks: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def leaderboard(self) -> pd.DataFrame:
        """As `build_leaderboard` gives it."""
        return build_leaderboard(self.scores, self.costs, self.selection, self.trainings, self.ratings)

    @cached_property
    def conditions(self) -> pd.DataFrame:
        """Scores by condition, as `condition_rows` gives them."""
        return condition_rows(self.scores, [PRIMARY, *keys_shown(Shown.LEADERBOARD)], self.factors)

    @cached_property
    def levels(self) -> pd.DataFrame:
        """Primary scores by level of each factor, as `level_rows` gives them."""
        return level_rows(self.scores, PRIMARY, self.factors)

    @cached_property
    def band_levels(self) -> pd.DataFrame:
        """Bias and spread over frequency, as `band_level_rows` gives them."""
        return band_level_rows(self.scores)

    @cached_property
    def tests(self) -> pd.DataFrame:
        """Tests of the differences in the primary score, as `paired_tests` gives them."""
        return paired_tests(self.scores, self.selection)

    @cached_property
    def failed(self) -> pd.DataFrame:
        """The failed scores, as `failed_scores` lists them."""
        return failed_scores(self.scores)

    @property
    def systems(self) -> list[str]:
        """The names of all systems, in the order of the leaderboard."""
        return [str(name) for name in self.leaderboard["system"]]

    def row(self, system: str) -> Row:
        """Return a system's row of the leaderboard.

        Raises:
            KeyError: it has none.
        """
        rows = self.leaderboard[self.leaderboard["system"] == system]
        if rows.empty:
            raise KeyError(system)
        return rows_of(rows)[0]


@dataclass(frozen=True)
class StoredFindings:
    """What ``findings.json`` holds: all but the scores, which have a file of their own, and what follows from both.

    The attributes are those of `Findings`, with tables as plain values.
    """

    preset: str
    selection: Selection
    costs: dict[str, dict[str, float]]
    trainings: list[Row]
    curves: tuple[TrainingCurve, ...]
    factors: Mapping[str, ConditionFactors]
    provenance: Provenance
    test_uses: int | None
    split: str
    external: Mapping[str, str] = field(default_factory=dict)


def save_findings(findings: Findings, folder: Path) -> Path:
    """Write ``findings.json``; not-a-numbers stand in it as ``NaN``, as Python's `json` writes them.

    Args:
        findings: what a comparison found.
        folder: where to; made when absent.
    """
    tables = {"costs": findings.costs.to_dict("index"), "trainings": rows_of(findings.trainings)}
    stored = StoredFindings(
        **{one.name: tables.get(one.name, getattr(findings, one.name)) for one in fields(StoredFindings)}
    )
    with written_whole(folder / FILE) as temporary:
        temporary.write_text(json.dumps(asdict(stored), indent=1, default=datetime.isoformat), encoding="utf-8")
    return folder / FILE


def read_stored(folder: Path) -> StoredFindings:
    """Read what `save_findings` wrote, without making findings of it.

    Raises:
        OvertoneError: the file is missing or damaged.
    """
    path = folder / FILE
    try:
        return TypeAdapter(StoredFindings).validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OvertoneError(f"{path}: no such file. Start the comparison again, which writes it.") from None
    except ValueError as error:
        reason = " ".join(str(error).splitlines()[:3])
        raise OvertoneError(f"{path}: damaged ({reason}). Start the comparison again, which writes it.") from None


def load_findings(
    folder: Path,
    scores: pd.DataFrame,
    ratings: pd.DataFrame | None = None,
    remarks: Mapping[str, str] | None = None,
) -> Findings:
    """Read what `save_findings` wrote.

    Args:
        folder: of the comparison.
        scores: its score table, read from beside it.
        ratings: what listeners gave since, as `build_leaderboard` takes it.
        remarks: further sections of the reports: Markdown by title.

    Raises:
        OvertoneError: the file is missing or damaged.
    """
    stored = read_stored(folder)
    given = {one.name: getattr(stored, one.name) for one in fields(StoredFindings)}
    given["costs"] = pd.DataFrame.from_dict(stored.costs, orient="index")
    given["trainings"] = pd.DataFrame(stored.trainings)
    return Findings(scores=scores, ratings=ratings, remarks=remarks or {}, **given)
