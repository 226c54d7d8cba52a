"""The main job: train every architecture under one budget, choose by the declared rule, report, register."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

import torch

from datamodules.degradation.conditions import parse_conditions
from experiments.comparison.comparison import Comparison, Outcome, decide
from experiments.comparison.pages import LISTENING_TEST, REPORT, ComparisonPages
from experiments.comparison.publication import Publisher, sample_names
from experiments.data.opening import open_corpus, report_corpus
from experiments.keys import commit
from experiments.listening.listen import record_heard_runs, refresh_listening
from experiments.presets.preset import Preset, load_preset
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.conditions import condition_factors
from experiments.report.contents import ReportContents
from experiments.report.leaderboard_files import leaderboard_details, write_leaderboard
from experiments.report.leaderboard_terminal import print_leaderboard
from experiments.runs import find_runs_folder, sole_use
from experiments.scoring.splits import write_scores
from experiments.tracking.mlflow_tracker import open_tracker
from experiments.tracking.tracker import RegisteredVersion, Tracker
from experiments.training.distribution import Distribution, outer_launcher
from experiments.training.requests import TrackingKind, TrainRequest
from overtone.errors import OvertoneError
from overtone.progress import board, console
from overtone.worker_pool import available_cores


@dataclass(frozen=True)
class CompareOptions:
    """What the command line may change of a comparison.

    Attributes:
        models: some of the preset's models, None for all.
        seeds: trainings of each, None for the preset's number.
        data: folder or manifest of the corpus, None for the preset's own.
        runs: folder for runs.
        tracking: where runs are tracked.
        jobs: trainings side by side, None for as many as the cores allow.
        extra: further splits of the manifest that join train.
        distribution: over how many processes each training is spread.
    """

    models: Sequence[str] | None = None
    seeds: int | None = None
    data: str | None = None
    runs: Path | None = None
    tracking: TrackingKind = "mlflow"
    jobs: int | None = None
    extra: Sequence[str] = ()
    distribution: Distribution = field(default_factory=Distribution)

    def request(self, preset: str, runs: Path) -> TrainRequest:
        """Return what each training is told; model and seed are still to be filled in."""
        return TrainRequest("", preset, 0, self.data, str(runs), self.tracking, self.extra, self.distribution)

    def command(self, name: str, preset: str) -> str:
        """Return the command line that gives the same result."""
        given = {
            "--data": self.data,
            "--extra": ",".join(self.extra),
            "--models": ",".join(self.models or ()),
            "--seeds": self.seeds,
        }
        return f"overtone {name} {preset}" + "".join(f" {option} {value}" for option, value in given.items() if value)


def compare(preset_name: str, options: CompareOptions) -> None:
    """Run a comparison from corpus to champion; what is finished under the same keys is not done again.

    Raises:
        OvertoneError: a user's mistake, an unusable corpus, a failed training, another comparison in the same folder.
    """
    preset = restricted(load_preset(preset_name), options)
    runs = find_runs_folder(options.runs)
    tracker = open_tracker(options.tracking, runs)
    models = ", ".join(preset.models)
    console.print(f"Comparing {models} under preset {preset.name}; runs lie in {runs}", highlight=False)
    with sole_use(runs, "comparison"), board() as progress:
        corpus = open_corpus(preset, options.data, runs, progress, options.extra)
        report_corpus(corpus, progress)
        comparison = Comparison(preset, corpus, runs, progress)
        comparison.train(options.request(preset_name, runs), options.jobs or default_jobs(preset, options.distribution))
        outcome = decide(comparison)
        publisher = report(comparison, outcome, tracker, [options.command("compare", preset_name)])
        place = comparison.winner(outcome)
        version = publisher.register(place, outcome.test) if place else None
    announce(comparison, outcome, version, options.tracking)


def announce(
    comparison: Comparison, outcome: Outcome, version: RegisteredVersion | None, tracking: TrackingKind
) -> None:
    """Print the result, and where to find more of it."""
    print_leaderboard(console, outcome.leaderboard, outcome.selection, test_uses=outcome.test_uses)
    console.print(f"Report: {comparison.folder / REPORT}", soft_wrap=True, highlight=False)
    if version is not None:
        console.print(f"Registered {version.model_name} version {version.version}, alias champion.", highlight=False)
    if tracking == "mlflow":
        console.print("Browse the runs and listen: overtone ui (or make ui)", highlight=False)
    elif tracking != "none":
        console.print("Browse the runs and listen: on the tracking server.", highlight=False)


def report(comparison: Comparison, outcome: Outcome, tracker: Tracker, reproduce: Sequence[str]) -> Publisher:
    """Write tables and pages and complete the tracked runs.

    Args:
        comparison: whose.
        outcome: what it found.
        tracker: keeps the runs.
        reproduce: the commands that give this result.

    Returns:
        What registers the champion.
    """
    folder, preset, test = comparison.folder, comparison.preset, outcome.test
    write_scores(outcome.val, folder / "scores-val.csv")
    write_scores(test, folder / "scores-test.csv")
    conditions = parse_conditions(preset.data.test_conditions, fixed=True)
    factors = {one.name: condition_factors(one, preset.sample_rate) for one in conditions}
    details = leaderboard_details(test, outcome.selection, factors)
    tables = write_leaderboard(
        folder,
        outcome.leaderboard,
        test,
        outcome.selection,
        preset=preset.name,
        reproduce=reproduce,
        test_uses=outcome.test_uses,
        factors=factors,
        details=details,
    )
    pages = ComparisonPages.choose(test, outcome.leaderboard, outcome.selection)
    utterances = outcome.test_split.utterances.find(pages.names | set(sample_names(test)))
    enhance = comparison.enhancer(outcome.val)
    contents = partial(
        ReportContents,
        preset=preset.name,
        leaderboard=outcome.leaderboard,
        scores=test,
        selection=outcome.selection,
        reproduce=reproduce,
        test_uses=outcome.test_uses,
        commit=commit(),
        data_digest=comparison.corpus.digest,
        created=datetime.now(),
        trainings=comparison.trainings(),
        curves=comparison.curves(),
        factors=factors,
        conditions=details.conditions,
        tests=details.tests,
    )
    written = [
        pages.report(folder / REPORT, contents, utterances, enhance, test),
        pages.listening_test(
            folder / LISTENING_TEST, utterances, enhance, preset=preset.name, comparison_key=comparison.key
        ),
    ]
    publisher = Publisher(tracker, preset, comparison.corpus, folder, outcome.test_uses)
    publisher.publish(comparison.places, utterances, test, outcome.leaderboard, outcome.selection, comparison.progress)
    heard = {name: comparison.best_place(outcome.val, name) for name in {UNPROCESSED, *pages.systems}}
    record_heard_runs(folder, publisher.runs_of(heard))
    refresh_listening(folder)
    publisher.publish_comparison([*written, *tables, folder / "scores-test.csv"], outcome.leaderboard)
    return publisher


def restricted(preset: Preset, options: CompareOptions) -> Preset:
    """Return the preset with the models and seeds that were asked for.

    Raises:
        OvertoneError: a model is not in the preset, the number of seeds or jobs is not positive, or the trainings
            cannot be spread as asked for.
    """
    options.distribution.check(preset.data.batch_size)
    if launcher := outer_launcher():
        raise OvertoneError(f"This command starts the processes of its trainings itself: start it without {launcher}.")
    names = list(options.models or preset.models)
    for name in names:
        preset.training_configuration(name, 0)
    seeds = preset.seeds if options.seeds is None else options.seeds
    if seeds < 1:
        raise OvertoneError(f"--seeds must be at least 1, got {seeds}.")
    if options.jobs is not None and options.jobs < 1:
        raise OvertoneError(f"--jobs must be at least 1, got {options.jobs}.")
    return replace(preset, models={name: preset.models[name] for name in names}, seeds=seeds)


def default_jobs(preset: Preset, distribution: Distribution) -> int:
    """Return how many trainings fit side by side: one each if a training takes all cores or several GPUs."""
    threads, devices = preset.budget.threads, distribution.devices
    if threads is None or (devices > 1 and distribution.accelerator != "cpu" and torch.cuda.is_available()):
        return 1
    return max(available_cores() // (threads * devices), 1)
