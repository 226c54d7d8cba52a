"""What the command line says of preparing, fetching and inspecting a corpus."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

SOURCE = {"metavar": "DIR_OR_MANIFEST"}


@dataclass(frozen=True)
class PrepareOptions:
    """What is measured, and where its manifest goes.

    Attributes:
        source: folder, or manifest (.csv, .parquet).
        out: where the manifest goes; audio is not copied.
        speaker_pattern: finds the speaker in a path, as a regular expression with (?P<speaker>...) or a template such
            as {corpus}/{speaker}/*.wav; the manifest's column, else the name of the folder, where it is not given.
        licence: of files for which the manifest says none.
        kind: of files for which the manifest says none.
        jobs: processes; as many as there are cores where it is not given.
        overwrite: replace a manifest that was not prepared here.
    """

    source: Path = field(metadata=SOURCE)
    out: Path = field(metadata={"metavar": "DIR", "required": True})
    speaker_pattern: str | None = field(default=None, metadata={"metavar": "PATTERN"})
    licence: str | None = field(default=None, metadata={"metavar": "TEXT"})
    kind: Literal["speech", "noise", "music", "impulse_response"] = "speech"
    jobs: Annotated[int, Ge(1)] | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class FetchOptions:
    """Which corpus is fetched, and how.

    Attributes:
        name: name of a corpus; 'list' shows them.
        out: folder for corpora, each in a folder of its name; else this one.
        dry_run: show files, sizes and licence, download nothing.
        keep_archives: keep what was downloaded after unpacking it.
        mirror: where to download from first.
    """

    name: str = field(metadata={"metavar": "NAME"})
    out: Path = field(default=Path("."), metadata={"metavar": "DIR"})
    dry_run: bool = False
    keep_archives: bool = False
    mirror: str | None = field(default=None, metadata={"metavar": "NAME_OR_URL"})


@dataclass(frozen=True)
class InspectOptions:
    """Which corpus is shown, and where its pictures go.

    Attributes:
        source: folder, or manifest (.csv, .parquet).
        clip: the clip to draw; a typical one where it is not given.
        condition_preset: draw this preset's test conditions; the stages of the original's recipe where it is not given.
        out: folder for the pictures; the manifest's, or this one of an unprepared corpus, where it is not given.
    """

    source: Path = field(metadata=SOURCE)
    clip: Path | None = field(default=None, metadata={"metavar": "FILE"})
    condition_preset: str | None = field(default=None, metadata={"metavar": "NAME"})
    out: Path | None = field(default=None, metadata={"metavar": "DIR"})
