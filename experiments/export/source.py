"""What is exported: a preset's registered champion, or a file of weights with the files beside it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from datamodules.degradation.conditions import parse_conditions
from experiments.keys import digest
from experiments.presets.preset import Preset, champion_name, load_preset
from experiments.registry import load_model
from experiments.runs import runs_option, tell_of_variable, usual_tracking
from experiments.scoring.splits import read_scores
from experiments.tracking.tracker import open_tracker
from models.base import StreamingModule
from overtone.errors import OvertoneError

CONFIGURATION = "config.yaml"


@dataclass(frozen=True)
class ModelSource:
    """A trained model and what is known of it.

    Attributes:
        module: the model in evaluation mode.
        origin: where it comes from, as text for people.
        preset: name of the preset that it was trained for; None where that is not known.
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

    Args:
        preset_name: name or file of the preset.
        runs: folder for runs, in whose MLflow it is registered.

    Raises:
        OvertoneError: there is no such preset, no champion, or its files are gone.
    """
    preset = load_preset(preset_name)
    name = champion_name(preset)
    tracking = usual_tracking()
    tell_of_variable(tracking)
    version = open_tracker(tracking, runs).champion(name)
    if version is None:
        raise OvertoneError(
            f"{runs}: no champion {name} is registered. Run `overtone compare {preset_name}{runs_option(runs)}` "
            "first, or name a file of weights with --checkpoint."
        )
    folder = version.folder
    return ModelSource(
        module=_streaming_module(folder / "model.pt"),
        origin=f"{name} version {version.version}",
        preset=preset.name,
        training=_training(folder),
        scores=_scores(folder),
        evidence=version.tags,
    )


def checkpoint_source(checkpoint: Path, preset_name: str | None) -> ModelSource:
    """Return a model from a file of weights or a training's checkpoint, with the configuration that lies beside it.

    Args:
        checkpoint: the file.
        preset_name: name or file of the preset that it was trained for; None where that is not known.

    Raises:
        OvertoneError: there is no such file or preset, it is no checkpoint, the model cannot stream, or the preset or
            the configuration is of another model.
    """
    module = _streaming_module(checkpoint)
    within = checkpoint.parent.name == "checkpoints"
    folder = checkpoint.parent.parent if within else checkpoint.parent
    finished = not within or (folder / "training.json").is_file()
    training = _training(folder)
    if training and (training["model"], training["sample_rate"]) != (module.name, module.sample_rate):
        raise OvertoneError(
            f"{folder / CONFIGURATION}: describes {training['model']} at {training['sample_rate']} Hz, but "
            f"{checkpoint.name} is {module.name} at {module.sample_rate} Hz. Move the weights to a folder of their own."
        )
    preset = None if preset_name is None else load_preset(preset_name)
    if preset is not None:
        _check_preset(preset, module, training, checkpoint)
    return ModelSource(
        module=module,
        origin=checkpoint.name if finished else f"{checkpoint.name}, an unfinished training",
        preset=None if preset is None else preset.name,
        training=training,
        scores=_scores(folder) if finished else None,
    )


def _check_preset(preset: Preset, module: StreamingModule, training: dict[str, Any], checkpoint: Path) -> None:
    """Raise where weights cannot come from a preset: the card would say what is not true."""
    wrong = f"{checkpoint} was not trained for preset {preset.name}:"
    if preset.sample_rate != module.sample_rate:
        raise OvertoneError(f"{wrong} it is at {module.sample_rate} Hz, the preset at {preset.sample_rate} Hz.")
    if module.name not in preset.models:
        raise OvertoneError(f"{wrong} it is a {module.name}, the preset has {', '.join(preset.models)}.")
    declared = json.loads(json.dumps(preset.training_configuration(module.name, 0)))["data"]
    other = [key for key, value in training.get("data", declared).items() if declared.get(key) != value]
    if other:
        raise OvertoneError(f"{wrong} its configuration has other values of data.{other[0]}.")


def _streaming_module(checkpoint: Path) -> StreamingModule:
    module = load_model(checkpoint)
    if not isinstance(module, StreamingModule):
        raise OvertoneError(
            f"{checkpoint}: {module.name} needs the whole file and cannot stream. "
            f"Export its causal form, {module.name.removesuffix('_original')}, instead."
        )
    return module


def _training(folder: Path) -> dict[str, Any]:
    path = folder / CONFIGURATION
    if not path.is_file():
        return {}
    try:
        training = yaml.safe_load(path.read_text(encoding="utf-8"))
        parse_conditions(training["data"]["train_conditions"])
        return {"model": training["model"], "sample_rate": training["sample_rate"], **training}
    except (ValueError, TypeError, LookupError, RecursionError, yaml.YAMLError, OvertoneError):
        raise OvertoneError(
            f"{path}: damaged; expected the configuration of a training. Restore it, or move it away to export "
            "without what it says."
        ) from None


def _scores(folder: Path) -> pd.DataFrame | None:
    path = folder / "scores-test.csv"
    return read_scores(path) if path.is_file() else None
