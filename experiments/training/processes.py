"""The processes of one training on this machine, one a device: started together, watched, and ended together."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from overtone.errors import OvertoneError

STOP_SECONDS = 60.0  # for a checkpoint after the current batch, or after validation
FAILURE_SECONDS = 5.0  # the others wait for one that will not come, and cannot be talked to
SETTLE_SECONDS = 1.0  # until those that failed of the same cause have ended too
POLL_SECONDS = 0.2

Event = dict[str, Any]


class TrainingProcesses:
    """Starts `experiments.training.train` once per environment and sees that all of it ends when one part does.

    Each process ends by itself when its standard input closes, so that none outlives this one, however it ends.

    Args:
        name: of the training, for messages.
        environments: what each process gets on top of this one's environment.
        log: where the first process writes what libraries say; the others have a number in their file's name.
    """

    def __init__(self, name: str, environments: Sequence[Mapping[str, str]], log: Path) -> None:
        self._name, self._environments, self._log = name, environments, log
        self._processes: list[subprocess.Popen[str]] = []
        self._events: queue.Queue[tuple[int, Event]] = queue.Queue()
        self._stop_by: float | None = None

    def run(self, request: str, progress: Callable[[Event], None]) -> None:
        """Run a training to its end.

        Args:
            request: one line, which every process reads.
            progress: called with what the first process says.

        Raises:
            OvertoneError: a process failed or was killed; the others have ended too.
        """
        try:
            for number in range(len(self._environments)):
                self._start(number, request)
            errors, first_dead = self._watch(progress)
        finally:
            for process in self._processes:
                process.kill()
                process.wait()
                assert process.stdin is not None
                with suppress(BrokenPipeError):
                    process.stdin.close()
        if any(process.returncode for process in self._processes):
            raise OvertoneError(self._reason(errors, first_dead))

    def stop(self) -> None:
        """Tell all processes to keep a checkpoint and end; `run` returns when they have."""
        self._stop_by = time.monotonic() + STOP_SECONDS
        for process in self._processes:
            process.terminate()

    def _start(self, number: int, request: str) -> None:
        path = self.log_of(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "experiments.training.process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | dict(self._environments[number]),
            )
        self._processes.append(process)
        if self._stop_by is not None:  # in the meantime
            process.terminate()
        threading.Thread(target=self._read, args=(number, process), daemon=True).start()
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended; its code says why
            process.stdin.write(request + "\n")
            process.stdin.flush()

    def log_of(self, number: int) -> Path:
        """Return the log of a process."""
        return self._log if number == 0 else self._log.with_suffix(f".{number}{self._log.suffix}")

    def _read(self, number: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.endswith("\n"):  # a killed process may leave half of one
                self._events.put((number, json.loads(line)))

    def _watch(self, progress: Callable[[Event], None]) -> tuple[dict[int, str], list[int]]:
        """Wait until all have ended; return what they said went wrong, and which ended badly by themselves."""
        errors: dict[int, str] = {}
        failed_at: float | None = None
        first_dead: list[int] = []
        while True:
            codes = [process.poll() for process in self._processes]
            self._drain(errors, progress)
            if all(code is not None for code in codes):
                return errors, first_dead or [number for number, code in enumerate(codes) if code]
            now = time.monotonic()
            if failed_at is None and self._stop_by is None and any(codes):
                failed_at = now
            if failed_at is not None and not first_dead and now - failed_at >= SETTLE_SECONDS:
                first_dead = [number for number, code in enumerate(codes) if code]
                self._stop_by = now + FAILURE_SECONDS
                for process in self._processes:
                    process.terminate()
            if self._stop_by is not None and now > self._stop_by:
                for process in self._processes:
                    process.kill()

    def _drain(self, errors: dict[int, str], progress: Callable[[Event], None]) -> None:
        """Take what the processes have said, waiting a little for the first of it."""
        wait = POLL_SECONDS
        while True:
            try:
                number, event = self._events.get(timeout=wait) if wait else self._events.get_nowait()
            except queue.Empty:
                return
            wait = 0.0
            if "error" in event:
                errors[number] = event["error"]
            elif number == 0:
                progress(event)

    def _reason(self, errors: Mapping[int, str], dead: Sequence[int]) -> str:
        """Say in one line why a training ended: in a process' own words, else which was killed, else its code."""
        if errors:
            return errors[min(errors)]
        killed = next((number for number in dead if self._processes[number].returncode < 0), None)
        number = dead[0] if killed is None else killed
        code = self._processes[number].returncode
        several = len(self._processes) > 1
        process = f"process {number + 1} of {len(self._processes)}" if several else "the training process"
        others = "; the others were stopped" if several else ""
        if code < 0:
            what = f"was killed ({signal.Signals(-code).name})"
        elif code == 128 + signal.SIGTERM:
            what = "was told to terminate"
        else:
            what = f"ended with code {code}"
        hint = f" See {self.log_of(number)}." if code > 0 and code != 128 + signal.SIGTERM else ""
        return f"{self._name}: {process} {what}{others}.{hint} The same command continues from the last checkpoint."


@contextmanager
def termination_raised() -> Iterator[None]:
    """Make SIGTERM an exception in the main thread, as Ctrl-C is one, so that whoever waits can clean up."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
