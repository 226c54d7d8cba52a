"""Tables as values, and the three ways to write them: Markdown, HTML and a terminal."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from rich import box
from rich.table import Table as TerminalTable
from rich.text import Text

from experiments.pages.embedding import breakable, scroll_box

FLAG = "⚑"
CODE = re.compile(r"`([^`]+)`")
FAILED = "failed"
STYLES = {
    "champion": "bold green",
    "tied": "green",
    "external": "cyan",
    "control": "dim",
    "disqualified": "yellow",
}  # on a terminal


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        heading: what stands above it.
        numeric: whether its cells are aligned to the right.
        explanation: shown by HTML when a pointer rests on the heading.
    """

    heading: str
    numeric: bool = False
    explanation: str = ""


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what stands in it; ``failed`` stands out.
        flag: why a flag stands beside the text; empty for no flag.
        explanation: shown by HTML when a pointer rests on it.
        shade: from -1, worse than doing nothing, to 1, better, as a colour in HTML; NaN for none.
    """

    text: str
    flag: str = ""
    explanation: str = ""
    shade: float = math.nan

    def __str__(self) -> str:
        return f"{self.text} {FLAG}" if self.flag else self.text


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        cells: one a column.
        kind: how it looks: the status of a system; empty for no difference.
    """

    cells: Sequence[Cell | str]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        label: what HTML calls it.
        columns: the first that is not numeric names the rows.
        rows: from top to bottom.
    """

    label: str
    columns: Sequence[Column]
    rows: Sequence[Row]

    @classmethod
    def of(cls, label: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> "Table":
        """Return a table of plain texts.

        Args:
            label: what HTML calls it.
            headings: of the columns; all but the first are aligned to the right.
            rows: their cells.
        """
        columns = [Column(heading, numeric=place > 0) for place, heading in enumerate(headings)]
        return cls(label, columns, [Row([str(cell) for cell in row]) for row in rows])


def markdown_table(headings: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown; bars in cells are escaped.

    Args:
        headings: of the columns.
        rows: their cells.
    """
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(str(one).replace("|", "\\|") for one in line) + " |" for line in lines)


def table_markdown(table: Table) -> str:
    """Return a table as Markdown."""
    return markdown_table([column.heading for column in table.columns], (row.cells for row in table.rows))


def table_html(table: Table) -> str:
    """Return a table as HTML that scrolls inside its own box, also by keyboard."""
    name = next((place for place, column in enumerate(table.columns) if not column.numeric), 0)
    header = "".join(_heading_html(column, place == name) for place, column in enumerate(table.columns))
    body = "".join(_row_html(row, table.columns, name) for row in table.rows)
    style = escape(table.label.lower().replace(" ", "-"))
    head = f"<thead><tr>{header}</tr></thead>"
    return f'{scroll_box(table.label)}<table class="{style}">{head}<tbody>{body}</tbody></table></div>'


def _heading_html(column: Column, is_name: bool) -> str:
    style = "name" if is_name else "number" if column.numeric else ""
    title = f' title="{escape(column.explanation)}"' if column.explanation else ""
    return f'<th scope="col" class="{style}"{title}>{breakable(column.heading)}</th>'


def _row_html(row: Row, columns: Sequence[Column], name: int) -> str:
    cells = []
    for place, (cell, column) in enumerate(zip(row.cells, columns, strict=True)):
        one = cell if isinstance(cell, Cell) else Cell(cell)
        title = f' title="{escape(one.explanation)}"' if one.explanation else ""
        flag = f' <span class="flag" title="{escape(one.flag)}">{FLAG}</span>' if one.flag else ""
        if place == name:
            cells.append(f'<th scope="row" class="name"{title}>{breakable(one.text)}{flag}</th>')
            continue
        style = " ".join(filter(None, ("number" * column.numeric, FAILED * (one.text in (FAILED, "✗")))))
        colour = ""
        if not math.isnan(one.shade):
            style += " shade"
            side = "better" if one.shade >= 0 else "worse"
            colour = f' style="--side:var(--{side});--share:{100 * abs(one.shade):.0f}%"'
        words = CODE.sub(r"<code>\1</code>", breakable(one.text))
        cells.append(f'<td class="{style}"{colour}{title}>{words}{flag}</td>')
    return f'<tr class="{escape(row.kind)}">{"".join(cells)}</tr>'


def terminal_table(table: Table) -> TerminalTable:
    """Return a table as rich prints it: names fold where it is narrow, headings may take two lines."""
    shown = TerminalTable(box=box.SIMPLE_HEAD, padding=0)
    for place, column in enumerate(table.columns):
        heading = Text(column.heading.replace(" ", "\n", 1))
        shown.add_column(heading, justify="right" if column.numeric else "left", no_wrap=place == 0, overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(str(cell)) for cell in row.cells), style=STYLES.get(row.kind, ""))
    return shown
