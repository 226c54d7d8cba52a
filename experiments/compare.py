"""The main job: train every architecture under one budget, choose by the declared rule, report, register."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import cache, cached_property, partial
from pathlib import Path

import pandas as pd
import torch

from datamodules.conditions import parse_conditions
from datamodules.corpus import Corpus
from evaluation.contracts import System, Utterance
from evaluation.scoring_pool import ScoringPool
from experiments.comparison_pages import LISTENING_TEST, REPORT, ComparisonPages
from experiments.condition_matrix import condition_factors
from experiments.distribution import Distribution, outer_launcher
from experiments.leaderboard import build_leaderboard, leaderboard_details, print_leaderboard, write_leaderboard
from experiments.listening import record_heard_runs, refresh_listening
from experiments.preset import Preset, digest, load_preset
from experiments.progress import Board, board, console
from experiments.publication import Publisher, sample_names
from experiments.report import ReportContents, TrainingCurve
from experiments.runs import TrainingPlace, commit, count_test_use, find_runs_folder, sole_use, training_place
from experiments.scoring import ScoredSplit, ScoringTask, Utterances, scored, split_key, write_scores
from experiments.selection import Selection, add_primary, champion_seed, choose
from experiments.systems import TrainedSystem, cost_of
from experiments.tracker import RegisteredVersion, Tracker
from experiments.tracking import open_tracker
from experiments.train import TrackingKind, TrainRequest, open_corpus, report_corpus, train_side_by_side
from experiments.training import TrainingRecord, make_datamodule
from experiments.winner_rule import UNPROCESSED
from models.baselines import CONTROLS, build_controls
from runtime.audio import Waveform
from runtime.errors import OvertoneError

FIT_UTTERANCES_PER_SPEAKER = 2


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


class Comparison:
    """A preset's comparison on a corpus: its trainings, its scores, its folder."""

    def __init__(self, preset: Preset, corpus: Corpus, runs: Path, progress: Board) -> None:
        self.preset, self.corpus, self.runs, self.progress = preset, corpus, runs, progress
        self.places = [training_place(runs, preset, model, seed, corpus.digest) for model, seed in preset.trainings()]
        self.data = make_datamodule(preset, corpus, seed=0)
        self._keys = {"val": self._split_key("val"), "test": self._split_key("test")}
        self.key = digest(sorted(place.key for place in self.places), self._keys, asdict(preset.winner))
        self.folder = runs / "comparisons" / f"{preset.name}-{self.key}"

    def _split_key(self, split: str) -> str:
        data = self.preset.data
        per_speaker = data.val_utterances_per_speaker if split == "val" else data.test_utterances_per_speaker
        shape = [data.joined_seconds, data.gap_seconds, per_speaker, self.preset.sample_rate]
        return split_key(split, [data.test_conditions, shape], self.corpus.digest)

    def split(self, name: str) -> ScoredSplit:
        """Return the utterances of ``val`` or ``test`` with the key of their scores."""
        utterances = Utterances(partial(self.data.utterances, name), self.data.utterance_count(name))
        return ScoredSplit(name, utterances, self._keys[name])

    def train(self, template: TrainRequest, jobs: int) -> None:
        """Train what is not yet trained, ``jobs`` side by side."""
        pending = [place for place in self.places if not place.finished]
        kept = len(self.places) - len(pending)
        if kept:
            self.progress.say(f"{kept} of {len(self.places)} trainings are finished and kept.")
        requests = [replace(template, model=place.model, seed=place.seed) for place in pending]
        train_side_by_side(requests, jobs, self.preset.budget.threads, self.progress)
        if not all(place.finished for place in self.places):
            raise OvertoneError("The sources changed while models were trained. Start the same command again.")

    def scores(self, pool: ScoringPool, split: ScoredSplit) -> pd.DataFrame:
        """Return the score table of all models, with their seeds, and all controls on a split."""

        def progress(done: int, total: int, file: str) -> None:
            self.progress.update(f"score {split.name}", done, total, file)

        return add_primary(pd.concat(scored(pool, self._tasks(), split, progress), ignore_index=True))

    def _tasks(self) -> list[ScoringTask]:
        models = [
            ScoringTask(place.model, partial(TrainedSystem.load, place), place.folder, float(place.seed))
            for place in self.places
        ]
        controls = self.runs / "controls"
        return models + [ScoringTask(name, partial(self._control, name), controls / name) for name in CONTROLS]

    def _control(self, name: str) -> System:
        return self._controls[name]

    @cached_property
    def _controls(self) -> dict[str, System]:
        """Built, which for some means fitted, only when one of them has not been scored yet."""
        fit = self.data.utterances("train", per_speaker=FIT_UTTERANCES_PER_SPEAKER)
        return {control.name: control for control in build_controls(fit)}

    def costs(self) -> pd.DataFrame:
        """Return what each model costs at run time, indexed by system."""
        return pd.DataFrame({place.model: asdict(cost_of(place)) for place in self.places}).T

    def trainings(self) -> pd.DataFrame:
        """Return what each training cost, a row each."""
        rows = [
            {"system": place.model, "seed": place.seed, **TrainingRecord.read(place).costs} for place in self.places
        ]
        return pd.DataFrame(rows)

    def curves(self) -> list[TrainingCurve]:
        """Return how each training went."""
        return [TrainingCurve(place.model, place.seed, TrainingRecord.read(place).curve) for place in self.places]

    def best_place(self, val: pd.DataFrame, name: str) -> TrainingPlace | None:
        """Return the training whose seed is best on val; None for a control."""
        if name in CONTROLS:
            return None
        seed = champion_seed(val, name)
        return next(place for place in self.places if (place.model, place.seed) == (name, seed))

    def enhancer(self, val: pd.DataFrame) -> Callable[[str, Utterance], Waveform]:
        """Return what enhances an utterance by a system's name; of a model, its best seed, loaded once."""

        @cache
        def load(name: str) -> System:
            place = self.best_place(val, name)
            return TrainedSystem.load(place) if place else self._control(name)

        return lambda name, utterance: load(name)(utterance)

    def winner(self, outcome: "Outcome") -> TrainingPlace | None:
        """Return the training that ships: the winner's seed with the best primary score on val."""
        return self.best_place(outcome.val, outcome.selection.winner) if outcome.selection.winner else None


@dataclass(frozen=True)
class Outcome:
    """What a comparison found: score tables, the decision made on val, and the summary on test."""

    val: pd.DataFrame
    test: pd.DataFrame
    test_split: ScoredSplit
    test_uses: int
    selection: Selection
    leaderboard: pd.DataFrame


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


def decide(comparison: Comparison) -> Outcome:
    """Choose on val by the declared rule, then score test, once."""
    torch.set_num_threads(1)  # the other cores are busy scoring
    with ScoringPool(os.cpu_count() or 1) as pool:
        val = comparison.scores(pool, comparison.split("val"))
        costs = comparison.costs()
        selection = choose(val, costs, comparison.preset.winner)
        test_split = comparison.split("test")
        uses = count_test_use(comparison.runs, comparison.corpus.digest, comparison.key)
        test = comparison.scores(pool, test_split)
    leaderboard = build_leaderboard(test, costs, selection, comparison.trainings())
    return Outcome(val, test, test_split, uses, selection, leaderboard)


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
    return max((os.cpu_count() or 1) // (threads * devices), 1)
