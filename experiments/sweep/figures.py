"""Optuna's plots of a study as pictures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna import Study

WIDTH, HEIGHT, WIDTH_PER_PARAMETER = 9.0, 4.6, 1.5  # inches


def study_figures(study: Study, objective: str) -> Iterator[tuple[str, Figure]]:
    """Yield the plots that a study has enough trials for, by name.

    Args:
        study: with any number of trials in any state.
        objective: name of the values, for the axes.
    """
    from optuna.visualization import matplotlib as plots

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    names = sorted({name for trial in complete for name in trial.params})
    # A parameter with one value has no effect to show.
    varied = [name for name in names if len({trial.params.get(name) for trial in complete}) > 1]
    drawings: dict[str, Callable[[], Any]] = {}
    if complete:
        drawings["history"] = lambda: plots.plot_optimization_history(study, target_name=objective)
    if len(complete) > 1 and varied:
        drawings["importance"] = lambda: plots.plot_param_importances(study, params=varied, target_name=objective)
        drawings["slice"] = lambda: plots.plot_slice(study, varied, target_name=objective)
        drawings["parallel_coordinate"] = lambda: plots.plot_parallel_coordinate(study, varied, target_name=objective)
    width = max(WIDTH, WIDTH_PER_PARAMETER * len(varied))
    for name, draw in drawings.items():
        figure = _drawn(draw, width)
        if figure is not None:
            yield name, figure


def _drawn(draw: Callable[[], Any], width: float) -> Figure | None:
    """Call one of Optuna's functions, which change pyplot's state and style, and restore both."""
    import matplotlib
    import matplotlib.pyplot as plt

    before = set(plt.get_fignums())
    try:
        with matplotlib.rc_context(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plt.switch_backend("agg")  # no window is shown, and other backends fail outside the main thread
            drawn = draw()
            figure: Figure = (drawn.flat[0] if hasattr(drawn, "flat") else drawn).figure
            figure.set_size_inches(width, HEIGHT)
    except (ValueError, RuntimeError, ZeroDivisionError, AssertionError):  # Optuna finds too little in the trials
        return None
    finally:
        for number in set(plt.get_fignums()) - before:
            plt.close(number)
    return figure
