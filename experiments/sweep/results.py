"""The trials of a study that count, the best of them, and a summary for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from optuna import Study

TRIALS = "trials"  # attribute of a study: how many finished trials were asked for
DEFAULT, REASON = "default", "reason"  # attributes of a trial
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def finished_trials(study: Study) -> list[FrozenTrial]:
    """Return all trials that are complete or pruned, by number."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def counted_trials(study: Study) -> list[FrozenTrial]:
    """Return the finished trials that are the study's result: as many as were asked for, the first by number.

    Workers that finish at the same time may add a few trials to those. These do not count, so that all architectures
    have the same number of trials.
    """
    return finished_trials(study)[: study.user_attrs.get(TRIALS)]


def best_trial(study: Study) -> FrozenTrial | None:
    """Return the best complete trial that counts and meets all constraints, the earliest of equals."""
    feasible = [trial for trial in counted_trials(study) if trial.state == TrialState.COMPLETE and is_feasible(trial)]
    return min(feasible, key=lambda trial: (_sign(study) * float(trial.value or 0.0), trial.number), default=None)


def is_feasible(trial: FrozenTrial) -> bool:
    """Return whether a trial meets all constraints."""
    return all(value <= 0.0 for value in trial.constraints.values())


def _sign(study: Study) -> float:
    return 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0


def trial_table(study: Study) -> pd.DataFrame:
    """Return all trials of a study, a row each; studies are compared by the first column."""
    counted = {trial.number for trial in counted_trials(study)}
    return pd.DataFrame(
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "value": trial.value,
            "counts": trial.number in counted,
            "feasible": feasible_text(trial),
            "guards": "; ".join(trial.user_attrs.get("guards", ())),
            **trial.params,
            **{key: trial.user_attrs.get(key) for key in ("seconds", "cpu_seconds", "peak_mb", "examples")},
            "retry_of": retry_of(trial),
            "reason": trial.user_attrs.get(REASON, ""),
        }
        for trial in study.get_trials(deepcopy=False)
    )


def feasible_text(trial: FrozenTrial) -> str:
    """Return yes or no, and nothing for a trial that is not complete."""
    if trial.state != TrialState.COMPLETE:
        return ""
    return "yes" if is_feasible(trial) else "no"


def retry_of(trial: FrozenTrial) -> int | None:
    """Return the number of the trial that this one repeats."""
    return next(iter(trial.system_attrs.get("retry_history", [])[-1:]), None)


@dataclass(frozen=True)
class StudySummary:
    """What a study has found so far.

    Attributes:
        best: the best trial, as `best_trial` finds it.
        default: the trial of the preset's own settings, if it is complete.
        states: number of trials by state.
        finished: number of finished trials that count.
        surplus: number of finished trials beyond those that were asked for.
    """

    best: FrozenTrial | None
    default: FrozenTrial | None
    states: Counter[str]
    finished: int
    surplus: int
    gain: float | None

    @staticmethod
    def of(study: Study) -> StudySummary:
        """Sum up a study."""
        trials, best = study.get_trials(deepcopy=False), best_trial(study)
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        default = next((trial for trial in complete if trial.user_attrs.get(DEFAULT) or trial.number == 0), None)
        gain = None
        if best is not None and default is not None:
            gain = _sign(study) * (float(default.value or 0.0) - float(best.value or 0.0)) + 0.0
        counted = len(counted_trials(study))
        states = Counter(trial.state.name.lower() for trial in trials)
        return StudySummary(best, default, states, counted, len(finished_trials(study)) - counted, gain)

    @property
    def counts(self) -> str:
        """The number of trials by state, as text: "3 complete, 1 pruned"."""
        surplus = f"; the first {self.finished} that finished count, {self.surplus} more do not" if self.surplus else ""
        return (", ".join(f"{n} {state}" for state, n in sorted(self.states.items())) or "no trials") + surplus

    def headline(self, objective: str) -> str:
        """Return the best value beside that of the preset's own settings, as a sentence without its full stop.

        Args:
            objective: name of the values.
        """
        if self.best is None:
            return "no trial is complete and meets all constraints yet"
        best = f"best {objective} {self.best.value:.4g} (trial {self.best.number})"
        if self.default is None or self.gain is None:
            return f"{best}; the preset's own settings were not tried to the end"
        own = (
            f"the preset's own settings ({self.default.value:.4g}{'' if is_feasible(self.default) else ', infeasible'})"
        )
        if self.gain == 0:
            return f"{best}: nothing beats {own}"
        return f"{best}: {abs(self.gain):.4g} {'better' if self.gain > 0 else 'worse'} than {own}"


def value_text(value: Any) -> str:  # noqa: ANN401 - whatever a parameter may be
    """Return a parameter's value in few digits."""
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
