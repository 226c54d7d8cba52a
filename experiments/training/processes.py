"""The processes of one training on this machine, one a device: started together, watched, and ended together.

Run as a module, this is one of those processes.
"""

import signal
import sys
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
from experiments.training.child_process import TERMINATED, ChildProcess, Event, Say, end, exit_text, serve
from experiments.training.distribution import TrainRequest
from experiments.training.fit import quiet_libraries, run_training
from overtone.errors import OvertoneError
from overtone.progress import Board

MODULE = "experiments.training.processes"
STOP_SECONDS = 60.0  # for a checkpoint after the current batch, or after validation
FAILURE_SECONDS = 5.0  # the others wait for a process that has ended, and do not answer
SETTLE_SECONDS = 1.0  # until all processes that fail of the same cause have ended


class TrainingProcesses:
    """Starts a process per environment.

    Args:
        request: the training.
        environments: the environment variables of each process, on top of this one's.
        log: where the first process writes what libraries print; the others have a number in their file's name.

    Attributes:
        children: the processes.
    """

    def __init__(self, request: TrainRequest, environments: Sequence[Mapping[str, str]], log: Path) -> None:
        self._request, self._log = request, log
        self._errors: dict[int, str] = {}
        self.children: list[ChildProcess] = []
        for number, environment in enumerate(environments):
            self.log_of(number).unlink(missing_ok=True)
            self.children.append(ChildProcess(MODULE, asdict(request), self.log_of(number), environment))

    def log_of(self, number: int) -> Path:
        """Return the log of a process."""
        return self._log if number == 0 else self._log.with_suffix(f".{number}{self._log.suffix}")

    def step(self, progress: Callable[[Event], None]) -> bool:
        """Hear the processes once; return whether all have ended well.

        Args:
            progress: called with the events of the first process.

        Raises:
            OvertoneError: a process failed or was killed; the others have ended too.
        """
        codes = [child.code for child in self.children]  # before their events, of which none are missing then
        self._listen(progress)
        if not any(codes):
            return None not in codes
        time.sleep(SETTLE_SECONDS)
        failed = [number for number, child in enumerate(self.children) if child.code]
        end(self.children, FAILURE_SECONDS)
        self._listen(progress)
        raise OvertoneError(self._reason(failed))

    def _listen(self, progress: Callable[[Event], None]) -> None:
        for number, child in enumerate(self.children):
            for event in child.events():
                if "error" in event:
                    self._errors[number] = event["error"]
                elif number == 0:
                    progress(event)

    def _reason(self, failed: Sequence[int]) -> str:
        """Return in one line why the training ended: a process' own error, else which was killed, else its code."""
        if self._errors:
            return self._errors[min(self._errors)]
        codes = {number: self.children[number].code or 0 for number in failed}
        number = next((number for number in failed if codes[number] < 0), failed[0])
        code, count = codes[number], len(self.children)
        process = f"process {number + 1} of {count}" if count > 1 else "the training process"
        others = "; the others were stopped" if count > 1 else ""
        hint = f" See {self.log_of(number)}." if code > 0 and code != TERMINATED else ""
        return (
            f"{self._request.name}: {process} {exit_text(code)}{others}.{hint} "
            "The same command continues from the last checkpoint."
        )


@contextmanager
def termination_raised() -> Iterator[None]:
    """Make SIGTERM an exception, as Ctrl-C is one, so that `finally` blocks run."""

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _train(plain: Event, say: Say) -> None:
    request = checked(TrainRequest, plain)
    with quiet_libraries():
        corpus = open_corpus(load_preset(request.preset), request.workspace, Board(None))
        run_training(request, corpus, lambda done, total, note: say({"done": done, "total": total, "note": note}))


if __name__ == "__main__":
    sys.exit(serve(_train, STOP_SECONDS))
