"""What the command line may change of a comparison or a selection."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from experiments.runs import Workspace
from experiments.training.distribution import Distribution


@dataclass(frozen=True)
class CompareOptions:
    """What the command line may change of a comparison.

    Attributes:
        models: some of the preset's models, NAME,NAME; all where none is named.
        seeds: trainings of each model; the preset's number where it is not given.
        external: systems from outside that are scored beside the models, NAME=WHAT: a folder of estimates, an .onnx
            file, module:function, or 'a command {input} {output}', each with @HZ for another rate than the preset's,
            or @HZ:HZ where it returns a rate of its own.
        jobs: trainings side by side; as many as the cores allow where it is not given.
        workspace: corpus, folder for runs and tracking.
        distribution: over how many processes each training is spread.
    """

    models: tuple[str, ...] = ()
    seeds: Annotated[int, Ge(1)] | None = None
    external: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME=WHAT", "nargs": "+", "type": str})
    jobs: Annotated[int, Ge(1)] | None = None
    workspace: Workspace = field(default_factory=Workspace)
    distribution: Distribution = field(default_factory=Distribution)

    def command(self, name: str, preset: str) -> str:
        """Return the command line that gives the same result.

        Args:
            name: of the command.
            preset: name or file.
        """
        given: dict[str, Sequence[object]] = {
            "--data": [self.workspace.data],
            "--extra": [",".join(self.workspace.extra)],
            "--models": [",".join(self.models)],
            "--seeds": [self.seeds],
            "--external": self.external,
        }
        options = ([option, *map(str, values)] for option, values in given.items() if any(values))
        return shlex.join(["overtone", name, preset, *chain.from_iterable(options)])


@dataclass(frozen=True)
class SelectOptions:
    """What the command line may change of a selection.

    Attributes:
        comparison: models, seeds (at least 3), corpus, folder, tracking and jobs, as `compare` takes them.
        storage: URL of the database with the studies; optuna.db in the folder for runs where it is not given.
        study: a study of another name than `sweep` gives it; several may follow.
        allow_unequal: compare although the studies' budgets differ, and say so.
    """

    comparison: CompareOptions = field(default_factory=CompareOptions)
    storage: str | None = field(default=None, metadata={"metavar": "URL"})
    study: tuple[str, ...] = field(default=(), metadata={"metavar": "MODEL=STUDY", "nargs": "+", "type": str})
    allow_unequal: bool = False


@dataclass(frozen=True)
class DiffOptions:
    """What stands beside what, and what is judged.

    Attributes:
        a: a comparison's folder, a training's, a score table (.csv), or an exported model.
        b: the same, to be held to the first: its next version.
        system: which systems, NAME,NAME; champion is the champion of each, and OLD=NEW one that changed its name; all
            candidates that both have where none is named.
        measures: what B must be no worse in besides the primary score, KEY,KEY.
        split: whose scores.
        preset: by which exported models are scored, where they do not name it.
        denoise: let exported models change what the input already holds as well.
        jobs: processes that score exported models; all cores where it is not given.
        out: also write a page, which is replaced where it exists.
        workspace: corpus that exported models are scored on, and that comparisons are heard on.
    """

    a: Path = field(metadata={"metavar": "A"})
    b: Path = field(metadata={"metavar": "B"})
    system: tuple[str, ...] = field(default=(), metadata={"metavar": "NAME,NAME"})
    measures: tuple[str, ...] = field(default=(), metadata={"metavar": "KEY,KEY"})
    split: Literal["val", "test"] = "val"
    preset: str | None = None
    denoise: bool = False
    jobs: Annotated[int, Ge(1)] | None = None
    out: Path | None = field(default=None, metadata={"metavar": "FILE.html"})
    workspace: Workspace = field(default_factory=Workspace)
