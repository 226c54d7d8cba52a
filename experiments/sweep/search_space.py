"""A model's search space as the suggestions of an Optuna trial, and the settings that they stand for."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from optuna import Trial

from experiments.presets.preset import Preset
from experiments.registry import model_class
from models.search_space import Choice, FloatRange, Range


@dataclass(frozen=True)
class SearchSpace:
    """The settings of a preset's model that a sweep may change.

    Attributes:
        preset: lists the models with their own settings.
        model: one of them.
    """

    preset: Preset
    model: str

    @property
    def own_settings(self) -> dict[str, Any]:
        """All settings that the preset gives the model, defaults included."""
        listed = self.preset.models[self.model].items()
        settings = {key: tuple(one) if isinstance(one, list) else one for key, one in listed}
        return asdict(model_class(self.model).settings_class()) | settings

    @property
    def ranges(self) -> dict[str, Range]:
        """The model's declared ranges, widened where the preset's own settings lie outside."""
        own = self.own_settings
        return {key: one.including(own[key]) for key, one in model_class(self.model).search_space.items()}

    @property
    def default_parameters(self) -> dict[str, Any]:
        """The preset's own settings as the parameters of a trial."""
        own = self.own_settings
        return {key: _label(own[key]) for key in self.ranges}

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Return the parameters of a running trial, as Optuna knows them."""
        parameters: dict[str, Any] = {}
        for key, one in self.ranges.items():
            if isinstance(one, Choice):
                parameters[key] = trial.suggest_categorical(key, [_label(option) for option in one.options])
            elif isinstance(one, FloatRange):
                parameters[key] = trial.suggest_float(key, one.low, one.high, log=one.log)
            else:
                parameters[key] = trial.suggest_int(key, one.low, one.high, log=one.log, step=one.step)
        return parameters

    def settings_with(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that a trial stands for: the preset's own with those that the trial changes.

        A parameter that equals the preset's own value is left out, so that the preset's own settings are the same
        training in a sweep as anywhere else.
        """
        own = self.own_settings
        changed = {key: _setting(parameter) for key, parameter in parameters.items()}
        return dict(self.preset.models[self.model]) | {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in changed.items()
            if value != own.get(key)
        }


def _label(option: Any) -> bool | int | float | str:  # noqa: ANN401 - whatever a setting may be
    # Optuna's choices are plain; a tuple becomes its JSON text.
    return json.dumps(option) if isinstance(option, tuple) else option


def _setting(parameter: Any) -> Any:  # noqa: ANN401 - whatever a setting may be
    is_tuple = isinstance(parameter, str) and parameter.startswith("[")
    return tuple(json.loads(parameter)) if is_tuple else parameter
