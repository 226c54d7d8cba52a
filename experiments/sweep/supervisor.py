"""Who keeps a study going on one machine: starts workers, replaces those that die, and gives up on silent trials.

Any number of machines may supervise one study. All that they share is the database.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.storages import fail_stale_trials
from optuna.trial import TrialState

from experiments.presets.preset import SweepSettings
from experiments.sweep.local_workers import Event, WorkerHandle
from experiments.sweep.storage import BROKEN, PatientStorage
from experiments.sweep.study import best_trial
from experiments.sweep.trial_queue import DEFAULT, TrialQueue, enqueue_retries, read_queue
from experiments.sweep.worker import STOPPING_SECONDS, WorkerRequest, trainings_folder
from overtone.errors import OvertoneError
from overtone.progress import Board

CHECK_SECONDS = 2.0
IDLE_DEATHS = 3
MOST_GIVEN_UP = 3


class _Slot:
    """A worker and the trial that it is at."""

    def __init__(self, worker: WorkerHandle) -> None:
        self.worker = worker
        self.trial: int | None = None
        self.trials = 0
        self.error: str | None = None
        self.seen_finished = 0
        self.stop_by: float | None = None


class Supervisor:
    """Keeps one study going with workers of its own until it has all trials that were asked for.

    Args:
        study: in a `PatientStorage`.
        request: what the workers are told.
        sweep: the preset's.
        workers: how many at the same time.
        launch: starts a worker with a name.
        progress: shows what goes on.
        publish: told how many trials have ended, and whether that is the last time.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: PatientStorage,
        request: WorkerRequest,
        sweep: SweepSettings,
        workers: int,
        launch: Callable[[str, WorkerRequest], WorkerHandle],
        progress: Board,
        publish: Callable[[int, bool], None],
    ) -> None:
        self._study, self._storage, self._request, self._sweep = study, storage, request, sweep
        self._workers, self._launch, self._progress, self._publish = workers, launch, progress, publish
        self._slots: list[_Slot] = []
        self._started = 0
        self._idle_deaths = 0
        self._next_check = 0.0
        self._told = ""
        self._queue: TrialQueue | None = None

    @property
    def model(self) -> str:
        """The study's architecture."""
        return self._request.model

    def step(self) -> bool:
        """Look after the workers once; return whether the study is done and they have ended.

        Raises:
            OvertoneError: a user's mistake, a full disk, or too many trials failed.
        """
        for slot in list(self._slots):
            self._hear(slot)
        if time.monotonic() >= self._next_check:
            with suppress(*BROKEN):  # the next time waits
                self._check()
            self._next_check = time.monotonic() + CHECK_SECONDS
        done = self._queue is not None and self._queue.finished >= self._request.trials
        return done and not self._slots

    def _hear(self, slot: _Slot) -> None:
        ended = slot.worker.ended()
        for event in slot.worker.events():
            self._take(slot, event)
        if slot.stop_by is not None and time.monotonic() > slot.stop_by:
            slot.worker.kill()
        if ended is None:
            return
        self._slots.remove(slot)
        if slot.trial is not None:
            self._progress.drop(self._bar(slot.trial))
        if slot.error is not None:
            raise OvertoneError(slot.error)
        if ended:
            self._bury(slot, ended)
        self._next_check = 0.0

    def _take(self, slot: _Slot, event: Event) -> None:
        if "trial" in event:
            slot.trial, slot.seen_finished = event["trial"], 0
            slot.trials += 1
            self._idle_deaths = 0
        elif "ended" in event:
            self._progress.drop(self._bar(event["ended"]))
            slot.trial = None
            self._next_check = 0.0
            self._report(event)
        elif "done" in event and slot.trial is not None and event["done"] < event["total"]:
            self._progress.update(self._bar(slot.trial), event["done"], event["total"], event["note"])
        elif "say" in event:
            self._progress.say(f"{self.model} {event['say']}")
        elif "error" in event:
            slot.error = event["error"]

    def _report(self, event: Event) -> None:
        try:
            trial = self._study.get_trials(deepcopy=False)[event["ended"]]
        except BROKEN:
            return
        value = "" if event["value"] is None else f" {self._sweep.objective} {event['value']:.4f}"
        failed = [guard for guard, value in trial.constraints.items() if value > 0]
        why = f", infeasible: {', '.join(failed)}" if failed else ""
        reason = trial.user_attrs.get("reason")
        why += f", {reason}" if reason else ""
        self._progress.say(f"{self.model} trial {event['ended']}: {event['state'].lower()}{value}{why}")

    def _bury(self, slot: _Slot, ended: str) -> None:
        """A worker died: its trial is known to be dead without waiting for its heart."""
        if slot.trial is None:
            self._progress.say(f"{self.model}: {slot.worker.name} {ended}.")
            self._idle_deaths += 1
            if self._idle_deaths >= IDLE_DEATHS:
                raise OvertoneError(
                    f"{self._idle_deaths} workers in a row ended before they took a trial; see {self.log}."
                )
            return
        self._progress.say(f"{self.model}: {slot.worker.name} {ended}; trial {slot.trial} is tried again.")
        with suppress(*BROKEN):  # else its heart tells
            self._study.tell(slot.trial, state=TrialState.FAIL, skip_if_finished=True)

    def _check(self) -> None:
        """Give up on silent trials, queue what is owed, and see to it that there are workers."""
        running = read_queue(self._study, self._sweep.max_retries).running
        self._storage.begin_heartbeats([trial._trial_id for trial in running])
        fail_stale_trials(self._study)
        for trial in enqueue_retries(self._study, self._sweep.max_retries):
            self._progress.say(f"{self.model} trial {trial.number}: is put in the queue again.")
        found = self._queue = read_queue(self._study, self._sweep.max_retries)
        if len(found.given_up) >= MOST_GIVEN_UP:
            numbers = ", ".join(str(lineage.last.number) for lineage in found.given_up)
            reason = found.given_up[-1].last.user_attrs.get("reason", "its process died")
            raise OvertoneError(
                f"Study {self._study.study_name}: trials {numbers} failed more than {self._sweep.max_retries} times "
                f"each, the last for: {reason}. See {self.log}."
            )
        self._stop_sleepwalkers(found)
        missing = self._request.trials - found.finished
        while len(self._slots) < min(self._workers, missing):
            self._started += 1
            self._slots.append(_Slot(self._launch(f"worker {self._started}", self._request)))
        self._show(found)
        self._publish(found.finished, False)

    def _stop_sleepwalkers(self, found: TrialQueue) -> None:
        """Stop own workers that are at a trial which is over: they slept, and hold its folder."""
        over = {trial.number for trial in found.trials if trial.state.is_finished()}
        for slot in self._slots:
            slot.seen_finished = slot.seen_finished + 1 if slot.trial in over else 0
            if slot.seen_finished >= 3 and slot.stop_by is None:
                slot.worker.stop()
                slot.stop_by = time.monotonic() + min(STOPPING_SECONDS, self._sweep.grace_seconds)

    def _show(self, found: TrialQueue) -> None:
        """Show how far the study is; say so when all that is left runs elsewhere."""
        own = {slot.trial for slot in self._slots if slot.trial is not None}
        elsewhere = [trial.number for trial in found.running if trial.number not in own]
        missing = self._request.trials - found.finished
        note = best_note(self._study)
        self._progress.update(f"{self.model}: trials", found.finished, self._request.trials, note)
        told = ""
        if missing and not own and len(elsewhere) >= missing:
            plural = "trial that runs" if len(elsewhere) == 1 else "trials that run"
            told = f"{self.model}: waiting for {len(elsewhere)} {plural} elsewhere, or whose process died."
        if told and told != self._told:
            self._progress.say(told)
        self._told = told

    def _bar(self, number: int) -> str:
        return f"{self.model} trial {number}"

    @property
    def log(self) -> Path:
        """Where the workers' libraries say what they have to say."""
        return worker_log(self._request)

    def stop(self) -> None:
        """Ask all workers to keep what they have learnt, wait until they have ended, and see what is left."""
        self._storage.patience_seconds = 0.0
        for slot in self._slots:
            slot.worker.stop()
            slot.stop_by = time.monotonic() + STOPPING_SECONDS
        try:
            while self._slots:
                for slot in list(self._slots):
                    slot.error = None  # the first one has been raised
                    with suppress(OvertoneError, *BROKEN):
                        self._hear(slot)
                time.sleep(0.05)
        except KeyboardInterrupt:  # the impatient's second
            self.kill()
            raise

    def kill(self) -> None:
        """End all workers now; their trials are tried again."""
        for slot in self._slots:
            slot.worker.kill()

    def publish(self, last: bool) -> None:
        """Publish what the study has come to."""
        self._publish(read_queue(self._study, self._sweep.max_retries).finished, last)

    def summary(self) -> str:
        """Return what the study has come to, as a line."""
        found = read_queue(self._study, self._sweep.max_retries)
        states = Counter(lineage.last.state.name.lower() for lineage in found.lineages if lineage.finished)
        counts = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
        return f"Study {self._study.study_name}: {found.finished} trials ({counts}); {best_note(self._study)}"


def best_note(study: optuna.Study) -> str:
    """Return what is best so far, beside what the preset's own settings score."""
    best = best_trial(study)
    if best is None:
        return "no feasible trial yet"
    own = [
        trial.value
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if trial.user_attrs.get(DEFAULT)
    ]
    beside = f", the preset's own settings {own[0]:.4f}" if own and own[0] is not None else ""
    return f"best {best.value:.4f} (trial {best.number}){beside}"


def worker_log(request: WorkerRequest) -> Path:
    """Return the file in which the workers' libraries say what they have to say."""
    return trainings_folder(Path(request.runs), request.study) / "workers.log"


def supervise(supervisors: Sequence[Supervisor], poll_seconds: float = 0.1) -> None:
    """Look after studies side by side until all are done.

    Raises:
        OvertoneError: one of them cannot go on; the others have been stopped.
        KeyboardInterrupt: so have all.
    """
    left = list(supervisors)
    try:
        while left:
            left = [supervisor for supervisor in left if not supervisor.step()]
            time.sleep(poll_seconds)
    finally:
        for supervisor in left:
            supervisor.stop()
