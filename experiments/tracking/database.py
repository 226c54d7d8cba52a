"""The MLflow database in a folder for runs: made whole or not at all, and put right after a move."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from overtone.errors import OvertoneError
from overtone.files import written_whole

DATABASE_NAME = "mlflow.db"
ARTIFACTS_NAME = "artifacts"
PATIENCE_SECONDS = 2.0
# Where MLflow keeps the addresses of files.
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


class StoreAway(Exception):
    """MLflow does not answer, or cannot be written; the message is the reason."""


def say(line: str) -> None:
    """Print a line for the user beside what the command prints."""
    print(f"overtone: {line}", file=sys.stderr, flush=True)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its kind where it says nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def database_uri(path: Path) -> str:
    """Return the address of a database's file."""
    return f"sqlite:///{path}"


def require_unlocked(runs: Path) -> None:
    """Raise unless the database can be written, or is not there yet.

    Raises:
        StoreAway: another process holds it.
        OvertoneError: it is damaged.
    """
    path = runs / DATABASE_NAME
    if not path.is_file():
        return
    try:
        with closing(sqlite3.connect(path, timeout=PATIENCE_SECONDS)) as connection:
            connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        raise StoreAway(first_line(error)) from None
    except sqlite3.DatabaseError as error:
        raise OvertoneError(
            f"{path}: the database cannot be opened ({first_line(error)}). Move it away; then `overtone publish` makes "
            "a new one of the runs' folders, and the command that registered a champion registers it again."
        ) from None


def prepare_database(runs: Path) -> bool:
    """Make the database whole or not at all, or see that one that is there suits its place; return whether it is new.

    To be called by one process at a time.
    """
    path = runs / DATABASE_NAME
    if path.is_file() and _is_half_made(path):
        aside = path.with_name(f"{DATABASE_NAME}.half-made")
        path.replace(aside)
        say(f"{path}: its making was interrupted; a new one is made, the old one is now {aside.name}.")
    if path.is_file():
        _follow_a_move(runs)
        return False
    with written_whole(path) as temporary:
        make_database(temporary, runs / ARTIFACTS_NAME)
    return True


def make_database(path: Path, artifacts: Path) -> None:
    """Make an empty database with all of MLflow's tables.

    Args:
        path: of the new file.
        artifacts: the folder in which runs' files will lie.
    """
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(database_uri(path), artifacts.as_uri()).engine.dispose()


def _is_half_made(path: Path) -> bool:
    """Whether a database has no run and not its last tables, as where the making by another program was killed."""
    from mlflow.store.db.utils import _get_latest_schema_revision

    with closing(sqlite3.connect(path)) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if "runs" in tables and connection.execute("SELECT 1 FROM runs LIMIT 1").fetchone():
            return False
        if "alembic_version" not in tables:
            return True
        return connection.execute("SELECT version_num FROM alembic_version").fetchone() != (
            _get_latest_schema_revision(),
        )


def _follow_a_move(runs: Path) -> None:
    """Put the addresses of files right when the folder for runs was moved or copied."""
    artifacts = runs / ARTIFACTS_NAME
    here = artifacts.as_uri()
    with closing(sqlite3.connect(runs / DATABASE_NAME, timeout=PATIENCE_SECONDS)) as connection, connection:
        rows = connection.execute(
            "SELECT artifact_location, run_uuid FROM experiments JOIN runs USING (experiment_id) "
            "WHERE artifact_location LIKE 'file://%/artifacts' AND artifact_location != ?",
            (here,),
        )
        for before in sorted({str(root) for root, run_id in rows if (artifacts / run_id).is_dir()}):
            for table, column in ADDRESSES:
                connection.execute(
                    f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                    f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                    (here, len(before) + 1, before, len(before) + 1, f"{before}/"),
                )
            say(f"{runs}: was moved or copied; its runs' files are looked for here instead of {before}.")
