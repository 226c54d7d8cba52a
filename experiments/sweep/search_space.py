"""A model's search space as the suggestions of an Optuna trial, and the settings that they stand for."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from optuna import Trial

from experiments.presets.preset import Preset
from experiments.registry import model_class
from models.search_space import Choice, FloatRange, Range


def own_settings(preset: Preset, model: str) -> dict[str, Any]:
    """Return all settings that a preset gives a model, defaults included.

    Args:
        preset: lists the models.
        model: one of them.
    """
    settings = {key: tuple(one) if isinstance(one, list) else one for key, one in preset.models[model].items()}
    return asdict(model_class(model).settings_class()) | settings


def search_space(preset: Preset, model: str) -> dict[str, Range]:
    """Return the model's declared search space, widened where the preset's own settings lie outside.

    Args:
        preset: lists the models.
        model: one of them.
    """
    own = own_settings(preset, model)
    return {key: one.including(own[key]) for key, one in model_class(model).search_space.items()}


def suggest(trial: Trial, preset: Preset, model: str) -> dict[str, Any]:
    """Return the parameters of a running trial, as Optuna knows them.

    Args:
        trial: a running one.
        preset: lists the models.
        model: one of them.
    """
    parameters: dict[str, Any] = {}
    for key, one in search_space(preset, model).items():
        if isinstance(one, Choice):
            parameters[key] = trial.suggest_categorical(key, [_label(option) for option in one.options])
        elif isinstance(one, FloatRange):
            parameters[key] = trial.suggest_float(key, one.low, one.high, log=one.log)
        else:
            parameters[key] = trial.suggest_int(key, one.low, one.high, log=one.log, step=one.step)
    return parameters


def default_parameters(preset: Preset, model: str) -> dict[str, Any]:
    """Return the preset's own settings as the parameters of a trial.

    Args:
        preset: lists the models.
        model: one of them.
    """
    own = own_settings(preset, model)
    return {key: _label(own[key]) for key in search_space(preset, model)}


def settings_with(parameters: Mapping[str, Any], preset: Preset, model: str) -> dict[str, Any]:
    """Return the settings that a trial stands for: the preset's own with those that the trial changes.

    A parameter that equals the preset's own value is left out, so that the preset's own settings are the same training
    in a sweep as anywhere else.

    Args:
        parameters: of the trial.
        preset: lists the models.
        model: one of them.
    """
    own, space = own_settings(preset, model), model_class(model).search_space
    changed = {key: _value(space.get(key), parameter) for key, parameter in parameters.items()}
    return dict(preset.models[model]) | {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in changed.items()
        if value != own.get(key)
    }


def _label(option: Any) -> bool | int | float | str:  # noqa: ANN401 - whatever a setting may be
    # Optuna's choices are plain; a tuple becomes its JSON text.
    return json.dumps(option) if isinstance(option, tuple) else option


def _value(one: Range | None, parameter: Any) -> Any:  # noqa: ANN401 - whatever a setting may be
    is_tuple = isinstance(one, Choice) and isinstance(parameter, str) and parameter.startswith("[")
    return tuple(json.loads(parameter)) if is_tuple else parameter
