"""Running a system from outside: without a shell, within its time, ended with all that it has started."""

import json
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from experiments.presets.external import INPUT, OUTPUT, External
from experiments.scoring import external_host
from overtone.worker_pool import THREAD_VARIABLES

LOOK_SECONDS = 0.25  # between two looks at what a run has made
LOG_SHOWN = 200  # characters of its last line in a message


@dataclass(frozen=True)
class Run:
    """One run of a system from outside.

    Attributes:
        external: the system.
        given: the folder with its inputs, or one of these.
        made: the folder that it makes its files in, or the file.
        utterances: how many it is given.
        log: file to which what it prints is added.
    """

    external: External
    given: Path
    made: Path
    utterances: int
    log: Path

    @property
    def arguments(self) -> list[str]:
        """The command line in its parts."""
        if self.external.command is None:
            external = json.dumps(asdict(self.external))
            return [sys.executable, "-m", external_host.__name__, external, str(self.given), str(self.made)]
        places = {INPUT: str(self.given), OUTPUT: str(self.made)}
        parts = shlex.split(self.external.command)
        for name, path in places.items():
            parts = [part.replace(name, path) for part in parts]
        return parts

    def wait(self, alive: Callable[[int], None]) -> str:
        """Run it; return in words why it failed, "" where it ended well.

        Args:
            alive: called again and again, with the number of files that are there.
        """
        began = self.log.stat().st_size if self.log.is_file() else 0
        with self.log.open("ab") as log, _group() as group:
            try:
                process = subprocess.Popen(
                    self.arguments,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    process_group=group,
                )
            except OSError as error:
                return f"{self.arguments[0]} cannot be started ({error.strerror})"
            failure = self._watch(process, alive)
        process.wait()  # where it was killed: its processor time counts from here
        said = _last_line(self.log, began)
        return f"{failure}; it said: {said}" if failure and said else failure

    def _watch(self, process: subprocess.Popen[bytes], alive: Callable[[int], None]) -> str:
        limit, begun = self.external.limit_seconds, time.monotonic()
        seen, last = None, begun
        while True:
            with suppress(subprocess.TimeoutExpired):
                return _ended(process.wait(min(LOOK_SECONDS, limit)))
            now, signs = time.monotonic(), (self.log.stat().st_size, *_made(self.made))
            if signs != seen:
                seen, last = signs, now
                alive(signs[1])
            if now - last > limit:
                return f"it was ended after {limit:g} s without a file or a word (limit_seconds)"
            if now - begun > limit * self.utterances:
                return f"it was ended, having taken more than {limit:g} s an utterance (limit_seconds)"


@contextmanager
def _group() -> Iterator[int]:
    """Yield the number of a process group, in which all processes are killed at the end.

    Should this process be killed itself, the group's first one does it: a shell that waits for the end of a pipe of
    which nobody else has the other side. It is there before what it watches.
    """
    watch = ["sh", "-c", "read -r nothing; kill -KILL 0"]
    with subprocess.Popen(watch, stdin=subprocess.PIPE, process_group=0) as first:
        try:
            yield first.pid
        finally:
            os.killpg(first.pid, signal.SIGKILL)


def _made(place: Path) -> tuple[int, int]:
    """How many files there are, and their bytes."""
    files = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else [place]
    sizes = []
    for path in files:
        with suppress(OSError):  # renamed meanwhile, or not yet there
            sizes.append(path.stat().st_size)
    return len(sizes), sum(sizes)


def _ended(code: int) -> str:
    if code < 0:
        return f"it was killed ({signal.Signals(-code).name})"
    return f"it ended with code {code}" if code else ""


def _last_line(log: Path, began: int) -> str:
    """The last line that was printed since the log had so many bytes; progress bars overwrite themselves."""
    with log.open("rb") as file:
        file.seek(max(began, log.stat().st_size - 10_000))
        lines = file.read().decode(errors="replace").replace("\r", "\n").splitlines()
    return next((line.strip()[:LOG_SHOWN] for line in reversed(lines) if line.strip()), "")


@contextmanager
def one_core() -> Iterator[None]:
    """Let what is started meanwhile use one core, with one thread where its libraries listen."""
    kept = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
    os.environ |= dict.fromkeys(THREAD_VARIABLES, "1")
    try:
        if cores:
            os.sched_setaffinity(0, {min(cores)})
        yield
    finally:
        if cores:
            os.sched_setaffinity(0, cores)
        for name, value in kept.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def processor_seconds(run: Run) -> tuple[float, str]:
    """Return the processor time of a run and of all that it started, and in words why it failed, "" where it did not.

    Args:
        run: while it runs no other process that this one has started may end.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    failure = run.wait(lambda _: None)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, failure
