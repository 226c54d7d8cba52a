"""What all votes on a comparison say: which listeners count, means with intervals, and differences."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.listening.statistics import (
    MISSED_SHARE,
    REFERENCE_FLOOR,
    excluded_listeners,
    rated_pairs,
    rated_systems,
)
from experiments.listening.stimuli import ANCHORS
from experiments.listening.votes import HEADPHONE_ROUNDS, Votes, read_votes, vote_rows
from experiments.pages.tables import markdown_table
from experiments.ranking.columns import probability, rows_of
from experiments.ranking.leaderboard import RATING_COLUMNS

BS1534_LISTENERS = 20
NAMELESS = "listener"
SCREENED = (
    f"rated the hidden reference below {REFERENCE_FLOOR} in more than {MISSED_SHARE * 100:.0f}\u00a0% of the trials"
)


def stored_votes(folder: Path) -> list[Votes]:
    """Read all votes that were imported into a comparison's folder.

    Raises:
        OvertoneError: a stored file is damaged.
    """
    return [read_votes(path) for path in sorted((folder / "votes").glob("*.json"))]


@dataclass(frozen=True)
class Results:
    """What all votes on a comparison say.

    Attributes:
        votes: a row per rating; ``excluded`` marks those that do not count.
        systems: as `rated_systems` gives it, of listeners that count.
        pairs: as `rated_pairs` gives it.
        excluded: names of the listeners that post-screening left out.
        replaced: sessions that a later one of the same listener replaced, by name and time.
        raters: how many listeners rated, the excluded among them.
    """

    votes: pd.DataFrame
    systems: pd.DataFrame
    pairs: pd.DataFrame
    excluded: list[str]
    replaced: list[str]
    raters: int

    @classmethod
    def of(cls, stored: Sequence[Votes]) -> "Results":
        """Sum up the sessions of the listeners that count.

        Args:
            stored: all sessions, one or more; of several by one listener the last counts.
        """
        latest = {one.listener: one for one in sorted(stored, key=lambda one: (one.finished, one.session))}
        counted = sorted(latest.values(), key=lambda one: one.session)
        table = pd.DataFrame(row for votes in counted for row in vote_rows(votes))
        excluded, names = excluded_listeners(table), _listeners_names(stored)
        table["excluded"] = table["listener"].isin(excluded)
        good = table[~table["excluded"]]
        return cls(
            votes=_readable(table, names),
            systems=rated_systems(good),
            pairs=rated_pairs(good),
            excluded=sorted(names[listener] for listener in excluded),
            replaced=[
                f"{names[one.listener]}, {one.finished:%Y-%m-%d %H:%M}"
                for one in sorted(stored, key=lambda one: one.finished)
                if one.session != latest[one.listener].session
            ],
            raters=table["listener"].nunique(),
        )

    @property
    def ratings(self) -> pd.DataFrame:
        """The columns of a leaderboard that say what listeners heard, by ``system``."""
        return self.systems[["system", *RATING_COLUMNS]]

    @property
    def remarks(self) -> dict[str, str]:
        """The section of a report that says what listeners heard: Markdown by title."""
        return {"Listening test": self.markdown()}

    def markdown(self) -> str:
        """The results in sentences and tables, without a heading."""
        listeners = self.raters - len(self.excluded)
        counted = f"{listeners} of {_count(self.raters, 'listener')} count"
        if self.excluded:
            counted += f", {len(self.excluded)} {SCREENED} and {'is' if len(self.excluded) == 1 else 'are'} left out"
        words = (
            "Blind MUSHRA-style rating after ITU-R BS.1534-3, 0 (bad) to 100 (as the reference), all sounds matched in "
            f"loudness (BS.1770-4); {counted}."
        )
        if listeners < BS1534_LISTENERS:
            words += f" BS.1534-3 calls {BS1534_LISTENERS} listeners often sufficient; fewer are a beginning."
        words += "".join(
            f" `{name}` is the reference without what is above {cutoff_hz / 1000:g} kHz."
            for name, cutoff_hz in ANCHORS.items()
            if name in set(self.systems["system"])
        )
        checked = self.votes.drop_duplicates("listener")["headphones"].dropna()
        if not checked.empty:
            passed = int((checked == HEADPHONE_ROUNDS).sum())
            words += f" The check of headphones was passed by {passed} of {_count(len(checked), 'listener')}."
        cells = (
            [
                row["system"],
                f"{row['mushra']:.1f}",
                _interval(row, "mushra_low", "mushra_high"),
                row["listeners"],
                row["trials"],
            ]
            for row in rows_of(self.systems)
        )
        table = markdown_table(["system", "MUSHRA ↑", "95\u00a0% interval", "listeners", "recordings"], cells)
        return "\n\n".join([words, table, *_pairs(self.pairs)]) + "\n"


def _listeners_names(stored: Sequence[Votes]) -> dict[str, str]:
    """What listeners are called, by identifier: as they wrote last; those who share a name, or gave none, numbered."""
    given = {one.listener: one.name or NAMELESS for one in sorted(stored, key=lambda one: (one.finished, one.session))}
    together: defaultdict[str, list[str]] = defaultdict(list)
    for listener, name in given.items():
        together[name.casefold()].append(listener)
    return {
        listener: f"{given[listener]} {number}" if len(group) > 1 or given[listener] == NAMELESS else given[listener]
        for group in together.values()
        for number, listener in enumerate(group, 1)
    }


def _readable(votes: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """Begin each row with its listener's name, and end it with what only programs tell apart."""
    ids = ["listener", "session"]
    rest = votes.drop(columns=ids)
    rest.insert(0, "name", votes["listener"].map(names))
    return rest.join(votes[ids])


def _pairs(pairs: pd.DataFrame) -> list[str]:
    if pairs.empty:
        return []
    cells = (
        [
            f"{row['system']} – {row['other']}",
            f"{row['difference']:+.1f}",
            _interval(row, "low", "high"),
            probability(row["p_value"]),
            probability(row["p_holm"]),
        ]
        for row in rows_of(pairs)
    )
    return [
        markdown_table(["pair", "difference", "95\u00a0% interval", "p", "p, Holm"], cells),
        "Paired by listener and recording; intervals resample listeners and recordings (pigeonhole bootstrap), p "
        "values are Wilcoxon's on listeners' means, which cannot be below 5\u00a0% with fewer than 6 listeners.",
    ]


def _interval(row: Mapping[str, Any], low: str, high: str) -> str:
    """An interval of a row; a dash where it is unknown."""
    return "–" if pd.isna(row[low]) else f"{row[low]:.1f} to {row[high]:.1f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
