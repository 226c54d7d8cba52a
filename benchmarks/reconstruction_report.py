"""The figure and the tables of docs/reconstruction.md."""

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.reconstruction.methods import METHODS
from overtone.files import written_whole

MARK = "<!-- Below this line: written by `python -m benchmarks.reconstruction`. -->"
COLUMNS = {
    "inconsistency": "inconsistency, dB",
    "inconsistency_hf": "above the cutoff, dB",
    "lsd": "LSD",
    "extended_ber": "extended BER",
    "si_sdr": "SI-SDR, dB",
    "visqol": "ViSQOL",
    "rtf": "core seconds a second",
}
DIGITS = {"inconsistency": 1, "inconsistency_hf": 1, "si_sdr": 1, "lsd": 2, "extended_ber": 3, "visqol": 2, "rtf": 4}
ITERATIONS_SHOWN = (0, 1, 4, 8, 16, 32, 64)
CURVES = {
    "griffin_lim": ("#999999", "-"),
    "fast_griffin_lim": ("#000000", "-"),
    "fast_griffin_lim_from_narrowband": ("#0072B2", "-"),
    "low_phase_kept_folded": ("#009E73", "-"),
    "low_phase_kept_copied": ("#009E73", "--"),
    "rtisi_la": ("#D55E00", "-"),
    "rtisi_la_low_phase_kept": ("#D55E00", "--"),
}
PANELS = (("iterations", "inconsistency_hf"), ("iterations", "visqol"), ("rtf", "inconsistency"), ("rtf", "visqol"))
AXIS_LABELS = COLUMNS | {"iterations": "iterations", "inconsistency_hf": "inconsistency above the cutoff, dB"}


def write_report(folder: Path, methods: pd.DataFrame, borders: pd.DataFrame, peers: pd.DataFrame) -> None:
    """Write figure and tables; what stands above the mark in an existing report stays.

    Args:
        folder: where ``reconstruction.md`` and ``reconstruction.png`` go.
        methods: a row per sample rate, magnitudes, method, iterations and speaker.
        borders: a row per sample rate, form, system and speaker, with ``seam`` and ``visqol``.
        peers: a row per sample rate and utterance: core seconds of ours and librosa's.
    """
    means = methods.groupby(["sample_rate", "magnitudes", "method", "iterations"], sort=False).mean(numeric_only=True)
    means = means.reset_index()
    with written_whole(folder / "reconstruction.png") as temporary:
        drawn(means).savefig(temporary, dpi=110)
    path = folder / "reconstruction.md"
    kept = path.read_text().split(MARK)[0].rstrip() if path.is_file() else "# Reconstruction"
    speakers = methods["speaker"].nunique()
    parts = [kept, MARK, f"Means over {speakers} speaker(s).", *_method_tables(means), _border_table(borders)]
    with written_whole(path) as temporary:
        temporary.write_text("\n\n".join([*parts, _peer_table(peers)]) + "\n")


def drawn(means: pd.DataFrame) -> Figure:
    """Draw quality against iterations and against core seconds, a row of panels for each sample rate."""
    rates = sorted(means["sample_rate"].unique())
    figure = Figure(figsize=(4 * len(PANELS), 3.4 * len(rates) + 0.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rates), len(PANELS), squeeze=False)
    for rate, row in zip(rates, axes, strict=True):
        of_rate = means[(means["sample_rate"] == rate) & (means["magnitudes"] == "target")]
        for panel, (x, y) in zip(row, PANELS, strict=True):
            _draw_curves(panel, of_rate, x, y)
            panel.set_title(f"{rate // 1000} kHz", fontsize=10)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9)
    return figure


def _draw_curves(panel: Axes, means: pd.DataFrame, x: str, y: str) -> None:
    for method, (colour, style) in CURVES.items():
        of_method = means[means["method"] == method]
        panel.plot(of_method[x], of_method[y], style, color=colour, marker="o", markersize=3, label=method)
    if x == "iterations":
        panel.set_xscale("symlog", base=2, linthresh=1)
        panel.set_xticks(sorted(means["iterations"].unique()))
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    else:
        panel.set_xscale("log")
    panel.set_xlabel(AXIS_LABELS[x], fontsize=9)
    panel.set_ylabel(AXIS_LABELS[y], fontsize=9)
    panel.grid(alpha=0.3)
    panel.tick_params(labelsize=8)


def _method_tables(means: pd.DataFrame) -> Iterable[str]:
    order = {method: place for place, method in enumerate(METHODS)}
    for rate in means["sample_rate"].unique():
        for magnitudes in means.loc[means["sample_rate"] == rate, "magnitudes"].unique():
            table = means[(means["sample_rate"] == rate) & (means["magnitudes"] == magnitudes)]
            table = table[table["iterations"].isin(ITERATIONS_SHOWN)]
            rows = sorted(table.to_dict("records"), key=lambda row: (order[row["method"]], row["iterations"]))
            yield f"## Magnitudes: {magnitudes}, {rate // 1000} kHz"
            yield _markdown(["method", "iterations", *COLUMNS.values()], [_method_cells(row) for row in rows])


def _method_cells(row: dict[Hashable, Any]) -> list[str]:
    iterations = "" if METHODS[row["method"]].iterations is None else str(row["iterations"])
    return [f"`{row['method']}`", iterations, *(f"{row[key]:.{DIGITS[key]}f}" for key in COLUMNS)]


def _border_table(borders: pd.DataFrame) -> str:
    """Return the break at the borders, before and after: as independent blocks, and over the whole file."""
    means = borders.groupby(["system", "sample_rate", "form"], sort=False)[["seam", "visqol"]].mean()
    rates = sorted(borders["sample_rate"].unique())
    forms = ("blocks", "whole")
    keys = [(measure, rate, form) for measure in ("seam", "visqol") for rate in rates for form in forms]
    words = {"seam": "seam", "visqol": "ViSQOL", "blocks": "blocks", "whole": "whole file"}
    header = [f"{words[measure]}, {words[form]}, {rate // 1000} kHz" for measure, rate, form in keys]
    lines = []
    for system in borders["system"].unique():
        values = [(means[key[0]].get((system, key[1], key[2])), DIGITS.get(key[0], 1)) for key in keys]
        cells = ["" if value is None else f"{value:.{digits}f}" for value, digits in values]
        lines.append([f"`{system}`" if system in METHODS else system, *cells])
    return "## Choppiness: borders of 2048 samples\n\n" + _markdown(["system", *header], lines)


def _peer_table(peers: pd.DataFrame) -> str:
    lines = []
    for rate in sorted(peers["sample_rate"].unique()):
        table = peers[peers["sample_rate"] == rate]
        ours, theirs = table["overtone"].median(), table["librosa"].median()
        factor, difference = theirs / ours, table["difference"].abs().max()
        lines.append([f"{rate // 1000} kHz", f"{ours:.4f}", f"{theirs:.4f}", f"{factor:.1f}", f"{difference:.4f}"])
    header = ["", "Overtone", "librosa", "times as fast", "largest difference of inconsistency, dB"]
    return "## Beside librosa: core seconds a second, 32 iterations\n\n" + _markdown(header, lines)


def _markdown(header: list[str], lines: Iterable[list[str]]) -> str:
    rows = [header, ["---", *["---:"] * (len(header) - 1)], *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
