"""What changed from A to B: two comparisons, trainings, score tables or exported models beside each other."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from evaluation.contracts import System
from evaluation.harness import check_measures
from evaluation.measures.catalogue import keys_shown
from evaluation.measures.declaration import Shown
from experiments.comparison.heard import with_sounds
from experiments.comparison.options import DiffOptions
from experiments.comparison.sides import Sides, read_sides, to_be_heard
from experiments.pages.samples import Sample, loudest_part, write_samples_page
from experiments.pages.tables import Table, table_markdown, terminal_table
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.changes import BETTER, WORSE, A, B, Change, SystemChanges, largest, system_changes
from experiments.ranking.columns import Row, heading, number, plain_heading, rows_of
from experiments.ranking.columns import difference as difference_text
from experiments.ranking.primary import PRIMARY, PRIMARY_MEASURES
from experiments.report.sections import Section
from experiments.report.utterances import SECONDS, shortened_to_fit
from experiments.report.words import listed
from experiments.runs import check_writable
from experiments.scoring.splits import Utterances
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
        if to_be_heard(options):
            sides = with_sounds(sides, options, progress)
    pairs = _compared_systems(sides, options.system)
    judged = judged_measures(sides, named)
    keys = _common_measures(sides)
    prominent = [key for key in keys if key in judged or key in keys_shown(Shown.COMPACT)]
    tables = (sides.a.scores, sides.b.scores)
    found = [system_changes(tables, names, keys, prominent) for names in pairs]
    worse = _worse(found, judged)
    no_worse = f"no worse than A at 95 % in {_headings(judged)}: {', '.join(system.name for system in found)}"
    verdict = f"B is {f'worse than A: {worse}' if worse else no_worse}."
    made = _sections(sides, found, options, verdict)
    for section in made:
        console.print(f"\n{section.title}", style="bold", highlight=False, markup=False)
        for part in section.parts:
            if isinstance(part, Table):
                console.print(terminal_table(part))
            else:
                console.print(part, highlight=False, markup=False, soft_wrap=True)
    if options.out is not None:
        _write_page(options.out, made, sides, pairs[0], found[0].change(judged[0]))
        console.print(f"Page: {options.out}", highlight=False, markup=False, soft_wrap=True)
    return verdict if worse else ""


# What is compared


def _compared_systems(sides: Sides, wanted: Sequence[str]) -> list[tuple[str, str]]:
    """The systems that are compared, by their names in A and in B.

    All candidates that both have where none is wanted; the champion of each where they have none in common.
    """
    if wanted:
        return [_pair_named(sides, name) for name in wanted]
    a, b = sides.a, sides.b
    common = [(name, name) for name in a.systems if name in b.systems]
    if not common and None in (a.champion, b.champion):
        raise OvertoneError(
            f"Expected a system that A and B both have; A has {_names(a.systems)}, B has {_names(b.systems)}. Name one "
            "that changed its name with --system OLD=NEW."
        )
    return common or [_pair_named(sides, CHAMPION)]


def _pair_named(sides: Sides, wanted: str) -> tuple[str, str]:
    old, _, new = wanted.partition("=")
    names = []
    for label, side, word in ((A, sides.a, old), (B, sides.b, new or old)):
        name = side.champion if word == CHAMPION else word
        if name is None or name not in set(side.scores["system"]):
            lacking = "champion" if name is None else f"system {name}"
            outside = "" if name is None or name not in side.outside else " Systems from outside need --split test."
            raise OvertoneError(f"--system {wanted}: {label} has no {lacking}. It has {_names(side.systems)}.{outside}")
        names.append(name)
    return names[0], names[1]


def _names(systems: Sequence[str]) -> str:
    return ", ".join(systems) or "none but controls"


def _common_measures(sides: Sides) -> list[str]:
    return [key for key in sides.a.measures if key in sides.b.measures]


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
                raise OvertoneError(
                    f"--measures {key}: {label} has no scores of it. It has {', '.join(side.measures)}."
                )
    common = _common_measures(sides)
    if not common:
        raise OvertoneError(f"Expected a measure that A and B both have; {', '.join(sides.a.measures)} is in A alone.")
    if PRIMARY in common:
        return list(dict.fromkeys([PRIMARY, *named]))
    scored = [key for key in common if all(side.scores[key].notna().any() for side in (sides.a, sides.b))]
    usual = [key for key in (*PRIMARY_MEASURES, *scored) if key in scored]
    return list(dict.fromkeys(named or (usual or common)[:1]))


def _headings(keys: Iterable[str]) -> str:
    return ", ".join(map(plain_heading, keys))


def _worse(found: Sequence[SystemChanges], judged: Sequence[str]) -> str:
    """In what B is worse than A at 95 %; a score that fails in B and not in A is worse too."""
    reasons = []
    for system in found:
        for change in map(system.change, judged):
            what = f"{system.name} in {plain_heading(change.key)}"
            if change.newly_failed:
                scores = "1 score" if change.newly_failed == 1 else f"{change.newly_failed} scores"
                reasons.append(f"{what}, where {scores} failed that A has")
            elif not change.difference.utterances:
                raise OvertoneError(
                    f"{what}: expected utterances that A and B both scored, found none. Judge another measure with "
                    "--measures."
                )
            elif math.isnan(change.difference.low) and change.difference.mean != 0.0:
                raise OvertoneError(
                    f"{what}: a difference of {change.difference.mean:+.3g} on a single utterance has no interval. "
                    "Expected two utterances or more that A and B both scored."
                )
            elif change.direction == WORSE:
                reasons.append(f"{what} by {change.size}")
    return "; ".join(reasons)


# What is shown


def _sections(sides: Sides, found: Sequence[SystemChanges], options: DiffOptions, verdict: str) -> list[Section]:
    """What is printed and what the page shows, most important first."""
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
        if unshared := [key for key in side.measures if key not in beside.measures]:
            remarks.append(f"Measures that {label} has and {other} has not: {_headings(unshared)}.")
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
    keys = [key for key in _common_measures(sides) if key != PRIMARY]
    control = system_changes((sides.a.scores, sides.b.scores), (UNPROCESSED, UNPROCESSED), keys, [])
    return [change.key for change in control.changes if change.pairs["difference"].any()]


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
    measures = _headings(one.key for one in next(iter(system.by_condition.values())))
    if not changed:
        return [f"Under none of {len(system.by_condition)} conditions did one of {measures} change at 95 %."]
    words = f"Where one of {measures} changed at 95 %; of so many intervals, one in 20 excludes 0 by chance."
    headings = ("condition", "measure", A, B, "B minus A", "")
    return [words, Table.of(f"Conditions of {system.name}", headings, changed)]


def _utterance_part(system: SystemChanges, change: Change) -> str | Table:
    rows = rows_of(largest(change))
    if not rows:
        return "No utterance changed."
    lines = [
        (row["file"], row["condition"], *(number(row[label], change.key) for label in (A, B)), _of_one(row))
        for row in rows
    ]
    headings = ("file", "condition", A, B, f"{plain_heading(change.key)}, B minus A")
    return Table.of(f"Utterances of {system.name}", headings, lines)


def _of_one(row: Row) -> str:
    return difference_text(row["difference"], math.nan, math.nan)


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


def _write_page(path: Path, made: Sequence[Section], sides: Sides, names: tuple[str, str], change: Change) -> None:
    texts = []
    for section in made:
        parts = [table_markdown(part) if isinstance(part, Table) else str(part) for part in section.parts]
        texts += [f"## {section.title}", *parts]
    loaded = {
        label: system
        for label, side, name in zip((A, B), (sides.a, sides.b), names, strict=True)
        if side.load and (system := side.load(name))
    }
    if sides.utterances is None:
        texts.append("There is nothing to hear: name the corpus with --data, and exported models or comparisons.")
    else:
        named = zip((A, B), names, strict=True)
        texts += [
            f"{label} cannot be heard: no weights of {name} are there." for label, name in named if label not in loaded
        ]
    samples = shortened_to_fit(_samples(sides.utterances, loaded, change) if sides.utterances else [])
    write_samples_page(path, samples, "A and B beside each other", "\n\n".join(texts))


def _samples(utterances: Utterances, loaded: Mapping[str, System], change: Change) -> list[Sample]:
    """The utterances that changed most, as the systems make them."""
    rows = rows_of(largest(change))
    found = utterances.find([(row["file"], row["condition"]) for row in rows])
    samples = []
    for row in rows:
        given = found[row["file"], row["condition"]]
        window = loudest_part(given.wideband, round(SECONDS * given.sample_rate))
        outputs = {label: system(given) for label, system in loaded.items()}
        clips = {"narrowband": given.narrowband, **outputs, "target": given.wideband}
        samples.append(
            Sample(
                title=given.file,
                note=f"{given.condition}, speaker {given.speaker}. {heading(change.key)}, B minus A: {_of_one(row)}.",
                clips={label: waveform[window] for label, waveform in clips.items()},
                sample_rate=given.sample_rate,
                cutoff_hz=given.cutoff_hz,
            )
        )
    return samples
