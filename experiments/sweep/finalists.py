"""Who enters a selection: each architecture with its study's best settings, and whether the studies were equal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from experiments.keys import digest
from experiments.presets.preset import Preset, load_preset
from experiments.sweep.results import TRIALS, StudySummary, best_trial
from experiments.sweep.search_space import SearchSpace
from experiments.sweep.study import IDENTITY, StudyKey, known_studies, load_study, study_key
from overtone.errors import OvertoneError
from overtone.files import written_whole

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class StudyResult:
    """What a study says.

    Attributes:
        study: in its storage.
        trial: number of its best feasible trial.
        value: the objective there.
        default_value: the objective of the preset's own settings; None where they were not tried to the end.
        trials: how many are complete or pruned.
        asked: how many were asked for.
        examples: training examples that a trial may spend; None where the study does not say.
        comparable: whether its trials were made with the data, code, budget, objective and search space of today.
    """

    study: Study = field(compare=False)
    trial: int
    value: float
    default_value: float | None
    trials: int
    asked: int
    examples: int | None
    comparable: bool

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.study.study_name)

    @property
    def finished(self) -> bool:
        """Whether as many trials have ended as were asked for."""
        return self.trials >= self.asked


@dataclass(frozen=True)
class Finalist:
    """An architecture with the settings that it enters the selection with.

    Attributes:
        model: the registry's name.
        settings: as a preset lists them.
        tuned: whether they differ from the preset's own.
        study: where they come from; None for the preset's own without a study.
    """

    model: str
    settings: Settings
    tuned: bool
    study: StudyResult | None

    @property
    def origin(self) -> str:
        """Where the settings come from, in words."""
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
    finalists = []
    for model in preset.models:
        key = study_key(preset, model, data_digest, names.get(model))
        found = key.name in known or model in names
        finalists.append(_finalist(preset, key, load_study(storage, key.name) if found else None))
    if all(finalist.study is None for finalist in finalists):
        raise OvertoneError(_no_study(preset, known))
    return finalists


def _named_studies(preset: Preset, named: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=")[::2] for text in named]
    for (model, name), text in zip(pairs, named, strict=True):
        if model not in preset.models or not name:
            raise OvertoneError(f"--study {text}: expected MODEL=STUDY with one of {', '.join(preset.models)}.")
    return dict(pairs)


def _no_study(preset: Preset, known: Sequence[str]) -> str:
    others = [name for name in known if name.startswith(f"{preset.name}-")]
    seen = f" Those of other data, code or settings do not count: {', '.join(others)}; name one with --study."
    return (
        f"Preset {preset.name}: no study of any of its models ({', '.join(preset.models)}) on this corpus. "
        f"Run overtone sweep all {preset.name} first.{seen if others else ''}"
    )


def _finalist(preset: Preset, key: StudyKey, study: Study | None) -> Finalist:
    model = key.model
    own = preset.models[model]
    if study is None:
        return Finalist(model, own, tuned=False, study=None)
    if study.user_attrs.get("model", model) != model:
        raise OvertoneError(f"--study {model}={key.name}: that study is of {study.user_attrs['model']}.")
    best = best_trial(study)
    if best is None:
        raise OvertoneError(
            f"Study {key.name} has no feasible trial among its {len(study.trials)}. Continue it with overtone "
            f"sweep {model} {preset.name} --trials N, or leave {model} out with --models."
        )
    settings = SearchSpace(preset, model).settings_with(best.params)
    return Finalist(model, settings, settings != own, _result(preset, key, study, best))


def _result(preset: Preset, key: StudyKey, study: Study, best: FrozenTrial) -> StudyResult:
    summary = StudySummary.of(study)
    return StudyResult(
        study=study,
        trial=best.number,
        value=float(best.value or 0.0),
        default_value=summary.default.value if summary.default else None,
        trials=summary.finished,
        asked=study.user_attrs.get(TRIALS, preset.sweep.trials),
        examples=study.user_attrs.get("examples"),
        comparable=study.user_attrs.get(IDENTITY) == key.identity,
    )


def resolved_preset(preset: Preset, finalists: Sequence[Finalist], runs: Path) -> tuple[Path, Preset]:
    """Write the preset with the finalists' settings as a file of its own; return its path and what it says."""
    resolved = replace(preset, models={finalist.model: dict(finalist.settings) for finalist in finalists})
    plain = asdict(resolved)
    path = runs / "selections" / f"{preset.name}-{digest(plain)}.yaml"
    if not path.is_file():
        with written_whole(path) as temporary:
            temporary.write_text(yaml.safe_dump(plain, sort_keys=False))
    return path, load_preset(str(path))


def cautions(finalists: Sequence[Finalist]) -> Iterator[str]:
    """Say what a reader of the selection should know about the studies."""
    for finalist in finalists:
        study = finalist.study
        if study is None:
            yield f"{finalist.model} has no study: it keeps the preset's own settings."
            continue
        if not study.comparable:
            yield f"Study {study.name} was made with other data, code, budget, objective or search space than today's."
        if not study.finished:
            yield f"Study {study.name} is unfinished: {study.trials} of {study.asked} trials have ended."
        if not finalist.tuned:
            yield f"Study {study.name} found nothing better than the preset's own settings."


def inequalities(finalists: Sequence[Finalist]) -> Iterator[str]:
    """Say in which respects the studies had unequal budgets."""
    studies = {finalist.model: finalist.study for finalist in finalists if finalist.study is not None}
    spent = {
        "numbers of trials": {model: study.trials for model, study in studies.items()},
        "numbers of examples per trial": {
            model: study.examples for model, study in studies.items() if study.examples is not None
        },
    }
    for what, values in spent.items():
        if len(set(values.values())) > 1:
            yield f"The studies had different {what}: {', '.join(f'{model} {n}' for model, n in values.items())}."
