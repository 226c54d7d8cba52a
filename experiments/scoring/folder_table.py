"""The table of an evaluation, written from the journal a piece at a time, so that any number of rows fits."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from evaluation.harness import STATE_COLUMNS, Row
from experiments.scoring.journal import ScoreJournal
from experiments.scoring.rows import NOTES
from overtone.errors import OvertoneError
from overtone.files import written_whole

if TYPE_CHECKING:
    import pyarrow

ROWS_PER_PIECE = 2048


@dataclass(frozen=True)
class ScoreTable:
    """Rows of an evaluation.

    Attributes:
        journal: where the scores are.
        condition: the column ``condition``.
        measures: keys.
        speakers: by file, None where nobody says.
    """

    journal: ScoreJournal
    condition: str
    measures: Sequence[str]
    speakers: Mapping[str, str] | None

    @property
    def columns(self) -> list[str]:
        """The table's columns."""
        speaker = [] if self.speakers is None else ["speaker"]
        return ["system", "file", *speaker, "condition", *self.measures, *STATE_COLUMNS, NOTES]

    def rows(self, system: str, files: Iterable[str]) -> Iterator[Row]:
        """Yield a system's rows in the order of some files."""
        for file in files:
            row = self.journal.find(system, file)
            if row is not None:
                identity = {"system": system, "file": file, "condition": self.condition}
                yield row | identity | ({} if self.speakers is None else {"speaker": self.speakers[file]})

    def frame(self, system: str, files: Iterable[str], keys: Sequence[str]) -> pd.DataFrame:
        """Return some of a system's columns, as a score table has them; a file without a speaker is one of its own."""
        kept = ("file", "condition", *keys, *STATE_COLUMNS)
        rows = [
            {"speaker": row.get("speaker", row["file"])} | {k: row[k] for k in kept} for row in self.rows(system, files)
        ]
        return pd.DataFrame(rows, columns=["speaker", *kept])


def write_table(table: ScoreTable, files: Mapping[str, Sequence[str]], path: Path) -> None:
    """Write the rows of systems, each with its files, as CSV or Parquet, whole or not at all.

    Raises:
        OvertoneError: Parquet is wanted and pyarrow is not installed.
    """
    rows = (row for system, names in files.items() for row in table.rows(system, names))
    pieces = (pd.DataFrame(piece, columns=table.columns) for piece in _pieces(rows))
    with written_whole(path) as temporary:
        if path.suffix.lower() == ".csv":
            _write_csv(pieces, temporary)
        else:
            _write_parquet(pieces, table, temporary)


def _pieces(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while piece := list(islice(rows, ROWS_PER_PIECE)):
        yield piece


def _write_csv(pieces: Iterable[pd.DataFrame], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        for number, piece in enumerate(pieces):
            piece.to_csv(file, index=False, header=number == 0)


def _write_parquet(pieces: Iterable[pd.DataFrame], table: ScoreTable, path: Path) -> None:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetWriter
    except ImportError:
        raise OvertoneError("--out: Parquet needs pyarrow. Install it, or name a .csv file.") from None
    schema = _schema(table)
    with ParquetWriter(path, schema) as writer:
        for piece in pieces:
            writer.write_table(pyarrow.Table.from_pandas(piece, schema, preserve_index=False))


def _schema(table: ScoreTable) -> "pyarrow.Schema":
    import pyarrow

    measures = set(table.measures)
    return pyarrow.schema(
        [(name, pyarrow.float64() if name in measures else pyarrow.string()) for name in table.columns]
    )
