"""What the command line says of an evaluation."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt


@dataclass(frozen=True)
class EvaluateOptions:
    """The options of the command.

    Attributes:
        reference: folder of target files.
        estimate: a system and its folder, whose files belong to the reference of the same stem; several may follow.
        out: the table to write, .csv or .parquet.
        narrowband: folder of input files, for the controls; the low-passed reference where it is not given.
        cutoff_hz: where the input's own content ends; without it, measures of the missing band do not apply.
        band_hz: where the references' own content ends, as a corpus' manifest says; without it, it is measured in each.
        measures: which to score, KEY,KEY; all where none is named.
        align: find and remove each system's constant delay.
        length_tolerance: by how much lengths may differ, in ms; both are cut to the shorter.
        missing: whether a reference without a counterpart is a mistake, or left out for that system.
        speaker_pattern: finds the speaker in a reference's path, as in data prepare.
        workers: processes to score in; as many as there are cores where it is not given.
        overwrite: replace a table that was not written here.
    """

    reference: Path = field(metadata={"metavar": "DIR", "required": True})
    estimate: tuple[str, ...] = field(metadata={"metavar": "NAME=DIR", "required": True, "nargs": "+", "type": str})
    out: Path = field(metadata={"metavar": "TABLE", "required": True})
    narrowband: Path | None = field(default=None, metadata={"metavar": "DIR"})
    cutoff_hz: float | None = field(default=None, metadata={"metavar": "HZ"})
    band_hz: Annotated[float, Gt(0)] | None = field(default=None, metadata={"metavar": "HZ"})
    measures: tuple[str, ...] = field(default=(), metadata={"metavar": "KEY,KEY"})
    align: bool = False
    length_tolerance: Annotated[float, Ge(0)] = field(default=50.0, metadata={"metavar": "MS"})
    missing: Literal["refuse", "skip"] = "refuse"
    speaker_pattern: str | None = field(default=None, metadata={"metavar": "PATTERN"})
    workers: Annotated[int, Ge(1)] | None = None
    overwrite: bool = False
