"""overtone sweep: a study for each architecture, under equal budgets, on one machine or many."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from optuna import Study
from optuna.storages import BaseStorage, fail_stale_trials

from experiments.data.opening import open_corpus, report_corpus
from experiments.presets.preset import Preset, load_preset
from experiments.runs import find_runs_folder
from experiments.sweep.options import SweepOptions
from experiments.sweep.publication import StudyRuns
from experiments.sweep.results import DEFAULT, TRIALS, StudyResult
from experiments.sweep.search_space import SearchSpace
from experiments.sweep.storage import absolute_url, default_storage, one_line_errors, open_storage, without_password
from experiments.sweep.study import StudyKey, make_study, study_key
from experiments.sweep.worker import MODULE, WorkerRequest
from experiments.sweep.workers import Launch, Workers, run_side_by_side
from experiments.tracking.tracker import open_tracker
from experiments.training.child_process import ChildProcess
from overtone.errors import OvertoneError
from overtone.progress import board, console

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
    trials = options.trials or preset.sweep.trials
    with board() as progress, _launcher(options, preset) as launch, one_line_errors(url):
        storage = open_storage(url, preset.sweep)
        corpus = open_corpus(preset, workspace, progress)
        report_corpus(corpus, progress)
        keys = [study_key(preset, one, corpus.digest, options.study) for one in models]
        tracker = open_tracker(workspace.tracking, runs)

        def prepare(key: StudyKey) -> Workers:
            study, new = _prepared_study(storage, key, preset, trials)
            request = WorkerRequest(
                model=key.model,
                preset=_absolute_preset(preset_name),
                study=key.name,
                storage=url,
                trials=trials,
                sampler_seed=preset.sweep.seed if new else None,
                workspace=workspace,
            )
            progress.say(f"Study {key.name}: {trials} trials; runs lie in {runs}")
            tracked = StudyRuns(tracker, preset, key.model, key.name)
            return Workers(study, request, options.workers, launch, progress, tracked)

        for together in [keys] if options.side_by_side else [[key] for key in keys]:
            studies = [prepare(key) for key in together]
            run_side_by_side(studies)
            for one in studies:
                _finish(one)
    console.print(f"Browse the trials: optuna-dashboard {without_password(url)}", soft_wrap=True, highlight=False)


def _prepared_study(storage: BaseStorage, key: StudyKey, preset: Preset, trials: int) -> tuple[Study, bool]:
    """Return a study and whether it is new; it is made with the preset's own settings as its first trial."""
    study, new = make_study(storage, key, preset)
    if new:
        study.enqueue_trial(SearchSpace(preset, key.model).default_parameters, user_attrs={DEFAULT: True})
    study.set_user_attr(TRIALS, trials)
    fail_stale_trials(study)  # trials of a machine that was lost, which others would otherwise find later
    return study, new


def _absolute_preset(name: str) -> str:
    return str(Path(name).resolve()) if name.endswith((".yaml", ".yml")) else name


def _finish(workers: Workers) -> None:
    """Mark the trials of lost machines as failed, publish the study and print its result."""
    study = workers.study
    fail_stale_trials(study)
    workers.runs.publish(study, final=True)
    result = StudyResult.of(study)
    found = result.headline(workers.runs.preset.sweep.objective)
    workers.progress.say(f"Study {result.name}: {result.trials} trials ({result.counts}); {found}")


def _checked_models(model: str, preset: Preset, options: SweepOptions) -> list[str]:
    if model == ALL:
        if options.study is not None:
            raise OvertoneError("--study names one study, but each architecture has its own. Name one model with it.")
        return list(preset.models)
    preset.training_configuration(model, 0)
    return [model]


@contextmanager
def _launcher(options: SweepOptions, preset: Preset) -> Iterator[Launch]:
    threads = preset.budget.threads
    if options.launcher == "ray":
        from experiments.sweep.ray_workers import ray_launcher

        with ray_launcher(MODULE, threads or 1, options.gpus_per_worker) as launch:
            yield launch
    else:
        environment = {"OMP_NUM_THREADS": str(threads)} if threads else {}
        yield lambda request: ChildProcess(MODULE, asdict(request), request.log, environment)
