"""A sweep in MLflow: an experiment for the sweeps of a preset, a parent run for each study, a child for each trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial, TrialState

from experiments.keys import commit
from experiments.presets.preset import Preset
from experiments.sweep.figures import study_figures
from experiments.sweep.results import REASON, StudySummary, feasible_text, trial_table, value_text
from experiments.tracking.tracker import Run, Tracker

if TYPE_CHECKING:
    from optuna import Study

COLUMNS = ("model", "trial.state", "value", "gain", "guards", "cost/train_seconds", "reason")
METRICS = ("value", "gain", "cost/train_seconds")
COSTS = ("seconds", "cpu_seconds", "peak_mb", "examples")


def study_run(tracker: Tracker, preset: Preset, study_name: str, model: str) -> Run:
    """Open the run of a study; the same one on any machine.

    Args:
        tracker: where it is kept.
        preset: declares the sweep.
        study_name: the study's.
        model: the registry's name.
    """
    tags = {"model": model, "preset": preset.name, "study": study_name, "objective": preset.sweep.objective}
    return tracker.run(sweep_experiment(preset), study_name, tags, study_name)


def sweep_experiment(preset: Preset) -> str:
    """Return the name of the MLflow experiment with a preset's studies."""
    return f"sweep-{preset.name}"


def trial_run(tracker: Tracker, preset: Preset, study_name: str, model: str, number: int, parent: Run) -> Run:
    """Open the run of a trial.

    Args:
        tracker: where it is kept.
        preset: declares the sweep.
        study_name: the study's.
        model: the registry's name.
        number: the trial's.
        parent: the run that `study_run` returned.
    """
    tags = {"model": model, "preset": preset.name, "study": study_name, "commit": commit()}
    tags |= {"trial.number": str(number), "trial.state": "running"}
    return tracker.run(sweep_experiment(preset), f"trial-{number:03d}", tags, f"{study_name}/{number}", parent)


def close_trial_run(run: Run, trial: FrozenTrial) -> None:
    """Write a trial's state, parameters and values into its run, and finish it.

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
    metrics |= {f"cost/train_{key}": attributes[key] for key in COSTS if key in attributes}
    run.log_metrics(_rounded(metrics | ({} if trial.value is None else {"value": trial.value})))
    run.finish()


def publish_study(study: Study, tracker: Tracker, preset: Preset, model: str, final: bool = False) -> None:
    """Bring the run of a study up to date; several machines may do so at the same time.

    Args:
        study: with trials in any state.
        tracker: where its run is kept.
        preset: declares the sweep.
        model: the registry's name.
        final: whether the plots are drawn, and the runs of trials closed whose process was killed.
    """
    experiment, name, objective = sweep_experiment(preset), study.study_name, preset.sweep.objective
    summary = StudySummary.of(study)
    with study_run(tracker, preset, name, model) as run:
        run.log_metrics(_rounded(_metrics(summary)), step=summary.finished)
        run.set_tags(_tags(summary))
        run.log_table(trial_table(study), "tables/trials.json")
        run.describe(_page(summary, objective, f"{model} under preset {preset.name}", name))
        for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)) if final else ():
            close_trial_run(trial_run(tracker, preset, name, model, trial.number, run), trial)
        for title, figure in study_figures(study, objective) if final else ():
            run.log_figure(figure, f"figures/{title}.png")
    about = (
        f"**Sweeps of preset {preset.name}**: a row for each architecture's study, with its trials under it. `value` "
        f"is the objective ({objective}) on validation speakers; for a study, that of its best trial that meets all "
        "constraints. `gain` is how much better that is than the preset's own settings."
    )
    tracker.describe_experiment(experiment, about, {"preset": preset.name})
    columns = [f"metrics.{column}" if column in METRICS else f"tags.{column}" for column in COLUMNS]
    tracker.show_columns(experiment, columns, "start_time")


def _metrics(summary: StudySummary) -> dict[str, float]:
    trials = {"value": summary.best, "default_value": summary.default}
    values = {name: trial.value for name, trial in trials.items() if trial is not None}
    values |= {"gain": summary.gain, **{f"trials/{state}": float(count) for state, count in summary.states.items()}}
    return {name: value for name, value in values.items() if value is not None}


def _tags(summary: StudySummary) -> dict[str, str]:
    """Return the text of a study's row; its best parameters too, because MLflow's parameters cannot change."""
    tags = {"trial.state": "study", "trials": summary.counts}
    if summary.best is not None:
        tags["best_trial"] = str(summary.best.number)
        tags |= {f"best.{name}": value_text(value) for name, value in summary.best.params.items()}
    return tags


def _page(summary: StudySummary, objective: str, what: str, study_name: str) -> str:
    headline = summary.headline(objective)
    lines = [f"**{headline[0].upper()}{headline[1:]}.**", ""]
    lines += [f"{what}: {summary.counts}. Optuna's name of the study: `{study_name}`.", ""]
    if summary.best is not None:
        own = summary.default.params if summary.default is not None else {}
        lines += [f"| parameter | best, trial {summary.best.number} | the preset's own |", "|---|---|---|"]
        for name, value in summary.best.params.items():
            lines.append(f"| {name} | {value_text(value)} | {value_text(own.get(name))} |")
        lines.append("")
    lines.append(
        "All trials: `tables/trials.json` under Artifacts. Optuna's plots: `figures`. Each trial is a run under this "
        "one, with its curves; the tag `trial.state` says how it ended."
    )
    return "\n".join(lines)


def _rounded(metrics: dict[str, float]) -> dict[str, float]:
    """Round to the width of a column in MLflow's table."""
    return {name: float(f"{value:.6g}") for name, value in metrics.items()}
