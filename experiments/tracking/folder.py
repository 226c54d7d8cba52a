"""A run's folder: all that was logged of it, as plain files. MLflow is a view of it (`experiments.tracking.publish`).

``run.json`` holds the run's names, tags, parameters and status, ``curves.csv`` a line for each logged number, and every
other file is an artifact under its own path. The folder of an experiment, around those of its runs, has an
``experiment.json``. Any number of processes may write into one folder.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from experiments.keys import digest
from experiments.runs import held
from overtone.errors import OvertoneError
from overtone.files import written_whole

TRACKED_NAME = "tracked"
RECORD_NAME, CURVES_NAME, EXPERIMENT_NAME = "run.json", "curves.csv", "experiment.json"
LOCK_NAME = ".lock"
CURVES_HEADER = "time_ms,step,name,value\n"
NAME_LENGTH = 80
LONGEST_LINE = 4096

Stamp = list[int]  # as JSON gives it back


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts time."""
    return time.time_ns() // 1_000_000


@dataclass
class RunRecord:
    """What ``run.json`` holds.

    Attributes:
        experiment: name of the experiment.
        name: the run's readable name.
        key: the run key: equal keys in an experiment are the same run.
        parent: name and key of the run under which it stands; empty for none.
        started: when it was first opened, in ms since 1970.
        ended: when it was closed; None while it runs.
        status: RUNNING, FINISHED, FAILED or KILLED.
        tags: by name.
        params: the flattened configuration.
        datasets: each with ``name``, ``digest``, ``context``, ``rows`` and ``columns`` (their kinds by name).
    """

    experiment: str
    name: str
    key: str
    parent: list[str] = field(default_factory=list)
    started: int = field(default_factory=now_ms)
    ended: int | None = None
    status: str = "RUNNING"
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    datasets: list[dict[str, Any]] = field(default_factory=list)


class Point(NamedTuple):
    """A logged number: when in ms since 1970, at which step, of what, and how much."""

    time: int
    step: int
    name: str
    value: float


class RunFolder:
    """Reads and writes the folder of a run.

    Args:
        path: the folder; made at the first change.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> RunRecord:
        """Return the record.

        Raises:
            OvertoneError: it is missing or damaged.
        """
        path = self.path / RECORD_NAME
        try:
            return RunRecord(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise OvertoneError(
                f"{path}: cannot be read as a run's record ({error}). Remove {self.path}; the command that made the "
                "run writes it again."
            ) from None

    def change(self, change: Callable[[RunRecord], object], new: RunRecord | None = None) -> None:
        """Change the record, alone among all processes.

        Args:
            change: given the record, changes it.
            new: the record to begin with where there is none.
        """
        with held(self.path / LOCK_NAME):
            record = self.read() if new is None or (self.path / RECORD_NAME).is_file() else new
            change(record)
            write_json(self.path / RECORD_NAME, asdict(record))

    def append(self, points: list[Point]) -> None:
        """Add points to the curves, in place of half a line that a killed process may have left."""
        with held(self.path / LOCK_NAME), (self.path / CURVES_NAME).open("a+b") as out:
            tail = max(out.seek(0, os.SEEK_END) - LONGEST_LINE, 0)
            out.seek(tail)
            end = tail + out.read().rfind(b"\n") + 1
            out.truncate(end)
            lines = (f"{point.time},{point.step},{point.name},{point.value!r}\n" for point in points)
            out.write(((CURVES_HEADER if end == 0 else "") + "".join(lines)).encode())

    def points(self, start: int = 0) -> tuple[list[Point], int]:
        """Return the points from a byte of the curves on, and the byte at which whole lines end."""
        path = self.path / CURVES_NAME
        if not path.is_file():
            return [], start
        with path.open("rb") as curves:
            curves.seek(start)
            text = curves.read()
        whole = text[: text.rfind(b"\n") + 1]
        rows = (line.split(",") for line in whole.decode().splitlines() if not CURVES_HEADER.startswith(line))
        return [Point(int(at), int(step), name, float(value)) for at, step, name, value in rows], start + len(whole)

    def stamps(self) -> dict[str, Stamp]:
        """Return size and time of change of every file, by its path in the folder; hidden ones are left out."""
        found = {}
        for folder, folders, files in os.walk(self.path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                path = Path(folder, name)
                if not name.startswith(".") and path.is_file():
                    state = path.stat()
                    found[path.relative_to(self.path).as_posix()] = [state.st_size, state.st_mtime_ns]
        return found


def experiment_folder(runs: Path, experiment: str) -> Path:
    """Return the folder of an experiment in a folder for runs."""
    return runs / TRACKED_NAME / _file_name(experiment)


def run_folder(runs: Path, experiment: str, name: str, key: str) -> RunFolder:
    """Return the folder of a run.

    Args:
        runs: the folder for runs.
        experiment: name of the experiment.
        name: the run's readable name.
        key: the run key.
    """
    return RunFolder(experiment_folder(runs, experiment) / f"{_file_name(name)}-{digest(experiment, key)}")


def run_folders(root: Path) -> list[RunFolder]:
    """Return the run that a folder holds, or all runs below it, the earliest first."""
    records = [(read_json(path).get("started", 0), path.parent) for path in root.rglob(RECORD_NAME)]
    return [RunFolder(path) for _, path in sorted(records)]


def tag_experiment(runs: Path, experiment: str, tags: Mapping[str, str]) -> Path:
    """Add tags to an experiment's file, and return its folder."""
    folder = experiment_folder(runs, experiment)
    with held(folder / LOCK_NAME):
        known = read_json(folder / EXPERIMENT_NAME).get("tags", {})
        write_json(folder / EXPERIMENT_NAME, {"name": experiment, "tags": known | dict(tags)})
    return folder


def read_json(path: Path) -> dict[str, Any]:
    """Return what `write_json` wrote; empty where there is no such file, or a damaged one."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write plain values as a whole file."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def _file_name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:NAME_LENGTH].lstrip(".") or "_"
