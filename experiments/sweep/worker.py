"""A worker of a sweep: a process that takes one trial after the other until the study has all that were asked for."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from optuna import Study
from optuna.study import MaxTrialsCallback
from optuna.trial import FrozenTrial

from experiments.data.opening import open_corpus
from experiments.presets.preset import load_preset
from experiments.records import checked
from experiments.runs import Workspace
from experiments.sweep.publication import StudyRuns, close_trial_run
from experiments.sweep.results import FINISHED, finished_trials
from experiments.sweep.storage import one_line_errors, open_storage
from experiments.sweep.study import open_study, study_key
from experiments.sweep.trial import Objective, TrialFailed, TrialScoring
from experiments.tracking.tracker import open_tracker
from experiments.training.child_process import Event, Say, serve
from experiments.training.fit import quiet_libraries
from overtone.progress import Board

MODULE = "experiments.sweep.worker"
STOPPING_SECONDS = 60.0


@dataclass(frozen=True)
class WorkerRequest:
    """The task of a worker; plain values, so that it can go to another process or machine.

    Attributes:
        model: the registry's name.
        preset: name or path of the preset.
        study: name in the storage.
        storage: URL of the database.
        trials: finished trials that the study shall have.
        sampler_seed: of the worker's sampler; None for one that no other worker has.
        workspace: corpus, folder for runs and tracking.
    """

    model: str
    preset: str
    study: str
    storage: str
    trials: int
    sampler_seed: int | None
    workspace: Workspace

    @property
    def folder(self) -> Path:
        """The folder of the study's trainings."""
        return self.workspace.runs / "sweeps" / self.study

    @property
    def log(self) -> Path:
        """The file with the output of the workers' libraries."""
        return self.folder / "workers.log"


def work(plain: Event, say: Say) -> None:
    """Take trials until the study has all that were asked for; one that is interrupted is put in its queue again.

    Args:
        plain: a `WorkerRequest` as plain values.
        say: called with events: ``{"trial": NUMBER}`` begins, ``{"ended": NUMBER}`` has its state, ``done``, ``total``
            and ``note`` of the training, and ``say`` with a line for the user.

    Raises:
        OvertoneError: a user's error, a study of other trials, or a database that does not answer.
        KeyboardInterrupt: the process was told to stop.
    """
    request = checked(WorkerRequest, plain)
    with quiet_libraries(), one_line_errors(request.storage):
        preset = load_preset(request.preset)
        corpus = open_corpus(preset, request.workspace, Board(None))
        key = study_key(preset, request.model, corpus.digest, request.study)
        study = open_study(open_storage(request.storage, preset.sweep), key, preset.sweep, request.sampler_seed)
        if len(finished_trials(study)) >= request.trials:
            return
        runs = StudyRuns(
            open_tracker(request.workspace.tracking, request.workspace.runs), preset, request.model, request.study
        )
        parent = runs.parent()
        scoring = TrialScoring(preset, corpus, request.folder)
        objective = Objective(preset, request.model, corpus, request.folder, scoring, runs, parent, say)

        def ended(_: Study, trial: FrozenTrial) -> None:
            close_trial_run(runs.trial(trial.number, parent), trial)
            say({"ended": trial.number})

        study.optimize(
            objective,
            callbacks=[ended, MaxTrialsCallback(request.trials, FINISHED)],
            catch=(TrialFailed,),
            gc_after_trial=True,
        )


if __name__ == "__main__":
    code = serve(work, STOPPING_SECONDS)
    sys.stderr.flush()
    os._exit(code)  # threads of libraries could hold up a process that has nothing left to do
