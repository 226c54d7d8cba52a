"""The identity of a training, and where its files are kept."""

from dataclasses import dataclass
from pathlib import Path

from experiments.keys import digest, training_code
from experiments.presets.preset import Preset
from experiments.registry import model_class


@dataclass(frozen=True)
class TrainingPlace:
    """A training's identity and its folder.

    Attributes:
        model: the registry's name.
        seed: of weights and order of examples.
        key: digest of configuration, data and code; equal keys are the same training.
        folder: where its files lie.
    """

    model: str
    seed: int
    key: str
    folder: Path

    @property
    def name(self) -> str:
        """The run's readable name."""
        return f"{self.model}-seed{self.seed}"

    @property
    def weights(self) -> Path:
        """The trained weights; there when the training is finished."""
        return self.folder / "model.pt"

    @property
    def checkpoint(self) -> Path:
        """What an interrupted training continues from."""
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def record(self) -> Path:
        """What the training cost; written last."""
        return self.folder / "training.json"

    @property
    def finished(self) -> bool:
        """Whether nothing is left to train."""
        return self.record.is_file()


def training_place(runs: Path, preset: Preset, model: str, seed: int, data_digest: str) -> TrainingPlace:
    """Return the place of one training of a preset on a corpus.

    Args:
        runs: the folder for runs.
        preset: declares the training.
        model: the registry's name.
        seed: of weights and order of examples.
        data_digest: of the corpus.
    """
    model_class(model)
    key = digest(preset.training_configuration(model, seed), data_digest, training_code(model))
    return kept_place(runs, model, seed, key)


def kept_place(runs: Path, model: str, seed: int, key: str) -> TrainingPlace:
    """Return the place of a training whose key is known, perhaps of other code than today's.

    Args:
        runs: the folder for runs.
        model: the registry's name.
        seed: of weights and order of examples.
        key: as a training's record has it.
    """
    return TrainingPlace(model, seed, key, runs / "trainings" / f"{model}-seed{seed}-{key}")
