"""What the commands' modules share: how a command is described, and options that many of them have."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    Attributes:
        help: what the list of commands says of it.
        parser: makes its parser.
        run: does it; imports torch, MLflow and the like itself, so that help answers at once.
        resumable: whether the same command continues where it was interrupted.
    """

    help: str
    parser: Callable[[], ArgumentParser]
    run: Callable[[Namespace], None]
    resumable: bool = False


def add_shared(parser: ArgumentParser) -> None:
    """Add what all commands that train share: corpus, tracking, folder."""
    parser.add_argument("--data", help="corpus: folder or manifest of audio (the preset's own)")
    parser.add_argument("--extra", help="further splits of the manifest that join train: NAME,NAME")
    parser.add_argument("--tracking", choices=["mlflow", "none"], default="mlflow", help="where runs are kept (mlflow)")
    add_runs(parser)


def add_runs(parser: ArgumentParser) -> None:
    """Add the folder for runs."""
    parser.add_argument("--runs", help="folder for runs (mlruns beside the nearest pyproject.toml, else here)")


def optional_path(value: str | None) -> Path | None:
    """Return an option that names a file or folder as a path."""
    return None if value is None else Path(value)


def names(value: str | None) -> tuple[str, ...]:
    """Return the parts of NAME,NAME."""
    return () if value is None else tuple(name.strip() for name in value.split(","))
