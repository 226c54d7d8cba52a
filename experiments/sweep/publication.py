"""What a sweep leaves in MLflow: an experiment for sweeps, a parent run per study, a child per trial."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pandas as pd
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from experiments.keys import commit
from experiments.presets.preset import Preset
from experiments.sweep.figures import study_figures
from experiments.sweep.study import best_trial, is_feasible
from experiments.sweep.trial_queue import DEFAULT, REASON, RETRY_OF, SURPLUS
from experiments.tracking.tracker import Run, Tracker

if TYPE_CHECKING:
    from optuna import Study

COLUMNS = (
    "tags.model",
    "tags.trial.state",
    "metrics.value",
    "metrics.gain",
    "tags.guards",
    "metrics.cost/train_seconds",
    "tags.reason",
)
SHOWN_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
COSTS = ("seconds", "cpu_seconds", "peak_mb", "examples")
FIGURE_SECONDS = 60.0  # drawing takes some seconds, and a trial of a small preset no more


@dataclass
class _Published:
    """What this process has already published of a study; it only saves work.

    Attributes:
        failures: trials that failed, whose runs are closed.
        figures_at: when the figures were drawn.
        described: whether the experiment was described.
    """

    failures: set[int] = field(default_factory=set)
    figures_at: float = -FIGURE_SECONDS
    described: bool = False


_published: WeakKeyDictionary[Tracker, dict[str, _Published]] = WeakKeyDictionary()


def sweep_experiment(preset: Preset) -> str:
    """Return the name of the MLflow experiment in which a preset's studies stand."""
    return f"sweep-{preset.name}"


def study_run(tracker: Tracker, preset: Preset, study_name: str, model: str) -> Run:
    """Open the run of a study, under which its trials stand; on any machine the same."""
    tags = {"model": model, "preset": preset.name, "study": study_name, "objective": preset.sweep.objective}
    return tracker.run(sweep_experiment(preset), study_name, tags, study_name)


def trial_run(tracker: Tracker, preset: Preset, study_name: str, model: str, number: int, parent: Run) -> Run:
    """Open the run of a trial.

    Args:
        tracker: where it is kept.
        preset: the declared sweep.
        study_name: the study's.
        model: the registry's name.
        number: the trial's.
        parent: what `study_run` returned.
    """
    tags = {
        "model": model,
        "preset": preset.name,
        "study": study_name,
        "trial.number": str(number),
        "trial.state": SHOWN_STATES[TrialState.RUNNING],
        "commit": commit(),
    }
    key = f"{study_name}/{number}"
    return tracker.run(sweep_experiment(preset), f"trial-{number:03d}", tags, key, parent)


def close_trial_run(run: Run, trial: FrozenTrial) -> None:
    """Say in a trial's run how it ended.

    The run is FINISHED whatever the trial's state: a pruned trial is a result, not an error, and MLflow shows all
    others in red. The state is a tag.
    """
    attributes = trial.user_attrs
    tags = {"trial.state": state_of(trial), "trial.number": str(trial.number), "feasible": _feasible(trial)}
    tags |= {name: str(attributes.get(name, "")) for name in (REASON, RETRY_OF, "place")}
    tags["guards"] = "; ".join(map(str, attributes.get("guards") or ()))
    run.set_tags({name: text for name, text in tags.items() if text})
    run.log_parameters(trial.params)
    scores = {f"val/{key}": float(value) for key, value in _scores(trial).items()}
    constraints = {f"constraint/{key}": value for key, value in trial.constraints.items()}
    costs = {f"cost/train_{key}": float(attributes[key]) for key in COSTS if attributes.get(key) is not None}
    value = {"value": trial.value} if trial.value is not None else {}
    run.log_metrics(_readable(scores | constraints | costs | value))
    run.finish()


def publish_study(study: Study, tracker: Tracker, preset: Preset, model: str, final: bool = False) -> None:
    """Bring the run of a study up to date; harmless when several machines do it at once.

    Trials whose process died are closed as well. The plots are drawn once a minute at most.

    Args:
        study: with trials in any state.
        tracker: where its run is kept.
        preset: the declared sweep.
        model: the registry's name.
        final: whether nothing follows, so that the plots are drawn in any case.
    """
    known = _published.setdefault(tracker, {}).setdefault(study.study_name, _Published())
    trials = shown_trials(study)
    experiment = sweep_experiment(preset)
    with study_run(tracker, preset, study.study_name, model) as run:
        _close_failures(study, tracker, preset, model, run, known)
        summary = StudySummary.of(study, trials)
        run.log_metrics(_readable(summary.metrics()), step=summary.finished)
        run.set_tags(summary.tags())
        run.log_table(trial_table(trials), "tables/trials.json")
        run.describe(summary.markdown(preset, model, study.study_name))
        if final or time.monotonic() - known.figures_at >= FIGURE_SECONDS:
            for name, figure in study_figures(study, preset.sweep.objective):
                run.log_figure(figure, f"figures/{name}.png")
            known.figures_at = time.monotonic()
    if not known.described:
        tracker.describe_experiment(experiment, _experiment_words(preset), {"preset": preset.name})
        tracker.show_columns(experiment, COLUMNS, "start_time")
        known.described = True


def _close_failures(study: Study, tracker: Tracker, preset: Preset, model: str, parent: Run, known: _Published) -> None:
    for trial in shown_trials(study):
        if trial.state == TrialState.FAIL and trial.number not in known.failures:
            close_trial_run(trial_run(tracker, preset, study.study_name, model, trial.number, parent), trial)
            known.failures.add(trial.number)


def shown_trials(study: Study) -> list[FrozenTrial]:
    """Return a study's trials without those that were one too many."""
    return [trial for trial in study.get_trials(deepcopy=False) if not trial.user_attrs.get(SURPLUS)]


def state_of(trial: FrozenTrial) -> str:
    """Return a trial's state in a word."""
    return "surplus" if trial.user_attrs.get(SURPLUS) else SHOWN_STATES[trial.state]


def _feasible(trial: FrozenTrial) -> str:
    if trial.state != TrialState.COMPLETE:
        return ""
    return "yes" if is_feasible(trial) else "no"


def _scores(trial: FrozenTrial) -> Mapping[str, float]:
    scores: Mapping[str, float] = trial.user_attrs.get("scores") or {}
    return {key: value for key, value in scores.items() if value is not None}


def trial_table(trials: Sequence[FrozenTrial]) -> pd.DataFrame:
    """Return all trials, a row each: what MLflow shows as a table, and compares between studies by its first column."""
    rows = []
    for trial in trials:
        attributes = trial.user_attrs
        constraints = ", ".join(f"{key} {value:.3g}" for key, value in trial.constraints.items() if value > 0.0)
        row: dict[str, Any] = {
            "trial": trial.number,
            "state": state_of(trial),
            "value": trial.value,
            "feasible": _feasible(trial),
            "violated": constraints,
            **trial.params,
            "seconds": attributes.get("seconds"),
            "cpu_seconds": attributes.get("cpu_seconds"),
            "peak_mb": attributes.get("peak_mb"),
            "examples": attributes.get("examples"),
            "retry_of": attributes.get(RETRY_OF),
            "reason": attributes.get(REASON, ""),
        }
        rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class StudySummary:
    """What a study has found so far.

    Attributes:
        best: the best complete trial that meets all constraints.
        default: the trial of the preset's own settings, if it is complete.
        counts: number of trials by state in words.
        gain: by how much the best value is better than the default's; None where either is missing.
    """

    best: FrozenTrial | None
    default: FrozenTrial | None
    counts: Mapping[str, int]
    gain: float | None

    @staticmethod
    def of(study: Study, trials: Sequence[FrozenTrial]) -> StudySummary:
        """Sum up a study."""
        best = best_trial(study)
        own = [trial for trial in trials if trial.user_attrs.get(DEFAULT) and trial.value is not None]
        own = own or [trial for trial in trials if trial.number == 0 and trial.value is not None]
        complete = [trial for trial in own if trial.state == TrialState.COMPLETE]
        default = complete[-1] if complete else None
        gain = None
        if best is not None and default is not None and best.value is not None and default.value is not None:
            sign = 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
            gain = sign * (default.value - best.value) + 0.0
        counts = {word: sum(state_of(trial) == word for trial in trials) for word in SHOWN_STATES.values()}
        return StudySummary(best, default, counts, gain)

    @property
    def finished(self) -> int:
        """Trials that are complete or pruned."""
        return self.counts["complete"] + self.counts["pruned"]

    @property
    def states(self) -> str:
        """The counts in words, without those that are zero."""
        return ", ".join(f"{count} {word}" for word, count in self.counts.items() if count) or "no trials"

    def metrics(self) -> dict[str, float]:
        """Return what is a number."""
        numbers = {f"trials/{word}": float(self.counts[word]) for word in ("complete", "pruned", "failed")}
        for name, trial in (("value", self.best), ("default_value", self.default)):
            if trial is not None and trial.value is not None:
                numbers[name] = trial.value
        return numbers | ({"gain": self.gain} if self.gain is not None else {})

    def tags(self) -> dict[str, str]:
        """Return what is a word; the best parameters too, since MLflow's parameters can never change."""
        tags = {"trial.state": "study", "trials": self.states}
        if self.best is not None:
            tags["best_trial"] = str(self.best.number)
            tags |= {f"best.{name}": _text(value) for name, value in self.best.params.items()}
        return tags

    def markdown(self, preset: Preset, model: str, study_name: str) -> str:
        """Return the text at the top of the study's page."""
        lines = [self._headline(preset.sweep.objective), ""]
        lines += [f"{model} under preset {preset.name}: {self.states}. Optuna's name of the study: `{study_name}`.", ""]
        if self.best is not None:
            lines += [f"| parameter | best, trial {self.best.number} | the preset's own |", "|---|---|---|"]
            own = self.default.params if self.default is not None else {}
            lines += [
                f"| {name} | {_text(value)} | {_text(own.get(name))} |" for name, value in self.best.params.items()
            ]
            lines.append("")
        lines.append(
            "All trials: `tables/trials.json` under Artifacts. Optuna's plots: `figures`. Each trial is a run under "
            "this one, with its curves; the tag `trial.state` says how it ended."
        )
        return "\n".join(lines)

    def _headline(self, objective: str) -> str:
        if self.best is None or self.best.value is None:
            return f"**No trial is complete and meets all constraints yet** (objective: {objective})."
        best = f"**Best {objective} {self.best.value:.4g}**, trial {self.best.number}"
        if self.default is None or self.default.value is None or self.gain is None:
            return f"{best}; the preset's own settings were not tried to the end."
        if self.gain == 0:
            return f"{best}: nothing beats the preset's own settings ({self.default.value:.4g})."
        feasible = "" if is_feasible(self.default) else ", which fail a guard"
        better = "better" if self.gain > 0 else "worse"
        own = f"the preset's own settings ({self.default.value:.4g}{feasible})"
        return f"{best}: {abs(self.gain):.4g} {better} than {own}."


def _readable(metrics: Mapping[str, float]) -> dict[str, float]:
    """Round to what a column of MLflow's table has room for."""
    return {name: float(f"{value:.6g}") for name, value in metrics.items()}


def _text(value: Any) -> str:  # noqa: ANN401 - whatever a parameter may be
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _experiment_words(preset: Preset) -> str:
    return (
        f"**Sweeps of preset {preset.name}**: one row per architecture's study, its trials folded up under it. "
        f"`value` is the objective ({preset.sweep.objective}) on validation speakers; for a study, that of the best "
        "trial that meets all constraints. `gain` is how much better that is than the preset's own settings."
    )
