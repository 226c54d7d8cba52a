"""From studies to a champion: each architecture at its study's best, trained again with several seeds, and compared."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments.comparison.compare import announce, carry_out, opened, restricted
from experiments.comparison.comparison import Comparison
from experiments.comparison.evidence import (
    RECORD,
    Decision,
    finalist_scores,
    finalists_table,
    make_evidence,
    read_record,
    write_record,
)
from experiments.comparison.options import CompareOptions, SelectOptions
from experiments.pages.tables import terminal_table
from experiments.presets.preset import Preset, champion_name, load_preset
from experiments.runs import Workspace, find_runs_folder
from experiments.sweep.finalists import Finalist, cautions, find_finalists, inequalities, resolved_preset
from experiments.sweep.publication import StudyRuns
from experiments.sweep.storage import default_storage, without_password
from experiments.tracking.registered_models import RegisteredVersion
from experiments.tracking.store import KEY_TAG
from experiments.tracking.tracker import Tracker, open_tracker
from overtone.errors import OvertoneError
from overtone.progress import Board, console

LEAST_SEEDS = 3
WIDE = 100  # characters that all columns of the finalists' table take


def select(preset_name: str, options: SelectOptions) -> None:
    """Train each study's best with several seeds, choose by the declared rule, and register the champion.

    What is finished under the same keys is not done again; when all of it is, nothing changes.

    Args:
        preset_name: name or file of the preset.
        options: what the command line changes of it.

    Raises:
        OvertoneError: a user's mistake, no study, unequal studies, an unusable corpus, a failed training.
    """
    preset = _with_enough_seeds(load_preset(preset_name), options.comparison)
    with opened(preset, options.comparison) as (how, tracker, corpus, progress):
        runs, tracking = how.workspace.runs, how.workspace.tracking
        storage = options.storage or default_storage(runs)
        finalists = find_finalists(preset, corpus.digest, storage, options.study)
        path, resolved = resolved_preset(preset, finalists, runs)
        _report_finalists(finalists, progress)
        comparison = Comparison(resolved, corpus, runs, progress)
        if _nothing_new(comparison, tracker, tracking):
            return
        refuse_unequal(finalists, options.allow_unequal)
        commands = _reproduction(preset_name, options.comparison, path, resolved)
        outcome, publisher = carry_out(comparison, str(path), how, commands, tracker)
        links = _study_links(tracker, preset, finalists) | publisher.links
        decision = Decision(preset, path, finalists, without_password(storage), outcome, links)
        scores, place = finalist_scores(preset, finalists, outcome), outcome.winner
        version = publisher.register(place, make_evidence(decision, scores, place)) if place else None
        write_record(decision, scores, version.version if version else None, tracking)
    announce(outcome, version, tracking)
    console.print(terminal_table(finalists_table(scores, intervals=False, own=console.width >= WIDE)))


def _with_enough_seeds(preset: Preset, options: CompareOptions) -> Preset:
    """The preset with the models that were asked for and at least three seeds."""
    seeds = max(preset.seeds, LEAST_SEEDS) if options.seeds is None else options.seeds
    if seeds < LEAST_SEEDS:
        raise OvertoneError(
            f"--seeds must be at least {LEAST_SEEDS} here, got {seeds}: with fewer, settings cannot be told from luck."
        )
    return replace(restricted(preset, replace(options, seeds=seeds)), once=[])


def _nothing_new(comparison: Comparison, tracker: Tracker, tracking: str) -> bool:
    """Say so, and return True, when the same selection was finished before with the same tracking."""
    record = read_record(comparison)
    if record is None or record["tracking"] != tracking:
        return False
    name = champion_name(comparison.preset)
    champion = tracker.champion(name)
    if champion is None and record["version"] is not None:
        return False
    result = _result_text(record["winner"], record["version"], name, champion)
    comparison.progress.say(
        f"Nothing new since {record['finished']}: the same settings, data and code were selected from then, and "
        f"nothing is trained, scored or registered. {result} See {comparison.folder / RECORD}"
    )
    return True


def _result_text(winner: str | None, version: str | None, name: str, champion: RegisteredVersion | None) -> str:
    if winner is None:
        return "No architecture passed every guard."
    if version is None or champion is None:
        return f"The winner was {winner}."
    if champion.version == version:
        return f"The champion is still {winner}, {name} version {version}."
    return (
        f"The winner was {winner}, {name} version {version}; the champion is version {champion.version} by now "
        "(overtone select --rollback swaps it with the previous one)."
    )


def refuse_unequal(finalists: Sequence[Finalist], allowed: bool) -> None:
    """Raise unless the studies had equal budgets, or unequal ones are allowed.

    Args:
        finalists: with their studies.
        allowed: whether unequal budgets are accepted.

    Raises:
        OvertoneError: the budgets differ.
    """
    unequal = " ".join(inequalities(finalists))
    if unequal and not allowed:
        raise OvertoneError(
            f"{unequal} Continue the shorter ones with overtone sweep, or pass --allow-unequal; the result will say so."
        )


def _reproduction(preset_name: str, options: CompareOptions, path: Path, resolved: Preset) -> list[str]:
    """The command that selects again, and the one that needs no study any more."""
    how = replace(options, seeds=resolved.seeds)
    return [how.command("select", preset_name), replace(how, models=(), seeds=None).command("compare", str(path))]


def _study_links(tracker: Tracker, preset: Preset, finalists: Sequence[Finalist]) -> dict[str, str]:
    """Bring each study's page up to date; return what opens it, by the study's name."""
    if not tracker.keeps:
        return {}
    links = {}
    for finalist in finalists:
        if finalist.study is not None:
            runs = StudyRuns(tracker, preset, finalist.model, finalist.study.name)
            runs.publish(finalist.study.study)
            with runs.parent() as run:
                links[finalist.study.name] = run.url_fragment
    return links


def _report_finalists(finalists: Sequence[Finalist], progress: Board) -> None:
    for finalist in finalists:
        progress.say(f"{finalist.model}: {finalist.origin}{_objective(finalist)}")
    for warning in (*inequalities(finalists), *cautions(finalists)):
        progress.say(f"Mind: {warning}")


def _objective(finalist: Finalist) -> str:
    study = finalist.study
    if study is None:
        return ""
    default = "" if study.default_value is None else f", {study.default_value:.4f} with the preset's own settings"
    return f" (best of {study.trials} trials: {study.value:.4f}{default})"


def roll_back(preset_name: str, workspace: Workspace) -> None:
    """Make the previous champion the champion again, and the champion the previous one; print both.

    Args:
        preset_name: name or file of the preset.
        workspace: folder for runs, and where the versions are registered.

    Raises:
        OvertoneError: nothing is registered, or there is no previous champion.
    """
    preset = load_preset(preset_name)
    tracker = open_tracker(workspace.tracking, find_runs_folder(workspace.runs))
    name = champion_name(preset)
    before = tracker.champion(name)
    after = tracker.roll_back(name)
    console.print(f"{name}: champion and previous are swapped.", highlight=False)
    for alias, version in (("champion", after), ("previous", before)):
        if version is not None:
            _print_version(alias, version)


def _print_version(alias: str, version: RegisteredVersion) -> None:
    console.print(f"\n{alias}: version {version.version}", highlight=False)
    tags = {name: value for name, value in sorted(version.tags.items()) if name != KEY_TAG}
    width = max(map(len, tags), default=0)
    for name, value in tags.items():
        console.print(f"  {name:<{width}}  {value}", soft_wrap=True, highlight=False, markup=False)
