"""What the command line may change of a sweep."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge

from experiments.runs import Workspace


@dataclass(frozen=True)
class SweepOptions:
    """The options of the command.

    Attributes:
        trials: of each study in all, more later continue it; the preset's number where it is not given.
        workers: trials at the same time, of each study, on this machine.
        storage: URL of the database of the studies; optuna.db in the folder for runs where it is not given.
        study: another name of the study than the usual one.
        side_by_side: with `all`, run the studies of all models at the same time instead of in turn.
        launcher: where workers run.
        gpus_per_worker: GPUs that each worker asks a Ray cluster for.
        workspace: corpus, folder for runs and tracking.
    """

    trials: Annotated[int, Ge(1)] | None = None
    workers: Annotated[int, Ge(1)] = 1
    storage: str | None = field(default=None, metadata={"metavar": "URL"})
    study: str | None = field(default=None, metadata={"metavar": "NAME"})
    side_by_side: bool = False
    launcher: Literal["local", "ray"] = "local"
    gpus_per_worker: Annotated[float, Ge(0)] = 0.0
    workspace: Workspace = field(default_factory=Workspace)
