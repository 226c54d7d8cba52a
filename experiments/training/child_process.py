"""A Python module run as a child process: one request goes in, events come out, both as lines of JSON.

The child ends when its standard input closes, so it never outlives its parent, however the parent ends.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from experiments.runs import COMMAND_VARIABLE, users_command
from overtone.errors import OvertoneError, in_words

Event = dict[str, Any]
Say = Callable[[Event], None]

FAILED, INTERRUPTED, TERMINATED = 1, 128 + signal.SIGINT, 128 + signal.SIGTERM  # exit codes of a child
POLL_SECONDS = 0.1  # between two looks at running children
OUTPUT_SECONDS = 1.0  # a killed child's own children may keep its standard output open


class ChildProcess:
    """A running child process, in a session of its own, so that Ctrl-C reaches only the parent.

    Args:
        module: full name of the module to run; it calls `serve`.
        request: plain values, and paths, which the child receives as texts.
        log: file to which the child's standard error and other output is appended; None for this process' own.
        environment: variables on top of this process' environment.
    """

    def __init__(
        self, module: str, request: Mapping[str, Any], log: Path | None, environment: Mapping[str, str] | None = None
    ) -> None:
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        if log is not None:
            log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "a") if log is not None else os.fdopen(os.dup(2), "a") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | {COMMAND_VARIABLE: users_command()} | dict(environment or {}),
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already; its exit code says why
            self._process.stdin.write(json.dumps(request, default=str) + "\n")
            self._process.stdin.flush()

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while the child runs. All its events are there by then."""
        code = self._process.poll()
        if code is not None:
            self._reader.join(OUTPUT_SECONDS)
        return code

    def events(self) -> list[Event]:
        """Return the events since the last call, without waiting for more."""
        events = []
        while not self._events.empty():
            events.append(self._events.get())
        return events

    def close(self) -> None:
        """Close the child's standard input, which asks it to end within the grace that it gives itself."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def kill(self) -> None:
        """End the child at once, and wait until it has ended."""
        self._process.kill()
        self._process.wait()
        self.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with suppress(json.JSONDecodeError):  # the last line of a killed process may be incomplete
                self._events.put(json.loads(line))


class Child(Protocol):
    """A child process, here or on another machine."""

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs."""

    def close(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End it at once."""


def end(children: Sequence[Child], grace_seconds: float) -> None:
    """Ask child processes to end, and kill those that are still there after a while, or at a second Ctrl-C.

    Args:
        children: any of them may have ended already.
        grace_seconds: how long they may take.
    """
    try:
        for child in children:
            child.close()
        deadline = time.monotonic() + grace_seconds
        while any(child.code is None for child in children) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    finally:
        for child in children:
            child.kill()


def exit_text(code: int) -> str:
    """Return how a process ended, for a message: "was killed (SIGKILL)".

    Args:
        code: the exit code, negative for a signal.
    """
    if code < 0:
        return f"was killed ({signal.Signals(-code).name})"
    return "was told to terminate" if code == TERMINATED else f"ended with code {code}"


def serve(work: Callable[[Event, Say], None], grace_seconds: float = 0.0) -> int:
    """Do what the request on standard input asks for, as the child of a `ChildProcess`.

    Everything that libraries print goes to the log. An error that the user can understand is sent as the event
    ``{"error": TEXT}``; any other one is a traceback in the log.

    Args:
        work: called with the request and with the function that sends events.
        grace_seconds: how long the child may take to end after its standard input has closed: it receives SIGINT then.
            With 0 it ends at once.

    Returns:
        The exit code for the process.
    """
    # SIGINT may be ignored, in a shell's background job, or blocked, in a thread of Ray.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, args=(grace_seconds,), daemon=True).start()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def say(event: Event) -> None:
        with suppress(OSError):  # the parent is gone, and this process ends
            out.write(json.dumps(event) + "\n")

    try:
        work(request, say)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (OvertoneError, OSError) as error:
        say({"error": in_words(error) if isinstance(error, OSError) else str(error)})
        return FAILED
    return 0


def _end_with_parent(grace_seconds: float) -> None:
    # Not sys.stdin.read(): it holds a lock for ever, and a data loader's forked process closes sys.stdin.
    while os.read(0, 4096):
        pass
    if grace_seconds:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(grace_seconds)
    os._exit(FAILED)
