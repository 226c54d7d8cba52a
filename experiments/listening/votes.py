"""The votes that the listening test's page saves, read with suspicion: they come from strangers."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from experiments.listening.page import NAME, VOTES_FORMAT, VOTES_VERSION
from experiments.listening.stimuli import LOW_PASS_ANCHOR, REFERENCE
from experiments.presets.winner_rule import UNPROCESSED
from overtone.errors import OvertoneError

LARGEST_BYTES = 2_000_000
MOST_TRIALS = 500
IDENTIFIER = re.compile(r"[0-9a-f]{16}")
METHODS = ("mushra", "abx")
NEITHER = "none"


@dataclass(frozen=True)
class Rating:
    """A listener's rating of one sound.

    Attributes:
        file: the utterance.
        condition: its degradation.
        trial: which trial it was, from 1.
        position: where the sound stood, from 1.
        system: whose it was.
        rating: 0 (bad) to 100 (as the reference).
        seconds: what the trial took.
    """

    file: str
    condition: str
    trial: int
    position: int
    system: str
    rating: int
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """A listener's answer in one A/B/X trial.

    Attributes:
        file: the utterance.
        condition: its degradation.
        trial: which trial it was, from 1.
        system: the system that was A.
        other: the system that was B.
        x: the system that was X.
        answer: the system that X was taken for.
        preference: the system that sounded better; empty for neither.
        seconds: what the trial took.
    """

    file: str
    condition: str
    trial: int
    system: str
    other: str
    x: str
    answer: str
    preference: str
    seconds: float


@dataclass(frozen=True)
class Votes:
    """One listener's session.

    Attributes:
        preset: the preset of the comparison.
        comparison: its key.
        session: random, one per session.
        listener: random, one per browser.
        method: ``mushra`` or ``abx``.
        seed: of the orders.
        finished: when the session ended, UTC.
        ratings: of a MUSHRA-style session.
        comparisons: of an A/B/X session.
        text: the file itself.
    """

    preset: str
    comparison: str
    session: str
    listener: str
    method: str
    seed: int
    finished: datetime
    ratings: tuple[Rating, ...]
    comparisons: tuple[Comparison, ...]
    text: str

    @property
    def folder_name(self) -> str:
        """The name of the comparison's folder."""
        return f"{self.preset}-{self.comparison}"


def read_votes(path: Path) -> Votes:
    """Read a file of votes.

    Raises:
        OvertoneError: it is missing, is no file of votes, or holds something that the page cannot have written.
    """
    reader = _Reader(path)
    text = _text(path, reader)
    try:
        content = json.loads(text, parse_constant=reader.no_number)
    except (ValueError, RecursionError) as error:
        reader.refuse(f"not JSON ({str(error)[:80]})")
    if not isinstance(content, dict) or content.get("format") != VOTES_FORMAT:
        reader.refuse(f"no votes; expected a file whose format is {VOTES_FORMAT!r}")
    if content.get("version") != VOTES_VERSION:
        reader.refuse(f"votes of version {str(content.get('version'))[:20]!r}, expected {VOTES_VERSION}")
    method = reader.one_of(content, "method", METHODS)
    trials = reader.items(content, "trials")
    ratings: list[Rating] = []
    comparisons: list[Comparison] = []
    for number, trial in enumerate(trials, 1):
        if method == "mushra":
            ratings += reader.ratings(trial, number)
        else:
            comparisons.append(reader.comparison(trial, number))
    if len({(row.file, row.condition, row.system) for row in ratings}) < len(ratings):
        reader.refuse("the same recording is rated twice")
    return Votes(
        preset=reader.matching(content, "preset", NAME),
        comparison=reader.matching(content, "comparison", NAME),
        session=reader.matching(content, "session", IDENTIFIER),
        listener=reader.matching(content, "listener", IDENTIFIER),
        method=method,
        seed=int(reader.number(content, "seed", 0, 2**32 - 1, whole=True)),
        finished=reader.time(content, "finished"),
        ratings=tuple(ratings),
        comparisons=tuple(comparisons),
        text=text,
    )


def check_votes(votes: Votes, path: Path, systems: Collection[str], utterances: Collection[tuple[str, str]]) -> None:
    """Refuse votes on something that the comparison does not know.

    Args:
        votes: what was read.
        path: from where.
        systems: the names on its leaderboard.
        utterances: file and condition of what it scored.

    Raises:
        OvertoneError: an unknown system, file or condition.
    """
    known = {*systems, REFERENCE, LOW_PASS_ANCHOR}
    named = {rating.system for rating in votes.ratings}
    named |= {name for one in votes.comparisons for name in (one.system, one.other)}
    if unknown := sorted(named - known):
        raise OvertoneError(
            f"{path}: votes on {unknown[0]!r}, which is not on the leaderboard of {votes.folder_name}. "
            "Are they of another comparison?"
        )
    heard = {(one.file, one.condition) for one in votes.ratings}
    heard |= {(one.file, one.condition) for one in votes.comparisons}
    if strange := sorted(heard - set(utterances)):
        file, condition = strange[0]
        raise OvertoneError(
            f"{path}: votes on {file!r} under {condition!r}, which {votes.folder_name} has not scored. "
            "Are they of another comparison?"
        )


def _text(path: Path, reader: "_Reader") -> str:
    try:
        if path.stat().st_size > LARGEST_BYTES:
            reader.refuse(f"larger than {LARGEST_BYTES // 1_000_000} MB, which no votes are")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        reader.refuse("not UTF-8 text")
    except OSError as error:
        reader.refuse(f"cannot be read ({error.strerror})")


@dataclass(frozen=True)
class _Reader:
    """Takes values out of a file of votes; one that is not as expected is refused in a line."""

    path: Path

    def refuse(self, what: str) -> NoReturn:
        raise OvertoneError(f"{self.path}: {what}. Use the file as the listening test saved it, or leave it out.")

    def no_number(self, text: str) -> NoReturn:
        self.refuse(f"{text} is no rating")

    def matching(self, content: Mapping[str, Any], key: str, pattern: re.Pattern[str]) -> str:
        value = content.get(key)
        if not isinstance(value, str) or not pattern.fullmatch(value):
            self.refuse(f"{key} is {_shown(value)}, expected one of the form {pattern.pattern}")
        return value

    def one_of(self, content: Mapping[str, Any], key: str, choices: Collection[str]) -> str:
        value = content.get(key)
        if not isinstance(value, str) or value not in choices:
            self.refuse(f"{key} is {_shown(value)}, expected {' or '.join(choices)}")
        return value

    def string(self, content: Mapping[str, Any], key: str) -> str:
        value = content.get(key)
        if not isinstance(value, str) or not value or len(value) > 500 or not value.isprintable():
            self.refuse(f"{key} is {_shown(value)}, expected a short text")
        return value

    def number(self, content: Mapping[str, Any], key: str, low: float, high: float, *, whole: bool = False) -> float:
        value = content.get(key)
        number = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if value is None or not number or not low <= value <= high:
            kind = "whole number" if whole else "number"
            self.refuse(f"{key} is {_shown(value)}, expected a {kind} from {low:g} to {high:g}")
        return float(value)

    def time(self, content: Mapping[str, Any], key: str) -> datetime:
        value = content.get(key)
        try:
            found = datetime.fromisoformat(value) if isinstance(value, str) else None
        except ValueError:
            found = None
        if found is None or found.tzinfo is None:
            self.refuse(f"{key} is {_shown(value)}, expected a time such as 2026-05-01T12:00:00Z")
        return found

    def items(self, content: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
        value = content.get(key)
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            self.refuse(f"{key} is no list of trials")
        if not 0 < len(value) <= MOST_TRIALS:
            self.refuse(f"{len(value)} trials, expected 1 to {MOST_TRIALS}")
        return value

    def ratings(self, trial: Mapping[str, Any], number: int) -> list[Rating]:
        ratings, order = trial.get("ratings"), trial.get("order")
        if not isinstance(ratings, dict) or not isinstance(order, list) or sorted(map(str, order)) != sorted(ratings):
            self.refuse(f"trial {number}: order and ratings do not name the same sounds")
        if missing := {REFERENCE, UNPROCESSED} - set(ratings):
            self.refuse(f"trial {number}: no rating of {sorted(missing)[0]}")
        file, condition = self.string(trial, "file"), self.string(trial, "condition")
        seconds = self.number(trial, "seconds", 0, 1e7)
        return [
            Rating(file, condition, number, position, name, int(self._rating(ratings, name, number)), seconds)
            for position, name in enumerate(order, 1)
        ]

    def _rating(self, ratings: Mapping[str, Any], name: str, number: int) -> float:
        value = ratings[name]
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 100:
            self.refuse(f"trial {number}: {name[:40]!r} is rated {_shown(value)}, expected a whole number 0 to 100")
        return value

    def comparison(self, trial: Mapping[str, Any], number: int) -> Comparison:
        named = {letter: self.string(trial, letter) for letter in ("a", "b")}
        if named["a"] == named["b"]:
            self.refuse(f"trial {number}: A and B are the same system")
        preference = self.one_of(trial, "preference", (*named, NEITHER))
        return Comparison(
            file=self.string(trial, "file"),
            condition=self.string(trial, "condition"),
            trial=number,
            system=named["a"],
            other=named["b"],
            x=named[self.one_of(trial, "x", named)],
            answer=named[self.one_of(trial, "answer", named)],
            preference=named.get(preference, ""),
            seconds=self.number(trial, "seconds", 0, 1e7),
        )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"
