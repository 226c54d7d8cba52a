"""A sweep in MLflow: an experiment for the sweeps of a preset, a parent run for each study, a child for each trial."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from experiments.keys import commit
from experiments.presets.preset import Preset
from experiments.sweep.results import COSTS, REASON, StudyResult, feasible_text, trial_table
from experiments.tracking.run import Run
from experiments.tracking.tracker import Tracker

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna import Study

COLUMNS = (
    *("tags.model", "tags.trial.state", "metrics.value", "metrics.gain"),
    *("tags.guards", "metrics.work/train_seconds", "tags.reason"),
)
WIDTH, HEIGHT, WIDTH_PER_PARAMETER = 9.0, 4.6, 1.5  # of a plot, inches
TOO_LITTLE = (ValueError, RuntimeError, ZeroDivisionError, AssertionError)  # how Optuna's plots say so


def sweep_experiment(preset: Preset) -> str:
    """Return the name of the MLflow experiment with a preset's studies."""
    return f"sweep-{preset.name}"


@dataclass(frozen=True)
class StudyRuns:
    """The tracked runs of one study; the same ones on any machine.

    Attributes:
        tracker: where they are kept.
        preset: declares the sweep.
        model: the registry's name.
        study_name: the study's.
    """

    tracker: Tracker
    preset: Preset
    model: str
    study_name: str

    def parent(self) -> Run:
        """Open the run of the study."""
        tags = self._tags | {"objective": self.preset.sweep.objective}
        return self.tracker.run(sweep_experiment(self.preset), self.study_name, tags, self.study_name)

    def trial(self, number: int, parent: Run) -> Run:
        """Open the run of a trial.

        Args:
            number: the trial's.
            parent: the run of the study.
        """
        tags = self._tags | {"commit": commit(), "trial.number": str(number), "trial.state": "running"}
        key = f"{self.study_name}/{number}"
        return self.tracker.run(sweep_experiment(self.preset), f"trial-{number:03d}", tags, key, parent)

    @property
    def _tags(self) -> dict[str, str]:
        return {"model": self.model, "preset": self.preset.name, "study": self.study_name}

    def publish(self, study: Study, final: bool = False) -> None:
        """Bring the run of the study up to date; several machines may do so at the same time.

        Args:
            study: with trials in any state.
            final: whether the plots are drawn, and the runs of trials closed whose process was killed.
        """
        if not self.tracker.keeps:
            return
        objective, result = self.preset.sweep.objective, StudyResult.of(study)
        with self.parent() as run:
            run.log_metrics(_metrics(result), step=result.trials)
            run.set_tags(_result_tags(result))
            run.log_table(trial_table(study), "tables/trials.json")
            run.describe(_page(result, objective, f"{self.model} under preset {self.preset.name}"))
            for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)) if final else ():
                close_trial_run(self.trial(trial.number, run), trial)
            for title, figure in study_figures(study, objective) if final else ():
                run.log_figure(figure, f"figures/{title}.png")
        about = (
            f"**Sweeps of preset {self.preset.name}**: a row for each architecture's study, with its trials under it. "
            f"`value` is the objective ({objective}) on validation speakers; for a study, that of its best trial that "
            "meets all constraints. `gain` is how much better that is than the preset's own settings."
        )
        self.tracker.describe_experiment(sweep_experiment(self.preset), about, {"preset": self.preset.name})
        self.tracker.show_columns(sweep_experiment(self.preset), COLUMNS, "start_time")


def close_trial_run(run: Run, trial: FrozenTrial) -> None:
    """Log what a trial gave and close its run.

    The run is FINISHED whatever the trial's state: a pruned trial is a result and not an error, and MLflow shows all
    other states in red. The trial's state is a tag.

    Args:
        run: the trial's.
        trial: complete, pruned or failed.
    """
    attributes = trial.user_attrs
    tags = {"trial.state": trial.state.name.lower(), "feasible": feasible_text(trial)}
    tags |= {"guards": "; ".join(attributes.get("guards", ())), REASON: attributes.get(REASON, "")}
    run.set_tags({name: text for name, text in tags.items() if text})
    run.log_parameters(trial.params)
    metrics = {f"val/{key}": value for key, value in attributes.get("scores", {}).items()}
    metrics |= {f"constraint/{key}": value for key, value in trial.constraints.items()}
    metrics |= {f"work/train_{key}": attributes[key] for key in COSTS if key in attributes}
    run.log_metrics(_rounded(metrics | {"value": trial.value}))
    run.finish()


def study_figures(study: Study, objective: str) -> Iterator[tuple[str, Figure]]:
    """Yield Optuna's plots that a study has enough trials for, by name.

    Args:
        study: with any number of trials in any state.
        objective: name of the values, for the axes.
    """
    import matplotlib
    import matplotlib.pyplot as plt
    import numpy as np
    from optuna.visualization import matplotlib as plots

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    names = sorted({name for trial in complete for name in trial.params})
    # A parameter with one value has no effect to show.
    varied = [name for name in names if len({trial.params.get(name) for trial in complete}) > 1]
    options = {"params": varied}
    drawings: dict[str, tuple[Any, dict[str, Any]]] = {}
    if complete:
        drawings["history"] = (plots.plot_optimization_history, {})
    if len(complete) > 1 and varied:
        drawings["importance"] = (plots.plot_param_importances, options)
        drawings["slice"] = (plots.plot_slice, options)
        drawings["parallel_coordinate"] = (plots.plot_parallel_coordinate, options)
    for name, (draw, more) in drawings.items():
        # Optuna changes pyplot's style, and leaves its figures open.
        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plt.switch_backend("agg")  # others fail outside the main thread
            try:
                figure = np.ravel(draw(study, target_name=objective, **more))[0].figure
            except TOO_LITTLE:
                continue
            finally:
                plt.close("all")
            figure.set_size_inches(max(WIDTH, WIDTH_PER_PARAMETER * len(varied)), HEIGHT)
        yield name, figure


def _metrics(result: StudyResult) -> dict[str, float]:
    values = {"value": result.value, "default_value": result.default_value, "gain": result.gain}
    return _rounded(values | {f"trials/{state}": float(count) for state, count in result.states.items()})


def _result_tags(result: StudyResult) -> dict[str, str]:
    """Return the text of a study's row; its best parameters too, because MLflow's parameters cannot change."""
    tags = {"trial.state": "study", "trials": result.counts}
    if result.best is not None:
        tags["best_trial"] = str(result.trial)
        tags |= {f"best.{name}": _text(value) for name, value in result.best.params.items()}
    return tags


def _page(result: StudyResult, objective: str, what: str) -> str:
    headline = result.headline(objective)
    lines = [f"**{headline[0].upper()}{headline[1:]}.**", ""]
    lines += [f"{what}: {result.counts}. Optuna's name of the study: `{result.name}`.", ""]
    if result.best is not None:
        own = result.default.params if result.default is not None else {}
        lines += [f"| parameter | best, trial {result.trial} | the preset's own |", "|---|---|---|"]
        lines += [f"| {name} | {_text(value)} | {_text(own.get(name))} |" for name, value in result.best.params.items()]
        lines.append("")
    lines.append(
        "All trials: `tables/trials.json` under Artifacts. Optuna's plots: `figures`. Each trial is a run under this "
        "one, with its curves; the tag `trial.state` says how it ended."
    )
    return "\n".join(lines)


def _text(value: Any) -> str:  # noqa: ANN401 - whatever a parameter may be
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)


def _rounded(metrics: dict[str, float | None]) -> dict[str, float]:
    """Round to the width of a column in MLflow's table; what is not known is left out."""
    return {name: float(f"{value:.6g}") for name, value in metrics.items() if value is not None}
