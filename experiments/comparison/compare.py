"""The main job: train every architecture under one budget, choose by the declared rule, report, register."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch

from datamodules.corpora.corpus import Corpus
from experiments.comparison.comparison import Comparison, Outcome, decide
from experiments.comparison.options import CompareOptions
from experiments.comparison.publication import Publisher, sample_names
from experiments.data.opening import open_corpus, report_corpus
from experiments.listening.page import write_listening_page
from experiments.listening.stimuli import chosen_utterances, listening_trials
from experiments.presets.external import parse_external
from experiments.presets.preset import RESOLVED, Preset, load_preset, write_preset
from experiments.presets.winner_rule import UNPROCESSED
from experiments.publication.overview import LISTENING_TEST, REPORT, publish_overview
from experiments.registry import build_model
from experiments.report.markdown import print_leaderboard, write_leaderboard
from experiments.report.page import write_report
from experiments.report.utterances import choose_utterances, heard_systems, report_samples
from experiments.runs import find_runs_folder, runs_option, sole_use
from experiments.scoring.splits import write_scores
from experiments.tracking.registered_models import RegisteredVersion
from experiments.tracking.tracker import Tracker, open_tracker
from experiments.training.distribution import Distribution, outer_launcher
from overtone.errors import OvertoneError
from overtone.progress import Board, board, console
from overtone.worker_pool import available_cores

LISTENING_TRIALS = 6


def compare(preset_name: str, options: CompareOptions) -> None:
    """Run a comparison from corpus to champion; what is finished under the same keys is not done again.

    Args:
        preset_name: name or file of the preset.
        options: what the command line changes of it.

    Raises:
        OvertoneError: a user's mistake, an unusable corpus, a failed training, another comparison in the same folder.
    """
    preset = restricted(load_preset(preset_name), options)
    with opened(preset, options) as (how, tracker, corpus, progress):
        comparison = Comparison(preset, corpus, how.workspace.runs, progress)
        outcome, publisher = carry_out(comparison, preset_name, how, [options.command("compare", preset_name)], tracker)
        version = publisher.register(outcome.winner) if outcome.winner else None
    announce(outcome, version, how.workspace.tracking)


@contextmanager
def opened(preset: Preset, options: CompareOptions) -> Iterator[tuple[CompareOptions, Tracker, Corpus, Board]]:
    """Hold the folder for runs and yield the options with it, the tracker of its runs, the corpus, and progress.

    Args:
        preset: names the corpus and the models.
        options: what the command line changes of it.

    Raises:
        OvertoneError: another comparison holds the folder, or the corpus or the tracking cannot be used.
    """
    runs = find_runs_folder(options.workspace.runs)
    options = replace(options, workspace=replace(options.workspace, runs=runs))
    tracker = open_tracker(options.workspace.tracking, runs)
    names = ", ".join(preset.models)
    console.print(f"Comparing {names} under preset {preset.name}; runs are in {runs}", soft_wrap=True, highlight=False)
    with sole_use(runs, "comparison"), board() as progress:
        corpus = open_corpus(preset, options.workspace, progress)
        report_corpus(corpus, progress)
        yield options, tracker, corpus, progress


def carry_out(
    comparison: Comparison, preset_file: str, options: CompareOptions, commands: Sequence[str], tracker: Tracker
) -> tuple[Outcome, Publisher]:
    """Train what enters, choose on val, score test once, and report.

    Args:
        comparison: what is compared.
        preset_file: name or file of its preset, by which trainings find it.
        options: what the command line changes.
        commands: the command lines that give this result.
        tracker: keeps the runs.

    Returns:
        What was found, and what registers the champion.

    Raises:
        OvertoneError: a training failed, or estimates of a system from outside have to be made first.
    """
    comparison.externals.ask_for_estimates()
    comparison.externals.run()
    jobs = options.jobs or _default_jobs(comparison.preset, options.distribution)
    comparison.train(preset_file, options.workspace, options.distribution, jobs)
    outcome = decide(comparison, commands)
    return outcome, _report(outcome, tracker)


def announce(outcome: Outcome, version: RegisteredVersion | None, tracking: str) -> None:
    """Print the result, and where to find more of it.

    Args:
        outcome: what the comparison found.
        version: that its champion was registered as.
        tracking: where the runs are tracked.
    """
    print_leaderboard(console, outcome.findings)
    console.print(f"Report: {outcome.comparison.folder / REPORT}", soft_wrap=True, highlight=False)
    if version is not None:
        console.print(f"Registered {version.model_name} version {version.version}, alias champion.", highlight=False)
    if tracking == "mlflow":
        named = runs_option(outcome.comparison.runs)
        command = f"overtone ui{named}" if named else "overtone ui (or make ui)"
        console.print(f"Browse the runs and listen: {command}", highlight=False, soft_wrap=True)
    elif tracking != "none":
        console.print("Browse the runs and listen: on the tracking server.", highlight=False)


def _report(outcome: Outcome, tracker: Tracker) -> Publisher:
    """Write tables and pages, and complete the tracked runs."""
    comparison, findings = outcome.comparison, outcome.findings
    folder = comparison.folder
    write_preset(comparison.preset, folder / RESOLVED)
    write_scores(outcome.val, folder / "scores-val.csv")
    write_scores(findings.scores, folder / "scores-test.csv")
    tables = write_leaderboard(findings, folder)
    chosen, systems = choose_utterances(findings), heard_systems(findings)
    rows = findings.scores[["speaker", "file", "condition"]].drop_duplicates()
    trials = chosen_utterances(list(rows.itertuples(index=False, name=None)), LISTENING_TRIALS + 1)
    names = {*(one.name for one in chosen), *trials, *sample_names(findings.scores)}
    utterances = outcome.test_split.utterances.find(names)
    enhance = comparison.enhancer(outcome.val)
    samples = report_samples(chosen, utterances, systems, enhance, findings.scores)
    write_report(findings, folder / REPORT, samples, {"Listening test": LISTENING_TEST})
    *heard, last = listening_trials(
        [utterances[name] for name in trials], [n for n in systems if n != UNPROCESSED], enhance
    )
    write_listening_page(
        folder / LISTENING_TEST,
        heard or [last],
        practice=last,
        title=f"Listening test: {findings.preset}",
        comparison_key=comparison.key,
        preset=findings.preset,
        seed=0,
    )
    publisher = Publisher(tracker, comparison.preset, comparison.corpus, folder, findings)
    publisher.publish(comparison.places, utterances, comparison.progress)
    files = [folder / REPORT, folder / LISTENING_TEST, *tables, folder / "scores-test.csv"]
    publisher.links["comparison"] = publish_overview(tracker, folder, findings, files).url_fragment
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


def _default_jobs(preset: Preset, distribution: Distribution) -> int:
    """How many trainings fit side by side: one if a training takes all cores or several GPUs."""
    threads, devices = preset.budget.threads, distribution.devices
    if threads is None or (devices > 1 and distribution.accelerator != "cpu" and torch.cuda.is_available()):
        return 1
    return max(available_cores() // (threads * devices), 1)
