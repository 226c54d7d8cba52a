"""Scores so far, as lines of JSON in a file beside the table: after a kill the same command continues from there."""

import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Self

from evaluation.harness import Row
from experiments.runs import held
from overtone.errors import OvertoneError


class Entry(NamedTuple):
    """One system's scores of one item.

    Attributes:
        system: its name; "" for what concerns no system.
        item: what was scored, unique within the system.
        key: digest of all that the scores depend on; scores of another key count as absent.
        row: plain values; numbers come back as they went in, NaN included.
    """

    system: str
    item: str
    key: str
    row: Row


class ScoreJournal:
    """Scores kept in a file, for one process at a time; of equal systems and items, the last line counts.

    Args:
        path: the file; made with its folder when absent.

    Raises:
        OvertoneError: another process works with it, it is no journal, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[tuple[str, str], Entry] = {}
        with self._in_words(), ExitStack() as stack:
            stack.enter_context(held(path, f"{path}: another process is scoring there. Wait for it."))
            self._file = stack.enter_context(path.open("r+b"))
            self._read()
            self._open = stack.pop_all()

    def _read(self) -> None:
        whole = 0
        try:
            for line in self._file:
                if not line.endswith(b"\n") and line.startswith(b"["):
                    break  # a kill has cut it
                entry = Entry(*json.loads(line))
                self._entries[entry.system, entry.item] = entry
                whole += len(line)
        except (ValueError, TypeError):  # no text, no JSON, or another kind of it
            raise OvertoneError(f"{self._path}: not a journal of scores. Remove it to score anew.") from None
        self._file.seek(whole)
        self._file.truncate()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let other processes use the file; an empty one is removed."""
        if not self._entries and not self._file.closed:
            self._path.unlink(missing_ok=True)
        with suppress(OSError):  # of a full disk, which `add` has told
            self._open.close()

    def remove(self) -> None:
        """Remove the file, with all its scores."""
        self._entries.clear()
        self.close()

    def holds(self, system: str, item: str, key: str) -> bool:
        """Return whether there are scores under this key.

        Args:
            system: its name.
            item: what was scored.
            key: digest of all that the scores depend on.
        """
        entry = self._entries.get((system, item))
        return entry is not None and entry.key == key

    def find(self, system: str, item: str) -> Row | None:
        """Return a system's scores of an item, None where there are none.

        Args:
            system: its name.
            item: what was scored.
        """
        entry = self._entries.get((system, item))
        return None if entry is None else entry.row

    def count(self, key: str) -> int:
        """Return how many entries have a key."""
        return sum(entry.key == key for entry in self._entries.values())

    def add(self, entries: Iterable[Entry]) -> None:
        """Keep scores; those of the same system and item under another key go.

        Raises:
            OvertoneError: the file cannot be written.
        """
        new = list(entries)
        with self._in_words():
            self._file.writelines(json.dumps(entry).encode() + b"\n" for entry in new)
            self._file.flush()
        self._entries |= {(entry.system, entry.item): entry for entry in new}

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OvertoneError(
                f"{self._path}: cannot be written ({error.strerror}). Make room or permit access."
            ) from None
