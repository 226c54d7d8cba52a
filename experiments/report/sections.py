"""The sections of a report, in the order in which readers ask; Markdown and HTML write the same ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.measures.catalogue import keys_shown
from evaluation.measures.declaration import Shown
from experiments.pages.samples import Sample
from experiments.pages.tables import FLAG, Table
from experiments.ranking.band_levels import over_conditions
from experiments.ranking.columns import COSTS, heading
from experiments.ranking.findings import Findings
from experiments.ranking.primary import PRIMARY
from experiments.report.figures import Picture, band_levels_picture, cost_picture, curves_picture, interval_picture
from experiments.report.tables import (
    MOST_FAILURES,
    band_levels_table,
    champion_tests_table,
    condition_table,
    control_tests_table,
    detectable_table,
    differences_table,
    factors_table,
    failures_table,
    guards_table,
    leaderboard_table,
    measured_columns,
    measures_table,
    seeds_table,
    trainings_table,
)
from experiments.report.utterances import shortened_to_fit
from experiments.report.words import explanation, frontier_sentences, listed, notes, tests_words

LISTEN = "Listen"


@dataclass(frozen=True)
class Folded:
    """Parts that a page shows when their title is pressed.

    Attributes:
        title: in Markdown a heading.
        parts: Markdown, tables and pictures.
        opened: whether a page shows them from the start.
    """

    title: str
    parts: Sequence["str | Table | Picture"]
    opened: bool = False


Part = str | Table | Picture | Sample | Folded


@dataclass(frozen=True)
class Section:
    """A section of a report.

    Attributes:
        title: its heading.
        parts: Markdown, tables, pictures and sounds; Markdown files leave out the last two.
    """

    title: str
    parts: Sequence[Part]


def sections(findings: Findings) -> list[Section]:
    """Return every section that has something to say, but for that with the sounds."""
    made = [
        _leaderboard(findings),
        _guards(findings),
        _compute(findings),
        _outside(findings),
        _conditions(findings),
        _band_levels(findings),
        _differences(findings),
        _training(findings),
        _detectable(findings),
        _failures(findings),
        *(Section(title, [text]) for title, text in findings.remarks.items()),
        _reproduce(findings),
        _reading(findings),
    ]
    return [section for section in made if section.parts]


def _leaderboard(findings: Findings) -> Section:
    speakers, utterances = findings.scores["speaker"].nunique(), findings.scores["file"].nunique()
    words = (
        f"Scores on `{findings.split}`: {utterances} utterances of {speakers} speakers; means over speakers, then over "
        "conditions. The primary score is 0 at best and 0.5 for doing nothing. Arrows show the better direction; – is "
        f"a measure that does not apply; {FLAG} is a control that reads no target and is ahead of a candidate."
    )
    table = leaderboard_table(findings, measured_columns(findings))
    return Section("Leaderboard", [words, interval_picture(findings), table, listed(notes(findings))])


def listen_section(samples: Sequence[Sample]) -> Section:
    """Return the section to hear and see utterances in; without any it is empty.

    Args:
        samples: the utterances.
    """
    words = (
        "Best, median and worst utterance by what is gained in the primary score over doing nothing; the champion "
        "decides, or the best candidate where there is none. Numbers beside names are primary scores of the whole "
        "utterance, lower is better. Press a name to hear it; press another while it plays to switch at the same "
        "position. Press a spectrogram to jump. Without JavaScript the players work one by one."
    )
    return Section(LISTEN, [words, *shortened_to_fit(samples)] if samples else [])


def _guards(findings: Findings) -> Section:
    words = "Decided on `val`, by limits declared before the training; ✗ marks a guard that disqualified a candidate."
    return Section(
        "How the winner was chosen",
        [words, *([guards_table(findings)] if findings.selection.candidates else []), explanation(findings.selection)],
    )


def _compute(findings: Findings) -> Section:
    pictures = [picture for cost in COSTS.values() if (picture := cost_picture(findings, cost))]
    words = (
        "Lower left is better. The line joins the candidates that passed every guard and that none of these beats in "
        "both; hollow marks were disqualified. Dashed lines are controls, whose cost is not measured"
        f"{_OUTSIDE_IN_PLOTS if findings.selection.externals else ''}. Among the candidates that passed, with cost and "
        "primary score in brackets:"
    )
    said = frontier_sentences(findings)
    return Section("Quality for compute", [words, listed(said), *pictures] if said else pictures)


_OUTSIDE_IN_PLOTS = ", and systems from outside whose cost is not known; diamonds are systems from outside"


def _outside(findings: Findings) -> Section:
    words = (
        "Scored on the same utterances under the same conditions, and ranked, but never chosen: neither budget nor "
        "guards were declared for them. A constant delay is removed; an utterance without a usable estimate has "
        "failed scores, with the reason."
    )
    said = listed(f"`{name}`: {text}." for name, text in findings.external.items())
    return Section("Systems from outside", [words, said] if said else [])


def _conditions(findings: Findings) -> Section:
    parts: list[Part] = [
        "Means over speakers ± half the width of the 95 % interval; in colour how much better or worse than doing "
        f"nothing. {FLAG} marks a candidate's score that a control which reads no target beats there."
    ]
    if findings.factors:
        parts.append(factors_table(findings))
    known = set(findings.conditions["key"])
    for key in (key for key in (PRIMARY, *keys_shown(Shown.COMPACT)) if key in known):
        table = condition_table(findings, findings.conditions, key)
        parts.append(Folded(heading(key), [table], opened=key == PRIMARY))
    if not findings.levels.empty:
        table = condition_table(findings, findings.levels, PRIMARY)
        words = "Means over the conditions of each level."
        parts.append(Folded(f"{heading(PRIMARY)} by codec, noise and cutoff", [words, table]))
    return Section("By condition", parts)


def _band_levels(findings: Findings) -> Section:
    levels = findings.band_levels
    if levels.empty:
        return Section("Level over frequency", [])
    words = (
        "How much too loud (+) or too quiet (-) each system is in thirds of an octave of the missing band, in dB: the "
        "mean of its level error over loud frames (bias, the line) ± the standard deviation over frames (spread, the "
        "shade); means over speakers, then over the conditions under which a band is missing. 0 ± 0 is the target. A "
        "bias is a fault of level, which a gain could mend; a spread is not knowing the moment's level."
    )
    parts: list[Part] = [words, band_levels_picture(findings), band_levels_table(findings, over_conditions(levels))]
    conditions = list(levels.groupby("condition", sort=False))
    if len(conditions) > 1:
        parts += [Folded(str(name), [band_levels_table(findings, part)]) for name, part in conditions]
    return Section("Level over frequency", parts)


def _differences(findings: Findings) -> Section:
    words = "In the primary score, paired by utterance, with 95 % intervals; negative is better."
    parts: list[Part] = [words, differences_table(findings)]
    if not findings.tests.empty:
        tables = [table for table in (control_tests_table(findings), champion_tests_table(findings)) if table.rows]
        parts.append(Folded("Tests of the primary score", [tests_words(findings), *tables]))
    return Section("Differences", parts)


def _training(findings: Findings) -> Section:
    parts: list[Part] = []
    if not findings.trainings.empty:
        parts.append(trainings_table(findings))
    most = findings.leaderboard["seeds"].max()
    if most == 1:
        parts.append("Every model was trained once: nothing here says what another seed would give (`--seeds N` does).")
    if most > 1:
        parts += [
            seeds_table(findings),
            "Seeds are averaged per utterance. The first interval says what other speakers would change, for these "
            "trainings; the second, which draws trainings as well as speakers, what training again would change too. "
            "With two or three seeds it is rough.",
        ]
    if picture := curves_picture(findings):
        words = "Loss on `val` by training examples seen, a line per seed, the last value above; scales differ."
        parts += [words, picture]
    return Section("Training", parts)


def _detectable(findings: Findings) -> Section:
    words = (
        "The true difference between two neighbours that would be found with 80 % probability by a two-sided test at "
        "5 % on speaker means, from the spread of their paired differences. A smaller observed difference is no "
        "evidence of equality."
    )
    table = detectable_table(findings)
    return Section("What this test set can detect", [table, words] if table.rows else [])


def _failures(findings: Findings) -> Section:
    failed = findings.failed
    if failed.empty:
        return Section("Failed scores", ["No score failed."])
    files, more = len(failed[["file", "condition"]].drop_duplicates()), len(failed) - MOST_FAILURES
    parts: list[Part] = [f"{len(failed)} scores failed, of {files} utterances.", failures_table(findings)]
    if more > 0:
        parts.append(f"And {more} more: see the column `failures` of the score table.")
    return Section("Failed scores", parts)


def _reproduce(findings: Findings) -> Section:
    source = findings.provenance
    facts = {"preset": findings.preset, "commit": source.commit, "data digest": source.data_digest}
    if source.created:
        facts["ended"] = f"{source.created:%Y-%m-%d %H:%M %Z}".strip()
    commands = "\n".join(source.commands)
    return Section(
        "How to reproduce",
        [
            f"```\n{commands}\n```",
            "On other speech: `overtone compare preset.yaml --data CORPUS`. The file `preset.yaml` beside this page "
            "holds every value, those of the command line and systems from outside included.",
            listed(f"{name}: {value}" for name, value in (facts | dict(source.versions)).items()),
        ],
    )


def _reading(findings: Findings) -> Section:
    costs = listed(
        f"{cost.heading}: {cost.remark}." for cost in COSTS.values() if cost.remark and cost.key in findings.leaderboard
    )
    controls = (
        "Controls are no candidates: they show what a measure makes of doing nothing, of noise, of a copy of the low "
        "band, and of the target itself. A candidate behind a control that reads no target has learnt nothing that "
        "the measure can hear, or the measure is fooled: listen."
    )
    return Section("How to read this page", [measures_table(findings), costs, controls])
