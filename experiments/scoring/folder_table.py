"""The table of an evaluation, made from its journal."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from evaluation.harness import STATE_COLUMNS, Row
from experiments.scoring.journal import ScoreJournal
from experiments.scoring.rows import NOTES
from overtone.errors import OvertoneError
from overtone.files import written_whole


@dataclass(frozen=True)
class ScoreTable:
    """Rows of an evaluation.

    Attributes:
        journal: where the scores are.
        condition: the column ``condition``.
        measures: keys.
        speakers: by file; None where they are not known.
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
        """Yield a system's rows in the order of some files.

        Args:
            system: its name.
            files: names of references.
        """
        for file in files:
            row = self.journal.find(system, file)
            if row is not None:
                identity = {"system": system, "file": file, "condition": self.condition}
                yield row | identity | ({} if self.speakers is None else {"speaker": self.speakers[file]})

    def frame(self, system: str, files: Iterable[str], keys: Sequence[str]) -> pd.DataFrame:
        """Return some columns of a system's rows; where speakers are not known, each file counts as one.

        Args:
            system: its name.
            files: names of references.
            keys: the measures.
        """
        kept = ("file", "condition", *keys, *STATE_COLUMNS)
        rows = [
            {"speaker": row.get("speaker", row["file"])} | {k: row[k] for k in kept} for row in self.rows(system, files)
        ]
        return pd.DataFrame(rows, columns=["speaker", *kept])


def write_table(table: ScoreTable, files: Mapping[str, Sequence[str]], path: Path) -> None:
    """Write the rows of systems as CSV or Parquet, whole or not at all.

    Args:
        table: the scores.
        files: of each system, in order.
        path: of the table; its suffix says which format.

    Raises:
        OvertoneError: Parquet is wanted and pyarrow is not installed.
    """
    rows = [row for system, names in files.items() for row in table.rows(system, names)]
    frame = pd.DataFrame(rows, columns=table.columns).astype(dict.fromkeys(table.measures, float))
    with written_whole(path) as temporary:
        if path.suffix.lower() == ".csv":
            frame.to_csv(temporary, index=False)
            return
        try:
            frame.to_parquet(temporary, index=False)
        except ImportError:
            raise OvertoneError("--out: Parquet needs pyarrow. Install it, or name a .csv file.") from None
