"""The report as one page of HTML that loads nothing from anywhere."""

import base64
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

from evaluation.measures.catalogue import keys_shown
from evaluation.measures.declaration import Shown
from experiments.pages.embedding import asset, markdown_html, scroll_box
from experiments.pages.samples import Sample, sample_html
from experiments.pages.tables import Table, table_html
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.columns import COSTS, heading, number
from experiments.ranking.findings import Findings
from experiments.ranking.primary import PRIMARY
from experiments.report.figures import Picture
from experiments.report.sections import LISTEN, Folded, Part, Section, listen_section, sections
from experiments.report.words import headline
from overtone.files import written_whole

# Around the section with the sounds, which is most of the page and the same as long as the systems are.
SOUNDS_BEGIN, SOUNDS_END = "<!-- sounds -->", "<!-- end of sounds -->"
DIGEST_SHOWN = 12  # characters; the whole one stands under "How to reproduce"


def write_report(
    findings: Findings, path: Path, samples: Sequence[Sample] = (), links: Mapping[str, str] | None = None
) -> None:
    """Write the page, whole or not at all.

    Args:
        findings: of the comparison.
        path: the HTML file.
        samples: utterances to hear and see, as `experiments.report.utterances.report_samples` gives them.
        links: addresses of pages beside this one by what they are called.

    Raises:
        OvertoneError: a sample has no clips, or a clip has no samples.
    """
    listen = listen_section(samples)
    _write(findings, path, sections(findings), _section(listen) if listen.parts else "", links or {})


def _write(findings: Findings, path: Path, made: Sequence[Section], sounds: str, links: Mapping[str, str]) -> None:
    """Write the page; the section with the sounds, the second, is given as HTML."""
    shown = {section.title: _section(section) for section in made}
    (first, *titles), written = shown, list(shown.values())
    script = asset("samples.js") + asset("report.js", "report")
    page = Template(asset("report.html", "report")).substitute(
        title=escape(f"Comparison {findings.preset}"),
        policy=_policy(script),
        style=asset("page.css") + asset("samples.css") + asset("report.css", "report"),
        script=script,
        summary=_summary(findings, links),
        contents="".join(
            f'<li><a href="#{escape(_identifier(title))}">{escape(title)}</a></li>'
            for title in (first, *([LISTEN] if sounds else []), *titles)
        ),
        sections="\n".join([written[0], f"{SOUNDS_BEGIN}{sounds}{SOUNDS_END}", *written[1:]]),
    )
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _identifier(title: str) -> str:
    return title.lower().replace(" ", "-")


def _section(section: Section) -> str:
    return (
        f'<section id="{escape(_identifier(section.title))}" class="part"><h2>{escape(section.title)}</h2>'
        f"{''.join(map(_html, section.parts))}</section>"
    )


def rewrite_report(findings: Findings, path: Path, links: Mapping[str, str] | None = None) -> bool:
    """Write a page again with other findings and the sounds that it has, such as after votes were imported.

    Args:
        findings: of the comparison.
        path: the HTML file, which `write_report` has written.
        links: as `write_report` takes them.

    Returns:
        Whether there was such a page; otherwise nothing is written.
    """
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    kept = re.search(re.escape(SOUNDS_BEGIN) + "(.*?)" + re.escape(SOUNDS_END), before, re.DOTALL)
    if kept:
        _write(findings, path, sections(findings), kept[1], links or {})
    return bool(kept)


def _html(part: Part) -> str:
    if isinstance(part, str):
        return markdown_html(part)
    if isinstance(part, Table):
        return table_html(part)
    if isinstance(part, Picture):
        box = scroll_box(f"Figure: {part.words.partition(':')[0]}")
        return f'{box}<img class="plot" alt="{escape(part.words)}" src="{part.uri()}"></div>'
    if isinstance(part, Sample):
        return sample_html(part, heading="h3")
    return _folded(part)


def _folded(part: Folded) -> str:
    inside = "".join(map(_html, part.parts))
    return f"<details{' open' * part.opened}><summary>{escape(part.title)}</summary>{inside}</details>"


def _policy(script: str) -> str:
    """A content security policy: the page's own script and what is embedded, nothing from anywhere else."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def _summary(findings: Findings, links: Mapping[str, str]) -> str:
    source = findings.provenance
    facts = [
        f"preset {findings.preset}",
        *([f"{source.created:%Y-%m-%d %H:%M}"] if source.created else []),
        f"commit {source.commit}",
        f"data {source.data_digest[:DIGEST_SHOWN]}",
    ]
    anchors = (f'<a class="link" href="{escape(to)}">{escape(label)}</a>' for label, to in links.items())
    return (
        f'<p class="facts">{" · ".join(map(escape, facts))}</p><div class="headline">'
        f"{markdown_html(headline(findings))}</div>{_tiles(findings)}{''.join(anchors)}"
    )


def _tiles(findings: Findings) -> str:
    """The champion's numbers beside those of doing nothing."""
    if findings.selection.winner not in findings.systems:
        return ""
    champion = findings.row(str(findings.selection.winner))
    nothing = findings.row(UNPROCESSED) if UNPROCESSED in findings.systems else {}
    names = {key: heading(key) for key in (PRIMARY, *keys_shown(Shown.OVERVIEW))}
    names |= {key: cost.name for key, cost in COSTS.items() if not cost.of_training and cost.name}
    tiles = []
    for key, name in names.items():
        value, other = (float(row.get(key, math.nan)) for row in (champion, nothing))
        if not math.isnan(value):
            beside = "" if math.isnan(other) else f"<dd>doing nothing: {number(other, key)}</dd>"
            tiles.append(f'<div><dt>{escape(name)}</dt><dd class="value">{number(value, key)}</dd>{beside}</div>')
    return f'<dl class="tiles">{"".join(tiles)}</dl>'
