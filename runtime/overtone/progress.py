"""Progress of several jobs at once: bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

console = Console()

LINE_SECONDS = 10.0


@dataclass
class _Job:
    started: float
    last_line: float
    finished: bool = False


class Board:
    """Shows how far named jobs are.

    Args:
        bars: the bars to draw on, None for plain lines.
    """

    def __init__(self, bars: Progress | None) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}
        self._jobs: dict[str, _Job] = {}

    def update(self, name: str, done: float, total: float, note: str = "") -> None:
        """Say that ``done`` of ``total`` of a job is done, with a short note such as the loss.

        Args:
            name: of the job.
            done: how much of it is done.
            total: how much there is, in the same unit.
            note: short text to show, such as the loss.
        """
        if self._bars is not None:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=total, note=note)
            self._bars.update(self._tasks[name], completed=done, total=total, note=note)
        else:
            self._line(name, done, total, note)

    def _line(self, name: str, done: float, total: float, note: str) -> None:
        now = time.monotonic()
        job = self._jobs.setdefault(name, _Job(now, now))
        finished = done >= total
        if job.finished or not (finished or now - job.last_line >= LINE_SECONDS):
            return
        job.last_line, job.finished = now, finished
        state = "done" if finished else f"{done:g}/{total:g}"
        console.print(f"{name}: {state} in {now - job.started:.0f} s {note}".rstrip(), highlight=False, markup=False)

    def drop(self, name: str) -> None:
        """Forget a job: what is done needs no bar any more."""
        self._jobs.pop(name, None)
        task = self._tasks.pop(name, None)
        if self._bars is not None and task is not None:
            self._bars.remove_task(task)

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        (self._bars.console if self._bars is not None else console).print(
            text, highlight=False, markup=False, soft_wrap=True
        )


@contextmanager
def board() -> Iterator[Board]:
    """Yield a board for the terminal or, where there is none, for a log."""
    if not console.is_terminal:
        yield Board(None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console) as bars:
        yield Board(bars)
