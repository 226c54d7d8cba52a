"""Scores of systems on a split, computed once and kept under a key."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from evaluation.contracts import System, Utterance
from evaluation.harness import Scorer
from experiments.preset import digest
from experiments.runs import SOURCES
from runtime.files import written_whole

TEXT_COLUMNS = ("failures", "not_applicable")


@dataclass(frozen=True)
class ScoredSplit:
    """The utterances of a split, and what identifies their scores."""

    name: str
    utterances: Sequence[Utterance]
    key: str


def split_key(split: str, conditions: object, data_digest: str) -> str:
    """Return what scores of a split depend on besides a trained model: utterances, conditions, measures, controls."""
    folders = [SOURCES / package for package in ("evaluation", "datamodules")]
    sources = [*(path for folder in folders for path in folder.glob("*.py")), SOURCES / "models" / "baselines.py"]
    return digest(split, conditions, data_digest, [path.read_text() for path in sorted(sources)])


def scored(
    scorer: Scorer,
    name: str,
    load: Callable[[], System],
    split: ScoredSplit,
    folder: Path,
) -> pd.DataFrame:
    """Return a system's score table, read from ``folder`` when it was scored before under the same key.

    Args:
        scorer: the pool of scoring processes.
        name: for the column ``system``.
        load: makes the system; not called when the scores are there.
        split: what is scored.
        folder: where the table is kept.
    """
    path = folder / f"scores-{split.name}-{split.key}.csv"
    if path.is_file():
        return read_scores(path)
    system = load()
    pairs = ((utterance, system(utterance)) for utterance in split.utterances)
    table = scorer.score(pairs, name, block_samples=getattr(system, "block_samples", None))
    write_scores(table, path)
    return table


def write_scores(table: pd.DataFrame, path: Path) -> None:
    """Write a score table as CSV, whole or not at all."""
    with written_whole(path) as temporary:
        table.to_csv(temporary, index=False)


def read_scores(path: Path) -> pd.DataFrame:
    """Read a score table as :func:`write_scores` wrote it."""
    table = pd.read_csv(path, keep_default_na=True)
    for column in TEXT_COLUMNS:
        table[column] = table[column].fillna("")
    return table
