"""Scores so far, in a file beside the table: after a kill the same command continues from there."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from evaluation.harness import Row
from overtone.errors import OvertoneError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS scores (system TEXT, item TEXT, key TEXT, row TEXT,
                                   PRIMARY KEY (system, item)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uses (reference TEXT, estimates TEXT, PRIMARY KEY (reference, estimates)) WITHOUT ROWID;
"""


class Entry(NamedTuple):
    """One system's scores of one item.

    Attributes:
        system: its name.
        item: what was scored, unique within the system.
        key: digest of all that the scores depend on; scores of another key count as absent.
        row: plain values; numbers come back as they went in, NaN included.
    """

    system: str
    item: str
    key: str
    row: Row


class ScoreJournal:
    """Scores kept in a file, for one process at a time.

    Args:
        path: the file; made with its folder when absent.

    Raises:
        OvertoneError: another process works with it, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._in_words():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=1.0, isolation_level=None)
            # Held until the connection closes. With it, the write-ahead log works on network file systems too.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.executescript(_SCHEMA)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes use the file."""
        self._database.close()

    def remove(self) -> None:
        """Remove the file, with all its scores."""
        self.close()
        self._path.unlink()

    def holds(self, system: str, item: str, key: str) -> bool:
        """Return whether there are scores under this key.

        Args:
            system: its name.
            item: what was scored.
            key: digest of all that the scores depend on.
        """
        with self._in_words():
            found = self._database.execute("SELECT key FROM scores WHERE system = ? AND item = ?", (system, item))
            return found.fetchone() == (key,)

    def find(self, system: str, item: str) -> Row | None:
        """Return a system's scores of an item, None where there are none.

        Args:
            system: its name.
            item: what was scored.
        """
        with self._in_words():
            found = self._database.execute("SELECT row FROM scores WHERE system = ? AND item = ?", (system, item))
            text = found.fetchone()
        return None if text is None else json.loads(text[0])

    def add(self, entries: Iterable[Entry]) -> None:
        """Keep scores; those of the same system and item under another key go."""
        values = [(system, item, key, json.dumps(row)) for system, item, key, row in entries]
        with self._in_words():
            self._database.execute("BEGIN")
            self._database.executemany("REPLACE INTO scores VALUES (?, ?, ?, ?)", values)
            self._database.execute("COMMIT")

    def count_use(self, reference: str, estimates: str) -> int:
        """Note that a reference scores a set of estimates; return how many different sets it has scored.

        Args:
            reference: digest of the references.
            estimates: digest of the estimates.
        """
        with self._in_words():
            self._database.execute("INSERT OR IGNORE INTO uses VALUES (?, ?)", (reference, estimates))
            counted = self._database.execute("SELECT count(*) FROM uses WHERE reference = ?", (reference,))
            return int(counted.fetchone()[0])

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise OvertoneError(f"{self._path}: another process is scoring there. Wait for it.") from None
            raise OvertoneError(f"{self._path}: cannot be written ({error}). Make room or permit access.") from None
        except sqlite3.DatabaseError as error:
            raise OvertoneError(f"{self._path}: not readable ({error}). Remove it to score anew.") from None
