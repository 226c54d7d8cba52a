"""What a training process is asked to do."""

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Interval

from experiments.runs import Workspace
from experiments.training.distribution import Distribution


@dataclass(frozen=True)
class TrainRequest:
    """What a training needs to be told; plain values, so that it can go to another process.

    Attributes:
        model: a registered model.
        preset: name of a preset, or a .yaml file.
        seed: of weights and order of examples.
        workspace: corpus, folder for runs and tracking.
        distribution: over how many processes it is spread.
    """

    model: str
    preset: str
    seed: Annotated[int, Interval(ge=0, lt=2**32)] = 0
    workspace: Workspace = field(default_factory=Workspace)
    distribution: Distribution = field(default_factory=Distribution)

    @property
    def name(self) -> str:
        """The training's readable name."""
        return f"{self.model}-seed{self.seed}"
