"""The main job: train every architecture under one budget, choose by the declared rule, report, register."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from datamodules.corpora.corpus import Corpus
from experiments.comparison.comparison import Comparison, Outcome, decide
from experiments.comparison.options import CompareOptions
from experiments.comparison.pages import REPORT, Heard, write_pages
from experiments.comparison.publication import Publisher, sample_names
from experiments.data.opening import open_corpus, report_corpus
from experiments.pages.tables import Table, terminal_table
from experiments.presets.external import parse_external
from experiments.presets.preset import RESOLVED, Preset, load_preset, write_preset
from experiments.registry import build_model
from experiments.report.markdown import write_leaderboard
from experiments.report.terminal import print_leaderboard
from experiments.runs import find_runs_folder, runs_option, sole_use
from experiments.scoring.splits import write_scores
from experiments.tracking.registered_models import RegisteredVersion
from experiments.tracking.tracker import Tracker, open_tracker
from experiments.training.distribution import Distribution, outer_launcher
from overtone.errors import OvertoneError
from overtone.progress import Board, board, console
from overtone.worker_pool import available_cores


@dataclass(frozen=True)
class Entry:
    """What enters a comparison: the models of a preset with their own settings; `select` enters what studies found.

    Attributes:
        preset: with the settings, models and seeds that are compared.
        file: name or file of the preset, by which trainings find it.
        commands: the command lines that give this result.
    """

    preset: Preset
    file: str
    commands: Sequence[str]

    def is_done(self, comparison: Comparison, tracker: Tracker) -> bool:
        """Say so, and return True, where nothing is left to do.

        Args:
            comparison: that is about to begin.
            tracker: of its runs.
        """
        return False

    def register(
        self, comparison: Comparison, outcome: Outcome, publisher: Publisher
    ) -> tuple[RegisteredVersion | None, Table | None]:
        """Register the champion; return its version, if there is one, and a table to print beside the leaderboard.

        Args:
            comparison: whose trainings were scored.
            outcome: what it found.
            publisher: of its results.
        """
        place = comparison.winner(outcome)
        return (publisher.register(place) if place else None), None


Enter = Callable[[Corpus, Path, Board], Entry]


def compare(preset_name: str, options: CompareOptions) -> None:
    """Run a comparison from corpus to champion; what is finished under the same keys is not done again.

    Args:
        preset_name: name or file of the preset.
        options: what the command line changes of it.

    Raises:
        OvertoneError: a user's mistake, an unusable corpus, a failed training, another comparison in the same folder.
    """
    preset = restricted(load_preset(preset_name), options)
    entry = Entry(preset, preset_name, [options.command("compare", preset_name)])
    run_comparison(preset, options, lambda *_: entry)


def run_comparison(preset: Preset, options: CompareOptions, enter: Enter) -> None:
    """Train what enters, choose on val, score test once, report and register.

    Args:
        preset: names the corpus and the models.
        options: what the command line changes of it.
        enter: given corpus, folder for runs and progress, returns what is compared.

    Raises:
        OvertoneError: as `compare`.
    """
    runs = find_runs_folder(options.workspace.runs)
    options = replace(options, workspace=replace(options.workspace, runs=runs))
    tracker = open_tracker(options.workspace.tracking, runs)
    names = ", ".join(preset.models)
    console.print(f"Comparing {names} under preset {preset.name}; runs are in {runs}", soft_wrap=True, highlight=False)
    with sole_use(runs, "comparison"), board() as progress:
        corpus = open_corpus(preset, options.workspace, progress)
        report_corpus(corpus, progress)
        entry = enter(corpus, runs, progress)
        comparison = Comparison(entry.preset, corpus, runs, progress)
        if entry.is_done(comparison, tracker):
            return
        comparison.externals.ask_for_estimates()
        jobs = options.jobs or default_jobs(entry.preset, options.distribution)
        comparison.train(entry.file, options.workspace, options.distribution, jobs)
        outcome = decide(comparison, entry.commands)
        publisher = report(comparison, outcome, tracker)
        version, table = entry.register(comparison, outcome, publisher)
    _announce(comparison, outcome, version, options.workspace.tracking)
    if table is not None:
        console.print(terminal_table(table))


def _announce(comparison: Comparison, outcome: Outcome, version: RegisteredVersion | None, tracking: str) -> None:
    """Print the result, and where to find more of it."""
    print_leaderboard(console, outcome.findings)
    console.print(f"Report: {comparison.folder / REPORT}", soft_wrap=True, highlight=False)
    if version is not None:
        console.print(f"Registered {version.model_name} version {version.version}, alias champion.", highlight=False)
    if tracking == "mlflow":
        named = runs_option(comparison.runs)
        command = f"overtone ui{named}" if named else "overtone ui (or make ui)"
        console.print(f"Browse the runs and listen: {command}", highlight=False, soft_wrap=True)
    elif tracking != "none":
        console.print("Browse the runs and listen: on the tracking server.", highlight=False)


def report(comparison: Comparison, outcome: Outcome, tracker: Tracker) -> Publisher:
    """Write tables and pages and complete the tracked runs.

    Args:
        comparison: whose trainings were scored.
        outcome: what it found.
        tracker: keeps the runs.

    Returns:
        The publisher, which registers the champion.
    """
    folder, findings = comparison.folder, outcome.findings
    write_preset(comparison.preset, folder / RESOLVED)
    write_scores(outcome.val, folder / "scores-val.csv")
    write_scores(findings.scores, folder / "scores-test.csv")
    tables = write_leaderboard(findings, folder)
    heard = Heard.of(findings)
    utterances = outcome.test_split.utterances.find(heard.names | set(sample_names(findings.scores)))
    enhance = comparison.enhancer(outcome.val)
    pages = write_pages(findings, folder, heard, utterances, enhance, comparison.key)
    publisher = Publisher(tracker, comparison.preset, comparison.corpus, folder, findings)
    publisher.publish(comparison.places, utterances, comparison.progress)
    publisher.publish_comparison([*pages, *tables, folder / "scores-test.csv"])
    return publisher


def restricted(preset: Preset, options: CompareOptions) -> Preset:
    """Return the preset with the models, seeds and systems from outside that were asked for.

    Args:
        preset: as it is declared.
        options: what the command line changes of it.

    Raises:
        OvertoneError: a model is not in the preset or cannot have these settings, or the trainings cannot be spread
            as asked for.
    """
    options.distribution.check(preset.data.batch_size)
    if launcher := outer_launcher():
        raise OvertoneError(f"This command starts the processes of its trainings itself: start it without {launcher}.")
    names = list(options.models or preset.models)
    for name in names:
        preset.training_configuration(name, 0)
    models = {name: preset.models[name] for name in names}
    for name, settings in models.items():
        build_model(name, preset.sample_rate, settings)  # a wrong setting is told now, not after other trainings
    once = [name for name in preset.once if name in models]
    external = preset.external | dict(parse_external(text) for text in options.external)
    return replace(preset, models=models, once=once, seeds=options.seeds or preset.seeds, external=external)


def default_jobs(preset: Preset, distribution: Distribution) -> int:
    """Return how many trainings fit side by side: one if a training takes all cores or several GPUs.

    Args:
        preset: says how many threads a training has.
        distribution: over how many processes a training is spread.
    """
    threads, devices = preset.budget.threads, distribution.devices
    if threads is None or (devices > 1 and distribution.accelerator != "cpu" and torch.cuda.is_available()):
        return 1
    return max(available_cores() // (threads * devices), 1)
