"""Who enters a selection: each architecture with its study's best settings, and whether the studies were equal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments.keys import digest
from experiments.presets.preset import Preset, load_preset, write_preset
from experiments.sweep.results import TRIALS, StudyResult
from experiments.sweep.search_space import SearchSpace
from experiments.sweep.study import EXAMPLES, IDENTITY, known_studies, load_study, study_key
from overtone.errors import OvertoneError


@dataclass(frozen=True)
class Finalist:
    """An architecture with the settings that it enters the selection with.

    Attributes:
        model: the registry's name.
        settings: as a preset lists them.
        tuned: whether they differ from the preset's own.
        study: where they come from; None for the preset's own without a study.
        comparable: whether the study's trials were made with the data, code, budget, objective and search space of
            today.
        asked: how many trials were asked for.
    """

    model: str
    settings: Mapping[str, Any]
    tuned: bool = False
    study: StudyResult | None = None
    comparable: bool = True
    asked: int = 0

    @property
    def origin(self) -> str:
        """Where the settings come from, for people."""
        if self.study is None:
            return "the preset's own settings, no study"
        return f"trial {self.study.trial} of {self.study.name}" + ("" if self.tuned else ", the preset's own settings")


def find_finalists(preset: Preset, data_digest: str, storage: str, named: Sequence[str] = ()) -> list[Finalist]:
    """Return each of the preset's models with the settings of its study's best feasible trial.

    Args:
        preset: lists the models and their own settings, which stay where a model has no study.
        data_digest: of the corpus: studies on other data have other names.
        storage: an Optuna storage's URL.
        named: ``MODEL=STUDY`` for studies that have another name than the preset, the data and the code give them.

    Raises:
        OvertoneError: the storage cannot be read, no model has a study, a named one is not there, or one has no
            feasible trial.
    """
    names = _named_studies(preset, named)
    known = known_studies(storage)
    finalists = [_finalist(preset, model, data_digest, storage, names.get(model), known) for model in preset.models]
    if all(finalist.study is None for finalist in finalists):
        others = [name for name in known if name.startswith(f"{preset.name}-")]
        seen = f" Those of other data, code or settings do not count: {', '.join(others)}; name one with --study."
        raise OvertoneError(
            f"Preset {preset.name}: no study of any of its models ({', '.join(preset.models)}) on this corpus. "
            f"Run overtone sweep all {preset.name} first.{seen if others else ''}"
        )
    return finalists


def _named_studies(preset: Preset, named: Sequence[str]) -> dict[str, str]:
    names = {}
    for text in named:
        model, _, name = text.partition("=")
        if model not in preset.models or not name:
            raise OvertoneError(f"--study {text}: expected MODEL=STUDY with one of {', '.join(preset.models)}.")
        names[model] = name
    return names


def _finalist(
    preset: Preset, model: str, data_digest: str, storage: str, name: str | None, known: Sequence[str]
) -> Finalist:
    own, key = preset.models[model], study_key(preset, model, data_digest, name)
    if name is None and key.name not in known:
        return Finalist(model, own)
    result = StudyResult.of(load_study(storage, key.name))
    attributes = result.study.user_attrs
    if attributes.get("model", model) != model:
        raise OvertoneError(f"--study {model}={key.name}: that study is of {attributes['model']}.")
    if result.best is None:
        raise OvertoneError(
            f"Study {key.name} has no feasible trial among its {sum(result.states.values())}. Continue it with "
            f"overtone sweep {model} {preset.name} --trials N, or leave {model} out with --models."
        )
    settings = SearchSpace(preset, model).settings_with(result.best.params)
    comparable = attributes.get(IDENTITY) == key.identity
    asked = attributes.get(TRIALS, preset.sweep.trials)
    return Finalist(model, settings, settings != own, result, comparable, asked)


def resolved_preset(preset: Preset, finalists: Sequence[Finalist], runs: Path) -> tuple[Path, Preset]:
    """Write the preset with the finalists' settings as a file of its own; return its path and what it says.

    Args:
        preset: the declared one.
        finalists: with their settings.
        runs: the folder for runs.
    """
    resolved = replace(preset, models={finalist.model: dict(finalist.settings) for finalist in finalists})
    path = runs / "selections" / f"{preset.name}-{digest(asdict(resolved))}.yaml"
    if not path.is_file():
        write_preset(resolved, path)
    return path, load_preset(str(path))


def cautions(finalists: Sequence[Finalist]) -> Iterator[str]:
    """Say what a reader of the selection should know about the studies."""
    for finalist in finalists:
        study = finalist.study
        if study is None:
            yield f"{finalist.model} has no study: it keeps the preset's own settings."
            continue
        if not finalist.comparable:
            yield f"Study {study.name} was made with other data, code, budget, objective or search space than today's."
        if study.trials < finalist.asked:
            yield f"Study {study.name} is unfinished: {study.trials} of {finalist.asked} trials have ended."
        if not finalist.tuned:
            yield f"Study {study.name} found nothing better than the preset's own settings."


def inequalities(finalists: Sequence[Finalist]) -> Iterator[str]:
    """Say in which respects the studies had unequal budgets."""
    studies = {finalist.model: finalist.study for finalist in finalists if finalist.study is not None}
    examples = {model: study.study.user_attrs.get(EXAMPLES) for model, study in studies.items()}
    spent = {
        "numbers of trials": {model: study.trials for model, study in studies.items()},
        "numbers of examples per trial": {model: number for model, number in examples.items() if number is not None},
    }
    for what, values in spent.items():
        if len(set(values.values())) > 1:
            yield f"The studies had different {what}: {', '.join(f'{model} {n}' for model, n in values.items())}."
