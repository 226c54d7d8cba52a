"""The leaderboard on a terminal."""

import pandas as pd
from rich import box
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from evaluation.measures.catalogue import Shown, keys_shown
from experiments.ranking.columns import (
    cell,
    heading,
    rank_cell,
    rows_of,
)
from experiments.ranking.primary import PRIMARY
from experiments.ranking.selection import Selection
from experiments.report.leaderboard_markdown import flag, flagged_systems, headline, notes

WIDE = 110  # characters that the wide table takes with the longest names


STYLES = {"champion": "bold green", "tied": "green", "control": "dim", "candidate": ""}


def print_leaderboard(
    console: Console,
    leaderboard: pd.DataFrame,
    selection: Selection,
    split: str = "test",
    *,
    test_uses: int | None = None,
) -> None:
    """Print the headline, the table in as many columns as fit, its notes, and what the rule said."""
    console.print(Markdown(headline(leaderboard, selection, split)))
    columns = [PRIMARY, *keys_shown(Shown.COMPACT), "latency_ms"]
    if console.width >= WIDE:
        columns = [PRIMARY, "interval", *keys_shown(Shown.OVERVIEW), "rtf", "latency_ms", "macs"]
    table = Table(box=box.SIMPLE_HEAD, padding=0)
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("system", overflow="fold")
    for key in columns:
        table.add_column(Text(heading(key).replace(" ", "\n", 1)), justify="right")
    table.add_column("status", overflow="fold")
    flags = flagged_systems(leaderboard)
    for row in rows_of(leaderboard):
        status = str(row["status"]).partition(":")[0]
        cells = [rank_cell(row), flag(str(row["system"]), flags), *(cell(row, key) for key in columns), status]
        table.add_row(*map(Text, cells), style=STYLES.get(status, "yellow"))
    console.print(table)
    console.print(Markdown("\n".join(f"- {note}" for note in notes(leaderboard, split=split, test_uses=test_uses))))
    console.print(Markdown(selection.explanation))
