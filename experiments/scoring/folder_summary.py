"""An evaluation's means with their intervals on the terminal; a control that outranks a system is flagged."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from evaluation.measures.catalogue import MEASURES, keys_shown
from evaluation.measures.declaration import Shown
from evaluation.statistics.intervals import Interval, applicable, bootstrap_interval
from experiments.pages.tables import FAILED, FLAG, Column, Row, Table, terminal_table
from experiments.ranking.columns import decimals, heading
from experiments.ranking.outranking import flagged, outranked_by
from experiments.scoring.folder_job import Evaluation
from experiments.scoring.folders import some
from overtone.progress import console

MOST_KEYS = 7  # in the summary, where none of the headline measures was asked for
WIDE = 110  # characters that the wide table takes with the longest names
MOST_SPEAKERS = 500  # above which the mean of speakers is normally distributed, and a bootstrap only takes memory

Means = dict[str, dict[str, Interval]]
Flags = dict[tuple[str, str], list[str]]


def print_summary(table: pd.DataFrame, evaluation: Evaluation) -> None:
    """Print each system's means over the files that all systems have, with 95 % intervals.

    Args:
        table: a row for each system and file; where speakers are not known, each file counts as one.
        evaluation: what was scored.
    """
    measures, files = evaluation.measures, evaluation.common
    keys = [key for key in keys_shown(Shown.HEADLINE) if key in measures] or list(measures)[:MOST_KEYS]
    rows = table[table["file"].isin(files)]
    if evaluation.speakers is None:
        rows = rows.assign(speaker=rows["file"])
    names = (*evaluation.systems, *evaluation.controls)
    means = {name: {key: interval(rows[rows["system"] == name], key) for key in keys} for name in names}
    failed = rows.loc[rows["failures"] != "", "file"]
    flagging = flags(means, evaluation.systems)
    console.print(terminal_table(_table(means, evaluation.controls, flagging)))
    lines = [_over(evaluation, files), *_flag_lines(flagging)]
    if len(failed):
        where = some(list(failed.unique()))
        lines.append(f"{len(failed)} of {len(rows)} rows have failed scores ({where}). Their column failures says why.")
    for line in lines:
        console.print(line, highlight=False, markup=False)


def interval(frame: pd.DataFrame, key: str) -> Interval:
    """Mean over speakers of speaker means with its 95 % interval; all NaN where a score failed, or none applies.

    A bootstrap that resamples speakers, then files; above 500 speakers the normal distribution of their mean.

    Args:
        frame: rows of one system.
        key: the measure.
    """
    rows = applicable(frame, key)
    speakers = rows["speaker"].nunique()
    if speakers <= MOST_SPEAKERS or rows[key].isna().any():
        return bootstrap_interval(rows[key], rows["speaker"].tolist(), files=rows["file"].tolist())
    means = rows.groupby("speaker")[key].mean().to_numpy()
    mean, error = float(means.mean()), 1.96 * float(means.std(ddof=1)) / math.sqrt(speakers)
    return Interval(mean, mean - error, mean + error, speakers, len(rows))


def flags(means: Means, systems: Sequence[str]) -> Flags:
    """Return the systems that a control which reads no target scores better than, by control and measure.

    Args:
        means: by system, controls included, and measure.
        systems: those that are no controls.
    """
    keys = [key for key in next(iter(means.values())) if MEASURES[key].gain]
    by_key = {
        key: flagged(
            outranked_by({name: MEASURES[key].loss(scores[key].mean) for name, scores in means.items()}, systems)
        )
        for key in keys
    }
    return {(control, key): names for key in keys for control, names in by_key[key].items()}


def _table(means: Means, controls: Sequence[str], flagging: Flags) -> Table:
    known = next(iter(means.values()))
    wanted = [key for key in known if console.width >= WIDE or _is_compact(key)]
    keys = [key for key in wanted if any(cells[key].utterances for cells in means.values())]
    rows = [
        Row(
            [name, *(_cell(cells[key], decimals(key), (name, key) in flagging) for key in keys)],
            "control" if name in controls else "",
        )
        for name, cells in means.items()
    ]
    return Table("Means", [Column("system"), *(Column(heading(key), numeric=True) for key in keys)], rows)


def _is_compact(key: str) -> bool:
    """Whether a column stays on a narrow terminal: here `lsd` too, since this table has no primary score."""
    return key == "lsd" or not Shown.HEADLINE <= MEASURES[key].shown < Shown.COMPACT


def _cell(score: Interval, digits: int, flagged: bool) -> str:
    if score.utterances == 0:
        return "–"
    if np.isnan(score.mean):
        return FAILED
    mean = f"{FLAG} " * flagged + f"{score.mean:.{digits}f}"
    return mean if np.isnan(score.low) else f"{mean}\n{score.low:.{digits}f}–{score.high:.{digits}f}"


def _over(evaluation: Evaluation, files: Sequence[str]) -> str:
    over = f"{len(files)} files"
    if len(files) < len(evaluation.tasks):
        over += f" that every system has, of {len(evaluation.tasks)}"
    if evaluation.speakers is not None:
        over += f" of {len({evaluation.speakers[file] for file in files})} speakers, means of speaker means"
    return f"Means over {over}; below them 95 % intervals."


def _flag_lines(flagging: Flags) -> list[str]:
    by_control: dict[str, list[str]] = {}
    for (control, key), systems in flagging.items():
        by_control.setdefault(control, []).append(f"{key} ({', '.join(systems)})")
    return [
        f"{FLAG} {control} reads no target and outranks a system in {', '.join(keys)}."
        for control, keys in by_control.items()
    ]
