"""The sections of the report as HTML, in the order in which people ask."""

import math
from collections.abc import Iterator, Sequence
from html import escape

import pandas as pd

from evaluation.measures.catalogue import MEASURES, Shown, keys_shown
from experiments.pages.embedding import breakable, markdown_html
from experiments.pages.samples import Sample, sample_html
from experiments.ranking.columns import difference_cell, heading, markdown_table, rows_of
from experiments.ranking.compute import COSTS, Cost, cost_points, frontier_sentences
from experiments.ranking.conditions import ConditionFactors, condition_keys, condition_rows
from experiments.ranking.outranking import FLAG
from experiments.ranking.paired_tests import paired_tests
from experiments.ranking.primary import PRIMARY, failed_scores, with_primary
from experiments.report.axes import linear_axis, logarithmic_axis
from experiments.report.contents import ReportContents
from experiments.report.figures import curve_svg, pareto_svg
from experiments.report.leaderboard_markdown import notes
from experiments.report.markdown_sections import significance_section
from experiments.report.tables import (
    condition_table,
    failures_table,
    guards_table,
    leaderboard_table,
    primary_axis,
    trainings_table,
)
from experiments.report.utterances import shortened_to_fit

PRIMARY_WORDS = (
    "the declared score: `extended_ber` where a band is missing, elsewhere half the mean of two ratios to doing "
    "nothing (log-spectral distance and distortion amplitude); 0 is perfect, 0.5 is doing nothing"
)
PRIMARY_WEAKNESS = "whatever fools the measures behind it, which is why there are guards, controls and players"
COST_WORDS = {
    "rtf": "RTF: seconds of one core per second of audio; fooled by a machine that does something else meanwhile",
    "latency_ms": "latency: how late a stream's output is, in ms; – cannot stream. The sound card's own is not in it",
    "train_cpu_hours": "train CPU-h: processor time of one training, all its processes and starts, with validation; a "
    "GPU's time is not in it, and other programs on the same cores make it larger",
    "macs": "MAC/s: multiply-accumulates per second of audio without the transforms; says little about memory traffic",
}


def sections(contents: ReportContents) -> Iterator[tuple[str, str]]:
    """Yield title and HTML of every section that has something to say."""
    scores = with_primary(contents.scores)
    made = (
        ("Leaderboard", _leaderboard_section(contents, scores)),
        ("Listen", _listen_section(contents.samples)),
        ("Guards", _guards_section(contents)),
        ("Quality for compute", _compute_section(contents.leaderboard)),
        ("Conditions", _condition_section(contents, scores)),
        ("Differences", _difference_section(contents, scores)),
        ("Training", _training_section(contents)),
        ("Failures", _failure_section(contents, scores)),
        ("How to reproduce", _reproduce_section(contents)),
        ("How to read this page", _reading_section(contents.leaderboard)),
    )
    yield from ((title, body) for title, body in made if body)


def _leaderboard_section(contents: ReportContents, scores: pd.DataFrame) -> str:
    speakers, utterances = scores["speaker"].nunique(), scores["file"].nunique()
    words = (
        f"Scores on `{contents.split}`: {utterances} utterances of {speakers} speakers; means over speakers, then over "
        "conditions. Dots are means, whiskers 95 % intervals, the dashed line is doing nothing. Arrows show the better "
        f"direction; – does not apply; dimmed rows are controls; {FLAG} is a control that reads no target and is ahead "
        "of a candidate."
    )
    said = notes(contents.leaderboard, split=contents.split, test_uses=contents.test_uses)
    listed = "\n".join(f"- {note}" for note in said)
    return f"{markdown_html(words)}{leaderboard_table(contents.leaderboard)}{markdown_html(listed)}"


def _listen_section(samples: Sequence[Sample]) -> str:
    if not samples:
        return ""
    return (
        '<p class="hint">Best, median and worst utterance by what is gained in the primary score over doing nothing; '
        "the champion decides, or the best candidate where there is none. Numbers beside names are primary scores of "
        "the whole utterance, lower is better. Press a name to hear it; press another while it plays to switch at the "
        "same position. Press a spectrogram to jump.</p>"
        "<noscript><p>Without JavaScript the players work one by one; switching at the same position does not.</p>"
        f"</noscript>{''.join(sample_html(sample, 'h3') for sample in shortened_to_fit(samples))}"
    )


def _guards_section(contents: ReportContents) -> str:
    if not contents.selection.candidates:
        return markdown_html(contents.selection.explanation)
    return (
        "<p>Decided on <code>val</code>, by limits declared before the training; ✗ marks what ruled a candidate "
        f"out.</p>{guards_table(contents.selection)}{markdown_html(contents.selection.explanation)}"
    )


def _compute_section(leaderboard: pd.DataFrame) -> str:
    plots = [_cost_plot(leaderboard, cost) for cost in COSTS]
    if not any(plots):
        return "<p>No system’s cost was measured.</p>"
    front = "\n".join(f"- {sentence}" for sentence in frontier_sentences(leaderboard))
    return (
        "<p>Lower left is better. The line joins the candidates that passed every guard and that none of these beats "
        "in both; hollow marks were ruled out. Dashed lines are controls, whose cost is not measured. In words, with "
        f'cost and primary score in brackets:</p>{markdown_html(front)}<div class="plots">{"".join(plots)}</div>'
    )


def _cost_plot(leaderboard: pd.DataFrame, cost: Cost) -> str:
    points = cost_points(leaderboard, cost.key)
    if not points:
        return ""
    shown = {point.name for point in points}
    controls = [row for row in rows_of(leaderboard) if row["status"] == "control" and row["system"] not in shown]
    return pareto_svg(
        points,
        {str(row["system"]): float(row[PRIMARY]) for row in controls if math.isfinite(float(row[PRIMARY]))},
        logarithmic_axis(point.cost for point in points),
        primary_axis(leaderboard),
        cost_name=cost.name,
        score_name="primary score ↓",
        cost_text=cost.text,
    )


def _condition_section(contents: ReportContents, scores: pd.DataFrame) -> str:
    rows = condition_rows(scores) if contents.conditions is None else contents.conditions
    parts = [
        "<p>Means over speakers ± half the 95 % interval. Blue is better than doing nothing under the same condition, "
        f"orange is worse; {FLAG} is a candidate behind a control that reads no target.</p>"
    ]
    if contents.factors:
        names = [name for name in scores["condition"].drop_duplicates() if name in contents.factors]
        levels = ([name, *contents.factors[name].levels.values()] for name in names)
        parts.append(markdown_html(markdown_table(["condition", *ConditionFactors().levels], levels)))
    for key in (key for key in condition_keys() if key in set(rows["key"])):
        opened = " open" if key == PRIMARY else ""
        table = condition_table(rows, contents.leaderboard, key)
        parts.append(f"<details{opened}><summary>{escape(heading(key))}</summary>{table}</details>")
    return "".join(parts)


def _difference_section(contents: ReportContents, scores: pd.DataFrame) -> str:
    lines = [
        [row["system"], difference_cell(row, "vs_unprocessed"), difference_cell(row, "vs_runner_up")]
        for row in rows_of(contents.leaderboard)
    ]
    introduction = "In the primary score, paired by utterance, with 95 % intervals; negative is better."
    tests = paired_tests(scores, contents.selection) if contents.tests is None else contents.tests
    parts = significance_section(tests, contents.leaderboard, contents.selection)
    table = markdown_table(["system", "to unprocessed", "to the runner-up"], lines)
    details = ""
    if parts:
        title, *rest = parts
        words = markdown_html("\n\n".join(rest))
        details = f"<details><summary>{escape(title.lstrip('# '))}</summary>{words}</details>"
    return f"<p>{introduction}</p>{markdown_html(table)}{details}"


def _training_section(contents: ReportContents) -> str:
    table = "" if contents.trainings.empty else trainings_table(contents.trainings)
    return table + _curves(contents)


def _curves(contents: ReportContents) -> str:
    """One small plot per system, a line per seed, all on the same axes."""
    points = [point for curve in contents.curves for point in curve.points]
    if not points:
        return ""
    across = linear_axis((at for at, _ in points), start=0.0, ticks=3)
    up = linear_axis((value for _, value in points), ticks=4)
    figures = []
    for system in dict.fromkeys(curve.system for curve in contents.curves):
        lines = [curve.points for curve in contents.curves if curve.system == system]
        last = ", ".join(f"{line[-1][1]:.3f}" for line in lines if line)
        svg = curve_svg(lines, across, up, f"Loss of {system} on val by training examples; at the end {last}")
        figures.append(f"<figure><figcaption>{breakable(system)} <small>{last}</small></figcaption>{svg}</figure>")
    return (
        "<h3>Curves</h3><p>Loss on <code>val</code> by training examples seen, a line per seed; the same axes for "
        f'all.</p><div class="curve-grid">{"".join(figures)}</div>'
    )


def _failure_section(contents: ReportContents, scores: pd.DataFrame) -> str:
    failed = failed_scores(scores)
    listed = "".join(f"<li>{escape(line)}</li>" for line in contents.failures)
    parts = [f"<ul>{listed}</ul>"] if listed else []
    if failed.empty:
        parts.append("<p>No score failed.</p>")
    else:
        files = len(failed[["file", "condition"]].drop_duplicates())
        parts.append(f"<p>Failed scores: {len(failed)}, of {files} utterances.</p>{failures_table(failed)}")
    return "".join(parts)


def _reproduce_section(contents: ReportContents) -> str:
    commands = "\n".join(contents.reproduce)
    facts = {
        "preset": contents.preset,
        "commit": contents.commit,
        "data digest": contents.data_digest,
        **({"ended": f"{contents.created:%Y-%m-%d %H:%M %Z}".strip()} if contents.created else {}),
        **contents.facts,
        **contents.versions,
    }
    listed = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f'<pre class="scroll" tabindex="0">{escape(commands)}</pre><dl class="versions">{listed}</dl>'


def _reading_section(leaderboard: pd.DataFrame) -> str:
    keys = [key for key in keys_shown(Shown.LEADERBOARD) if key in leaderboard]
    rows = [[heading(PRIMARY), PRIMARY_WORDS, PRIMARY_WEAKNESS]]
    rows += [[heading(key), MEASURES[key].description, MEASURES[key].weakness] for key in keys]
    costs = "\n".join(f"- {words}." for key, words in COST_WORDS.items() if key in leaderboard)
    controls = (
        "Controls are no candidates: they show what a measure makes of doing nothing, of noise, of a copy of the low "
        "band, and of the target itself. A candidate behind a control that reads no target has learnt nothing that "
        "the measure can hear, or the measure is fooled: listen."
    )
    table = markdown_html(markdown_table(["measure", "what it tells", "what fools it"], rows))
    return f'<div class="reading">{table}</div>{markdown_html(costs)}<p>{controls}</p>'
