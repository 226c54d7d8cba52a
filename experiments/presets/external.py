"""Systems from outside in a preset: how each is run, or where what it has made lies."""

import re
import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from experiments.records import checked
from overtone.errors import OvertoneError

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"  # of runs, files and listeners' votes
INPUT, OUTPUT = "{input}", "{output}"
FORMS = (
    "NAME=FOLDER, NAME=FILE.onnx, NAME=MODULE:FUNCTION, or NAME='COMMAND {input} {output}', with @HZ for the rate that "
    "it is given, or @HZ:HZ for this and the rate that it returns"
)

Rate = Annotated[int, Field(strict=True, ge=1000, le=768_000)]


@dataclass(frozen=True)
class External:
    """A system that was not trained here. It is one of four kinds: exactly one of the first four attributes is given.

    Attributes:
        command: a command line, run without a shell, with {input} and {output} in it.
        onnx: an ONNX file that turns a waveform into a waveform.
        callable: ``module:function``, called with samples ``(samples,)`` as float32 and their rate in Hz; it returns
            the enhanced samples, or these and their rate.
        folder: of estimates that were made elsewhere, in files that are named as their inputs.
        sample_rate: that it is given, in Hz; None for the preset's.
        output_sample_rate: of what an ONNX file or a callable returns without saying its rate, in Hz; None for the
            rate that it is given.
        input_name: the waveform's name in an ONNX file; None for its first input.
        over: whether {input} and {output} of a command are folders, so that it starts once for all files, or files.
        limit_seconds: how long an utterance may take. A run that shows no sign of life (a file, a printed line) for
            so long, or takes longer than so long for each of its utterances, is ended.

    Raises:
        OvertoneError: it is of no kind or of several, or its kind has no such setting.
    """

    command: str | None = None
    onnx: str | None = None
    callable: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = None
    folder: str | None = None
    sample_rate: Rate | None = None
    output_sample_rate: Rate | None = None
    input_name: str | None = None
    over: Literal["folder", "file"] = "folder"
    limit_seconds: Annotated[float, Field(gt=0, le=1e6)] = 120.0

    def __post_init__(self) -> None:
        kinds = [name for name in KINDS if getattr(self, name) is not None]
        if len(kinds) != 1:
            found = " and ".join(kinds) or "none"
            raise OvertoneError(f"external: expected one of {', '.join(KINDS)} for each system, got {found}.")
        if self.command is not None and not (INPUT in self.command and OUTPUT in self.command):
            raise OvertoneError(f"external: expected {INPUT} and {OUTPUT} in the command, got {self.command!r}.")
        try:
            shlex.split(self.command or "")
        except ValueError as error:
            raise OvertoneError(f"external: not a command line ({error}): {self.command!r}.") from None
        for name, kinds_with_it in SETTINGS.items():
            given = getattr(self, name) != _DEFAULTS[name]
            if given and self.kind not in kinds_with_it:
                raise OvertoneError(f"external: {name} is a setting of {' and '.join(kinds_with_it)}, not {self.kind}.")

    @property
    def kind(self) -> str:
        """Which of `KINDS` it is."""
        return next(name for name in KINDS if getattr(self, name) is not None)

    @property
    def what(self) -> str:
        """The command line, file, function or folder."""
        return str(getattr(self, self.kind))


KINDS = ("command", "onnx", "callable", "folder")
SETTINGS = {"output_sample_rate": ("onnx", "callable"), "input_name": ("onnx",), "over": ("command",)}
_DEFAULTS = {one.name: one.default for one in fields(External)}


def parse_external(text: str) -> tuple[str, External]:
    """Read a system from outside as the command line names it: `FORMS`.

    Args:
        text: such as ``peer=peer.onnx@16000:48000``; the kind follows from what stands behind the first ``=``.

    Returns:
        Its name, and the system.

    Raises:
        OvertoneError: it is malformed, or not usable.
    """
    name, _, what = (part.strip() for part in text.partition("="))
    if not re.match(NAME, name) or not what:
        raise OvertoneError(f"--external: expected {FORMS}; got {text!r}.")
    rates: dict[str, int] = {}
    if found := re.fullmatch(r"(.+?)@(\d+)(?::(\d+))?", what):
        what, rates["sample_rate"] = found[1], int(found[2])
        if found[3]:
            rates["output_sample_rate"] = int(found[3])
    if INPUT in what or OUTPUT in what:
        kind = "command"
    elif Path(what).suffix.lower() == ".onnx":
        kind = "onnx"
    else:
        kind = "callable" if re.fullmatch(r"[\w.]+:\w+", what) else "folder"
    try:
        return name, checked(External, {kind: what, **rates})
    except OvertoneError as error:
        raise OvertoneError(f"--external {name}: {str(error).removeprefix('external: ')}") from None
