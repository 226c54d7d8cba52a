"""Files of votes, as a listening test's page saves them. They come from outside, so every value is checked."""

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from experiments.listening.stimuli import REFERENCE
from experiments.presets.winner_rule import UNPROCESSED
from overtone.errors import OvertoneError

VOTES_FORMAT: Final = "overtone-listening-votes"
VOTES_VERSION: Final = 1
NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
LARGEST_BYTES = 2_000_000
SHOWN = 80


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds control characters")
    return text


Name = Annotated[str, StringConstraints(pattern=NAME)]
Identifier = Annotated[str, StringConstraints(pattern="^[0-9a-f]{16}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_printable)]
Letter = Literal["a", "b"]


class _Checked(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class _Trial(_Checked):
    file: Text
    condition: Text
    seconds: float = Field(ge=0, le=1e7)

    def rows(self) -> list[dict[str, Any]]:
        raise NotImplementedError


class RatedTrial(_Trial):
    """A recording whose sounds a listener rated from 0 (bad) to 100 (as the reference); ``order`` is the page's."""

    order: list[Text]
    ratings: dict[Text, Annotated[int, Field(ge=0, le=100)]]

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if sorted(self.order) != sorted(self.ratings) or not {REFERENCE, UNPROCESSED} <= set(self.ratings):
            raise ValueError(f"order and ratings must name the same sounds, {REFERENCE} and {UNPROCESSED} among them")
        return self

    def rows(self) -> list[dict[str, Any]]:
        """One row per rating."""
        return [
            {"position": position, "system": name, "rating": self.ratings[name]}
            for position, name in enumerate(self.order, 1)
        ]


class ComparedTrial(_Trial):
    """One answer about two systems: which of them X is, and which sounds better."""

    a: Text
    b: Text
    x: Letter
    answer: Letter
    preference: Literal["a", "b", "none"]

    @model_validator(mode="after")
    def _is_of_two(self) -> Self:
        if self.a == self.b:
            raise ValueError("a and b are the same system")
        return self

    def rows(self) -> list[dict[str, Any]]:
        """One row, with the systems' names instead of the letters; no preference is an empty text."""
        named = {"a": self.a, "b": self.b, "none": ""}
        answers = {key: named[getattr(self, key)] for key in ("x", "answer", "preference")}
        return [{"system": self.a, "other": self.b, **answers}]


class _Session(_Checked):
    format: str = Field(pattern=f"^{VOTES_FORMAT}$")
    version: int = Field(ge=VOTES_VERSION, le=VOTES_VERSION)
    preset: Name
    comparison: Name
    session: Identifier
    listener: Identifier
    seed: int = Field(ge=0, lt=2**32)
    finished: AwareDatetime
    text: str = ""


class RatedSession(_Session):
    """A listener's MUSHRA-style session."""

    method: Literal["mushra"]
    trials: list[RatedTrial] = Field(min_length=1, max_length=500)

    @model_validator(mode="after")
    def _has_each_once(self) -> Self:
        if len({(trial.file, trial.condition) for trial in self.trials}) < len(self.trials):
            raise ValueError("the same recording is rated twice")
        return self


class ComparedSession(_Session):
    """A listener's A/B/X session."""

    method: Literal["abx"]
    trials: list[ComparedTrial] = Field(min_length=1, max_length=500)


Votes = RatedSession | ComparedSession
_VOTES: TypeAdapter[Votes] = TypeAdapter(Annotated[Votes, Field(discriminator="method")])


def read_votes(path: Path) -> Votes:
    """Read a file of votes; ``text`` is the file itself.

    Raises:
        OvertoneError: it is missing, is no file of votes, or holds something that the page cannot have written.
    """
    advice = "Use the file as the listening test saved it, or leave it out."
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise OvertoneError(f"{path}: larger than {LARGEST_BYTES // 1_000_000} MB, which no votes are. {advice}")
        text = path.read_text(encoding="utf-8")
        return _VOTES.validate_json(text).model_copy(update={"text": text})
    except UnicodeDecodeError:
        raise OvertoneError(f"{path}: not UTF-8 text. {advice}") from None
    except OSError as error:
        raise OvertoneError(f"{path}: cannot be read ({error.strerror}). {advice}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        found = f"{where[:SHOWN]}: {first['msg'][: 2 * SHOWN]}, got {first['input']!r:.{SHOWN}}"
        plain = "".join(letter if letter.isprintable() else "?" for letter in found)
        raise OvertoneError(f"{path}: no votes of a listening test ({plain}). {advice}") from None


def vote_rows(votes: Votes) -> list[dict[str, Any]]:
    """The votes of a session, a row each: what is common to the session and the trial, then rating or answer."""
    of_session = {key: getattr(votes, key) for key in ("session", "listener", "method", "seed")}
    of_session["finished"] = votes.finished.isoformat()
    return [
        {**of_session, "trial": number, "file": trial.file, "condition": trial.condition, "seconds": trial.seconds}
        | row
        for number, trial in enumerate(votes.trials, 1)
        for row in trial.rows()
    ]


def check_votes(votes: Votes, path: Path, systems: Collection[str], utterances: Collection[tuple[str, str]]) -> None:
    """Raise for votes on something that the comparison does not know.

    Args:
        votes: what was read.
        path: from where.
        systems: the names on its leaderboard.
        utterances: file and condition of what it scored.

    Raises:
        OvertoneError: an unknown system, file or condition.
    """
    comparison = f"{votes.preset}-{votes.comparison}"
    rows = vote_rows(votes)
    named = {row[key] for row in rows for key in ("system", "other") if key in row}
    if unknown := sorted(named - {*systems, REFERENCE}):
        raise OvertoneError(
            f"{path}: votes on {unknown[0]!r}, which is not on the leaderboard of {comparison}. "
            "Are they of another comparison?"
        )
    if strange := sorted({(row["file"], row["condition"]) for row in rows} - set(utterances)):
        file, condition = strange[0]
        raise OvertoneError(
            f"{path}: votes on {file!r} under {condition!r}, which {comparison} has not scored. "
            "Are they of another comparison?"
        )
