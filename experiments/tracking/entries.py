"""What is to be logged, as plain values: it can wait in a file, and be sent twice without harm."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["open", "batch", "artifact", "table", "dataset", "status", "experiment"]

PARENT_TAG = "mlflow.parentRunId"


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts time."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Identity:
    """By what a run is found again, before and after it exists in a store.

    Attributes:
        experiment: name of the experiment.
        key: the run key; empty for the experiment itself.
        name: the run's readable name.
        parent: the run under which it stands.
        started: when it was first opened, in ms since 1970.
    """

    experiment: str
    key: str = ""
    name: str = field(default="", compare=False)
    parent: Identity | None = field(default=None, compare=False)
    started: int = field(default_factory=now_ms, compare=False)

    def plain(self) -> dict[str, Any]:
        """Return plain values for a file."""
        return asdict(self)

    @staticmethod
    def read(plain: Mapping[str, Any]) -> Identity:
        """Return what `plain` made."""
        parent = plain["parent"]
        return Identity(**{**plain, "parent": Identity.read(parent) if parent else None})


@dataclass(frozen=True)
class Entry:
    """One thing to log.

    Attributes:
        kind: decides how it is sent; see `experiments.tracking.store`.
        values: plain values, times among them, so that an entry sent twice is the same entry.
        content: what is uploaded: bytes, or a file.
    """

    kind: Kind
    values: dict[str, Any]
    content: bytes | Path | None = None

    def plain(self, file: str | None) -> dict[str, Any]:
        """Return plain values for a file; ``file`` says where the content was put."""
        return {"kind": self.kind, "values": self.values, "file": file}

    @staticmethod
    def read(plain: Mapping[str, Any], folder: Path) -> Entry:
        """Return what `plain` made; contents lie in ``folder``."""
        return Entry(plain["kind"], plain["values"], folder / plain["file"] if plain["file"] else None)
