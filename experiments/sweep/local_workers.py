"""Workers of a sweep as processes of this machine."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from experiments.sweep.worker import WorkerRequest

Event = dict[str, Any]


class WorkerHandle(Protocol):
    """A worker as its supervisor sees it."""

    name: str

    def events(self) -> Sequence[Event]:
        """Return what it has said since it was last asked."""
        ...

    def ended(self) -> str | None:
        """Return how it ended, in words, empty when as it should; None while it works."""
        ...

    def stop(self) -> None:
        """Ask it to keep what it has learnt, and end."""
        ...

    def kill(self) -> None:
        """End it now."""
        ...


class LocalWorker:
    """A worker in a process of its own on this machine.

    Args:
        name: for messages.
        request: what it is to do.
        threads: processor threads of a training, None for all.
        log: where libraries' words go.
    """

    def __init__(self, name: str, request: WorkerRequest, threads: int | None, log: Path) -> None:
        self.name = name
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "experiments.sweep.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {}),
                start_new_session=True,  # Ctrl-C is for the supervisor, who then asks the workers to stop
            )
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(request.as_line() + "\n")
            self.process.stdin.flush()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with suppress(json.JSONDecodeError):  # the last line of a process that was killed
                self._events.put(json.loads(line))

    def events(self) -> list[Event]:
        """Return what it has said since it was last asked."""
        events = []
        while not self._events.empty():
            events.append(self._events.get())
        return events

    def ended(self) -> str | None:
        """Return how it ended, in words, empty when as it should; None while it works."""
        code = self.process.poll()
        if code is None or self._reader.is_alive():
            return None
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with code {code}" if code == 1 else ""

    def stop(self) -> None:
        """Ask it to keep what it has learnt, and end."""
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def kill(self) -> None:
        """End it now."""
        self.process.kill()
        self.process.wait()
