"""overtone sweep: a study for each architecture, under equal budgets, on one machine or many."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from optuna.storages import BaseStorage, fail_stale_trials

from experiments.data.opening import open_corpus, report_corpus
from experiments.presets.preset import Preset, load_preset
from experiments.runs import Workspace, find_runs_folder
from experiments.sweep.options import SweepOptions
from experiments.sweep.publication import publish_study
from experiments.sweep.results import DEFAULT, TRIALS, StudySummary
from experiments.sweep.search_space import SearchSpace
from experiments.sweep.storage import absolute_url, default_storage, one_line_errors, open_storage, without_password
from experiments.sweep.study import StudyKey, make_study, study_key
from experiments.sweep.worker import MODULE, WorkerRequest
from experiments.sweep.workers import Launch, Workers, run_side_by_side
from experiments.tracking.mlflow_tracker import open_tracker
from experiments.tracking.tracker import Tracker
from experiments.training.child_process import ChildProcess
from overtone.errors import OvertoneError
from overtone.progress import Board, board, console

ALL = "all"


def sweep(model: str, preset_name: str, options: SweepOptions) -> None:
    """Search the settings of one of a preset's models, or of all; a study that exists is continued.

    Args:
        model: the registry's name, or ``all``.
        preset_name: name or path of the preset.
        options: of the command.

    Raises:
        OvertoneError: a user's error, an unusable corpus or database, a full disk, or too many failed trials.
    """
    preset = load_preset(preset_name)
    models = _checked_models(model, preset, options)
    runs = find_runs_folder(options.workspace.runs)
    data = options.workspace.data and str(Path(options.workspace.data).resolve())  # workers may run elsewhere
    workspace = replace(options.workspace, runs=runs, data=data)
    url = absolute_url(options.storage or default_storage(runs))
    with board() as progress, _launcher(options, preset) as launch, one_line_errors(url):
        storage = open_storage(url, preset.sweep)
        corpus = open_corpus(preset, workspace, progress)
        report_corpus(corpus, progress)
        keys = [study_key(preset, one, corpus.digest, options.study) for one in models]
        tracker = open_tracker(workspace.tracking, runs)
        command = _Command(preset, preset_name, options, workspace, url, storage, tracker, launch, progress)
        for together in [keys] if options.side_by_side else [[key] for key in keys]:
            studies = [command.prepare(key) for key in together]
            run_side_by_side(studies)
            for one in studies:
                command.finish(one)
    console.print(f"Browse the trials: optuna-dashboard {without_password(url)}", soft_wrap=True, highlight=False)


@dataclass(frozen=True)
class _Command:
    """Everything that the studies of a sweep share."""

    preset: Preset
    preset_name: str
    options: SweepOptions
    workspace: Workspace
    url: str
    storage: BaseStorage
    tracker: Tracker
    launch: Launch
    progress: Board

    def prepare(self, key: StudyKey) -> Workers:
        """Make a study if need be, with the preset's own settings as its first trial, and return its workers."""
        preset, options = self.preset, self.options
        study, new = make_study(self.storage, key, preset)
        if new:
            study.enqueue_trial(SearchSpace(preset, key.model).default_parameters, user_attrs={DEFAULT: True})
        trials = options.trials or preset.sweep.trials
        study.set_user_attr(TRIALS, trials)
        fail_stale_trials(study)  # trials of a machine that was lost, which others would otherwise find later
        request = WorkerRequest(
            model=key.model,
            preset=_absolute_preset(self.preset_name),
            study=key.name,
            storage=self.url,
            trials=trials,
            sampler_seed=preset.sweep.seed if new else None,
            workspace=self.workspace,
        )
        self.progress.say(f"Study {key.name}: {trials} trials; runs lie in {self.workspace.runs}")

        def publish(final: bool) -> None:
            publish_study(study, self.tracker, preset, key.model, final)

        return Workers(study, request, preset.sweep, options.workers, self.launch, self.progress, publish)

    def finish(self, workers: Workers) -> None:
        """Mark the trials of lost machines as failed, publish the study and print its result."""
        fail_stale_trials(workers.study)
        workers.publish(True)
        summary = StudySummary.of(workers.study)
        self.progress.say(
            f"Study {workers.study.study_name}: {summary.finished} trials ({summary.counts}); "
            f"{summary.headline(self.preset.sweep.objective)}"
        )


def _checked_models(model: str, preset: Preset, options: SweepOptions) -> list[str]:
    """Return the models whose studies run.

    Raises:
        OvertoneError: the preset has no such model, or all are searched under one study's name.
    """
    if model == ALL:
        if options.study is not None:
            raise OvertoneError("--study names one study, but each architecture has its own. Name one model with it.")
        return list(preset.models)
    preset.training_configuration(model, 0)
    return [model]


def _absolute_preset(name: str) -> str:
    return str(Path(name).resolve()) if name.endswith((".yaml", ".yml")) else name


@contextmanager
def _launcher(options: SweepOptions, preset: Preset) -> Iterator[Launch]:
    threads = preset.budget.threads
    if options.launcher == "ray":
        from experiments.sweep.ray_workers import ray_launcher

        with ray_launcher(threads or 1, options.gpus_per_worker) as launch:
            yield launch
    else:
        environment = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        yield lambda request: ChildProcess(MODULE, asdict(request), request.log, environment)
