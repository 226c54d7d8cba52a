"""What waits for a store that does not answer: a file per run, in the order in which it was logged.

Any number of processes append; one at a time sends. A process that is killed in between leaves whole entries behind,
and whoever sends next sends some of them again, which changes nothing.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from experiments.keys import digest
from experiments.tracking.entries import Entry, Identity
from experiments.tracking.errors import EntryRefused, StoreAway, StoreUnclear
from overtone.files import written_whole

ENTRIES_AT_ONCE = 100
GIVE_UP_AFTER = 3
REFUSED_NAME = "refused.txt"

Send = Callable[[Identity, Entry], None]


class Outbox:
    """Entries that wait.

    A disk that is full when an entry comes is no reason to lose it: it waits in memory until there is room.

    Args:
        folder: for the files; made when the first entry comes.

    Attributes:
        folder: the same.
        refused: how many entries the store has refused for good, here and now.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refused = 0
        self._unwritten: dict[Path, list[tuple[Identity, Entry]]] = {}

    @property
    def unwritten(self) -> int:
        """Entries for which there was no room on the disk."""
        return sum(map(len, self._unwritten.values()))

    def waits(self, identity: Identity) -> bool:
        """Whether anything of a run waits."""
        path = self._path(identity)
        return path in self._unwritten or path.is_file()

    def __len__(self) -> int:
        lines = sum(max(path.read_bytes().count(b"\n") - 1, 0) for path in self._paths())
        return lines + self.unwritten

    def __bool__(self) -> bool:
        return bool(self._unwritten) or next(self._paths(), None) is not None

    def append(self, identity: Identity, entry: Entry) -> None:
        """Keep an entry behind those that are there."""
        path = self._path(identity)
        self._unwritten.setdefault(path, []).append((identity, entry))
        self._write(path)

    def drain(self, send: Send) -> int:
        """Send what waits, each run's entries in order; return how many were sent.

        An entry to which the store answers with an error of its own stays, and those behind it are tried. One that
        is refused for good is noted in ``refused.txt``.

        Raises:
            StoreAway: the store went away; what was not sent stays.
        """
        sent = 0
        with self._sole_sender() as sole:
            if sole:
                for path in [*self._unwritten]:
                    self._write(path)
                for path in sorted(self._paths(), key=lambda path: self._identity(path).started):
                    sent += self._drain_file(path, send)
                sent += self._drain_unwritten(send)
        return sent

    def _drain_file(self, path: Path, send: Send) -> int:
        sent = kept = 0
        while batch := self._lines(path)[1 + kept : 1 + kept + ENTRIES_AT_ONCE]:
            identity = self._identity(path)
            done: list[bool] = []
            try:
                for line in batch:
                    done.append(self._sent(identity, line, send, path))
                    if len(done) >= GIVE_UP_AFTER and not any(done[-GIVE_UP_AFTER:]):
                        raise StoreAway("it answers with errors")
            finally:
                self._trim(path, kept, done)
            sent += sum(done)
            kept += len(done) - sum(done)
        self._remove_if_empty(path)
        return sent

    def _sent(self, identity: Identity, line: bytes, send: Send, path: Path) -> bool:
        entry = Entry.read(json.loads(line), path.with_suffix(""))
        try:
            send(identity, entry)
        except StoreUnclear:
            return False
        except (EntryRefused, FileNotFoundError) as error:
            with (self.folder / REFUSED_NAME).open("a") as refused:
                refused.write(f"{error}: {line.decode()}\n")
            self.refused += 1
        return True

    def _drain_unwritten(self, send: Send) -> int:
        sent = 0
        for path, waiting in [*self._unwritten.items()]:
            if path.is_file():  # what is written comes first
                continue
            while waiting:
                send(*waiting[0])
                waiting.pop(0)
                sent += 1
            del self._unwritten[path]
        return sent

    def _path(self, identity: Identity) -> Path:
        return self.folder / f"{digest(identity.experiment, identity.key)}.jsonl"

    def _paths(self) -> Iterator[Path]:
        return (path for path in self.folder.glob("[!.]*.jsonl") if self._lines(path))

    def _write(self, path: Path) -> None:
        """Write what waits in memory for a file; what does not fit stays in memory."""
        waiting = self._unwritten[path]
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._locked():
                while waiting:
                    self._append_line(path, *waiting[0])
                    waiting.pop(0)
        except OSError:
            return
        del self._unwritten[path]

    def _append_line(self, path: Path, identity: Identity, entry: Entry) -> None:
        file = self._store_content(path.with_suffix(""), entry)
        whole = path.read_bytes().rpartition(b"\n") if path.is_file() else (b"", b"", b"")
        end = len(whole[0]) + len(whole[1])  # behind it lies what a killed process has left of a line
        plain = [entry.plain(file)] if end else [identity.plain(), entry.plain(file)]
        data = "".join(json.dumps(line) + "\n" for line in plain).encode()
        with path.open("ab", buffering=0) as out:  # a buffer would be written once more when the file is closed
            out.truncate(end)
            try:
                if out.write(data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                out.truncate(end)
                raise

    @staticmethod
    def _store_content(folder: Path, entry: Entry) -> str | None:
        if entry.content is None:
            return None
        place = folder / uuid.uuid4().hex
        place.mkdir(parents=True)
        path = place / PurePosixPath(entry.values["path"]).name
        try:
            if isinstance(entry.content, bytes):
                path.write_bytes(entry.content)
            else:
                shutil.copyfile(entry.content, path)
        except OSError:
            shutil.rmtree(place, ignore_errors=True)
            raise
        return f"{place.name}/{path.name}"

    def _identity(self, path: Path) -> Identity:
        return Identity.read(json.loads(self._lines(path)[0]))

    @staticmethod
    def _lines(path: Path) -> list[bytes]:
        """The whole lines; a process that was killed may have left half of one at the end."""
        return path.read_bytes().split(b"\n")[:-1]

    def _trim(self, path: Path, start: int, done: list[bool]) -> None:
        """Take out what was sent; others may have appended in the meantime."""
        sent = {1 + start + number for number, one in enumerate(done) if one}
        if not sent:
            return
        with self._locked():
            lines = self._lines(path)
            with written_whole(path) as temporary:
                rest = (line + b"\n" for number, line in enumerate(lines) if number not in sent)
                temporary.write_bytes(b"".join(rest))
        for number in sent:
            file = json.loads(lines[number])["file"]
            if file:
                shutil.rmtree((path.with_suffix("") / file).parent, ignore_errors=True)

    def _remove_if_empty(self, path: Path) -> None:
        with self._locked():
            if len(self._lines(path)) <= 1:
                path.unlink()
                shutil.rmtree(path.with_suffix(""), ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _sole_sender(self) -> Iterator[bool]:
        if not self.folder.is_dir():
            yield True
            return
        with (self.folder / ".sending").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True
