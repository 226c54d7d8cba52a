"""What a training process is asked to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from experiments.training.distribution import (
    Distribution,
)

TrackingKind = str  # mlflow, none, or the address of an MLflow server


@dataclass(frozen=True)
class TrainRequest:
    """What a training needs to be told; plain values, so that it can go to another process.

    Attributes:
        model: the registry's name.
        preset: name or path of the preset.
        seed: of weights and order of examples.
        data: folder or manifest of the corpus, None for the preset's own.
        runs: the folder for runs.
        tracking: where curves go.
        extra: further splits of the manifest that join train.
        distribution: over how many processes it is spread.
    """

    model: str
    preset: str
    seed: int
    data: str | None
    runs: str
    tracking: TrackingKind
    extra: Sequence[str] = ()
    distribution: Distribution = field(default_factory=Distribution)

    @property
    def name(self) -> str:
        """The training's readable name."""
        return f"{self.model}-seed{self.seed}"

    @staticmethod
    def from_plain(values: Mapping[str, Any]) -> "TrainRequest":
        """Return the request that `dataclasses.asdict` made plain values of."""
        return TrainRequest(**{**values, "distribution": Distribution(**values["distribution"])})
