"""A worker of a sweep: takes one trial after the other until the study has all that were asked for.

Run as a module it is a process: it reads a request from standard input, says what it does in JSON lines on standard
output, and stops between two batches, keeping what it has learnt, when standard input closes. So no worker outlives
whoever started it, and all that it costs to import is paid once.
"""

import gc
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from experiments.data.opening import open_corpus
from experiments.presets.preset import Preset, load_preset
from experiments.sweep.storage import BROKEN, PatientStorage, open_storage
from experiments.sweep.study import StudyKey, check_identity, pruner, sampler, study_key
from experiments.sweep.trial import STORAGE_ERRORS, Interrupted, Lost, Objective, Say, Surplus, Workplace
from experiments.sweep.trial_queue import enqueue_retries, read_queue
from experiments.sweep.trial_scoring import TrialScoring
from experiments.tracking.tracker import Run
from experiments.training.fit import quiet_libraries
from experiments.training.requests import TrackingKind
from overtone.errors import OvertoneError, in_words
from overtone.progress import Board

PATIENCE_SECONDS = 600.0
POLL_SECONDS = 1.0
STOPPING_SECONDS = 60.0
STOPPED = 130


@dataclass(frozen=True)
class WorkerRequest:
    """What a worker needs to be told; plain values, so that it can go to another process or machine.

    Attributes:
        model: the registry's name.
        preset: name or path of the preset.
        study: name in the storage.
        identity: what makes its trials comparable; a worker with other code or data refuses to join.
        storage: URL of the database.
        trials: asked for.
        data: folder or manifest of the corpus, None for the preset's own.
        runs: the folder for runs.
        tracking: where curves go.
        extra: further splits of the manifest that join train.
    """

    model: str
    preset: str
    study: str
    identity: str
    storage: str
    trials: int
    data: str | None
    runs: str
    tracking: TrackingKind
    extra: Sequence[str] = ()

    def as_line(self) -> str:
        """Return the request as one line of text."""
        return json.dumps(asdict(self))


def trainings_folder(runs: Path, study: str) -> Path:
    """Return where the trainings of a study lie."""
    return runs / "sweeps" / study


class Worker:
    """Takes trials of one study.

    Args:
        request: which study, whose trials.
        say: told in plain values what goes on.
    """

    def __init__(self, request: WorkerRequest, say: Say) -> None:
        self._request, self._say = request, say
        self._stopping = threading.Event()
        self._preset = load_preset(request.preset)
        self._storage: PatientStorage | None = None

    def stop(self) -> None:
        """End soon; may be called from another thread."""
        self._stopping.set()
        if self._storage is not None:
            self._storage.patience_seconds = 0.0
        os.kill(os.getpid(), signal.SIGINT)  # a training notes it and stops after the batch

    def run(self) -> None:
        """Take trials until the study has all that were asked for.

        Raises:
            OvertoneError: a user's mistake, a full disk, or the database was away for too long.
            KeyboardInterrupt: it was told to stop.
        """
        request, sweep = self._request, self._preset.sweep
        runs = Path(request.runs)
        corpus = open_corpus(self._preset, request.data, runs, Board(None), request.extra)
        key = study_key(self._preset, request.model, corpus.digest, request.study)
        if key.identity != request.identity:
            raise OvertoneError(
                "This worker's preset, corpus or sources are not those that the sweep began with. Did they change "
                "meanwhile? Start the same command again."
            )
        self._storage = open_storage(
            request.storage,
            lambda line: print(line, file=sys.stderr),  # whoever supervises finds out, too
            sweep.heartbeat_seconds,
            sweep.grace_seconds,
            PATIENCE_SECONDS,
        )
        study = optuna.load_study(study_name=request.study, storage=self._storage, pruner=pruner(sweep))
        check_identity(study, key)
        folder = trainings_folder(runs, request.study)
        scoring = TrialScoring(self._preset, corpus, folder)
        publication = Publication(self._preset, key, request)
        work = Workplace(
            self._preset, request.model, request.trials, corpus, folder, scoring, publication.open, self._say
        )
        objective = Objective(study, work)
        while not self._stopping.is_set():
            try:
                queue = read_queue(study, sweep.max_retries)
            except BROKEN:
                continue  # which waits
            if queue.finished >= request.trials:
                return
            if queue.may_start(request.trials):
                study.sampler = sampler(sweep, queue.next_place)
                self._take_one(study, objective, publication)
            else:
                self._stopping.wait(POLL_SECONDS)
        raise KeyboardInterrupt

    def _take_one(self, study: optuna.Study, objective: Objective, publication: "Publication") -> None:
        objective.number = None
        try:
            study.optimize(objective, n_trials=1, catch=(Surplus,))
        except (Interrupted, KeyboardInterrupt):
            raise
        except Exception as error:
            self._say({"say": _failure(error, objective.number)})
        finally:
            with suppress(*STORAGE_ERRORS):
                self._end(study, objective, publication)
            gc.collect()

    def _end(self, study: optuna.Study, objective: Objective, publication: "Publication") -> None:
        enqueue_retries(study, self._preset.sweep.max_retries)
        if objective.number is not None:
            trial = study.get_trials(deepcopy=False)[objective.number]
            self._say({"ended": trial.number, "state": trial.state.name, "value": _value(trial)})
            publication.close(objective.run, trial)


class Publication:
    """The tracked runs of a worker's trials.

    Args:
        preset: the study's.
        key: of the study.
        request: says where runs are tracked.
    """

    def __init__(self, preset: Preset, key: StudyKey, request: WorkerRequest) -> None:
        self._preset, self._key, self._request = preset, key, request
        self._tracked = request.tracking != "none"
        if self._tracked:
            from experiments.sweep.publication import study_run
            from experiments.tracking.mlflow_tracker import open_tracker

            self._tracker = open_tracker(request.tracking, Path(request.runs))
            self._parent = study_run(self._tracker, preset, key.name, key.model)

    def open(self, number: int) -> Run:
        """Return the run of a trial."""
        if not self._tracked:
            return Run()
        from experiments.sweep.publication import trial_run

        return trial_run(self._tracker, self._preset, self._key.name, self._key.model, number, self._parent)

    def close(self, run: Run | None, trial: FrozenTrial) -> None:
        """Give the run the trial's state and values."""
        if self._tracked and run is not None:
            from experiments.sweep.publication import close_trial_run

            close_trial_run(run, trial)


def _failure(error: Exception, number: int | None) -> str:
    """Return what befell a trial, as a line."""
    name = "a trial" if number is None else f"trial {number}"
    # Optuna refuses with a ValueError to give a state to a trial that has one.
    if isinstance(error, Lost | UpdateFinishedTrialError) or "Cannot tell a" in str(error):
        return f"{name}: was given to somebody else while this worker was silent, and goes on there."
    if isinstance(error, STORAGE_ERRORS):
        return f"{name}: the database went away within an operation; it is tried again."
    traceback.print_exception(error)
    return f"{name}: failed ({type(error).__name__}: {' '.join(str(error).split())[:200]})."


def _value(trial: FrozenTrial) -> float | None:
    return trial.value if trial.state == TrialState.COMPLETE else None


def _serve() -> int:
    """Work as standard input says; the exit code says how it went."""
    # It may come ignored, from a shell's background job, or blocked, from a thread of Ray's.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    request = WorkerRequest(**json.loads(sys.stdin.readline()))
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever libraries print belongs to the log
    alone = threading.Event()

    def say(event: dict[str, object]) -> None:
        try:
            out.write(json.dumps(event) + "\n")
        except OSError:  # whoever listened is gone
            alone.set()

    try:
        with quiet_libraries():
            logging.getLogger("optuna").setLevel(logging.ERROR)
            worker = Worker(request, say)
            threading.Thread(target=_stop_with_parent, args=(worker,), daemon=True).start()
            worker.run()
    except KeyboardInterrupt:
        return STOPPED
    except OvertoneError as error:
        say({"error": str(error)})
        return 1
    except OSError as error:
        say({"error": in_words(error)})
        return 1
    return 0


def _stop_with_parent(worker: Worker) -> None:
    # Not sys.stdin.read(): its lock would be held for ever, and a data loader's forked process closes sys.stdin.
    while os.read(0, 4096):
        pass
    worker.stop()
    time.sleep(STOPPING_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    code = _serve()
    sys.stderr.flush()
    os._exit(code)  # threads of libraries could hold up a process that has nothing left to do
