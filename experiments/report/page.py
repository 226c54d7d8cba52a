"""The report as one page of HTML that loads nothing from anywhere."""

import base64
import hashlib
import math
from html import escape
from pathlib import Path
from string import Template

from experiments.pages.embedding import asset, markdown_html
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.columns import heading, number, rows_of
from experiments.ranking.primary import PRIMARY
from experiments.report.contents import ReportContents
from experiments.report.leaderboard_markdown import headline
from experiments.report.sections import sections
from overtone.files import written_whole

DIGEST_SHOWN = 12  # characters; the whole one stands under "How to reproduce"
TILES = {
    **{key: heading(key) for key in (PRIMARY, "visqol", "lsd_hf_band", "content_ber")},
    "latency_ms": "latency, ms",
    "rtf": "real-time factor",
    "macs": "multiply-accumulates a second",
}


def page(contents: ReportContents) -> str:
    """The whole page.

    Raises:
        OvertoneError: a sample has no clips, or a clip has no samples.
    """
    bodies = dict(sections(contents))
    identifiers = {title: title.lower().replace(" ", "-") for title in bodies}
    script = asset("samples.js")
    return Template(asset("report.html", "report")).substitute(
        title=escape(f"Comparison {contents.preset}"),
        policy=_policy(script),
        style=asset("page.css") + asset("samples.css") + asset("report.css", "report"),
        script=script,
        summary=_summary(contents),
        contents="".join(f'<li><a href="#{identifiers[title]}">{title}</a></li>' for title in bodies),
        sections="\n".join(
            f'<section id="{identifiers[title]}" class="part"><h2>{title}</h2>{body}</section>'
            for title, body in bodies.items()
        ),
    )


def _policy(script: str) -> str:
    """A content security policy: the page's own script and what is embedded, nothing from anywhere else."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _summary(contents: ReportContents) -> str:
    facts = [
        f"preset {contents.preset}",
        *([f"{contents.created:%Y-%m-%d %H:%M}"] if contents.created else []),
        f"commit {contents.commit}",
        f"data {contents.data_digest[:DIGEST_SHOWN]}",
    ]
    links = "".join(
        f'<a class="link" href="{escape(address)}">{escape(label)}</a>' for label, address in contents.links.items()
    )
    words = markdown_html(headline(contents.leaderboard, contents.selection, contents.split))
    return (
        f'<p class="facts">{" · ".join(map(escape, facts))}</p><div class="headline">{words}</div>'
        f"{_tiles(contents)}{links}"
    )


def _tiles(contents: ReportContents) -> str:
    """The champion's numbers beside those of doing nothing."""
    rows = {row["system"]: row for row in rows_of(contents.leaderboard)}
    champion, nothing = rows.get(contents.selection.winner), rows.get(UNPROCESSED, {})
    if champion is None:
        return ""
    tiles = []
    for key, name in TILES.items():
        value, other = (float(row.get(key, math.nan)) for row in (champion, nothing))
        if math.isnan(value):
            continue
        beside = "" if math.isnan(other) else f"<dd>doing nothing: {number(other, key)}</dd>"
        tiles.append(f'<div><dt>{name}</dt><dd class="value">{number(value, key)}</dd>{beside}</div>')
    return f'<dl class="tiles">{"".join(tiles)}</dl>'


def write_report(path: Path, contents: ReportContents) -> None:
    """Write the page, whole or not at all.

    Args:
        path: the HTML file.
        contents: what it tells.

    Raises:
        OvertoneError: a sample has no clips, or a clip has no samples.
    """
    text = page(contents)
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
