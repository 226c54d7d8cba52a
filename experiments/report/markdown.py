"""The report as Markdown, and the files of tables beside it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.pages.tables import Table, table_markdown
from experiments.ranking.findings import Findings, save_findings
from experiments.ranking.leaderboard import plain_table
from experiments.report.sections import Folded, Part, Section, sections
from experiments.report.tables import leaderboard_table, overview_columns
from experiments.report.words import disqualified, flag_notes, headline
from overtone.files import written_whole

LEADERBOARD, WORDS = "leaderboard.csv", "leaderboard.md"


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
    table = table_markdown(leaderboard_table(findings, overview_columns(findings), behind=False, guards=True))
    parts = [headline(findings), ways, table, *disqualified(findings.selection), *flag_notes(findings)]
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
