"""What is exported: a preset's registered champion, or a file of weights with what lies beside it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from datamodules.degradation.conditions import parse_conditions
from experiments.keys import digest
from experiments.presets.preset import champion_name, load_preset
from experiments.registry import load_model
from experiments.scoring.splits import read_scores
from experiments.tracking.mlflow_tracker import open_tracker
from models.base import StreamingModule, read_weights
from overtone.errors import OvertoneError


@dataclass(frozen=True)
class ModelSource:
    """A trained model and what is known of it.

    Attributes:
        module: the model in evaluation mode.
        origin: where it comes from, in words.
        preset: name of the preset that it was trained for; None where nobody said.
        training: the resolved configuration of its training; empty where it is not known.
        scores: its score table on test speakers; None where it was not scored.
        evidence: tags of the registered version; empty for a file of weights.
    """

    module: StreamingModule
    origin: str
    preset: str | None
    training: dict[str, Any] = field(default_factory=dict)
    scores: pd.DataFrame | None = None
    evidence: dict[str, str] = field(default_factory=dict)

    @property
    def widest_input_hz(self) -> float | None:
        """The widest band that its training took away something above, None where that is not known."""
        if not self.training:
            return None
        conditions = parse_conditions(self.training["data"]["train_conditions"])
        return max(condition.widest_hz(self.module.sample_rate) for condition in conditions if condition.share)

    @property
    def training_digest(self) -> str | None:
        """A digest of the training's configuration, None where that is not known."""
        return digest(self.training) if self.training else None


def champion_source(preset_name: str, runs: Path) -> ModelSource:
    """Return a preset's registered champion.

    Raises:
        OvertoneError: there is no such preset, no champion, or its files are gone.
    """
    preset = load_preset(preset_name)
    name = champion_name(preset)
    version = open_tracker("mlflow", runs).champion(name)
    if version is None:
        raise OvertoneError(
            f"{runs}: no champion {name} is registered. Run `overtone compare {preset_name}` first, "
            "or name a file of weights with --checkpoint."
        )
    folder = version.folder
    return ModelSource(
        module=streaming_module(folder / "model.pt"),
        origin=f"{name} version {version.version}",
        preset=preset.name,
        training=_training(folder),
        scores=_scores(folder),
        evidence=version.tags,
    )


def checkpoint_source(checkpoint: Path, preset_name: str | None) -> ModelSource:
    """Return a model from a file of weights or a training's checkpoint, with the configuration that lies beside it.

    Raises:
        OvertoneError: there is no such file or preset, it is no checkpoint, or the model cannot stream.
    """
    module = streaming_module(checkpoint)
    folder = checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint.parent
    return ModelSource(
        module=module,
        origin=checkpoint.name if folder == checkpoint.parent else f"{checkpoint.name}, an unfinished training",
        preset=None if preset_name is None else load_preset(preset_name).name,
        training=_training(folder),
        scores=_scores(folder),
    )


def streaming_module(checkpoint: Path) -> StreamingModule:
    """Load a model that streams.

    Raises:
        OvertoneError: no usable checkpoint, or of a model that needs the whole file.
    """
    module = load_model(read_weights(checkpoint))
    if not isinstance(module, StreamingModule):
        raise OvertoneError(
            f"{checkpoint}: {module.name} needs the whole file and cannot stream. "
            f"Export its plain form, {module.name.removesuffix('_seed')}, instead."
        )
    return module


def _training(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    return dict(yaml.safe_load(path.read_text())) if path.is_file() else {}


def _scores(folder: Path) -> pd.DataFrame | None:
    path = folder / "scores-test.csv"
    return read_scores(path) if path.is_file() else None
