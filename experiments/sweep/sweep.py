"""Sweeps: a study for each architecture, under equal budgets, on one machine or many."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from optuna import Study

from datamodules.corpora.corpus import Corpus
from experiments.data.opening import open_corpus, report_corpus
from experiments.presets.preset import Preset, load_preset
from experiments.runs import find_runs_folder
from experiments.sweep.local_workers import LocalWorker, WorkerHandle
from experiments.sweep.search_space import default_parameters, distributions
from experiments.sweep.storage import PatientStorage, open_storage, parse_url, without_password
from experiments.sweep.study import TRIALS, StudyKey, default_storage, make_study, study_key
from experiments.sweep.supervisor import Supervisor, supervise, worker_log
from experiments.sweep.trial_queue import enqueue_default, enqueue_retries
from experiments.sweep.worker import PATIENCE_SECONDS, WorkerRequest
from experiments.training.requests import TrackingKind
from overtone.errors import OvertoneError
from overtone.progress import Board, board, console

ALL = "all"
PUBLISH_SECONDS = 30.0
Launch = Callable[[str, WorkerRequest], WorkerHandle]
Publish = Callable[[int, bool], None]


@dataclass(frozen=True)
class SweepOptions:
    """What the command line may say of a sweep.

    Attributes:
        trials: of each study in all, None for the preset's number.
        workers: trials at the same time, of each study, that this machine looks after.
        storage: URL of the database, None for one in the folder for runs.
        study: another name of the study than the usual one.
        data: folder or manifest of the corpus, None for the preset's own.
        runs: folder for runs.
        tracking: where runs are tracked.
        extra: further splits of the manifest that join train.
        side_by_side: whether the studies of all models run at the same time instead of in turn.
        launcher: where workers run.
        gpus_per_worker: what each asks a Ray cluster for.
    """

    trials: int | None = None
    workers: int = 1
    storage: str | None = None
    study: str | None = None
    data: str | None = None
    runs: Path | None = None
    tracking: TrackingKind = "mlflow"
    extra: Sequence[str] = ()
    side_by_side: bool = False
    launcher: Literal["local", "ray"] = "local"
    gpus_per_worker: float = 0.0


def sweep(model: str, preset_name: str, options: SweepOptions) -> None:
    """Search the settings of one of a preset's models, or of all; what is there is continued.

    Args:
        model: the registry's name, or ``all``.
        preset_name: name or path of the preset.
        options: what the command line says.

    Raises:
        OvertoneError: a user's mistake, an unusable corpus or database, a full disk, or too many failed trials.
    """
    preset = load_preset(preset_name)
    models = _checked(model, preset, options)
    runs = find_runs_folder(options.runs)
    url = _absolute(options.storage or default_storage(runs))
    with board() as progress, _launcher(options, preset) as launch:
        settings = preset.sweep
        storage = open_storage(url, progress.say, settings.heartbeat_seconds, settings.grace_seconds)
        storage.patience_seconds = PATIENCE_SECONDS  # not before: a wrong address should be known at once
        corpus = open_corpus(preset, options.data, runs, progress, options.extra)
        report_corpus(corpus, progress)
        keys = [study_key(preset, one, corpus.digest, options.study) for one in models]
        job = _Job(preset, preset_name, options, runs, url, storage, corpus, launch, progress)
        supervisors = [job.supervisor(key) for key in keys]
        for together in [supervisors] if options.side_by_side else [[one] for one in supervisors]:
            supervise(together)
            for supervisor in together:
                supervisor.publish(last=True)
                progress.say(supervisor.summary())
    console.print(f"Browse the trials: optuna-dashboard {without_password(url)}", soft_wrap=True, highlight=False)


@dataclass(frozen=True)
class _Job:
    """What the studies of a sweep share."""

    preset: Preset
    preset_name: str
    options: SweepOptions
    runs: Path
    url: str
    storage: PatientStorage
    corpus: Corpus
    launch: Launch
    progress: Board

    def supervisor(self, key: StudyKey) -> Supervisor:
        """Return who looks after a study, which is made if need be."""
        preset, options = self.preset, self.options
        study = make_study(self.storage, key, preset)
        wanted = options.trials or preset.sweep.trials
        if study.user_attrs.get(TRIALS) != wanted:
            study.set_user_attr(TRIALS, wanted)
        enqueue_default(study, default_parameters(preset, key.model), distributions(preset, key.model))
        enqueue_retries(study, preset.sweep.max_retries)
        request = WorkerRequest(
            model=key.model,
            preset=_absolute_preset(self.preset_name),
            study=key.name,
            identity=key.identity,
            storage=self.url,
            trials=wanted,
            data=options.data and str(Path(options.data).resolve()),
            runs=str(self.runs),
            tracking=options.tracking,
            extra=tuple(options.extra),
        )
        self.progress.say(f"Study {key.name}: {wanted} trials; runs lie in {self.runs}")
        publish = study_publisher(study, preset, key.model, options.tracking, self.runs)
        return Supervisor(
            study, self.storage, request, preset.sweep, options.workers, self.launch, self.progress, publish
        )


def study_publisher(study: Study, preset: Preset, model: str, tracking: TrackingKind, runs: Path) -> Publish:
    """Return what publishes a study when it has changed: not more often than now and then, and at the end."""
    if tracking == "none":
        return lambda ended, last: None
    from experiments.sweep.publication import publish_study
    from experiments.tracking.mlflow_tracker import open_tracker

    tracker = open_tracker(tracking, runs)
    published = [0, 0.0]  # how many trials had ended, and when

    def publish(ended: int, last: bool) -> None:
        due = ended != published[0] and time.monotonic() - published[1] >= PUBLISH_SECONDS
        if due or last:
            publish_study(study, tracker, preset, model, final=last)
            published[:] = [ended, time.monotonic()]

    return publish


def _checked(model: str, preset: Preset, options: SweepOptions) -> list[str]:
    """Return the models whose studies run.

    Raises:
        OvertoneError: the preset has no such model, or a number is out of its range.
    """
    least = {"--trials": options.trials, "--workers": options.workers}
    for name, value in least.items():
        if value is not None and value < 1:
            raise OvertoneError(f"{name}: expected at least 1, got {value}.")
    if options.gpus_per_worker < 0:
        raise OvertoneError(f"--gpus-per-worker: expected at least 0, got {options.gpus_per_worker:g}.")
    if model == ALL:
        if options.study is not None:
            raise OvertoneError("--study names one study, but each architecture has its own. Name one model with it.")
        return list(preset.models)
    preset.training_configuration(model, 0)
    return [model]


def _absolute(url: str) -> str:
    """Return a database's URL as it is understood from any folder.

    Raises:
        OvertoneError: it is none, or a database that only this process could see.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        return url
    if not parsed.database or parsed.database == ":memory:":
        raise OvertoneError(f"--storage {url}: a database in memory cannot be shared. Name a file: sqlite:///optuna.db")
    return parsed.set(database=str(Path(parsed.database).resolve())).render_as_string(hide_password=False)


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
        yield lambda name, request: LocalWorker(name, request, threads, worker_log(request))
