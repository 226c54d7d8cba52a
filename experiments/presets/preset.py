"""Presets: everything that decides a comparison, in one YAML file, resolved to plain values."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field

from datamodules.pair_settings import PairSettings
from experiments.presets.external import NAME, External
from experiments.presets.winner_rule import WinnerRule
from experiments.records import checked
from experiments.registry import MODELS, check_registered
from models.baselines import CONTROLS
from overtone.errors import OvertoneError
from overtone.files import written_whole

PRESETS = Path(__file__).parent
RESOLVED = "preset.yaml"  # in the folder of whatever a preset decided
MOST_ALIASES, MOST_LEVELS = 20, 20

Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
CountOrZero = Annotated[int, Field(strict=True, ge=0, le=1_000_000)]
Examples = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]
Seconds = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]


@dataclass(frozen=True)
class Budget:
    """What every architecture may spend.

    Attributes:
        examples: training examples seen.
        epochs: equal parts of the budget; checkpoint, validation and spectrogram row after each.
        safety_seconds: a training that takes longer stops and is marked ``over_budget``.
        threads: processor threads of a training, None for all.

    Raises:
        OvertoneError: there are fewer examples than epochs.
    """

    examples: Examples
    epochs: Count
    safety_seconds: Annotated[float, Field(gt=0, le=1e9)] = 86400.0
    threads: Annotated[int, Field(strict=True, ge=1, le=1024)] | None = None

    def __post_init__(self) -> None:
        if self.examples < self.epochs:
            raise OvertoneError(
                f"budget.examples: expected at least one per epoch ({self.epochs}), got {self.examples}."
            )

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

    Raises:
        OvertoneError: the silence is not longer than the time between two signs of life.
    """

    trials: Count = 20
    examples: Examples | None = None
    epochs: Count | None = None
    objective: str = "primary"
    guards: bool = True
    visqol: bool = False
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**32)] = 0
    random_trials: Count = 8
    pruner_startup_trials: Count = 5
    pruner_warmup_epochs: CountOrZero = 1
    max_retries: CountOrZero = 3
    heartbeat_seconds: Seconds = 20
    grace_seconds: Seconds = 90

    def __post_init__(self) -> None:
        if self.grace_seconds <= self.heartbeat_seconds:
            raise OvertoneError(
                f"sweep.grace_seconds: expected more than heartbeat_seconds ({self.heartbeat_seconds}), or trials that "
                f"run count as dead; got {self.grace_seconds}."
            )

    @property
    def comparable(self) -> dict[str, Any]:
        """What two trials must have in common for their values to be compared, and their study to be repeated."""
        operation = ("trials", "max_retries", "heartbeat_seconds", "grace_seconds")
        return {key: value for key, value in asdict(self).items() if key not in operation}


@dataclass(frozen=True)
class Preset:
    """One declared comparison.

    Attributes:
        name: of runs, folders and champions: letters, digits, dots, dashes and underscores.
        sample_rate: of targets and of the models, in Hz.
        data: how pairs are made.
        budget: what each training may spend.
        models: the settings of each model that differ from its own.
        corpus: ``demo`` for the synthetic corpus, or a folder; None where real speech has to be named.
        seeds: trainings of each model.
        once: models that are trained once, whatever ``seeds`` says.
        winner: the limits by which the champion is chosen.
        sweep: how settings are searched.
        external: systems from outside that are scored beside the models, by name; none of them can be champion.

    Raises:
        OvertoneError: a model that is not registered, a name that is taken, or values that exclude each other.
    """

    name: Annotated[str, Field(pattern=NAME)]
    sample_rate: Annotated[int, Field(strict=True, ge=1000, le=768_000)]
    data: PairSettings
    budget: Budget
    models: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    corpus: str | None = None
    seeds: Annotated[int, Field(strict=True, ge=1, le=1000)] = 1
    once: list[str] = field(default_factory=list)
    winner: WinnerRule = field(default_factory=WinnerRule)
    sweep: SweepSettings = field(default_factory=SweepSettings)
    external: dict[Annotated[str, Field(pattern=NAME)], External] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for model in self.models:
            check_registered(model)
        for name in self.external:
            if name in MODELS or name in CONTROLS:
                what = "an architecture" if name in MODELS else "a control"
                raise OvertoneError(f"external: {name} is the name of {what}. Choose another.")
        if unknown := set(self.once) - set(self.models):
            raise OvertoneError(f"once: no model of this preset is named {', '.join(sorted(unknown))}.")
        examples = self.sweep.examples or self.budget.examples
        epochs = self.sweep.epochs or self.budget.epochs
        if examples < epochs:
            raise OvertoneError(f"sweep.examples: expected at least one per epoch ({epochs}), got {examples}.")

    def trainings(self) -> list[tuple[str, int]]:
        """Return model and seed of every training, all models' first ones first."""
        return [
            (model, seed) for seed in range(self.seeds) for model in self.models if seed == 0 or model not in self.once
        ]

    def training_configuration(self, model: str, seed: int) -> dict[str, Any]:
        """Return the plain values that decide one training.

        Args:
            model: one of the preset's.
            seed: of weights and order of examples.

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
        renamed = " The original project's recipe is called original now." if name == "seed" else ""
        raise OvertoneError(f"Unknown preset {name!r}. Known: {known}; or give the path of a .yaml file.{renamed}")
    try:
        return checked(Preset, _plain(path.read_text(encoding="utf-8")))
    except OvertoneError as error:
        raise OvertoneError(f"{path}: {error}") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise OvertoneError(f"{path}: not a YAML file ({' '.join(str(error).split())}).") from None


def _plain(text: str) -> object:
    """Return what YAML text holds, unless aliases of aliases or levels are so many that reading would not end."""
    aliases = levels = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        aliases += isinstance(event, yaml.AliasEvent)
        levels += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if aliases > MOST_ALIASES or levels > MOST_LEVELS:
            raise OvertoneError(f"expected at most {MOST_ALIASES} aliases and {MOST_LEVELS} levels, got more.")
    return yaml.safe_load(text)


def write_preset(preset: Preset, path: Path) -> None:
    """Write a preset, resolved to plain values, as a file that `load_preset` reads.

    Args:
        preset: with all its values.
        path: the YAML file; written whole or not at all.
    """
    with written_whole(path) as temporary:
        temporary.write_text(yaml.safe_dump(asdict(preset), sort_keys=False))


def champion_name(preset: Preset) -> str:
    """Return the name under which a preset's champions are registered."""
    return f"overtone-{preset.name}"
