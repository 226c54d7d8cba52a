"""The leaderboard: one row per system, as a table, as CSV and Markdown files, and on the terminal."""

import math

import pandas as pd

from evaluation.measures.catalogue import Shown, keys_shown
from evaluation.statistics.intervals import PairedDifference, paired_difference
from evaluation.statistics.intervals import speaker_mean as mean_over_speakers
from evaluation.statistics.training_spread import training_spread
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.columns import (
    COST_COLUMNS,
    TRAINING_COLUMNS,
    Row,
)
from experiments.ranking.outranking import outranked_by
from experiments.ranking.paired_tests import detectable_differences
from experiments.ranking.primary import PRIMARY, average_seeds, failed_scores, interval, with_primary
from experiments.ranking.selection import Selection


def build_leaderboard(
    scores: pd.DataFrame, costs: pd.DataFrame, selection: Selection, trainings: pd.DataFrame
) -> pd.DataFrame:
    """Sum up a score table, best primary score first.

    Args:
        scores: score table, on `test` as a rule; rows of candidates have a ``seed``.
        costs: indexed by system: ``rtf, latency_ms, macs, parameters``; a system without a row has none of them.
        selection: what was decided on `val`.
        trainings: one row per training: ``system, seconds, examples`` and, where known, ``cpu_seconds``, ``peak_mb``
            and ``examples_per_second``; seeds are averaged.

    Returns:
        Columns: ``rank`` (candidates only), ``system``, ``status``, ``primary`` with ``primary_low`` and
        ``primary_high`` (95 % interval), from how many ``speakers`` and ``utterances``, the measures (means over
        conditions of means over speakers), the differences in ``primary`` to unprocessed, ``vs_unprocessed``, and to
        the runner-up, ``vs_runner_up``, with their intervals (negative is better), the costs, those of
        one training (``train_cpu_hours`` of all its processes, ``train_seconds``, ``examples_per_second``,
        ``train_peak_mb``, ``examples``), ``failed``, the measures with a failed score, comma-separated;
        ``outranked_by``, the controls ahead of a candidate, best first, comma-separated; ``seeds``, how many trainings
        there are, with ``seed_sd``, the standard deviation of their primary scores, and ``trainings_low,
        trainings_high``, the interval of the primary score that allows for other trainings; ``next``, the system one
        row below, with ``detectable_KEY``, the smallest difference to it that can be detected in each measure
        (`detectable_differences`). NaN is a measure that failed (then named in ``failed``), that does not apply, or,
        in the last two groups, that a single training or speaker leaves unknown.
    """
    scores = with_primary(scores)
    failed = failed_scores(scores).groupby("system")["key"].agg(lambda keys: ",".join(sorted(set(keys))))
    rows = [
        _scores_of(str(system), group)
        | _differences(scores, str(system), selection.runner_up)
        | _training_columns(scores, str(system))
        for system, group in average_seeds(scores).groupby("system", sort=True)
    ]
    table = pd.DataFrame(rows)
    table = table.join(costs.reindex(columns=list(COST_COLUMNS)), on="system")
    table = table.join(_training_means(trainings), on="system")
    table["failed"] = table["system"].map(failed).fillna("")
    table.insert(1, "status", [_status(system, selection) for system in table["system"]])
    table = table.sort_values([PRIMARY, "system"], na_position="last", ignore_index=True)
    ranked = (table["status"] != "control").to_numpy()
    table.insert(0, "rank", pd.Series(ranked.cumsum(), dtype="Int64").where(ranked))
    better = outranked_by(dict(zip(table["system"], table[PRIMARY], strict=True)), set(table.loc[ranked, "system"]))
    table["outranked_by"] = [",".join(better.get(system, [])) for system in table["system"]]
    seeds = table[["seeds", "seed_sd", "trainings_low", "trainings_high"]]
    detectable = detectable_differences(scores, list(table["system"])).drop(columns="system")
    return pd.concat([table.drop(columns=seeds.columns), seeds, detectable], axis=1)


def _scores_of(system: str, averaged: pd.DataFrame) -> Row:
    primary = interval(averaged, PRIMARY)
    row: Row = {"system": system, PRIMARY: primary.mean}
    row |= {"primary_low": primary.low, "primary_high": primary.high}
    row |= {"speakers": primary.speakers, "utterances": primary.utterances}
    return row | {key: mean_over_speakers(averaged, key) for key in keys_shown(Shown.LEADERBOARD) if key in averaged}


def _differences(scores: pd.DataFrame, system: str, runner_up: str | None) -> dict[str, float]:
    present = set(scores["system"])
    row: dict[str, float] = {}
    for column, other in (("vs_unprocessed", UNPROCESSED), ("vs_runner_up", runner_up)):
        known = other is not None and other in present and other != system
        difference = paired_difference(scores, system, str(other), PRIMARY) if known else None
        row |= _difference_columns(column, difference)
    return row


def _difference_columns(column: str, difference: PairedDifference | None) -> dict[str, float]:
    if difference is None:
        return dict.fromkeys((column, f"{column}_low", f"{column}_high"), math.nan)
    return {column: difference.mean, f"{column}_low": difference.low, f"{column}_high": difference.high}


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
        return pd.DataFrame(columns=list(TRAINING_COLUMNS), dtype=float)
    means = trainings.groupby("system").mean(numeric_only=True)
    means = means.rename(columns={"seconds": "train_seconds", "peak_mb": "train_peak_mb"})
    if "cpu_seconds" in means:
        means["train_cpu_hours"] = means["cpu_seconds"] / 3600
    return means.reindex(columns=list(TRAINING_COLUMNS))


def _status(system: str, selection: Selection) -> str:
    if system == selection.winner:
        return "champion"
    if system in selection.disqualified:
        return "disqualified: " + ", ".join(dict.fromkeys(r.guard for r in selection.disqualified[system]))
    if system in selection.tied:
        return "tied"
    return "candidate" if any(system == candidate.system for candidate in selection.candidates) else "control"
