"""Workers of a sweep on an existing Ray cluster; the study stays in its database.

Ray places each worker's process, with the processors and GPUs that it asks for, and tells when it is lost.
"""

import logging
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from experiments.training.child_process import ChildProcess, Event
from overtone.errors import OvertoneError

if TYPE_CHECKING:  # the actor's process imports this module, and needs neither torch nor Optuna
    from experiments.sweep.workers import Launch

POLL_SECONDS = 0.2


class RemoteWorker:
    """A worker's process on the machine that Ray chose, as an actor: a task could not be told to stop gently.

    Args:
        module: that the process runs.
        request: the worker's, as plain values.
        threads: processor threads of a training.
    """

    def __init__(self, module: str, request: Mapping[str, Any], threads: int) -> None:
        self._child = ChildProcess(module, request, None, {"OMP_NUM_THREADS": str(threads)})

    def wait(self) -> tuple[int | None, list[Event]]:
        """Return, after a moment, the exit code of the process, None while it runs, and its new events."""
        time.sleep(POLL_SECONDS)
        return self._child.code, self._child.events()

    def close(self) -> None:
        """Ask the process to keep a checkpoint and end."""
        self._child.close()


class RayWorker:
    """A worker on a Ray cluster, with the methods of a `ChildProcess`.

    Args:
        actor: the remote form of `RemoteWorker`.
    """

    def __init__(self, actor: Any) -> None:  # noqa: ANN401 - Ray makes its class
        self._actor = actor
        self._code: int | None = None
        self._events: list[Event] = []
        self._answer = actor.wait.remote()

    @property
    def code(self) -> int | None:
        """The exit code; None while it runs, or waits for a place on the cluster."""
        import ray

        if self._code is None and ray.wait([self._answer], timeout=0)[0]:
            try:
                self._code, events = ray.get(self._answer)
                self._events += events
                self._answer = self._actor.wait.remote()
            except ray.exceptions.RayError:  # its machine is lost
                self._code = -signal.SIGKILL
        return self._code

    def events(self) -> list[Event]:
        """Return the events since the last call."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Ask it to keep a checkpoint and end."""
        self._actor.close.remote()

    def kill(self) -> None:
        """End it; its process ends when it notices."""
        import ray

        ray.kill(self._actor)


@contextmanager
def ray_launcher(module: str, threads: int, gpus: float) -> Iterator["Launch"]:
    """Yield a function that starts workers on the Ray cluster that ``RAY_ADDRESS`` names, or the one on this machine.

    Args:
        module: that each worker's process runs.
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
        ray.init(address="auto", log_to_driver=False, logging_level=logging.ERROR)
    except ConnectionError as error:
        reason = " ".join(str(error).split())[:200]
        raise OvertoneError(
            f"No Ray cluster answers ({reason}). Start one (ray start --head), or name it in RAY_ADDRESS."
        ) from None
    # Two calls at a time: one waits for events, the other stops the worker.
    options: Any = {"num_cpus": threads, "num_gpus": gpus, "max_restarts": 0, "max_concurrency": 2}
    remote: Any = ray.remote(**options)(RemoteWorker)
    try:
        yield lambda request: RayWorker(remote.remote(module, asdict(request), threads))
    finally:
        ray.shutdown()
