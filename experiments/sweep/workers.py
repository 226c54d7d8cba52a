"""The workers of one study that this command starts, watches and replaces."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from optuna import Study
from optuna.trial import TrialState

from experiments.sweep.publication import StudyRuns
from experiments.sweep.ray_workers import RayWorker
from experiments.sweep.results import REASON, StudyResult, finished_trials, retry_of
from experiments.sweep.storage import retries
from experiments.sweep.worker import STOPPING_SECONDS, WorkerRequest
from experiments.training.child_process import POLL_SECONDS, ChildProcess, Event, end, exit_text
from overtone.errors import OvertoneError
from overtone.progress import Board

CHECK_SECONDS = 2.0
PUBLISH_SECONDS = 30.0
MOST_FAILURES = 3

Launch = Callable[[WorkerRequest], ChildProcess | RayWorker]


@dataclass
class _Worker:
    name: str
    child: ChildProcess | RayWorker
    trial: int | None = None  # the trial that it works on


@dataclass
class Workers:
    """Keeps one study going until it has all trials that were asked for.

    Attributes:
        study: in a storage that records heartbeats.
        request: the task of each worker.
        count: workers at the same time.
        launch: starts a worker.
        progress: shows how far it is.
        runs: the tracked runs of the study.
        running: the workers that run.
    """

    study: Study
    request: WorkerRequest
    count: int
    launch: Launch
    progress: Board
    runs: StudyRuns
    running: list[_Worker] = field(default_factory=list)
    _started: int = 0
    _failures: int = 0
    _next_check: float = 0.0
    _published: tuple[float, int] = (0.0, 0)  # when, and how many trials

    def step(self) -> bool:
        """Hear the workers once, and start others where there is work; return whether the study is done.

        Raises:
            OvertoneError: a worker met an error that the others would meet too, or too many trials failed in a row.
        """
        for worker in list(self.running):
            code = worker.child.code  # before its events, of which none are missing once it has ended
            for event in worker.child.events():
                self._take(worker, event)
            if code is not None:
                self.running.remove(worker)
                self._next_check = 0.0
                self._end(worker, code)
        if time.monotonic() >= self._next_check:
            self._check()
        return not self.running and len(finished_trials(self.study)) >= self.request.trials

    def _take(self, worker: _Worker, event: Event) -> None:
        if "trial" in event:
            worker.trial = event["trial"]
        elif "ended" in event:
            worker.trial = None
            self._report(event["ended"])
        elif "done" in event and worker.trial is not None and event["done"] < event["total"]:
            self.progress.update(self._name(worker.trial), event["done"], event["total"], event["note"])
        elif "say" in event:
            self.progress.say(f"{self.request.model} {event['say']}")
        elif "error" in event:
            raise OvertoneError(event["error"])

    def _report(self, number: int) -> None:
        trial, name = self.study.trials[number], self._name(number)
        self.progress.drop(name)
        value = f" {self.runs.preset.sweep.objective} {trial.value:.4f}" if trial.state == TrialState.COMPLETE else ""
        reasons = [*trial.user_attrs.get("guards", ()), *filter(None, [trial.user_attrs.get(REASON)])]
        why = f" ({'; '.join(reasons)})" if reasons else ""
        self.progress.say(f"{name}: {trial.state.name.lower()}{value}{why}")
        self._count_failure(f"trial {number}{why}" if trial.state == TrialState.FAIL else None)

    def _end(self, worker: _Worker, code: int) -> None:
        """Put the trial of a worker that died in the queue again; its heartbeat need not be waited for."""
        number, how = worker.trial, exit_text(code)
        if number is not None:
            self.progress.drop(self._name(number))
        if code == 0:
            return
        if number is None:
            self.progress.say(f"{self.request.model}: {worker.name} {how}.")
            self._count_failure(f"{worker.name} {how}")
            return
        if self.study.trials[number].state == TrialState.RUNNING:
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)
            retries(self.runs.preset.sweep.max_retries)(self.study, self.study.trials[number])
        repeated = any(retry_of(trial) == number for trial in self.study.trials)
        what = "tried again" if repeated else "given up"
        self.progress.say(f"{self.request.model}: {worker.name} {how}; trial {number} is {what}.")
        if not repeated:
            self._count_failure(f"trial {number}, whose process {how}")

    def _count_failure(self, what: str | None) -> None:
        """Give up after too many failures in a row; None for a success."""
        self._failures = 0 if what is None else self._failures + 1
        if self._failures >= MOST_FAILURES:
            raise OvertoneError(
                f"Study {self.request.study}: {self._failures} failures in a row, the last: {what}. "
                f"See {self.request.log}."
            )

    def _check(self) -> None:
        """Start workers for the trials that are missing, and show how far the study is."""
        now = time.monotonic()
        self._next_check = now + CHECK_SECONDS
        result, asked = StudyResult.of(self.study), self.request.trials
        while len(self.running) < min(self.count, asked - result.trials):
            self._started += 1
            self.running.append(_Worker(f"worker {self._started}", self.launch(self.request)))
            self.request = replace(self.request, sampler_seed=None)  # two equal samplers propose equal trials
        note = f"best {result.value:.4f} (trial {result.trial})" if result.best else ""
        self.progress.update(f"{self.request.model}: trials", result.trials, asked, note)
        if result.trials != self._published[1] and now - self._published[0] >= PUBLISH_SECONDS:
            self.runs.publish(self.study)
            self._published = now, result.trials

    def _name(self, number: int) -> str:
        return f"{self.request.model} trial {number}"


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
        end([worker.child for workers in studies for worker in workers.running], STOPPING_SECONDS)
