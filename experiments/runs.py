"""Where runs lie on disk, under which keys, and who may write there."""

import fcntl
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from overtone.errors import OvertoneError
from overtone.files import written_whole
from overtone.progress import console

URI_VARIABLE = "MLFLOW_TRACKING_URI"
COMMAND_VARIABLE = "OVERTONE_COMMAND"  # what `users_command` gave in the process that started this one


def users_command() -> str:
    """Return the command that the user started, such as ``overtone compare``, in the processes that it starts too."""
    return os.environ.get(COMMAND_VARIABLE) or " ".join([Path(sys.argv[0]).name, *sys.argv[1:2]]).strip() or "python"


def usual_runs_folder() -> Path:
    """Return ``mlruns`` beside the nearest pyproject.toml, else in the working directory."""
    here = Path.cwd()
    project = next((folder for folder in (here, *here.parents) if (folder / "pyproject.toml").is_file()), here)
    return (project / "mlruns").resolve()


def runs_option(runs: Path) -> str:
    """Return the option that names a folder for runs in a command line; empty for the usual folder."""
    return "" if runs == usual_runs_folder() else f" --runs {shlex.quote(str(runs))}"


def comparison_experiment(preset: str) -> str:
    """Return the name of the MLflow experiment in which a preset's runs stand."""
    return f"compare-{preset}"


def find_runs_folder(named: Path | None) -> Path:
    """Return the folder for runs, made if need be: the named one, else the usual one.

    Raises:
        OvertoneError: it cannot be made or written, or a database in it could not be addressed.
    """
    folder = named.resolve() if named else usual_runs_folder()
    if set("%?") & set(str(folder)):
        raise OvertoneError(
            f"{folder}: SQLite's addresses cannot hold % or ?, expected a path without them. Name another with --runs."
        )
    check_writable(folder, "Name another with --runs.")
    return folder


def check_writable(folder: Path, advice: str) -> None:
    """Make a folder if need be, and a file in it that is removed at once.

    Args:
        folder: where files will be written.
        advice: what the user may do where that fails.

    Raises:
        OvertoneError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.probe"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OvertoneError(f"{folder}: cannot be written to ({error.strerror}). {advice}") from None


def usual_tracking() -> str:
    """Return the http address that MLflow's own variable names, else ``mlflow``."""
    uri = os.environ.get(URI_VARIABLE, "").strip()
    return uri if uri.startswith(("http://", "https://")) else "mlflow"


def tell_of_variable(tracking: str) -> None:
    """Print a line where MLflow's own variable decides where runs are tracked, or is passed over."""
    uri, place = os.environ.get(URI_VARIABLE, "").strip(), None
    if uri and tracking == uri:
        place = f"{without_credentials(uri)}, as {URI_VARIABLE} says (--tracking mlflow: in the folder for runs)"
    elif uri and tracking == usual_tracking():
        place = f"in the folder for runs; {URI_VARIABLE} names no http:// address and is not used"
    if place:
        console.print(f"Tracking: {place}.", soft_wrap=True, highlight=False, markup=False)


def without_credentials(uri: str) -> str:
    """Return an address without the user and password in it."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@dataclass(frozen=True)
class Workspace:
    """Where a command finds speech and keeps its runs.

    Attributes:
        runs: folder for runs: mlruns beside the nearest pyproject.toml, else here.
        data: corpus: folder or manifest of audio; the preset's own where it is not given.
        extra: further splits of the manifest that join train, NAME,NAME.
        tracking: where runs are tracked: mlflow in the folder for runs, none, or the http://HOST:PORT of an MLflow
            server; without it the http address in MLFLOW_TRACKING_URI, else mlflow.

    Raises:
        OvertoneError: runs cannot be tracked there.
    """

    runs: Path = field(default_factory=usual_runs_folder)
    data: str | None = None
    extra: tuple[str, ...] = ()
    tracking: str = field(default_factory=usual_tracking, metadata={"metavar": "{mlflow,none,URL}"})

    def __post_init__(self) -> None:
        if self.tracking not in ("mlflow", "none") and not re.fullmatch(r"https?://\S+", self.tracking):
            raise OvertoneError(
                f"tracking: expected mlflow, none, or the http://HOST:PORT of an MLflow server, got {self.tracking!r}."
            )


@contextmanager
def held(lock: Path, busy: str | None = None) -> Iterator[None]:
    """Hold a lock file, in a folder made if need be; the system releases it when the process ends, however it ends.

    Args:
        lock: the file.
        busy: what the user is told where another process holds it; None to wait until it is free.

    Raises:
        OvertoneError: another process holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:  # what is in it stays
        try:
            fcntl.flock(file, fcntl.LOCK_EX if busy is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OvertoneError(busy) from None
        yield


@contextmanager
def sole_use(folder: Path, what: str) -> Iterator[None]:
    """Let one comparison, or one import into it, run in a folder at a time.

    Args:
        folder: that it writes to.
        what: names it in the message.

    Raises:
        OvertoneError: another process is at it.
    """
    advice = "Wait for it, stop it, or name another folder with --runs."
    with held(folder / ".compare.lock", f"{folder}: another {what} is running there. {advice}"):
        yield


def count_test_use(runs: Path, data_digest: str, comparison_key: str) -> int:
    """Note that a comparison scores a corpus' test split; return how many different ones have done so.

    Args:
        runs: folder for runs.
        data_digest: of the corpus.
        comparison_key: of the comparison.

    Raises:
        OvertoneError: the file that counts is damaged.
    """
    from experiments.records import read_record

    path = runs / "test-uses.json"
    advice = "It counts how often a corpus' test speakers were used: restore it, or remove it to count anew."
    uses = read_record(path, dict[str, list[str]], advice) if path.is_file() else {}
    keys = uses.setdefault(data_digest, [])
    if comparison_key not in keys:
        keys.append(comparison_key)
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(uses, indent=2))
    return len(keys)
