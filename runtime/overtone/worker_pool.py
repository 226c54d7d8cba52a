"""Worker processes: few jobs wait at any time, and none of the processes outlives its parent."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TypeVar

from overtone.errors import OvertoneError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
JOBS_PER_WORKER = 2
NOT_STARTED = (
    'The worker processes could not start. A script that starts them needs `if __name__ == "__main__":` around its '
    "calls, because each worker imports the script first. Otherwise there may be no memory for them: ask for fewer."
)

Job = TypeVar("Job")
Result = TypeVar("Result")

CGROUP_SHARE = Path("/sys/fs/cgroup/cpu.max")


class WorkerPool:
    """Runs a function on jobs in several processes, which take seconds to start and are kept until the end.

    Args:
        workers: how many; 1 works in the calling process. With more, the calling script needs the usual
            ``if __name__ == "__main__"`` guard, since they are spawned.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "WorkerPool":
        self._environment = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        return self

    def __exit__(self, *_: object) -> None:
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._close()

    def map(self, function: Callable[[Job], Result], jobs: Iterable[Job]) -> Iterator[tuple[Job, Result | None]]:
        """Yield each job with its result as it is finished, in any order.

        The result is None where the job ends the process that works on it, and does so again when it is alone:
        for lack of memory, as a rule.

        Args:
            function: of a module, so that it can be named to another process.
            jobs: consumed as they are worked on; `JOBS_PER_WORKER` of each process are held at most.

        Raises:
            OvertoneError: no process could start.
        """
        if self.workers <= 1:
            yield from ((job, function(job)) for job in jobs)
            return
        remaining = iter(jobs)
        unfinished: dict[Future[Result], Job] = {}
        while True:
            try:
                yield from self._spread(function, remaining, unfinished)
                return
            except BrokenProcessPool:
                self._close()
            if not self._started.is_set():
                raise OvertoneError(NOT_STARTED)
            suspects = list(unfinished.values())
            unfinished.clear()
            for job in suspects:
                yield job, self._alone(function, job)

    def _spread(
        self, function: Callable[[Job], Result], jobs: Iterator[Job], unfinished: dict[Future[Result], Job]
    ) -> Iterator[tuple[Job, Result]]:
        if self._pool is None:
            self._pool, self._started = _start(self.workers)
        for job in jobs:
            try:
                unfinished[self._pool.submit(function, job)] = job
            except BrokenProcessPool:
                unfinished[Future()] = job
                raise
            if len(unfinished) >= JOBS_PER_WORKER * self.workers:
                yield from _finished(unfinished)
        while unfinished:
            yield from _finished(unfinished)

    def _alone(self, function: Callable[[Job], Result], job: Job) -> Result | None:
        pool, _ = _start(1)
        with pool:
            try:
                return pool.submit(function, job).result()
            except BrokenProcessPool:
                return None

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _finished(unfinished: dict[Future[Result], Job]) -> Iterator[tuple[Job, Result]]:
    for future in wait(unfinished, return_when=FIRST_COMPLETED).done:
        result = future.result()
        yield unfinished.pop(future), result


def _start(workers: int) -> tuple[ProcessPoolExecutor, Event]:
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        os._exit(1)  # a worker that is importing a script without a guard, which would start everything once more
    # One thread each, which libraries read from the environment when they are first imported. Spawned, because
    # a forked child of a process that has used threads (torch, BLAS) may hang.
    os.environ |= dict.fromkeys(THREAD_VARIABLES, "1")
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    return ProcessPoolExecutor(workers, context, _start_process, (started,)), started


def _start_process(started: Event) -> None:
    started.set()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it without a word; the parent says what there is to say
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where decoders write warnings of their own
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def available_cores() -> int:
    """Return how many cores this process may use: those of its affinity, and no more than its container's share."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CGROUP_SHARE.read_text().split()
        return max(min(cores, round(int(quota) / int(period))), 1)
    except (OSError, ValueError):  # no container, or one without a limit: "max 100000"
        return cores
