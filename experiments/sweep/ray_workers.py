"""Workers of a sweep on an existing Ray cluster; the study stays in its database.

On the cluster, the same process that a local worker is gets the processors and GPUs that were asked for. Ray places it
and tells when it is lost; trials, retries and results are the database's.
"""

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from experiments.sweep.local_workers import Event
from experiments.sweep.worker import WorkerRequest
from overtone.errors import OvertoneError

LOST = "was lost by Ray"


class RemoteProcess:
    """A worker's process on the machine that Ray chose, as an actor: a task could not be told to stop gently.

    Args:
        line: the worker's request.
        threads: processor threads of a training.
    """

    def __init__(self, line: str, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "experiments.sweep.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            start_new_session=True,
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()

    def work(self) -> Iterator[Event]:
        """Yield what the worker says, and at last its exit code."""
        assert self._process.stdout is not None
        for said in self._process.stdout:
            with suppress(json.JSONDecodeError):  # the last line of a process that was killed
                yield json.loads(said)
        yield {"code": self._process.wait()}

    def stop(self) -> None:
        """Ask it to keep what it has learnt, and end; it does the same when this actor is gone."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()


class RayWorker:
    """A worker on a Ray cluster.

    Args:
        name: for messages.
        request: what it is to do.
        remote_process: the remote form of `RemoteProcess`.
        threads: processor threads of a training.
    """

    def __init__(self, name: str, request: WorkerRequest, remote_process: Any, threads: int) -> None:  # noqa: ANN401
        self.name = name
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._code: int | None = None
        self._process = remote_process.remote(request.as_line(), threads)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        import ray

        with suppress(ray.exceptions.RayError):
            for reference in self._process.work.options(num_returns="streaming").remote():
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
        self._process.stop.remote()

    def kill(self) -> None:
        """End it now."""
        import ray

        ray.kill(self._process)


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
    # Two calls at a time: one tells what the worker says, the other stops it.
    remote_process = ray.remote(num_cpus=threads, num_gpus=gpus, max_restarts=0, max_concurrency=2)(RemoteProcess)
    try:
        yield lambda name, request: RayWorker(name, request, remote_process, threads)
    finally:
        ray.shutdown()
