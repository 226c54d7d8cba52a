"""The tables of a report, each made once for Markdown, HTML and the terminal."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd

from evaluation.measures.catalogue import MEASURES, keys_shown
from evaluation.measures.declaration import Shown
from experiments.pages.tables import FAILED, FLAG, Cell, Column, Row, Table
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.columns import (
    COSTS,
    band_heading,
    cell,
    difference,
    heading,
    level,
    loss,
    number,
    plain_heading,
    probability,
    rows_of,
    span,
)
from experiments.ranking.columns import Row as Values
from experiments.ranking.conditions import ConditionFactors
from experiments.ranking.findings import Findings
from experiments.ranking.guards import guard_names
from experiments.ranking.leaderboard import RATING_COLUMNS
from experiments.ranking.outranking import reads_target, without_target
from experiments.ranking.paired_tests import detectable_keys, reference_of
from experiments.ranking.primary import PRIMARY
from experiments.ranking.selection import Status
from experiments.report.words import flagged_systems

MOST_FAILURES = 50
PRIMARY_DESCRIPTION = (
    "the declared score: `extended_ber` where a band is missing, elsewhere half the mean of two ratios to doing "
    "nothing (log-spectral distance and distortion amplitude); 0 is perfect, 0.5 is doing nothing"
)
PRIMARY_WEAKNESS = "whatever fools the measures behind it, which is why there are guards, controls and players"
TRAININGS = {  # heading and form of the columns of a training record
    "seed": ("seed", ".0f"),
    "processes": ("processes", ".0f"),
    "examples": ("examples", ".0f"),
    "seconds": ("seconds", ".0f"),
    "cpu_seconds": ("CPU seconds", ".0f"),
    "examples_per_second": ("examples a second", ".3g"),
    "peak_mb": ("peak MiB", ".0f"),
    "gpu_peak_mb": ("peak MiB, GPU", ".0f"),
    "val_loss": ("loss on val ↓", ".3f"),
}


def measured_columns(findings: Findings) -> list[str]:
    """Return the leaderboard's columns of numbers that hold anything, costs that nothing has left out."""
    board = findings.leaderboard
    costs = [key for key in COSTS if key in board and board[key].notna().any()]
    ratings = [key for key in RATING_COLUMNS if key in board]
    return [PRIMARY, "interval", *(key for key in keys_shown(Shown.LEADERBOARD) if key in board), *ratings, *costs]


def overview_columns(findings: Findings) -> list[str]:
    """Return the four columns of numbers that decide first: what listeners heard is one of them where they rated."""
    heard = [RATING_COLUMNS[0]] if findings.ratings is not None else ["extended_ber"]
    known = set(findings.leaderboard)
    return [key for key in (PRIMARY, "visqol", *heard, "latency_ms") if key in known]


def overview_table(findings: Findings) -> Table:
    """Return the leaderboard in short for MLflow, whose tables leave no space between columns; controls come last."""
    table = leaderboard_table(findings, overview_columns(findings), behind=False)
    columns = [replace(column, heading=f"{column.heading}\u00a0".replace(" ", "\u00a0")) for column in table.columns]
    rows = sorted(table.rows, key=lambda row: row.kind == Status.CONTROL)
    return replace(table, columns=columns, rows=[Row([f"{one}\u00a0\u00a0" for one in row.cells]) for row in rows])


def leaderboard_table(findings: Findings, keys: Sequence[str], *, behind: bool = True) -> Table:
    """Return the leaderboard; a control that is ahead of candidates without reading the target is flagged.

    Args:
        findings: of the comparison.
        keys: the columns of numbers, ``interval`` for that of the primary score.
        behind: whether a last column names the controls that are ahead of a candidate.
    """
    flags = flagged_systems(findings)
    columns = [
        Column("#", numeric=True),
        Column("system"),
        Column("status"),
        *(Column(heading(key), numeric=True, explanation=_explanation(key)) for key in keys),
        *([Column(f"{FLAG} outranked by")] if behind else []),
    ]
    rows = []
    for row in rows_of(findings.leaderboard):
        system, status = str(row["system"]), row["status"]
        ahead = f"ahead of {', '.join(flags[system])}" if system in flags else ""
        note = "reads the target" if reads_target(system) else ", ".join(row["failed_guards"])
        cells: list[Cell | str] = [
            cell(row, "rank"),
            Cell(system, flag=ahead),
            Cell(str(status), explanation=note),
            *(cell(row, key) for key in keys),
            *([", ".join(without_target(row["outranked_by"]))] if behind else []),
        ]
        rows.append(Row(cells, str(status)))
    return Table("Leaderboard", columns, rows)


def _explanation(key: str) -> str:
    if key == PRIMARY:
        return "0 is best, 0.5 is what doing nothing scores"
    return MEASURES[key].description if key in MEASURES else ""


def guards_table(findings: Findings) -> Table:
    """Return which guard disqualified which candidate, best primary score on `val` first."""
    guards = guard_names()
    columns = [
        Column("candidate"),
        Column("verdict"),
        Column("primary on val ↓", numeric=True),
        Column("95\u00a0% interval", numeric=True),
        *(Column(guard, numeric=True) for guard in guards),
    ]
    rows = []
    for one in findings.selection.candidates:
        reasons = {reason.guard: str(reason) for reason in one.reasons}
        status = findings.selection.status(one.system)
        verdict = status if status in (Status.CHAMPION, Status.DISQUALIFIED) else "passed"
        numbers = [number(one.primary.mean, PRIMARY), span(one.primary.low, one.primary.high)]
        marks = [Cell("✗", explanation=reasons[guard]) if guard in reasons else "" for guard in guards]
        rows.append(Row([one.system, str(verdict), *numbers, *marks], str(status)))
    return Table("Guards", columns, rows)


def factors_table(findings: Findings) -> Table:
    """Return codec, noise and cutoff of each condition."""
    names = [name for name in findings.scores["condition"].drop_duplicates() if name in findings.factors]
    rows = ([name, *findings.factors[name].levels.values()] for name in names)
    return Table.of("Conditions", ["condition", *ConditionFactors().levels], rows)


def condition_table(findings: Findings, rows: pd.DataFrame, key: str) -> Table:
    """Return systems by conditions in one measure, shaded by how much better than doing nothing they are.

    Args:
        findings: of the comparison.
        rows: its ``conditions`` or ``levels``.
        key: the measure.
    """
    rows = rows[rows["key"] == key]
    conditions = [str(name) for name in rows["condition"].drop_duplicates()]
    found = {(str(row["system"]), str(row["condition"])): row for row in rows_of(rows)}
    shade = _shading(rows, key)
    lines = [
        Row(
            [system, *(_condition_cell(found[system, name], key, shade) for name in conditions)],
            str(findings.selection.status(system)),
        )
        for system in findings.systems
        if (system, conditions[0]) in found
    ]
    columns = [Column("system"), *(Column(name, numeric=True) for name in conditions)]
    return Table(f"{plain_heading(key)} by condition", columns, lines)


def _condition_cell(row: Values, key: str, shade: Callable[[Values], float]) -> Cell:
    if math.isnan(row["mean"]) and row["utterances"] > 0:
        return Cell(FAILED)
    spread = "" if math.isnan(row["half_width"]) else f" ± {number(row['half_width'], key)}"
    alarming = without_target(row["outranked_by"])
    flag = f"behind {', '.join(alarming)}" if alarming else ""
    return Cell(number(row["mean"], key) + spread, flag=flag, shade=shade(row))


def _shading(rows: pd.DataFrame, key: str) -> Callable[[Values], float]:
    """Return how much better than doing nothing under the same condition a row is, from -1 to 1, else NaN.

    The scale ends at the largest gain of a system that does not read the target: a few very bad systems then saturate
    in place of hiding all differences among the good ones.
    """
    judged = rows.assign(loss=loss(key, rows["mean"]))
    nothing = judged[judged["system"] == UNPROCESSED].set_index("condition")["loss"]
    gains = judged["condition"].map(nothing) - judged["loss"]
    most = gains[[not reads_target(str(name)) for name in rows["system"]]].max()
    scale = most if most > 0.0 else 1.0
    of_place = dict(zip(zip(rows["system"], rows["condition"], strict=True), gains / scale, strict=True))
    return lambda row: float(min(max(of_place[row["system"], row["condition"]], -1.0), 1.0))


def band_levels_table(findings: Findings, levels: pd.DataFrame) -> Table:
    """Return systems by bands of the missing band: bias and spread of the level in dB.

    Args:
        findings: of the comparison.
        levels: of one condition of its ``band_levels``, or their means over conditions.
    """
    bands = sorted(set(zip(levels["low_hz"], levels["high_hz"], strict=True)))
    found = {(row["system"], row["low_hz"]): level(row["bias_db"], row["spread_db"]) for row in rows_of(levels)}
    lines = [
        Row([system, *(found.get((system, low), "–") for low, _ in bands)], str(findings.selection.status(system)))
        for system in findings.systems
    ]
    columns = [Column("system"), *(Column(f"{band_heading(*band)} kHz", numeric=True) for band in bands)]
    return Table("Level over frequency", columns, lines)


def differences_table(findings: Findings) -> Table:
    """Return each system's differences in the primary score to doing nothing and to the runner-up."""
    others = ("vs_unprocessed", "vs_runner_up")
    rows = (
        [row["system"], *(difference(row[key], row[f"{key}_low"], row[f"{key}_high"]) for key in others)]
        for row in rows_of(findings.leaderboard)
    )
    return Table.of("Differences", ["system", "to unprocessed", "to the runner-up"], rows)


def control_tests_table(findings: Findings) -> Table:
    """Return the tests of every candidate against every control."""
    rows = {(str(row["system"]), str(row["other"])): row for row in rows_of(findings.tests)}
    candidates = [name for name in findings.systems if findings.selection.candidate(name)]
    controls = [name for name in findings.systems if findings.selection.status(name) is Status.CONTROL]
    lines = ([name, *(_test_text(rows[name, control]) for control in controls)] for name in candidates)
    return Table.of("Tests against controls", ["candidate minus control", *controls], lines)


def _test_text(row: Values) -> str:
    if math.isnan(row["difference"]):
        return FAILED
    return f"{row['difference']:+.3f} (p {probability(row['p_holm'])}, r {_formatted(row['rank_biserial'], '+.2f')})"


def champion_tests_table(findings: Findings) -> Table:
    """Return the tests of the champion, or of the best candidate on `val`, against all that are no controls."""
    reference = reference_of(findings.systems, findings.selection)
    headings = [f"{reference} minus", "difference", "over trainings too", "p", "p (Holm)", "r", "d_z", "detectable"]
    rows = (
        [
            row["other"],
            *(
                "–" if math.isnan(row[low]) else difference(row["difference"], row[low], row[high])
                for low, high in (("low", "high"), ("trainings_low", "trainings_high"))
            ),
            probability(row["p_value"]),
            probability(row["p_holm"]),
            _formatted(row["rank_biserial"], "+.2f"),
            _formatted(row["d_z"], "+.1f"),
            number(row["detectable"], PRIMARY),
        ]
        for row in rows_of(findings.tests)
        if row["system"] == reference and findings.selection.status(row["other"]) is not Status.CONTROL
    )
    return Table.of("Tests against candidates", headings, rows)


def _formatted(value: float, form: str) -> str:
    return "–" if math.isnan(value) else f"{value:{form}}"


def seeds_table(findings: Findings) -> Table:
    """Return how much each system's trainings differ."""
    headings = ["system", "seeds", heading(PRIMARY), "standard deviation over seeds", "95\u00a0% interval"]
    rows = (
        [
            row["system"],
            row["seeds"],
            number(row[PRIMARY], PRIMARY),
            number(row["seed_sd"], PRIMARY),
            cell(row, "interval"),
            span(row["trainings_low"], row["trainings_high"]),
        ]
        for row in rows_of(findings.leaderboard)
        if row["seeds"] > 0
    )
    return Table.of("Training seeds", [*headings, "over trainings too"], rows)


def detectable_table(findings: Findings) -> Table:
    """Return the smallest difference between neighbours in the leaderboard that can be detected, by measure."""
    keys = [key for key in detectable_keys() if f"detectable_{key}" in findings.leaderboard]
    rows = (
        [row["system"], row["next"], *(number(float(row[f"detectable_{key}"]), key) for key in keys)]
        for row in rows_of(findings.leaderboard)
        if row["next"]
    )
    return Table.of("Detectable differences", ["system", "next", *(plain_heading(key) for key in keys)], rows)


def trainings_table(findings: Findings) -> Table:
    """Return what every training cost."""
    trainings = findings.trainings
    keys = [key for key in TRAININGS if key in trainings and (key != "gpu_peak_mb" or trainings[key].any())]
    rows = (
        [
            row["system"],
            *(_formatted(float(row[key]), TRAININGS[key][1]) for key in keys),
            "stopped by the safety limit" if row.get("over_budget") else "",
        ]
        for row in rows_of(trainings)
    )
    return Table.of("Trainings", ["system", *(TRAININGS[key][0] for key in keys), ""], rows)


def failures_table(findings: Findings) -> Table:
    """Return the first of the failed scores."""
    columns = [Column(str(name)) for name in findings.failed.columns]
    rows = rows_of(findings.failed.head(MOST_FAILURES))
    return Table("Failed scores", columns, [Row([str(value) for value in row.values()]) for row in rows])


def measures_table(findings: Findings) -> Table:
    """Return what each measure of the leaderboard tells, and what fools it."""
    rows = [[heading(PRIMARY), PRIMARY_DESCRIPTION, PRIMARY_WEAKNESS]]
    for key in keys_shown(Shown.LEADERBOARD):
        if key in findings.leaderboard:
            rows.append([heading(key), MEASURES[key].description, MEASURES[key].weakness])
    columns = [Column("measure"), Column("what it tells"), Column("what fools it")]
    return Table("Reading", columns, [Row(row) for row in rows])
