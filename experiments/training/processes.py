"""The processes of one training on this machine, one a device: started together, watched, and ended together.

Run as a module, this is one of those processes.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import NoReturn

from experiments.data.opening import open_corpus
from experiments.presets.preset import load_preset
from experiments.records import checked
from experiments.training.child_process import TERMINATED, ChildProcess, Event, Say, exit_text, serve
from experiments.training.fit import quiet_libraries
from experiments.training.requests import TrainRequest
from experiments.training.tracked import run_training
from overtone.errors import OvertoneError
from overtone.progress import Board

MODULE = "experiments.training.processes"
STOP_SECONDS = 60.0  # for a checkpoint after the current batch, or after validation
FAILURE_SECONDS = 5.0  # the others wait for a process that has ended, and do not answer
SETTLE_SECONDS = 1.0  # until all processes that fail of the same cause have ended
POLL_SECONDS = 0.2


class TrainingProcesses:
    """Starts a process per environment and ends all of them when one fails.

    Args:
        request: the training.
        environments: the environment variables of each process, on top of this one's.
        log: where the first process writes what libraries print; the others have a number in their file's name.
    """

    def __init__(self, request: TrainRequest, environments: Sequence[Mapping[str, str]], log: Path) -> None:
        self._request, self._environments, self._log = request, environments, log
        self._children: list[ChildProcess] = []
        self._errors: dict[int, str] = {}
        self._deadline: float | None = None

    def run(self, progress: Callable[[Event], None]) -> None:
        """Run the training to its end.

        Args:
            progress: called with the events of the first process.

        Raises:
            OvertoneError: a process failed or was killed; the others have ended too.
        """
        try:
            for number, environment in enumerate(self._environments):
                log = self.log_of(number)
                log.unlink(missing_ok=True)
                self._children.append(ChildProcess(MODULE, asdict(self._request), log, environment))
                if self._deadline is not None:  # stopped in the meantime
                    self._children[-1].terminate()
            failed = self._watch(progress)
        finally:
            for child in self._children:
                child.kill()
        if failed:
            raise OvertoneError(self._reason(failed))

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Tell all processes to keep a checkpoint and end; `run` returns when they have.

        Args:
            seconds: after which they are killed.
        """
        self._deadline = time.monotonic() + seconds
        for child in self._children:
            child.terminate()

    def log_of(self, number: int) -> Path:
        """Return the log of a process."""
        return self._log if number == 0 else self._log.with_suffix(f".{number}{self._log.suffix}")

    def _watch(self, progress: Callable[[Event], None]) -> list[int]:
        """Wait until all have ended; return the numbers of those that failed first."""
        failed: list[int] = []
        while any(child.code is None for child in self._children):
            time.sleep(POLL_SECONDS)
            self._listen(progress)
            if self._deadline is None and self._failed():
                time.sleep(SETTLE_SECONDS)
                failed = self._failed()
                self.stop(FAILURE_SECONDS)
            if self._deadline is not None and time.monotonic() > self._deadline:
                for child in self._children:
                    child.kill()
        self._listen(progress)
        return failed or self._failed()

    def _failed(self) -> list[int]:
        return [number for number, child in enumerate(self._children) if child.code]

    def _listen(self, progress: Callable[[Event], None]) -> None:
        for number, child in enumerate(self._children):
            for event in child.events():
                if "error" in event:
                    self._errors[number] = event["error"]
                elif number == 0:
                    progress(event)

    def _reason(self, failed: Sequence[int]) -> str:
        """Return in one line why the training ended: a process' own error, else which was killed, else its code."""
        if self._errors:
            return self._errors[min(self._errors)]
        codes = {number: self._children[number].code or 0 for number in failed}
        number = next((number for number in failed if codes[number] < 0), failed[0])
        code, count = codes[number], len(self._children)
        process = f"process {number + 1} of {count}" if count > 1 else "the training process"
        others = "; the others were stopped" if count > 1 else ""
        hint = f" See {self.log_of(number)}." if code > 0 and code != TERMINATED else ""
        return (
            f"{self._request.name}: {process} {exit_text(code)}{others}.{hint} "
            "The same command continues from the last checkpoint."
        )


@contextmanager
def termination_raised() -> Iterator[None]:
    """Make SIGTERM an exception in the main thread, as Ctrl-C is one, so that `finally` blocks run."""

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(TERMINATED)

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _train(plain: Event, say: Say) -> None:
    request = checked(TrainRequest, plain)
    with quiet_libraries():
        corpus = open_corpus(load_preset(request.preset), request.workspace, Board(None))
        run_training(request, corpus, lambda done, total, note: say({"done": done, "total": total, "note": note}))


if __name__ == "__main__":
    sys.exit(serve(_train))
