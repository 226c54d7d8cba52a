"""Scores so far, as lines of JSON in a file beside the table: after a kill the same command continues from there."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from evaluation.harness import Row
from experiments.runs import held
from overtone.errors import OvertoneError


class ScoreJournal:
    """Rows of scores in a file; numbers come back as they went in, NaN included.

    Args:
        file: open for reading and writing; a last line that a kill has cut is taken off.

    Attributes:
        rows: by what their scores depend on, as a text.

    Raises:
        ValueError: it holds something else.
        TypeError: the same.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.rows: dict[str, Row] = {}
        self._file = file
        whole = 0
        for line in file:
            if not line.endswith(b"\n") and line.startswith(b"["):
                break
            key, row = json.loads(line)
            self.rows[key] = dict(row)
            whole += len(line)
        file.seek(whole)
        file.truncate()

    def add(self, key: str, row: Row) -> None:
        """Keep a row.

        Args:
            key: what its scores depend on.
            row: plain values.
        """
        self._file.write(json.dumps([key, row]).encode() + b"\n")
        self._file.flush()
        self.rows[key] = row


@contextmanager
def score_journal(path: Path) -> Iterator[ScoreJournal]:
    """Open the journal in a file, for one process at a time; the file is removed at the end if it has no rows then.

    Raises:
        OvertoneError: another process works with it, or it is no journal.
    """
    with held(path, f"{path}: another process is scoring there. Wait for it."), path.open("r+b") as file:
        try:
            journal = ScoreJournal(file)
        except (ValueError, TypeError):  # no text, no JSON, or another kind of it
            raise OvertoneError(f"{path}: not a journal of scores. Remove it to score anew.") from None
        try:
            yield journal
        finally:
            if not journal.rows:
                path.unlink(missing_ok=True)
