"""What a study has found: the trials that count, the best of them, a table and a summary."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from optuna import Study

TRIALS = "trials"  # attribute of a study: how many finished trials were asked for
DEFAULT, REASON = "default", "reason"  # attributes of a trial
COSTS = ("seconds", "cpu_seconds", "peak_mb", "examples")  # of its training, attributes too
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


def feasible_text(trial: FrozenTrial) -> str:
    """Return whether a complete trial meets all constraints, yes or no; nothing for another trial."""
    if trial.state != TrialState.COMPLETE:
        return ""
    return "yes" if all(value <= 0.0 for value in trial.constraints.values()) else "no"


def retry_of(trial: FrozenTrial) -> int | None:
    """Return the number of the trial that this one repeats."""
    return next(iter(trial.system_attrs.get("retry_history", [])[-1:]), None)


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
            **{key: trial.user_attrs.get(key) for key in COSTS},
            "retry_of": retry_of(trial),
            "reason": trial.user_attrs.get(REASON, ""),
        }
        for trial in study.get_trials(deepcopy=False)
    )


@dataclass(frozen=True)
class StudyResult:
    """What a study has found so far.

    Attributes:
        study: in its storage.
        best: the best complete trial that counts and meets all constraints, the earliest of equals.
        default: the trial of the preset's own settings, if it is complete.
        states: number of trials by state.
        trials: number of finished trials that count.
        surplus: number of finished trials beyond those that were asked for.
    """

    study: Study = field(compare=False)
    best: FrozenTrial | None
    default: FrozenTrial | None
    states: Counter[str]
    trials: int
    surplus: int

    @staticmethod
    def of(study: Study) -> StudyResult:
        """Sum up a study."""
        counted, sign = counted_trials(study), _sign(study)
        feasible = [trial for trial in counted if feasible_text(trial) == "yes"]
        best = min(feasible, key=lambda trial: (sign * float(trial.value or 0.0), trial.number), default=None)
        trials = study.get_trials(deepcopy=False)
        complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        default = next((trial for trial in complete if trial.user_attrs.get(DEFAULT) or trial.number == 0), None)
        states = Counter(trial.state.name.lower() for trial in trials)
        surplus = sum(trial.state in FINISHED for trial in trials) - len(counted)
        return StudyResult(study, best, default, states, len(counted), surplus)

    @property
    def name(self) -> str:
        """The study's name."""
        return str(self.study.study_name)

    @property
    def trial(self) -> int | None:
        """Number of the best trial."""
        return self.best.number if self.best else None

    @property
    def value(self) -> float | None:
        """The objective of the best trial."""
        return self.best.value if self.best else None

    @property
    def default_value(self) -> float | None:
        """The objective of the preset's own settings; None where they were not tried to the end."""
        return self.default.value if self.default else None

    @property
    def gain(self) -> float | None:
        """How much better the best trial is than the preset's own settings, where both are known."""
        if self.value is None or self.default_value is None:
            return None
        return _sign(self.study) * (self.default_value - self.value) + 0.0

    @property
    def counts(self) -> str:
        """The number of trials by state, as text: "3 complete, 1 pruned"."""
        surplus = f"; the first {self.trials} that finished count, {self.surplus} more do not" if self.surplus else ""
        return (", ".join(f"{n} {state}" for state, n in sorted(self.states.items())) or "no trials") + surplus

    def headline(self, objective: str) -> str:
        """Return the best value beside that of the preset's own settings, as a sentence without its full stop.

        Args:
            objective: name of the values.
        """
        if self.best is None:
            return "no trial is complete and meets all constraints yet"
        best = f"best {objective} {self.value:.4g} (trial {self.trial})"
        if self.default is None or self.gain is None:
            return f"{best}; the preset's own settings were not tried to the end"
        infeasible = ", infeasible" if feasible_text(self.default) == "no" else ""
        own = f"the preset's own settings ({self.default_value:.4g}{infeasible})"
        if self.gain == 0:
            return f"{best}: nothing beats {own}"
        return f"{best}: {abs(self.gain):.4g} {'better' if self.gain > 0 else 'worse'} than {own}"


def _sign(study: Study) -> float:
    return 1.0 if study.direction == StudyDirection.MINIMIZE else -1.0
