"""What changed from A to B: two comparisons, trainings, score tables or exported models beside each other."""

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from evaluation.harness import check_measures
from evaluation.measures.catalogue import MEASURES, keys_shown
from evaluation.measures.declaration import Shown
from evaluation.statistics.intervals import utterance_pairs
from experiments.comparison.options import DiffOptions
from experiments.comparison.sides import Side, Sides, Sounds, read_sides
from experiments.pages.samples import Sample, loudest_part, write_samples_page
from experiments.pages.tables import Table, table_markdown, terminal_table
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.changes import (
    BETTER,
    ROUNDING,
    WORSE,
    A,
    B,
    Change,
    SystemChanges,
    largest,
    system_changes,
)
from experiments.ranking.columns import difference as difference_text
from experiments.ranking.columns import heading, number, plain_heading
from experiments.ranking.primary import PRIMARY, PRIMARY_MEASURES
from experiments.report.sections import Section
from experiments.report.utterances import SECONDS, shortened_to_fit
from experiments.report.words import listed
from experiments.runs import check_writable
from overtone.errors import OvertoneError
from overtone.progress import board, console

CHAMPION = "champion"


def diff(options: DiffOptions) -> str:
    """Print what changed from A to B, and write the page that was asked for.

    Args:
        options: of the command.

    Returns:
        A sentence that says in what B is worse than A; empty where it is no worse at 95 % in what is judged.

    Raises:
        OvertoneError: a user's mistake, a damaged input, or nothing that can be compared.
    """
    named = check_measures([key for key in options.measures if key != PRIMARY])
    if options.out is not None:
        if options.out.suffix.lower() not in (".html", ".htm"):
            raise OvertoneError(f"--out {options.out}: expected the name of a page that ends in .html.")
        check_writable(options.out.parent, "Name another page with --out.")
    with board() as progress:
        sides = read_sides(options, progress)
    pairs = compared_systems(sides.a, sides.b, options.system)
    judged = judged_measures(sides, named)
    keys = [key for key in _keys(sides.a) if key in _keys(sides.b)]
    prominent = [key for key in keys if key in judged or key in keys_shown(Shown.COMPACT)]
    tables = (sides.a.scores, sides.b.scores)
    found = [system_changes(tables, names, keys, prominent) for names in pairs]
    verdict = verdict_of(found, judged)
    made = sections(sides, found, options, verdict or _no_worse(found, judged))
    for section in made:
        console.print(f"\n{section.title}", style="bold", highlight=False, markup=False)
        for part in section.parts:
            if isinstance(part, Table):
                console.print(terminal_table(part))
            else:
                console.print(part, highlight=False, markup=False, soft_wrap=True)
    if options.out is not None:
        _write_page(options.out, made, sides.sounds, found[0].change(judged[0]))
        console.print(f"Page: {options.out}", highlight=False, markup=False, soft_wrap=True)
    return verdict


# What is compared


def compared_systems(a: Side, b: Side, wanted: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return the systems that are compared, by their names in A and in B.

    Args:
        a: the one side.
        b: the other.
        wanted: names as `DiffOptions.system` has them; none for all candidates that both have, or the champion of each
            where they have none in common.

    Raises:
        OvertoneError: a side lacks one, or has no champion.
    """
    if wanted:
        return [_pair_named(a, b, name) for name in wanted]
    common = [(name, name) for name in a.systems if name in b.systems]
    if not common and None in (a.champion, b.champion):
        raise OvertoneError(
            f"Expected a system that A and B both have; A has {_names(a.systems)}, B has {_names(b.systems)}. Name one "
            "that changed its name with --system OLD=NEW."
        )
    return common or [_pair_named(a, b, CHAMPION)]


def _pair_named(a: Side, b: Side, wanted: str) -> tuple[str, str]:
    old, _, new = wanted.partition("=")
    names = [side.champion if name == CHAMPION else name for side, name in ((a, old), (b, new or old))]
    for label, side, name in zip((A, B), (a, b), names, strict=True):
        if name is None:
            raise OvertoneError(f"--system {wanted}: {label} has no champion. It has {_names(side.systems)}.")
        if name not in set(side.scores["system"]):
            raise OvertoneError(f"--system {wanted}: {label} has no system {name}. It has {_names(side.systems)}.")
    return str(names[0]), str(names[1])


def _names(systems: Sequence[str]) -> str:
    return ", ".join(systems) or "none but controls"


def judged_measures(sides: Sides, named: Sequence[str]) -> list[str]:
    """Return the measures that decide: the primary score and those that are named.

    Without primary scores it is the first of the measures behind them that both sides have, unless some are named.

    Args:
        sides: with their scores.
        named: keys of measures.

    Raises:
        OvertoneError: a side lacks a measure that is named, or they have none in common.
    """
    for key in named:
        for label, side in ((A, sides.a), (B, sides.b)):
            if key not in side.scores:
                raise OvertoneError(f"--measures {key}: {label} has no scores of it. It has {_names(_keys(side))}.")
    common = [key for key in _keys(sides.a) if key in _keys(sides.b)]
    if not common:
        raise OvertoneError(f"Expected a measure that A and B both have; {_names(_keys(sides.a))} is in A alone.")
    if PRIMARY in common:
        return list(dict.fromkeys([PRIMARY, *named]))
    usual = [key for key in (*PRIMARY_MEASURES, *common) if key in common and _applies(sides, key)]
    return list(dict.fromkeys(named or usual[:1] or common[:1]))


def _keys(side: Side) -> list[str]:
    return [key for key in (PRIMARY, *MEASURES) if key in side.scores]


def _applies(sides: Sides, key: str) -> bool:
    return all(bool(side.scores[key].notna().any()) for side in (sides.a, sides.b))


def verdict_of(found: Sequence[SystemChanges], judged: Sequence[str]) -> str:
    """Return in what B is worse than A at 95 %, as a sentence; empty where it is no worse.

    A score that fails in B and not in A is worse too.

    Args:
        found: of each system.
        judged: measures that decide.

    Raises:
        OvertoneError: a measure applies to no utterance, or a difference has no interval.
    """
    reasons = []
    for system in found:
        for change in (system.change(key) for key in judged):
            what = f"{system.name} in {plain_heading(change.key)}"
            if change.newly_failed:
                scores = "1 score" if change.newly_failed == 1 else f"{change.newly_failed} scores"
                reasons.append(f"{what}, where {scores} failed that A has")
                continue
            if not change.difference.utterances:
                raise OvertoneError(
                    f"{what}: expected utterances that A and B both scored, found none. Judge another measure with "
                    "--measures."
                )
            if math.isnan(change.difference.low) and change.difference.mean != 0.0:
                raise OvertoneError(
                    f"{what}: a difference of {change.difference.mean:+.3g} on a single utterance has no interval. "
                    "Expected two utterances or more that A and B both scored."
                )
            if change.direction == WORSE:
                reasons.append(f"{what} by {change.size}")
    return f"B is worse than A: {'; '.join(reasons)}." if reasons else ""


def _no_worse(found: Sequence[SystemChanges], judged: Sequence[str]) -> str:
    measures = ", ".join(map(plain_heading, judged))
    return f"B is no worse than A at 95 % in {measures}: {', '.join(system.name for system in found)}."


# What is shown


def sections(sides: Sides, found: Sequence[SystemChanges], options: DiffOptions, verdict: str) -> list[Section]:
    """Return what is printed and what the page shows, most important first.

    Args:
        sides: both.
        found: of each system.
        options: of the command.
        verdict: in a sentence.
    """
    what = [
        f"{label}: {side.words} {path}" + (f", preset {side.preset}" if side.preset else "")
        for label, side, path in ((A, sides.a, options.a), (B, sides.b, options.b))
    ]
    made = [Section("Verdict", [verdict, listed([*what, *_remarks(sides, found)])])]
    for system in found:
        made += _system_sections(system)
    return [*made, _configuration(sides)]


def _remarks(sides: Sides, found: Sequence[SystemChanges]) -> list[str]:
    remarks = list(sides.remarks)
    for label, other, side, beside in ((A, B, sides.a, sides.b), (B, A, sides.b, sides.a)):
        alone = [name for name in side.systems if name not in beside.systems]
        if alone and len(side.systems) > 1:
            remarks.append(f"Systems that {label} has and {other} has not: {', '.join(alone)}.")
    for system in found:
        for label, count in zip((A, B), system.only_in, strict=True):
            if count:
                remarks.append(f"{system.name}: {count} scored utterances are in {label} alone and are not compared.")
    if changed := _changed_control(sides):
        remarks.append(
            f"Mind: doing nothing scores differently too ({', '.join(changed)}), so the data, the conditions or the "
            "measures differ and not the systems alone."
        )
    return remarks


def _changed_control(sides: Sides) -> list[str]:
    """The measures in which doing nothing changed."""
    if not all(UNPROCESSED in set(side.scores["system"]) for side in (sides.a, sides.b)):
        return []
    tables = [side.scores[side.scores["system"] == UNPROCESSED] for side in (sides.a, sides.b)]
    rows = pd.concat([tables[0].assign(system=A), tables[1].assign(system=B)], ignore_index=True)
    keys = [key for key in MEASURES if key in tables[0] and key in tables[1]]
    found = {key: utterance_pairs(rows, B, A, key)["difference"].abs().max() for key in keys}
    return [key for key, most in found.items() if most > ROUNDING * rows[key].abs().max()]


def _system_sections(system: SystemChanges) -> list[Section]:
    shown = [one for one in system.changes if one.difference.utterances or one.newly_failed]
    scored = max((one.difference for one in shown), key=lambda one: one.utterances)
    words = (
        f"Means over {scored.speakers} speakers, {len(system.by_condition)} conditions; B minus A on the same "
        f"utterances, with its 95 % interval. {BETTER.capitalize()} and {WORSE}: the interval excludes 0."
    )
    table = Table.of(
        f"Changes of {system.name}",
        ("measure", A, B, "B minus A", ""),
        [(heading(one.key), *_texts(one)) for one in shown],
    )
    return [
        Section(system.name, [words, table]),
        Section(f"{system.name}: conditions", _condition_parts(system)),
        Section(f"{system.name}: utterances", [_utterance_part(system, shown[0])]),
    ]


def _texts(one: Change) -> tuple[str, str, str, str]:
    found = one.difference
    text = difference_text(found.mean, found.low, found.high)
    failed = f" {one.newly_failed} failed" if one.newly_failed else ""
    return number(one.a, one.key), number(one.b, one.key), text, f"{one.direction}{failed}".strip()


def _condition_parts(system: SystemChanges) -> list[str | Table]:
    changed = [
        (condition, heading(one.key), *_texts(one))
        for condition, changes in system.by_condition.items()
        for one in changes
        if one.direction or one.newly_failed
    ]
    measures = ", ".join(plain_heading(one.key) for one in next(iter(system.by_condition.values())))
    if not changed:
        return [f"Under none of {len(system.by_condition)} conditions did one of {measures} change at 95 %."]
    words = f"Where one of {measures} changed at 95 %; of so many intervals, one in 20 excludes 0 by chance."
    headings = ("condition", "measure", A, B, "B minus A", "")
    return [words, Table.of(f"Conditions of {system.name}", headings, changed)]


def _utterance_part(system: SystemChanges, change: Change) -> str | Table:
    rows = largest(change)
    if rows.empty:
        return "No utterance changed."
    values = {
        label: part.set_index(["file", "condition"])[change.key].to_dict()
        for label, part in system.rows.groupby("system")
    }
    lines = []
    for file, condition, found in rows[["file", "condition", "difference"]].itertuples(index=False, name=None):
        of_a, of_b = (number(values[label][file, condition], change.key) for label in (A, B))
        lines.append((file, condition, of_a, of_b, difference_text(found, math.nan, math.nan)))
    headings = ("file", "condition", A, B, f"{plain_heading(change.key)}, B minus A")
    return Table.of(f"Utterances of {system.name}", headings, lines)


def _configuration(sides: Sides) -> Section:
    a, b = sides.a.configuration, sides.b.configuration
    if not (a and b):
        lacking = " and ".join(label for label, known in ((A, a), (B, b)) if not known)
        return Section("Configuration", [f"Not known of {lacking}: score tables hold none."])
    # A comparison and one of its trainings are described differently: only what both say can differ.
    names = {**a, **b} if sides.a.words == sides.b.words else [key for key in a if key in b]
    differing = [(key, a.get(key, "–"), b.get(key, "–")) for key in names if a.get(key) != b.get(key)]
    if not differing:
        return Section("Configuration", [f"No difference in {len(names)} settings that A and B have."])
    return Section("Configuration", [Table.of("Configuration", ("setting", A, B), differing)])


def _write_page(path: Path, made: Sequence[Section], sounds: Sounds | None, change: Change) -> None:
    texts = []
    for section in made:
        parts = [table_markdown(part) if isinstance(part, Table) else str(part) for part in section.parts]
        texts += [f"## {section.title}", *parts]
    if sounds is None:
        texts.append("There is nothing to hear: sounds are made of exported models only.")
    samples = shortened_to_fit(_samples(sounds, change)) if sounds else []
    write_samples_page(path, samples, "A and B beside each other", "\n\n".join(texts))


def _samples(sounds: Sounds, change: Change) -> list[Sample]:
    """The utterances that changed most, as both systems make them."""
    rows = largest(change)
    names = [(str(file), str(condition)) for file, condition in zip(rows["file"], rows["condition"], strict=True)]
    found = sounds.utterances.find(names)
    samples = []
    for (file, condition), difference in zip(names, rows["difference"], strict=True):
        given = found[file, condition]
        window = loudest_part(given.wideband, round(SECONDS * given.sample_rate))
        outputs = {label: system(given) for label, system in zip((A, B), sounds.systems, strict=True)}
        clips = {"narrowband": given.narrowband, **outputs, "target": given.wideband}
        text = difference_text(difference, math.nan, math.nan)
        samples.append(
            Sample(
                title=file,
                note=f"{condition}, speaker {given.speaker}. {heading(change.key)}, B minus A: {text}.",
                clips={label: waveform[window] for label, waveform in clips.items()},
                sample_rate=given.sample_rate,
                cutoff_hz=given.cutoff_hz,
            )
        )
    return samples
