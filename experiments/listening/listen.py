"""`overtone listen`: votes of a listening test come into their comparison's leaderboard, into tables, and to MLflow."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
from rich.markdown import Markdown

from experiments.listening.results import SCREENED, Results, stored_votes
from experiments.listening.votes import Votes, check_votes, read_votes
from experiments.publication.overview import LISTENING_TEST, REPORT, publish_overview
from experiments.ranking.findings import load_findings
from experiments.report.markdown import LEADERBOARD, WORDS, write_leaderboard
from experiments.report.page import rewrite_report
from experiments.runs import sole_use
from experiments.scoring.splits import read_scores
from experiments.tracking.tracker import Tracker, open_tracker
from overtone.errors import OvertoneError
from overtone.files import written_whole
from overtone.progress import console

SCORES = "scores-test.csv"


def import_command(files: Sequence[Path], runs: Path, comparison: Path | None, tracking: str) -> None:
    """Take votes into the comparisons that they name; either all files are good, or nothing is changed.

    A session that is imported again replaces itself, and of several sessions of one listener the last counts. Without
    anything new, nothing is written.

    Args:
        files: as the page saved them.
        runs: the folder for runs.
        comparison: the comparison's folder; None for the one under ``runs`` that the votes name.
        tracking: where the comparison's run is tracked: mlflow, none, or the address of an MLflow server.

    Raises:
        OvertoneError: a file that is no votes, votes on something else, or a comparison that is running.
    """
    by_folder: dict[Path, list[Votes]] = {}
    for path in files:
        votes = read_votes(path)
        folder = _comparison_folder(votes, path, runs, comparison)
        scores = read_scores(folder / SCORES)
        check_votes(votes, path, set(scores["system"]), set(zip(scores["file"], scores["condition"], strict=True)))
        by_folder.setdefault(folder, []).append(votes)
    tracker = open_tracker(tracking, runs)  # before anything is changed: an address that is wrong is told now
    with ExitStack() as locks:
        for used in sorted({runs.resolve(), *map(_runs_of, by_folder)}):  # a comparison writes the same files
            locks.enter_context(sole_use(used, "comparison or import"))
        for folder, sessions in by_folder.items():
            _import_into(folder, sessions, tracker)


def _runs_of(comparison: Path) -> Path:
    """The folder for runs that a comparison belongs to; itself where it was copied elsewhere."""
    return comparison.parent.parent if comparison.parent.name == "comparisons" else comparison


def _comparison_folder(votes: Votes, path: Path, runs: Path, named: Path | None) -> Path:
    name = f"{votes.preset}-{votes.comparison}"
    folder = named.resolve() if named is not None else runs.resolve() / "comparisons" / name
    if folder.name != name:
        raise OvertoneError(
            f"{path}: votes on comparison {name}, expected {folder.name}. Leave --comparison out, or name "
            "the folder that the votes belong to."
        )
    for needed in (LEADERBOARD, SCORES):
        if not (folder / needed).is_file():
            raise OvertoneError(
                f"{path}: votes on comparison {name}, but {folder} has no {needed}. Name the right folder "
                "with --runs or --comparison."
            )
    return folder


def _import_into(folder: Path, sessions: Sequence[Votes], tracker: Tracker) -> None:
    by_session = {one.session: one for one in sorted([*stored_votes(folder), *sessions], key=lambda one: one.finished)}
    results = Results.of(list(by_session.values()))
    findings = load_findings(folder, read_scores(folder / SCORES), results.ratings, results.remarks)
    tables = {
        "listening.csv": results.votes,
        "listening-summary.csv": results.systems,
        "listening-differences.csv": results.pairs,
    }
    files = {folder / "votes" / f"{name}.json": votes.text for name, votes in by_session.items()}
    files |= {folder / name: _csv(table) for name, table in tables.items()}
    changed = not all(map(_holds, files, files.values()))
    if changed:
        # First, as the leaderboard: an import that was interrupted is repeated as a whole.
        rewrite_report(findings, folder / REPORT, {"Listening test": LISTENING_TEST})
        write_leaderboard(findings, folder)
        for path, text in files.items():
            _write(path, text)
    pages = [folder / name for name in (REPORT, LEADERBOARD, WORDS) if (folder / name).is_file()]
    publish_overview(tracker, folder, findings, pages, results.votes)
    _report(folder, results, changed)


def _report(folder: Path, results: Results, changed: bool) -> None:
    for session in results.replaced:
        console.print(f"{session}: replaced by a later session.", highlight=False, markup=False, soft_wrap=True)
    for listener in results.excluded:
        console.print(f"{listener}: left out, {SCREENED}.", highlight=False, markup=False, soft_wrap=True)
    console.print(Markdown(results.markdown()))
    state = "Written to" if changed else "Nothing new; unchanged:"
    console.print(f"{state} {folder}", highlight=False, markup=False, soft_wrap=True)


def _csv(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, float_format="%.6g"))


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _write(path: Path, text: str) -> None:
    if not _holds(path, text):
        with written_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
