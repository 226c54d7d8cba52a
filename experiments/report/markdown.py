"""The report as Markdown, whole and in short, the files of tables beside it, and what of it a terminal shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from evaluation.measures.catalogue import keys_shown
from evaluation.measures.declaration import Shown
from experiments.pages.tables import Table, table_markdown, terminal_table
from experiments.ranking.findings import Findings, save_findings
from experiments.ranking.leaderboard import plain_table
from experiments.ranking.primary import PRIMARY
from experiments.report.sections import Folded, Part, Section, sections
from experiments.report.tables import leaderboard_table, overview_table
from experiments.report.words import disqualified, explanation, flag_notes, headline, listed, notes
from overtone.files import written_whole

LEADERBOARD, WORDS = "leaderboard.csv", "leaderboard.md"
WIDE = 110  # characters that the wide table takes on a terminal, with the longest names


def leaderboard_markdown(findings: Findings, *, title: bool = True) -> str:
    """Return the whole report in Markdown; the result comes first.

    Args:
        findings: of the comparison.
        title: whether it begins with a title of its own.
    """
    heading = [f"# Leaderboard of `{findings.preset}`"] if title else []
    return "\n\n".join([*heading, headline(findings), *map(_section, sections(findings))]) + "\n"


def overview_markdown(findings: Findings, links: Mapping[str, str] | None = None) -> str:
    """Return the result in short, for a place that is read before the report: no more than fits beside a table of runs.

    Args:
        findings: of the comparison.
        links: addresses of pages by what they are called.
    """
    ways = " · ".join(f"**[{name}]({address})**" for name, address in (links or {}).items())
    parts = [  # the ways in the first line, which is all that MLflow shows before it is unfolded
        " · ".join(part for part in (ways, headline(findings)) if part),
        table_markdown(overview_table(findings)),
        *disqualified(findings.selection),
        *flag_notes(findings),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(section: Section) -> str:
    heading = [] if section.title == "Leaderboard" else [f"## {section.title}"]
    return "\n\n".join([*heading, *_texts(section.parts)])


def _texts(parts: Sequence[Part]) -> list[str]:
    texts: list[str] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Table):
            texts.append(table_markdown(part))
        elif isinstance(part, Folded):
            texts += [f"### {part.title}", *_texts(part.parts)]
    return [text for text in texts if text]


def write_leaderboard(findings: Findings, folder: Path) -> list[Path]:
    """Write ``leaderboard.csv`` and ``.md``, ``conditions.csv``, ``differences.csv`` and ``findings.json``.

    Args:
        findings: of the comparison.
        folder: where to; made when absent.

    Returns:
        The paths of the first two.
    """
    tables = {
        LEADERBOARD: plain_table(findings.leaderboard),
        "conditions.csv": plain_table(findings.conditions),
        "differences.csv": findings.tests,
    }
    for name, table in tables.items():
        with written_whole(folder / name) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
    with written_whole(folder / WORDS) as temporary:
        temporary.write_text(leaderboard_markdown(findings), encoding="utf-8")
    save_findings(findings, folder)
    return [folder / LEADERBOARD, folder / WORDS]


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
