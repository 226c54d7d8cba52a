"""Optuna's plots of a study as pictures, in the colours of our pages."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from optuna import Study

INK, SOFT, PAPER, LINE, ACCENT = "#1d1f24", "#5a616d", "#ffffff", "#dadde3", "#a82c6e"
BEST_LINE = (0.8392156862745098, 0.15294117647058825, 0.1568627450980392, 1.0)  # the fourth of tab10
PLOT_SIZE, SLICE_SIZE = (9.0, 4.6), (6.0, 3.8)  # Optuna makes slices half as wide as a figure
MARGINS = {"figure.subplot.left": 0.07, "figure.subplot.right": 0.95, "figure.subplot.bottom": 0.18}


Size = tuple[float, float]


def study_figures(study: Study, objective: str) -> Iterator[tuple[str, Figure]]:
    """Yield the plots that a study has enough trials for, by name.

    Args:
        study: with any number of trials in any state.
        objective: what the values are.
    """
    from optuna.visualization import matplotlib as plots

    complete = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    varied = varied_parameters(complete)
    drawings: dict[str, tuple[Callable[[], Any], Size]] = {}
    if complete:
        drawings["history"] = (lambda: plots.plot_optimization_history(study, target_name=objective), PLOT_SIZE)
    if len(complete) > 1 and varied:
        drawings |= {
            "importance": (
                lambda: plots.plot_param_importances(study, params=varied, target_name=objective),
                PLOT_SIZE,
            ),
            "slice": (lambda: plots.plot_slice(study, varied, target_name=objective), SLICE_SIZE),
            "parallel_coordinate": (
                lambda: plots.plot_parallel_coordinate(study, varied, target_name=objective),
                (max(PLOT_SIZE[0], 1.5 * len(varied)), PLOT_SIZE[1]),
            ),
        }
    for name, (draw, size) in drawings.items():
        figure = _drawn(draw, size)
        if figure is not None:
            yield name, figure


def varied_parameters(trials: Sequence[FrozenTrial]) -> list[str]:
    """Return the parameters that have more than one value among trials; the others have no effect to show."""
    names = sorted({name for trial in trials for name in trial.params})
    return [name for name in names if len({trial.params[name] for trial in trials if name in trial.params}) > 1]


def _drawn(draw: Callable[[], Any], size: Size) -> Figure | None:
    """Call one of Optuna's functions, which work on pyplot's state and its style, and leave both as they were."""
    import matplotlib
    import matplotlib.pyplot as plt

    settings: Any = MARGINS | {"figure.figsize": size}
    before, logger = set(plt.get_fignums()), logging.getLogger("optuna")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with matplotlib.rc_context(settings), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plt.switch_backend("agg")  # no window is shown, and other backends fail outside the main thread
            drawn = draw()
            figure: Figure = (drawn.flat[0] if hasattr(drawn, "flat") else drawn).figure
            _restyle(figure)
    except (ValueError, RuntimeError, ZeroDivisionError, AssertionError):  # too little to say, as Optuna sees it
        return None
    finally:
        logger.setLevel(level)
        for number in set(plt.get_fignums()) - before:
            plt.close(number)
    return figure


def _restyle(figure: Figure) -> None:
    from matplotlib.ticker import MaxNLocator

    figure.set_facecolor(PAPER)
    for axes in figure.axes:
        axes.set_facecolor(PAPER)
        axes.set_title("")
        axes.set_title("", loc="left")
        if axes.get_xlabel() == "Trial":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(color=LINE, linewidth=0.8)
        axes.tick_params(which="both", colors=SOFT, labelsize=9)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_color(INK)
            label.set_fontsize(10)
        for spine in axes.spines.values():
            spine.set_color(LINE)
        for line in axes.get_lines():
            if line.get_color() == BEST_LINE:
                line.set(color=ACCENT, alpha=1.0)
        for bar in axes.patches:
            bar.set_facecolor(ACCENT)
        if (legend := axes.get_legend()) is not None:
            legend.remove()
    if figure.get_suptitle():  # the slices, which share a colour bar that a tight layout would put across them
        figure.suptitle("")
    else:
        figure.set_layout_engine("tight")
