"""When to send: at once while the store answers; else what is logged waits, and now and then it is tried again."""

from __future__ import annotations

import atexit
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

from experiments.tracking.entries import Entry, Identity
from experiments.tracking.errors import StoreAway, first_line
from experiments.tracking.outbox import REFUSED_NAME, Outbox
from experiments.tracking.store import MlflowStore

OUTBOX_NAME = "outbox"
FIRST_WAIT, LONGEST_WAIT = 2.0, 30.0
LAST_WAIT = 5.0


class Delivery:
    """Brings entries to a store, in order, and holds nobody up for more than a call's time limit now and then.

    Args:
        store: where to.
        folder: the runs folder, in which the outbox lies.
    """

    def __init__(self, store: MlflowStore, folder: Path) -> None:
        self.store = store
        slug = re.sub(r"[^A-Za-z0-9.-]+", "_", store.place.partition("://")[2].strip("/")) if store.uri else "local"
        self.outbox = Outbox(folder / OUTBOX_NAME / slug)
        self._away: StoreAway | None = None
        self._wait = FIRST_WAIT
        self._retry_at = 0.0
        atexit.register(self.finish)

    def start(self) -> None:
        """Send what an earlier process has left."""
        if self.outbox:
            self.flush(at_once=True)

    def deliver(self, identity: Identity, entry: Entry) -> None:
        """Send an entry, or let it wait behind those that wait.

        Raises:
            FileNotFoundError: its content is no file.
        """
        if isinstance(entry.content, Path) and not entry.content.is_file():
            raise FileNotFoundError(2, "No such file to log", str(entry.content))
        if self._away is None and not self.outbox.waits(identity):
            try:
                self.store.send(identity, entry)
                return
            except StoreAway as away:
                self.note(away)
        self.outbox.append(identity, entry)
        self.flush()

    def note(self, away: StoreAway) -> None:
        """Note that the store is away, and leave it alone for a while."""
        if self._away is None:
            _say(f"{self.store.place}: tracking does not answer ({away}). What is logged waits in {self.outbox.folder}")
        else:
            self._wait = min(2 * self._wait, LONGEST_WAIT)
        self._away = away
        self._retry_at = time.monotonic() + self._wait

    def flush(self, at_once: bool = False) -> None:
        """Try to send what waits, if it is time to.

        Args:
            at_once: do not wait until it is time.
        """
        if not at_once and time.monotonic() < self._retry_at:
            return
        try:
            self.store.require_answer()
            sent = self.outbox.drain(self.store.send_late)
        except StoreAway as away:
            self.note(away)
            return
        except OSError as error:
            self.note(StoreAway(first_line(error)))
            return
        self._away, self._wait = None, FIRST_WAIT
        self._retry_at = time.monotonic() + FIRST_WAIT
        if self.outbox.refused:
            refused = self.outbox.folder / REFUSED_NAME
            _say(f"{self.store.place}: tracking refuses {self.outbox.refused} entries that waited; see {refused}")
            sent, self.outbox.refused = sent - self.outbox.refused, 0
        if sent:
            _say(f"{self.store.place}: tracking answers; {sent} entries that waited are sent.")

    def finish(self) -> None:
        """Try a last time, and say what still waits."""
        with suppress(KeyboardInterrupt):  # Ctrl-C: send no more
            self._finish_sending()
        if not self.outbox:
            return
        waiting, unwritten = len(self.outbox), self.outbox.unwritten
        reason = f" ({self._away})" if self._away else ""
        _say(f"{waiting - unwritten} entries wait in {self.outbox.folder}{reason}; the same command sends them.")
        if unwritten:
            _say(f"{unwritten} entries are lost: there was no room for them in {self.outbox.folder}.")

    def _finish_sending(self) -> None:
        deadline = time.monotonic() + LAST_WAIT
        while self.outbox:
            self.flush(at_once=True)
            if self._away is not None or time.monotonic() > deadline:
                return
            if self.outbox:
                time.sleep(0.2)  # another process is sending, this one's too


def _say(line: str) -> None:
    print(f"overtone: {line}", file=sys.stderr, flush=True)
