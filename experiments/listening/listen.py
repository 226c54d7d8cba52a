"""Votes of a listening test come into their comparison: tables beside its leaderboard, columns in it, and MLflow."""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from rich.markdown import Markdown

from experiments.keys import digest
from experiments.listening.results import SCREENED, Results
from experiments.listening.votes import Votes, check_votes, read_votes
from experiments.ranking.columns import rows_of
from experiments.runs import sole_use
from experiments.tracking.mlflow_tracker import open_tracker
from experiments.tracking.tracker import Tracker
from overtone.errors import OvertoneError
from overtone.files import written_whole
from overtone.progress import board, console

LEADERBOARD, SCORES = "leaderboard.csv", "scores-test.csv"
Tracking = str  # mlflow, none, or the address of an MLflow server
COLUMNS = ("mushra", "mushra_low", "mushra_high", "listeners")
HEADING = "## Listening test"
HEARD_RUNS = "listening-runs.json"
LOGGED = "listening-logged.json"


@dataclass(frozen=True)
class HeardRun:
    """The tracked run whose sound listeners rated.

    Attributes:
        experiment: the tracker's experiment.
        name: the run's readable name.
        key: its run key.
    """

    experiment: str
    name: str
    key: str


def record_heard_runs(folder: Path, heard: Mapping[str, HeardRun]) -> None:
    """Note in a comparison's folder which run each system of its listening test came from, for the import to find."""
    text = json.dumps({system: asdict(run) for system, run in sorted(heard.items())}, indent=1)
    _write(folder / HEARD_RUNS, text + "\n")


def import_command(files: Sequence[Path], runs: Path, comparison: Path | None, tracking: Tracking) -> None:
    """Take votes into the comparisons that they name; either all files are good, or nothing is changed.

    A session that is imported again replaces itself, and of several sessions of one listener by one method the last
    counts. Without anything new, nothing is written.

    Args:
        files: as the page saved them.
        runs: the folder for runs.
        comparison: the comparison's folder; None for the one under ``runs`` that the votes name.
        tracking: where the runs of the systems are tracked.

    Raises:
        OvertoneError: a file that is no votes, or votes on something else.
    """
    by_folder: dict[Path, dict[str, Votes]] = {}
    for path in files:
        votes = read_votes(path)
        folder = _comparison_folder(votes, path, runs, comparison)
        check_votes(votes, path, *_known(folder))
        sessions = by_folder.setdefault(folder, {})
        earlier = sessions.get(votes.session)
        sessions[votes.session] = max(earlier or votes, votes, key=lambda one: one.finished)
    with ExitStack() as locks:
        for used in sorted({runs.resolve(), *map(_runs_of, by_folder)}):  # a comparison writes the same files
            locks.enter_context(sole_use(used, "comparison or import"))
        for folder, sessions in by_folder.items():
            _import_into(folder, list(sessions.values()), runs, tracking)


def _runs_of(comparison: Path) -> Path:
    """The folder for runs that a comparison belongs to; itself where it was copied elsewhere."""
    return comparison.parent.parent if comparison.parent.name == "comparisons" else comparison


def refresh_listening(folder: Path) -> bool:
    """Write what a comparison's stored votes say once more, into a leaderboard that was written anew, for example.

    Returns:
        Whether anything was changed; without votes, nothing is.

    Raises:
        OvertoneError: a stored file of votes is damaged.
    """
    stored = [read_votes(path) for path in sorted((folder / "votes").glob("*.json"))]
    return bool(stored) and _write_results(folder, Results.of(stored))


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


def _known(folder: Path) -> tuple[set[str], set[tuple[str, str]]]:
    systems = _text_table(folder / LEADERBOARD, ["system"])["system"]
    scored = _text_table(folder / SCORES, ["file", "condition"])
    return set(systems), set(zip(scored["file"], scored["condition"], strict=True))


def _text_table(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """A CSV file with every cell as it is written."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise OvertoneError(f"{path}: not readable as CSV ({str(error).splitlines()[0]}). Compare again.") from None
    if missing := [name for name in needed if name not in table]:
        raise OvertoneError(f"{path}: has no column {missing[0]}. Compare again.")
    return table


def _import_into(folder: Path, sessions: Sequence[Votes], runs: Path, tracking: Tracking) -> None:
    for votes in sessions:
        _write(folder / "votes" / f"{votes.session}.json", votes.text)
    results = Results.of([read_votes(path) for path in sorted((folder / "votes").glob("*.json"))])
    changed = _write_results(folder, results)
    if tracking != "none":
        changed |= _log(folder, results, runs, tracking)
    _report(folder, results, changed)


def _write_results(folder: Path, results: Results) -> bool:
    body = results.markdown()
    written = [
        _write(folder / "listening.csv", _csv(results.votes)),
        _write(folder / "listening-summary.csv", _csv(results.systems)),
        _write(folder / "listening-differences.csv", _csv(results.pairs)),
        _write(folder / "listening-abx.csv", _csv(results.abx)),
        _write(folder / "listening-summary.md", f"# Listening test of `{folder.name}`\n\n{body}"),
        _write(folder / LEADERBOARD, _with_columns(folder / LEADERBOARD, results.systems)),
    ]
    markdown = folder / "leaderboard.md"
    if markdown.is_file():
        written.append(_write(markdown, _with_section(markdown.read_text(encoding="utf-8"), body)))
    return any(written)


def _with_columns(path: Path, systems: pd.DataFrame) -> str:
    table = _text_table(path, ["system"]).drop(columns=list(COLUMNS), errors="ignore")
    rows = {str(row["system"]): row for row in rows_of(systems)}
    for column in COLUMNS:
        values = [rows.get(system, {}).get(column) for system in table["system"]]
        table[column] = ["" if pd.isna(value) else f"{value:.6g}" for value in values]
    return _csv(table)


def _with_section(text: str, body: str) -> str:
    """Put the section where it was, else before how to reproduce, else at the end."""
    section = f"{HEADING}\n\n{body.rstrip()}\n\n"
    text = re.sub(rf"^{HEADING}\n.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL)
    before, found, after = text.partition("## How to reproduce")
    return f"{before.rstrip()}\n\n{section}{found}{after}".rstrip() + "\n"


def _log(folder: Path, results: Results, runs: Path, tracking: Tracking) -> bool:
    """Bring what was heard to the runs it came from, unless they have it; return whether anything was logged."""
    record = folder / HEARD_RUNS
    if not record.is_file():
        console.print(
            f"{folder.name}: no {HEARD_RUNS}, so MLflow gets nothing. The command that made the comparison writes it.",
            highlight=False,
            soft_wrap=True,
        )
        return False
    heard = _heard_runs(record)
    state = {str(runs.resolve()): digest(_csv(results.votes), record.read_text(encoding="utf-8"))}
    marker = folder / LOGGED
    if marker.is_file() and marker.read_text(encoding="utf-8") == json.dumps(state):
        return False
    tracker = open_tracker(tracking, runs)
    with board() as progress:
        for number, (system, run) in enumerate(heard.items()):
            progress.update("log votes", number, len(heard), run.name)
            _log_system(system, run, results, tracker)
        progress.update("log votes", len(heard), len(heard))
    return _write(marker, json.dumps(state))


def _heard_runs(record: Path) -> dict[str, HeardRun]:
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        return {str(system): HeardRun(**run) for system, run in content.items()}
    except (ValueError, TypeError, AttributeError):
        raise OvertoneError(f"{record}: damaged. Remove it and start the comparison again, which writes it.") from None


def _log_system(system: str, heard: HeardRun, results: Results, tracker: Tracker) -> None:
    mine = results.votes[results.votes["system"].eq(system) | results.votes["other"].eq(system)]
    if mine.empty:
        return
    metrics = {}
    for row in rows_of(results.systems[results.systems["system"] == system]):
        metrics = {f"listening/{key}": float(row[key]) for key in COLUMNS}
    for row in rows_of(results.abx):
        if system in (row["system"], row["other"]):
            share = float(row["preference"])
            metrics |= {"listening/preference": share if system == row["system"] else 1.0 - share}
    with tracker.run(heard.experiment, heard.name, {}, heard.key) as run:
        run.log_metrics(metrics)
        run.log_table(mine.dropna(axis="columns", how="all"), "tables/listening.json")


def _report(folder: Path, results: Results, changed: bool) -> None:
    for session in results.replaced:
        console.print(f"Session {session}: replaced by a later one of the same listener.", highlight=False)
    for listener in results.excluded:
        console.print(f"Listener {listener}: left out, {SCREENED}.", highlight=False, soft_wrap=True)
    console.print(Markdown(results.markdown()))
    state = "Written to" if changed else "Nothing new; unchanged:"
    console.print(f"{state} {folder}", highlight=False, markup=False, soft_wrap=True)


def _csv(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, float_format="%.6g"))


def _write(path: Path, text: str) -> bool:
    """Write a file unless it is there with the same text; return whether it was written."""
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return True
