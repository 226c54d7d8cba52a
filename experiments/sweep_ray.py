"""Workers of a sweep as tasks of an existing Ray cluster; the study stays in its database.

A task starts the same process that a local worker is, with the processors and GPUs that Ray gave the task, and
passes on what it says. Ray places the tasks and tells when one is lost; trials, retries and results are the database's.
"""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from experiments.sweep_supervisor import Event
from experiments.sweep_worker import STOPPING_SECONDS, WorkerRequest
from runtime.errors import OvertoneError

LOST = "was lost by Ray"


def work(line: str, threads: int) -> Iterator[Event]:
    """Run a worker's process within a Ray task, and yield what it says; a request to cancel stops it gently.

    Args:
        line: the worker's request.
        threads: processor threads of a training.
    """
    import os

    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.sweep_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(threads)},
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
        for said in process.stdout:
            yield json.loads(said)
        yield {"code": process.wait()}
    finally:
        with suppress(OSError):
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOPPING_SECONDS)
        process.kill()


class RayWorker:
    """A worker as a task of a Ray cluster.

    Args:
        name: for messages.
        request: what it is to do.
        task: the remote form of `work`.
        threads: processor threads of a training.
    """

    def __init__(self, name: str, request: WorkerRequest, task: Any, threads: int) -> None:  # noqa: ANN401 - Ray's
        self.name = name
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._code: int | None = None
        self._generator = task.options(name=f"{request.study} {name}").remote(request.as_line(), threads)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        import ray

        with suppress(ray.exceptions.RayError):
            for reference in self._generator:
                event = ray.get(reference)
                if "code" in event:
                    self._code = event["code"]
                else:
                    self._events.put(event)

    def events(self) -> list[Event]:
        """Return what it has said since it was last asked."""
        events = []
        while not self._events.empty():
            events.append(self._events.get())
        return events

    def ended(self) -> str | None:
        """Return how it ended, in words, empty when as it should; None while it works."""
        if self._reader.is_alive():
            return None
        if self._code is None:
            return LOST
        return f"ended with code {self._code}" if self._code in (1, *range(-64, 0)) else ""

    def stop(self) -> None:
        """Ask it to keep what it has learnt, and end."""
        import ray

        ray.cancel(self._generator)

    def kill(self) -> None:
        """End it now."""
        import ray

        ray.cancel(self._generator, force=True)


@contextmanager
def ray_launcher(threads: int, gpus: float) -> Iterator[Callable[[str, WorkerRequest], RayWorker]]:
    """Yield what starts workers on the Ray cluster that ``RAY_ADDRESS`` names, or the one on this machine.

    Args:
        threads: processors that each asks for.
        gpus: GPUs that each asks for.

    Raises:
        OvertoneError: Ray is not installed, or there is no cluster.
    """
    try:
        import ray
    except ImportError:
        raise OvertoneError("Ray is not installed. Install it: pip install 'overtone[ray]'.") from None
    try:
        ray.init(address="auto", log_to_driver=False, logging_level="ERROR")
    except ConnectionError as error:
        reason = " ".join(str(error).split())[:200]
        raise OvertoneError(
            f"No Ray cluster answers ({reason}). Start one (ray start --head), or name it in RAY_ADDRESS."
        ) from None
    task = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0, num_returns="streaming")(work)
    try:
        yield lambda name, request: RayWorker(name, request, task, threads)
    finally:
        ray.shutdown()
