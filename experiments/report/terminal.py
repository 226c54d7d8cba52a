"""The leaderboard on a terminal."""

from rich.console import Console
from rich.markdown import Markdown

from evaluation.measures.catalogue import keys_shown
from evaluation.measures.declaration import Shown
from experiments.pages.tables import terminal_table
from experiments.ranking.findings import Findings
from experiments.ranking.primary import PRIMARY
from experiments.report.tables import leaderboard_table
from experiments.report.words import explanation, headline, listed, notes

WIDE = 110  # characters that the wide table takes with the longest names


def print_leaderboard(console: Console, findings: Findings) -> None:
    """Print the headline, the table in as many columns as fit, its notes, and what the rule said.

    Args:
        console: where to.
        findings: of the comparison.
    """
    columns = [PRIMARY, *keys_shown(Shown.COMPACT), "latency_ms"]
    if console.width >= WIDE:
        columns = [PRIMARY, "interval", *keys_shown(Shown.OVERVIEW), "rtf", "latency_ms", "macs"]
    console.print(Markdown(headline(findings)))
    console.print(terminal_table(leaderboard_table(findings, columns, behind=False)))
    console.print(Markdown(listed(notes(findings))))
    console.print(Markdown(explanation(findings.selection)))
