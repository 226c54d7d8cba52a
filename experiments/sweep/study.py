"""An architecture's Optuna study: its name, its search space, its best trial, and the settings that a trial stands for.

A study's name holds a digest of everything that makes two trials comparable, so that trials made with other data, code
or budgets never mix, and the same command finds the same study on any machine.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.pruners import BasePruner, MedianPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from evaluation.measures.catalogue import MEASURES
from experiments.keys import commit, digest, training_code
from experiments.presets.preset import Preset, SweepSettings
from experiments.ranking.primary import PRIMARY
from experiments.scoring.splits import split_key
from experiments.sweep.search_space import search_space
from experiments.sweep.storage import open_storage, without_password
from experiments.sweep.trial_queue import FINISHED, SURPLUS
from overtone.errors import OvertoneError

DATABASE = "optuna.db"
VAL_LOSS = "val_loss"
IDENTITY = "identity"
TRIALS = "trials"  # how many were last asked for


@dataclass(frozen=True)
class StudyKey:
    """What a study is of.

    Attributes:
        name: in the storage.
        model: the registry's name.
        identity: digest of what makes its trials comparable.
        data_digest: of the corpus.
    """

    name: str
    model: str
    identity: str
    data_digest: str


def study_key(preset: Preset, model: str, data_digest: str, name: str | None = None) -> StudyKey:
    """Return what identifies the study of one of a preset's models on a corpus.

    Args:
        preset: declares the budget of a trial, the objective and its guards.
        model: one of the preset's.
        data_digest: of the corpus.
        name: another name than the usual one.

    Raises:
        OvertoneError: the preset has no such model, or nobody knows the objective.
    """
    trial = trial_preset(preset, model, preset.models.get(model, {}))
    direction(preset.sweep)
    space = {key: repr(one) for key, one in search_space(preset, model).items()}
    identity = digest(
        trial.training_configuration(model, preset.sweep.seed),
        preset.sweep.comparable,
        asdict(preset.winner),
        space,
        data_digest,
        training_code(model),
        split_key("val", preset.data.val_utterances_per_speaker, data_digest),
    )
    return StudyKey(name or f"{preset.name}-{model}-{identity}", model, identity, data_digest)


def study_name(preset: Preset, model: str, data_digest: str) -> str:
    """Return the usual name of a study, ``<preset>-<model>-<digest>``; see `study_key`."""
    return study_key(preset, model, data_digest).name


def trial_preset(preset: Preset, model: str, settings: Mapping[str, Any]) -> Preset:
    """Return the preset of one trial: the sweep's budget, and one model with its settings.

    Raises:
        OvertoneError: the preset has no such model.
    """
    preset.training_configuration(model, 0)
    sweep, budget = preset.sweep, preset.budget
    budget = replace(budget, examples=sweep.examples or budget.examples, epochs=sweep.epochs or budget.epochs)
    return replace(preset, budget=budget, models={model: dict(settings)})


def direction(sweep: SweepSettings) -> Literal["minimize", "maximize"]:
    """Return the better direction of a sweep's objective.

    Raises:
        OvertoneError: nobody knows it.
    """
    if sweep.objective in (PRIMARY, VAL_LOSS):
        return "minimize"
    if sweep.objective not in MEASURES:
        known = ", ".join((PRIMARY, VAL_LOSS, *MEASURES))
        raise OvertoneError(f"sweep.objective: unknown objective {sweep.objective!r}. Known: {known}.")
    return "maximize" if MEASURES[sweep.objective].higher_is_better else "minimize"


# Search space


# The study itself


def default_storage(runs: Path) -> str:
    """Return the URL of the database in a folder for runs."""
    return f"sqlite:///{runs / DATABASE}"


def known_studies(url: str) -> list[str]:
    """Return the names of all studies in a database.

    Raises:
        OvertoneError: it is not there or does not answer.
    """
    storage = open_storage(url, must_exist=True)
    try:
        return sorted(optuna.get_all_study_names(storage))
    finally:
        storage.engine.dispose()


def make_study(storage: BaseStorage, key: StudyKey, preset: Preset) -> optuna.Study:
    """Return a study, made if need be.

    Raises:
        OvertoneError: there is one of this name, of other trials.
    """
    sweep = preset.sweep
    study = optuna.create_study(
        storage=storage,
        study_name=key.name,
        direction=direction(sweep),
        sampler=sampler(sweep, 0),
        pruner=pruner(sweep),
        load_if_exists=True,
    )
    if IDENTITY not in study.user_attrs:
        trial = trial_preset(preset, key.model, {})
        attributes = {
            "preset": preset.name,
            "model": key.model,
            "objective": sweep.objective,
            "examples": trial.budget.examples,
            "epochs": trial.budget.epochs,
            "data_digest": key.data_digest,
            "commit": commit(),
            IDENTITY: key.identity,
        }
        for name, value in attributes.items():
            study.set_user_attr(name, value)
    check_identity(study, key)
    return study


def check_identity(study: optuna.Study, key: StudyKey) -> None:
    """Refuse a study whose trials cannot be compared with those to come.

    Raises:
        OvertoneError: data, code, budget, objective or search space are others.
    """
    if study.user_attrs.get(IDENTITY) != key.identity:
        raise OvertoneError(
            f"Study {study.study_name}: its trials were made with other data, code, budget, objective or search space, "
            "and cannot be compared with new ones. Name another with --study, or leave the name to the sweep."
        )


def load_study(url: str, name: str) -> optuna.Study:
    """Return a study that exists, to be read.

    Raises:
        OvertoneError: the database or the study is not there.
    """
    storage = open_storage(url, must_exist=True)
    try:
        return optuna.load_study(storage=storage, study_name=name)
    except KeyError:
        known = ", ".join(sorted(optuna.get_all_study_names(storage))) or "none"
        storage.engine.dispose()
        raise OvertoneError(f"No study {name!r} in {without_password(url)}. There are: {known}.") from None


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """Return the best complete trial that meets all constraints, the earliest of equals; None when there is none."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    feasible = [trial for trial in complete if is_feasible(trial)]
    sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
    return min(feasible, key=lambda trial: (sign * float(trial.value or 0.0), trial.number), default=None)


def is_counted(trial: FrozenTrial) -> bool:
    """Return whether a trial is one of those that were asked for, and has ended."""
    return trial.state in FINISHED and SURPLUS not in trial.user_attrs


def is_feasible(trial: FrozenTrial) -> bool:
    """Return whether a trial meets all constraints."""
    return all(value <= 0.0 for value in trial.constraints.values())


def sampler(sweep: SweepSettings, place: int) -> BaseSampler:
    """Return the sampler of one trial.

    It is seeded anew for each, from how many came before it, so that a sweep that was interrupted proposes what one
    that was not would have proposed.
    """
    seed = int(digest("sampler", sweep.seed, place), 16) % 2**32
    return TPESampler(n_startup_trials=sweep.random_trials, seed=seed)


def pruner(sweep: SweepSettings) -> BasePruner:
    """Return the pruner: worse than the median of the others at the same point is out."""
    return MedianPruner(n_startup_trials=sweep.pruner_startup_trials, n_warmup_steps=sweep.pruner_warmup_epochs + 1)
