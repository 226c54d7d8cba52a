"""From studies to a champion: each architecture at its study's best, trained again with several seeds, and compared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datamodules.corpora.corpus import Corpus
from experiments.comparison.compare import Entry, restricted, run_comparison
from experiments.comparison.comparison import Comparison, Outcome
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
from experiments.comparison.publication import Publisher
from experiments.pages.tables import Table
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


@dataclass(frozen=True)
class FinalistsEntry(Entry):
    """The architectures with the settings that their studies found best.

    Attributes:
        declared: the preset before the studies' settings.
        options: of the command.
        finalists: who enters.
        storage: URL of the Optuna storage with the studies.
    """

    declared: Preset
    options: SelectOptions
    finalists: Sequence[Finalist]
    storage: str

    def is_done(self, comparison: Comparison, tracker: Tracker) -> bool:
        """Say so, and return True, when the same selection was finished before with the same tracking.

        Raises:
            OvertoneError: it was not, and the studies had unequal budgets, which is not allowed.
        """
        if nothing_new(comparison, tracker, self.options.comparison.workspace.tracking, comparison.progress):
            return True
        refuse_unequal(self.finalists, self.options.allow_unequal)
        return False

    def register(
        self, comparison: Comparison, outcome: Outcome, publisher: Publisher
    ) -> tuple[RegisteredVersion | None, Table | None]:
        """Register the champion with the grounds of the decision; return its version and the finalists."""
        links = study_links(publisher.tracker, self.declared, self.finalists) | publisher.links
        storage = without_password(self.storage)
        decision = Decision(self.declared, Path(self.file), self.finalists, storage, comparison, outcome, links)
        scores = finalist_scores(self.declared, self.finalists, comparison, outcome)
        place = comparison.winner(outcome)
        version = publisher.register(place, make_evidence(decision, scores, place)) if place else None
        write_record(decision, scores, version.version if version else None, self.options.comparison.workspace.tracking)
        return version, finalists_table(scores, intervals=False, own=console.width >= WIDE)


def select(preset_name: str, options: SelectOptions) -> None:
    """Train each study's best with several seeds, choose by the declared rule, and register the champion.

    What is finished under the same keys is not done again; when all of it is, nothing changes.

    Args:
        preset_name: name or file of the preset.
        options: what the command line changes of it.

    Raises:
        OvertoneError: a user's mistake, no study, unequal studies, an unusable corpus, a failed training.
    """
    preset = with_enough_seeds(load_preset(preset_name), options.comparison)

    def enter(corpus: Corpus, runs: Path, progress: Board) -> Entry:
        storage = options.storage or default_storage(runs)
        finalists = find_finalists(preset, corpus.digest, storage, options.study)
        path, resolved = resolved_preset(preset, finalists, runs)
        _report_finalists(finalists, progress)
        commands = reproduction(preset_name, options, path, resolved)
        return FinalistsEntry(resolved, str(path), commands, preset, options, finalists, storage)

    run_comparison(preset, options.comparison, enter)


def with_enough_seeds(preset: Preset, options: CompareOptions) -> Preset:
    """Return the preset with the models that were asked for and at least three seeds.

    Args:
        preset: as it is declared.
        options: what the command line changes of it.

    Raises:
        OvertoneError: fewer were asked for, or a model is not in the preset.
    """
    seeds = max(preset.seeds, LEAST_SEEDS) if options.seeds is None else options.seeds
    if seeds < LEAST_SEEDS:
        raise OvertoneError(
            f"--seeds must be at least {LEAST_SEEDS} here, got {seeds}: with fewer, settings cannot be told from luck."
        )
    return replace(restricted(preset, replace(options, seeds=seeds)), once=[])


def nothing_new(comparison: Comparison, tracker: Tracker, tracking: str, progress: Board) -> bool:
    """Say so, and return True, when the same selection was finished before with the same tracking.

    Args:
        comparison: that is about to begin.
        tracker: of its runs.
        tracking: where they are tracked.
        progress: told what was found before.
    """
    record = read_record(comparison)
    if record is None or record["tracking"] != tracking:
        return False
    name = champion_name(comparison.preset)
    champion = tracker.champion(name)
    if champion is None and record["version"] is not None:
        return False
    result = _result_text(record["winner"], record["version"], name, champion)
    progress.say(
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


def reproduction(preset_name: str, options: SelectOptions, path: Path, resolved: Preset) -> list[str]:
    """Return the command that selects again, and the one that needs no study any more.

    Args:
        preset_name: name or file of the preset.
        options: of the command.
        path: file of the resolved preset.
        resolved: the preset in it.
    """
    how = replace(options.comparison, seeds=resolved.seeds)
    return [how.command("select", preset_name), replace(how, models=(), seeds=None).command("compare", str(path))]


def study_links(tracker: Tracker, preset: Preset, finalists: Sequence[Finalist]) -> dict[str, str]:
    """Bring each study's page up to date; return what opens it, by the study's name.

    Args:
        tracker: of the studies' runs.
        preset: as it is declared.
        finalists: with their studies.
    """
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
