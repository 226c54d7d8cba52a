"""An architecture's Optuna study: its name, what makes its trials comparable, and how it is opened.

A study's name holds a digest of everything that makes two trials comparable, so that trials made with other data, code
or budgets never mix, and the same command finds the same study on any machine.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage
from optuna.study import Study

from evaluation.measures.catalogue import MEASURES
from experiments.keys import commit, digest, training_code
from experiments.presets.preset import Preset, SweepSettings
from experiments.ranking.primary import PRIMARY
from experiments.scoring.splits import split_key
from experiments.sweep.search_space import SearchSpace
from experiments.sweep.storage import open_storage, without_password
from overtone.errors import OvertoneError

VAL_LOSS = "val_loss"
IDENTITY, EXAMPLES = "identity", "examples"  # attributes of a study


@dataclass(frozen=True)
class StudyKey:
    """The identity of a study.

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
    """Return the identity of the study of one of a preset's models on a corpus.

    Args:
        preset: declares the budget of a trial, the objective and its guards.
        model: one of the preset's.
        data_digest: of the corpus.
        name: another name than the usual one, ``<preset>-<model>-<digest>``.

    Raises:
        OvertoneError: the preset has no such model, or its objective is unknown.
    """
    trial = trial_preset(preset, model, preset.models.get(model, {}))
    direction(preset.sweep)
    space = {key: repr(one) for key, one in SearchSpace(preset, model).ranges.items()}
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


def trial_preset(preset: Preset, model: str, settings: Mapping[str, Any]) -> Preset:
    """Return the preset of one trial: the sweep's budget, and one model with its settings.

    Args:
        preset: the declared one.
        model: one of its models.
        settings: of the model.

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
        OvertoneError: the objective is unknown.
    """
    if sweep.objective in (PRIMARY, VAL_LOSS):
        return "minimize"
    one_sided = [key for key, measure in MEASURES.items() if not measure.signed]
    if sweep.objective not in one_sided:
        known = ", ".join((PRIMARY, VAL_LOSS, *one_sided))
        raise OvertoneError(f"sweep.objective: unknown objective {sweep.objective!r}. Known: {known}.")
    return "maximize" if MEASURES[sweep.objective].higher_is_better else "minimize"


def make_study(storage: BaseStorage, key: StudyKey, preset: Preset) -> tuple[Study, bool]:
    """Return a study, made if need be, and whether it is new: exactly one of several machines makes it.

    Args:
        storage: the database.
        key: the study's identity.
        preset: declares the sweep.

    Raises:
        OvertoneError: the storage has a study of this name, of other trials.
    """
    try:
        study = optuna.create_study(storage=storage, study_name=key.name, direction=direction(preset.sweep))
    except DuplicatedStudyError:
        return open_study(storage, key, preset.sweep), False
    budget = trial_preset(preset, key.model, {}).budget
    attributes: dict[str, Any] = {IDENTITY: key.identity, "data_digest": key.data_digest, "commit": commit()}
    attributes |= {"preset": preset.name, "model": key.model, "objective": preset.sweep.objective}
    attributes |= {EXAMPLES: budget.examples, "epochs": budget.epochs}
    for name, value in attributes.items():
        study.set_user_attr(name, value)
    return study, True


def open_study(storage: BaseStorage, key: StudyKey, sweep: SweepSettings, sampler_seed: int | None = None) -> Study:
    """Return a study that exists, to add trials to it.

    Args:
        storage: the database.
        key: the study's identity.
        sweep: declares sampler and pruner.
        sampler_seed: of the sampler; None for one that no other worker has.

    Raises:
        OvertoneError: data, code, budget, objective or search space of its trials are others.
    """
    study = optuna.load_study(
        study_name=key.name,
        storage=storage,
        sampler=TPESampler(n_startup_trials=sweep.random_trials, seed=sampler_seed),
        pruner=MedianPruner(sweep.pruner_startup_trials, n_warmup_steps=sweep.pruner_warmup_epochs + 1),
    )
    if study.user_attrs.get(IDENTITY, key.identity) != key.identity:
        raise OvertoneError(
            f"Study {key.name}: its trials were made with other data, code, budget, objective or search space, and "
            "cannot be compared with new ones. Name another with --study, or leave the name to the sweep."
        )
    return study


def known_studies(url: str) -> list[str]:
    """Return the names of all studies in a database.

    Raises:
        OvertoneError: it is not there or does not answer.
    """
    return sorted(optuna.get_all_study_names(open_storage(url, must_exist=True)))


def load_study(url: str, name: str) -> Study:
    """Return a study that exists, to be read.

    Args:
        url: of the database.
        name: the study's.

    Raises:
        OvertoneError: the database or the study is not there.
    """
    storage = open_storage(url, must_exist=True)
    try:
        return optuna.load_study(storage=storage, study_name=name)
    except KeyError:
        known = ", ".join(sorted(optuna.get_all_study_names(storage))) or "none"
        raise OvertoneError(f"No study {name!r} in {without_password(url)}. There are: {known}.") from None
