"""Presets: everything that decides a comparison, in one YAML file, resolved to plain values."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from experiments.presets.winner_rule import WinnerRule
from overtone.errors import OvertoneError

PRESETS = Path(__file__).parent


@dataclass(frozen=True)
class DataSettings:
    """How pairs are made; see :class:`datamodules.speech_pairs.SpeechPairsDataModule` for each value."""

    train_conditions: dict[str, Any]
    test_conditions: dict[str, Any]
    crop_seconds: float = 1.0
    batch_size: int = 16
    joined_seconds: float = 3.0
    gap_seconds: float = 0.3
    val_utterances_per_speaker: int = 4
    test_utterances_per_speaker: int = 4
    full_band_hz: float | None = None
    full_band_share: float = 0.0
    speaker_balance: float = 0.0
    loudness_lufs: float | None = None
    speed: tuple[float, float] = (1.0, 1.0)
    tilt_db_per_octave: tuple[float, float] = (0.0, 0.0)
    num_workers: int = 0


@dataclass(frozen=True)
class Budget:
    """What every architecture may spend.

    Attributes:
        examples: training examples seen.
        epochs: equal parts of the budget; checkpoint, validation and spectrogram row after each.
        safety_seconds: a training that takes longer stops and is marked ``over_budget``.
        threads: processor threads of a training, None for all.
    """

    examples: int
    epochs: int
    safety_seconds: float = 86400.0
    threads: int | None = None

    @property
    def examples_per_epoch(self) -> int:
        """Examples in each epoch."""
        return self.examples // self.epochs


@dataclass(frozen=True)
class SweepSettings:
    """How each architecture's settings are searched, under equal budgets.

    Attributes:
        trials: of a study; ``--trials`` replaces it.
        examples: training examples of a trial, None for the preset's budget.
        epochs: equal parts of a trial, after each of which it may be pruned; None for the preset's.
        objective: ``primary``, the winner rule's primary score on val; ``val_loss``; or the key of a measure on val.
        guards: whether the winner rule's guards are constraints: a trial that fails one cannot win.
        visqol: whether ViSQOL is among them; it takes longer than all others together.
        seed: of the sampler, and of weights and order of examples in every trial.
        random_trials: how many trials are drawn at random before the others are modelled on them.
        pruner_startup_trials: how many trials have to be complete before one may be pruned.
        pruner_warmup_epochs: epochs of a trial during which it is not pruned.
        max_retries: how often a trial whose process died is tried again before it is given up.
        heartbeat_seconds: how often a running trial says that it lives.
        grace_seconds: silence after which it counts as dead.
    """

    trials: int = 20
    examples: int | None = None
    epochs: int | None = None
    objective: str = "primary"
    guards: bool = True
    visqol: bool = False
    seed: int = 0
    random_trials: int = 8
    pruner_startup_trials: int = 5
    pruner_warmup_epochs: int = 1
    max_retries: int = 3
    heartbeat_seconds: int = 20
    grace_seconds: int = 90

    @property
    def comparable(self) -> dict[str, Any]:
        """What two trials must have in common for their values to be compared, and their study to be repeated."""
        operation = ("trials", "max_retries", "heartbeat_seconds", "grace_seconds")
        return {key: value for key, value in asdict(self).items() if key not in operation}


@dataclass(frozen=True)
class Preset:
    """One declared comparison.

    Attributes:
        corpus: a synthetic corpus's name; None where real speech has to be named.
        seeds: trainings of each model.
        once: models that are trained once, whatever ``seeds`` says.
    """

    name: str
    sample_rate: int
    data: DataSettings
    budget: Budget
    models: dict[str, dict[str, Any]]
    corpus: str | None = None
    seeds: int = 1
    once: list[str] = field(default_factory=list)
    winner: WinnerRule = field(default_factory=WinnerRule)
    sweep: SweepSettings = field(default_factory=SweepSettings)

    def trainings(self) -> list[tuple[str, int]]:
        """Return model and seed of every training, all models' first ones first."""
        return [
            (model, seed) for seed in range(self.seeds) for model in self.models if seed == 0 or model not in self.once
        ]

    def training_configuration(self, model: str, seed: int) -> dict[str, Any]:
        """Return the plain values that decide one training.

        Raises:
            OvertoneError: the preset does not list the model.
        """
        if model not in self.models:
            raise OvertoneError(f"Preset {self.name} has no model {model!r}. It has: {', '.join(self.models)}.")
        data = asdict(self.data)
        del data["num_workers"]  # the pairs are the same for any number
        budget = asdict(self.budget)
        return {
            "model": model,
            "seed": seed,
            "sample_rate": self.sample_rate,
            "data": data,
            "budget": budget,
            "settings": self.models[model],
        }


def load_preset(name: str) -> Preset:
    """Return a preset by its name or by the path of a YAML file.

    Raises:
        OvertoneError: there is none, or it has a missing, unknown or ill-typed value.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else PRESETS / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(preset.stem for preset in PRESETS.glob("*.yaml")))
        raise OvertoneError(f"Unknown preset {name!r}. Known: {known}; or give the path of a .yaml file.")
    try:
        return _parsed(yaml.safe_load(path.read_text()))
    except (ValueError, yaml.YAMLError, TypeError, KeyError, OvertoneError) as error:
        raise OvertoneError(f"{path}: {' '.join(str(error).split())}") from None


def _parsed(plain: object) -> Preset:
    from jsonargparse import ArgumentError, ArgumentParser

    if not isinstance(plain, dict):
        raise OvertoneError(f"expected a mapping with {', '.join(Preset.__dataclass_fields__)}, got {plain!r}.")
    unknown = [str(key) for key in plain if key not in Preset.__dataclass_fields__]
    if unknown:  # the parser would leave them out without a word
        raise OvertoneError(f"unknown key {', '.join(unknown)}. Known: {', '.join(Preset.__dataclass_fields__)}.")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Preset, None)
    try:
        values = parser.instantiate_classes(parser.parse_object(plain)).as_dict()
    except ArgumentError as error:
        raise OvertoneError(str(error)) from None
    preset = Preset(**{key: value for key, value in values.items() if key in Preset.__dataclass_fields__})
    _check_numbers(preset)
    return preset


def _check_numbers(preset: Preset) -> None:
    budget = preset.budget
    least = {
        "sample_rate": preset.sample_rate,
        "seeds": preset.seeds,
        "budget.epochs": budget.epochs,
        "data.batch_size": preset.data.batch_size,
    }
    for name, value in least.items():
        if value < 1:
            raise OvertoneError(f"{name}: expected at least 1, got {value}.")
    if budget.examples < budget.epochs:
        raise OvertoneError(
            f"budget.examples: expected at least one per epoch ({budget.epochs}), got {budget.examples}."
        )
    _check_sweep(preset.sweep, budget)
    if not preset.models:
        raise OvertoneError("models: expected at least one.")
    if unknown := set(preset.once) - set(preset.models):
        raise OvertoneError(f"once: no model of this preset is named {', '.join(sorted(unknown))}.")


def _check_sweep(sweep: SweepSettings, budget: Budget) -> None:
    for name in ("trials", "examples", "epochs", "random_trials", "pruner_startup_trials", "heartbeat_seconds"):
        value = getattr(sweep, name)
        if value is not None and value < 1:
            raise OvertoneError(f"sweep.{name}: expected at least 1, got {value}.")
    for name in ("max_retries", "pruner_warmup_epochs"):
        if getattr(sweep, name) < 0:
            raise OvertoneError(f"sweep.{name}: expected at least 0, got {getattr(sweep, name)}.")
    examples, epochs = sweep.examples or budget.examples, sweep.epochs or budget.epochs
    if examples < epochs:
        raise OvertoneError(f"sweep.examples: expected at least one per epoch ({epochs}), got {examples}.")
    if sweep.grace_seconds <= sweep.heartbeat_seconds:
        raise OvertoneError(
            f"sweep.grace_seconds: expected more than heartbeat_seconds ({sweep.heartbeat_seconds}), or the living "
            f"count as dead; got {sweep.grace_seconds}."
        )


def champion_name(preset: Preset) -> str:
    """Return the name under which a preset's champions are registered."""
    return f"overtone-{preset.name}"
