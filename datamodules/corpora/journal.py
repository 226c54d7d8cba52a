"""What a preparation has measured so far: a file that outlives a kill and holds any number of rows."""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from datamodules.corpora.recording import Recording
from overtone.errors import OvertoneError

JOURNAL = ".prepare.sqlite"
VERSION = 1  # of the measures; those of another version are forgotten
_FILES_PER_BATCH, _BYTES_PER_BATCH = 64, 2**23
_PAGE = 2048

_SCHEMA = """
CREATE TABLE IF NOT EXISTS measures (name TEXT PRIMARY KEY, bytes INTEGER, modified INTEGER, fault TEXT,
                                     audio TEXT, recording TEXT) WITHOUT ROWID;
DROP TABLE IF EXISTS files;
CREATE TABLE files (name TEXT PRIMARY KEY, path TEXT, kind TEXT, speaker TEXT, split TEXT, row TEXT,
                    fault TEXT, bytes INTEGER, modified INTEGER) WITHOUT ROWID;
"""
_MEASURED = "(SELECT * FROM files WHERE fault IS NULL) AS files JOIN measures USING (name, bytes, modified)"
_USABLE = f"FROM {_MEASURED} JOIN firsts USING (audio) WHERE name = firsts.first AND measures.fault IS NULL"


@dataclass(frozen=True)
class Entry:
    """A listed file.

    Attributes:
        name: its path as the manifest writes it.
        path: where it lies.
        kind: one of `datamodules.corpora.manifest.KINDS`.
        speaker: whom it belongs to.
        split: as the input says, else None.
        row: further columns of the input.
        fault: why it is rejected unseen, else None.
        bytes: its size.
        modified: when its content changed last, in ns since 1970.
    """

    name: str
    path: str
    kind: str
    speaker: str
    split: str | None
    row: dict[str, str]
    fault: str | None
    bytes: int
    modified: int


@dataclass(frozen=True)
class Job:
    """A file to be measured."""

    name: str
    path: str
    kind: str
    bytes: int
    modified: int


@dataclass(frozen=True)
class Result:
    """A file's measures, or why there are none; ``lasting`` says whether that stays so while the file is unchanged."""

    job: Job
    recording: Recording | None
    fault: str | None = None
    lasting: bool = True


@dataclass(frozen=True)
class Measured:
    """A usable file: what was listed, and what was measured."""

    name: str
    kind: str
    speaker: str
    split: str | None
    row: dict[str, str]
    bytes: int
    modified: int
    recording: Recording


class Journal:
    """The measures of one output folder, for one preparation at a time.

    Args:
        folder: the output folder.

    Raises:
        OvertoneError: another preparation works in the folder, or the journal cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        folder.mkdir(parents=True, exist_ok=True)
        with self._in_words():
            self._database = sqlite3.connect(self._path, timeout=1.0, isolation_level=None)
            # The lock is held until the connection closes, so that two preparations cannot mix.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            # Written ahead, a batch costs no wait for the disk; what a power cut takes is measured again.
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute("BEGIN EXCLUSIVE")
            self._database.execute("COMMIT")
            if self._database.execute("PRAGMA user_version").fetchone()[0] != VERSION:
                self._database.execute("DROP TABLE IF EXISTS measures")
                self._database.execute(f"PRAGMA user_version = {VERSION}")
            self._database.executescript(_SCHEMA)

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def enlist(self, entries: Iterable[Entry]) -> None:
        """Take the files of this preparation.

        Raises:
            OvertoneError: one is listed twice.
        """
        latest = ""

        def values() -> Iterator[dict[str, object]]:
            nonlocal latest
            for entry in entries:
                latest = entry.name
                yield vars(entry) | {"row": json.dumps(entry.row, ensure_ascii=False)}

        insert = "INSERT INTO files VALUES (:name, :path, :kind, :speaker, :split, :row, :fault, :bytes, :modified)"
        with self._in_words(), self._transaction():
            try:
                self._database.executemany(insert, values())
            except sqlite3.IntegrityError:
                raise OvertoneError(f"{latest}: expected each file once, got it twice.") from None

    def speakers_in_two_splits(self, splits: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield the speakers to whom the input gives two of some splits, with their names."""
        names = ",".join(f"'{name}'" for name in splits)
        yield from self._database.execute(
            "SELECT speaker, group_concat(DISTINCT split) FROM files WHERE kind = 'speech' AND fault IS NULL"
            f" AND split IN ({names}) GROUP BY speaker HAVING count(DISTINCT split) > 1"
        )

    def listed(self) -> int:
        """Return how many files there are."""
        return int(self._database.execute("SELECT count(*) FROM files").fetchone()[0])

    def known(self) -> int:
        """Return how many files are measured as they are now."""
        return int(self._database.execute(f"SELECT count(*) FROM {_MEASURED}").fetchone()[0])

    def pending(self) -> int:
        """Return how many files are not measured as they are now."""
        (faultless,) = self._database.execute("SELECT count(*) FROM files WHERE fault IS NULL").fetchone()
        return int(faultless) - self.known()

    def batches(self) -> Iterator[list[Job]]:
        """Yield the files to be measured, some at a time, in the order of their names."""
        batch: list[Job] = []
        for job in self._jobs():
            batch.append(job)
            if len(batch) == _FILES_PER_BATCH or sum(one.bytes for one in batch) >= _BYTES_PER_BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def _jobs(self) -> Iterator[Job]:
        last = ""
        while True:  # page by page: measures are written while these are read
            page = self._database.execute(
                "SELECT name, path, kind, files.bytes, files.modified FROM files"
                " LEFT JOIN measures USING (name, bytes, modified)"
                " WHERE files.fault IS NULL AND measures.name IS NULL AND name > ? ORDER BY name LIMIT ?",
                (last, _PAGE),
            ).fetchall()
            if not page:
                return
            yield from (Job(*row) for row in page)
            last = page[-1][0]

    def add(self, results: Iterable[Result]) -> None:
        """Keep what was measured."""
        with self._in_words(), self._transaction():
            self._database.executemany("REPLACE INTO measures VALUES (?, ?, ?, ?, ?, ?)", map(_values, results))

    def forget_passing_faults(self) -> None:
        """Forget what failed for reasons outside the files, such as permissions: next time it may not."""
        with self._in_words(), self._transaction():
            self._database.execute("DELETE FROM measures WHERE recording IS NULL AND audio = 'passing'")

    def find_duplicates(self) -> None:
        """Note which file of those that hold the same audio comes first; `usable` and `rejected` build on it."""
        with self._in_words():
            self._database.executescript(
                "DROP TABLE IF EXISTS temp.firsts;"
                "CREATE TEMP TABLE firsts AS SELECT audio, min(name) AS first"
                f" FROM {_MEASURED} WHERE measures.fault IS NULL GROUP BY audio;"
                "CREATE UNIQUE INDEX temp.first_by_audio ON firsts (audio);"
            )

    def speakers(self) -> Iterator[tuple[str, str, str | None]]:
        """Yield each kind, speaker and split (None where none was given) among the usable files once."""
        yield from self._database.execute(f"SELECT DISTINCT kind, speaker, split {_USABLE} ORDER BY 1, 2, 3")

    def usable(self) -> Iterator[Measured]:
        """Yield the usable files in the order of their names."""
        rows = self._database.execute(
            f"SELECT name, kind, speaker, split, row, bytes, modified, recording {_USABLE} ORDER BY name"
        )
        for name, kind, speaker, split, row, size, modified, recording in rows:
            yield Measured(
                name, kind, speaker, split, json.loads(row), size, modified, Recording(**json.loads(recording))
            )

    def rejected(self) -> Iterator[tuple[str, str]]:
        """Yield the names of the other files, each with its reason, in the order of their names."""
        yield from self._database.execute(
            "SELECT name, coalesce(files.fault, measures.fault, 'is the same audio as ' || firsts.first)"
            " FROM files LEFT JOIN measures USING (name, bytes, modified) LEFT JOIN firsts USING (audio)"
            " WHERE coalesce(files.fault, measures.fault) IS NOT NULL OR name <> firsts.first ORDER BY name"
        )

    def _transaction(self) -> "_Transaction":
        return _Transaction(self._database)

    def _in_words(self) -> "_InWords":
        return _InWords(self._path)


class _Transaction:
    """All or nothing; the connection itself commits nothing on its own."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._database.execute("COMMIT" if kind is None else "ROLLBACK")


class _InWords:
    """Turns the database's errors into lines that say what to do."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            raise OvertoneError(f"{self._path.parent}: another preparation is at work here. Wait for it.") from None
        if isinstance(error, sqlite3.Error):
            raise OvertoneError(
                f"{self._path}: cannot be written ({error}). Make room or permit access, or remove it to measure anew."
            ) from None


def _values(result: Result) -> tuple[str, int, int, str | None, str | None, str | None]:
    job, recording = result.job, result.recording
    if recording is None:
        return job.name, job.bytes, job.modified, result.fault, None if result.lasting else "passing", None
    return job.name, job.bytes, job.modified, None, recording.audio_digest, json.dumps(vars(recording))
