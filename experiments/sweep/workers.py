"""The workers of one study that this command starts, watches and replaces."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Union

from optuna import Study
from optuna.trial import TrialState

from experiments.presets.preset import SweepSettings
from experiments.sweep.results import REASON, StudySummary, finished_trials, retry_of
from experiments.sweep.study import retry
from experiments.sweep.worker import STOPPING_SECONDS, WorkerRequest
from experiments.training.child_process import ChildProcess, Event, exit_text
from overtone.errors import OvertoneError
from overtone.progress import Board

if TYPE_CHECKING:
    from experiments.sweep.ray_workers import RayWorker

POLL_SECONDS = 0.1
CHECK_SECONDS = 2.0
PUBLISH_SECONDS = 30.0
MOST_FAILURES = 3


Child = Union[ChildProcess, "RayWorker"]
Launch = Callable[[WorkerRequest], Child]


@dataclass
class _Worker:
    name: str
    child: Child
    trial: int | None = None  # the trial that it works on


@dataclass
class Workers:
    """Keeps one study going until it has all trials that were asked for.

    Attributes:
        study: in a storage that records heartbeats.
        request: the task of each worker.
        sweep: the preset's settings of sweeps.
        count: workers at the same time.
        launch: starts a worker.
        progress: shows how far it is.
        publish: brings the tracked run of the study up to date, for the last time if its argument is true.
    """

    study: Study
    request: WorkerRequest
    sweep: SweepSettings
    count: int
    launch: Launch
    progress: Board
    publish: Callable[[bool], None]
    _running: list[_Worker] = field(default_factory=list)
    _started: int = 0
    _failures: int = 0
    _checked: float = -CHECK_SECONDS
    _published: tuple[float, int] = (0.0, 0)

    def step(self) -> bool:
        """Hear the workers once, and start others where there is work; return whether the study is done.

        Raises:
            OvertoneError: a worker met an error that the others would meet too, or too many trials failed in a row.
        """
        for worker in list(self._running):
            self._hear(worker)
        if time.monotonic() - self._checked >= CHECK_SECONDS:
            self._check()
        return not self._running and len(finished_trials(self.study)) >= self.request.trials

    def _hear(self, worker: _Worker) -> None:
        code = worker.child.code
        for event in worker.child.events():
            self._take(worker, event)
        if code is None:
            return
        self._running.remove(worker)
        self._checked = -CHECK_SECONDS
        if worker.trial is not None:
            self.progress.drop(self._name(worker.trial))
        if code:
            self._requeue(worker, exit_text(code))

    def _take(self, worker: _Worker, event: Event) -> None:
        if "trial" in event:
            worker.trial = event["trial"]
        elif "ended" in event:
            worker.trial = None
            self.progress.drop(self._name(event["ended"]))
            self._report(event["ended"])
        elif "done" in event and worker.trial is not None and event["done"] < event["total"]:
            self.progress.update(self._name(worker.trial), event["done"], event["total"], event["note"])
        elif "say" in event:
            self.progress.say(f"{self.request.model} {event['say']}")
        elif "error" in event:
            raise OvertoneError(event["error"])

    def _report(self, number: int) -> None:
        trial = self.study.trials[number]
        value = f" {self.sweep.objective} {trial.value:.4f}" if trial.state == TrialState.COMPLETE else ""
        reasons = [*trial.user_attrs.get("guards", ()), *filter(None, [trial.user_attrs.get(REASON)])]
        why = f" ({'; '.join(reasons)})" if reasons else ""
        self.progress.say(f"{self._name(number)}: {trial.state.name.lower()}{value}{why}")
        if trial.state == TrialState.FAIL:
            self._fail(f"trial {number}{why}")
        else:
            self._failures = 0

    def _requeue(self, worker: _Worker, how: str) -> None:
        """Put the trial of a worker that died in the queue again."""
        number, name = worker.trial, f"{self.request.model}: {worker.name}"
        if number is None:
            self.progress.say(f"{name} {how}.")
            self._fail(f"{worker.name} {how}")
            return
        if self.study.trials[number].state == TrialState.RUNNING:
            retry(self.study, number, self.sweep.max_retries)
        repeated = any(retry_of(trial) == number for trial in self.study.trials)
        self.progress.say(f"{name} {how}; trial {number} is {'tried again' if repeated else 'given up'}.")
        if not repeated:
            self._fail(f"trial {number}, whose process {how}")

    def _fail(self, what: str) -> None:
        self._failures += 1
        if self._failures >= MOST_FAILURES:
            raise OvertoneError(
                f"Study {self.request.study}: {self._failures} failures in a row, the last: {what}. "
                f"See {self.request.log}."
            )

    def _check(self) -> None:
        """Start workers for the trials that are missing, and show how far the study is."""
        self._checked = time.monotonic()
        summary = StudySummary.of(self.study)
        missing = self.request.trials - summary.finished
        while len(self._running) < min(self.count, missing):
            self._started += 1
            self._running.append(_Worker(f"worker {self._started}", self.launch(self.request)))
            self.request = replace(self.request, sampler_seed=None)  # two equal samplers propose equal trials
        note = f"best {summary.best.value:.4f} (trial {summary.best.number})" if summary.best else ""
        self.progress.update(f"{self.request.model}: trials", summary.finished, self.request.trials, note)
        when, published = self._published
        if summary.finished != published and self._checked - when >= PUBLISH_SECONDS:
            self.publish(False)
            self._published = self._checked, summary.finished

    def _name(self, number: int) -> str:
        return f"{self.request.model} trial {number}"

    @property
    def children(self) -> list[Child]:
        """The processes that run."""
        return [worker.child for worker in self._running]


def run_side_by_side(studies: Sequence[Workers]) -> None:
    """Keep studies going at the same time until all are done.

    Args:
        studies: the workers of each.

    Raises:
        OvertoneError: one of them cannot go on; all workers have ended.
        KeyboardInterrupt: the same.
    """
    left = list(studies)
    try:
        while left := [workers for workers in left if not workers.step()]:
            time.sleep(POLL_SECONDS)
    finally:
        _stop([child for workers in studies for child in workers.children])


def _stop(children: Sequence[Child]) -> None:
    """Let workers keep a checkpoint and end; a second Ctrl-C kills them."""
    try:
        for child in children:
            child.close()
        deadline = time.monotonic() + STOPPING_SECONDS
        while any(child.code is None for child in children) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
    finally:
        for child in children:
            child.kill()
