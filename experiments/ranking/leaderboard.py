"""The leaderboard: one row per system, best primary score first."""

import math
from collections.abc import Iterable

import pandas as pd

from evaluation.measures.catalogue import keys_shown
from evaluation.measures.declaration import Shown
from evaluation.statistics.intervals import paired_difference, speaker_mean
from evaluation.statistics.training_spread import training_spread
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.columns import RUN_TIME_COSTS, TRAINING_COSTS, Row, rows_of
from experiments.ranking.outranking import outranked_by
from experiments.ranking.paired_tests import detectable_differences
from experiments.ranking.primary import PRIMARY, average_seeds, failed_scores, interval
from experiments.ranking.selection import Selection, Status

RATING_COLUMNS = ("mushra", "mushra_low", "mushra_high", "listeners")


def build_leaderboard(
    scores: pd.DataFrame,
    costs: pd.DataFrame,
    selection: Selection,
    trainings: pd.DataFrame,
    ratings: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Sum up a score table, best primary score first.

    Args:
        scores: score table with the column ``primary``, on `test` as a rule; rows of candidates have a ``seed``.
        costs: indexed by system: ``rtf, latency_ms, macs, parameters``; a system without a row has none of them.
        selection: what was decided on `val`.
        trainings: one row per training: ``system, seconds, examples`` and, where known, ``cpu_seconds``, ``peak_mb``
            and ``examples_per_second``; seeds are averaged.
        ratings: what listeners gave: ``system`` and `RATING_COLUMNS`; None without a listening test.

    Returns:
        Columns: ``rank`` (none for controls), ``system``, ``status`` (a `Status`), ``failed_guards`` (a tuple),
        ``primary`` with ``primary_low`` and ``primary_high`` (95 % interval), from how many ``speakers`` and
        ``utterances``, the measures (means over conditions of means over speakers), the differences in ``primary`` to
        unprocessed, ``vs_unprocessed``, and to the runner-up, ``vs_runner_up``, with their intervals (negative is
        better), the costs, those of one training (``train_cpu_hours`` of all its processes, ``train_seconds``,
        ``examples_per_second``, ``train_peak_mb``, ``examples``), ``failed``, a tuple of the measures with a failed
        score; ``outranked_by``, a tuple of the controls ahead of a candidate, best first; ``seeds``, how many trainings
        there are, with ``seed_sd``, the standard deviation of their primary scores, and ``trainings_low,
        trainings_high``, the interval of the primary score that allows for other trainings; ``next``, the system one
        row below, with ``detectable_KEY``, the smallest difference to it that can be detected in each measure
        (`detectable_differences`); the columns of ``ratings``. NaN is a measure that failed (then in ``failed``), that
        does not apply, or, in the last groups, that a single training or speaker leaves unknown.
    """
    failed = {name: tuple(sorted(set(rows["key"]))) for name, rows in failed_scores(scores).groupby("system")}
    rows = [
        _scores_of(str(system), group)
        | _differences(scores, str(system), selection.runner_up)
        | _training_columns(scores, str(system))
        for system, group in average_seeds(scores).groupby("system", sort=True)
    ]
    table = pd.DataFrame(rows)
    table = table.join(costs.reindex(columns=list(RUN_TIME_COSTS)), on="system")
    table = table.join(_training_means(trainings), on="system")
    table["failed"] = _objects(failed.get(system, ()) for system in table["system"])
    candidates = [selection.candidate(system) for system in table["system"]]
    table.insert(1, "status", _objects(selection.status(system) for system in table["system"]))
    table.insert(2, "failed_guards", _objects(one.failed_guards if one else () for one in candidates))
    table = table.sort_values([PRIMARY, "system"], na_position="last", ignore_index=True)
    ranked = (table["status"] != Status.CONTROL).to_numpy()
    table.insert(0, "rank", pd.Series(ranked.cumsum(), dtype="Int64").where(ranked))
    better = outranked_by(dict(zip(table["system"], table[PRIMARY], strict=True)), set(table.loc[ranked, "system"]))
    table["outranked_by"] = _objects(better.get(system, ()) for system in table["system"])
    seeds = table[["seeds", "seed_sd", "trainings_low", "trainings_high"]]
    detectable = detectable_differences(scores, list(table["system"])).drop(columns="system")
    table = pd.concat([table.drop(columns=seeds.columns), seeds, detectable], axis=1)
    return table if ratings is None else table.join(ratings.set_index("system")[[*RATING_COLUMNS]], on="system")


def plain_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of `build_leaderboard` or `condition_rows` as files hold it: numbers and texts only."""
    plain = table.drop(columns="failed_guards", errors="ignore")
    for column in ("failed", "outranked_by"):
        if column in plain:
            plain[column] = plain[column].map(",".join)
    if "status" in plain:
        plain["status"] = [status_text(row) for row in rows_of(table)]
    return plain


def status_text(row: Row) -> str:
    """Return the status in a row of a leaderboard, with the guards that a disqualified candidate failed."""
    guards = ", ".join(row["failed_guards"])
    return f"{row['status']}: {guards}" if guards else str(row["status"])


def _objects(values: Iterable[object]) -> pd.Series:
    """A column of enums or tuples, of which pandas would make texts or tables."""
    return pd.Series(list(values), dtype=object)


def _scores_of(system: str, averaged: pd.DataFrame) -> Row:
    primary = interval(averaged, PRIMARY)
    row: Row = {"system": system, PRIMARY: primary.mean}
    row |= {"primary_low": primary.low, "primary_high": primary.high}
    row |= {"speakers": primary.speakers, "utterances": primary.utterances}
    return row | {key: speaker_mean(averaged, key) for key in keys_shown(Shown.LEADERBOARD) if key in averaged}


def _differences(scores: pd.DataFrame, system: str, runner_up: str | None) -> Row:
    present = set(scores["system"])
    row: Row = {}
    for column, other in (("vs_unprocessed", UNPROCESSED), ("vs_runner_up", runner_up)):
        numbers = (math.nan, math.nan, math.nan)
        if other in present - {system}:
            found = paired_difference(scores, system, str(other), PRIMARY)
            numbers = (found.mean, found.low, found.high)
        row |= dict(zip((column, f"{column}_low", f"{column}_high"), numbers, strict=True))
    return row


def _training_columns(scores: pd.DataFrame, system: str) -> Row:
    spread = training_spread(scores, system, PRIMARY)
    return {
        "seeds": spread.seeds,
        "seed_sd": spread.standard_deviation,
        "trainings_low": spread.interval.low,
        "trainings_high": spread.interval.high,
    }


def _training_means(trainings: pd.DataFrame) -> pd.DataFrame:
    if trainings.empty:
        return pd.DataFrame(columns=list(TRAINING_COSTS), dtype=float)
    means = trainings.groupby("system").mean(numeric_only=True)
    means = means.rename(columns={"seconds": "train_seconds", "peak_mb": "train_peak_mb"})
    if "cpu_seconds" in means:
        means["train_cpu_hours"] = means["cpu_seconds"] / 3600
    return means.reindex(columns=list(TRAINING_COSTS))


def with_cost(leaderboard: pd.DataFrame, key: str) -> list[Row]:
    """Return the rows of a leaderboard whose cost is known, in its order.

    Args:
        leaderboard: as `build_leaderboard` gives it.
        key: the column of the cost.
    """
    rows = rows_of(leaderboard)
    return [row for row in rows if math.isfinite(row[PRIMARY]) and float(row.get(key, 0.0)) > 0.0]


def pareto_frontier(rows: Iterable[Row], key: str) -> list[Row]:
    """Return the rows that no other one beats in cost and primary score at once, cheapest first.

    Args:
        rows: of a leaderboard.
        key: the column of the cost.
    """
    frontier: list[Row] = []
    for row in sorted(rows, key=lambda row: (row[key], row[PRIMARY])):
        if not frontier or row[PRIMARY] < frontier[-1][PRIMARY]:
            frontier.append(row)
    return frontier
