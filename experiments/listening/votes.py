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
    ValidationError,
    model_validator,
)

from experiments.listening.stimuli import ANCHORS, REFERENCE
from experiments.presets.external import NAME
from experiments.presets.winner_rule import UNPROCESSED
from overtone.errors import OvertoneError

VOTES_FORMAT: Final = "overtone-listening-votes"
VOTES_VERSION: Final = 1
HEADPHONE_ROUNDS: Final = 3  # by luck alone, all of them are right once in 27
LARGEST_BYTES = 2_000_000
SHOWN = 80


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds control characters")
    return text


def _on_one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


Name = Annotated[str, StringConstraints(pattern=NAME)]
Identifier = Annotated[str, StringConstraints(pattern="^[0-9a-f]{16}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_printable)]


class _Checked(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class Trial(_Checked):
    """A recording whose sounds a listener rated from 0 (bad) to 100 (as the reference); ``order`` is the page's."""

    file: Text
    condition: Text
    seconds: float = Field(ge=0, le=1e7)
    order: list[Text]
    ratings: dict[Text, Annotated[int, Field(ge=0, le=100)]]

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if sorted(self.order) != sorted(self.ratings) or not {REFERENCE, UNPROCESSED} <= set(self.ratings):
            raise ValueError(f"order and ratings must name the same sounds, {REFERENCE} and {UNPROCESSED} among them")
        return self


class Votes(_Checked):
    """One session of a listener.

    ``name`` is the listener's, as typed; empty where none was given. ``headphones`` is how many rounds of the check
    were right, None of tests before there was one; ``text`` is the file that it was read from.
    """

    format: str = Field(pattern=f"^{VOTES_FORMAT}$")
    version: int = Field(ge=VOTES_VERSION, le=VOTES_VERSION)
    preset: Name
    comparison: Name
    session: Identifier
    listener: Identifier
    name: Annotated[str, StringConstraints(max_length=200), AfterValidator(_on_one_line)] = ""
    method: Literal["mushra"]
    seed: int = Field(ge=0, lt=2**32)
    finished: AwareDatetime
    headphones: int | None = Field(default=None, ge=0, le=HEADPHONE_ROUNDS)
    trials: list[Trial] = Field(min_length=1, max_length=500)
    text: str = ""

    @model_validator(mode="after")
    def _has_each_once(self) -> Self:
        if len({(trial.file, trial.condition) for trial in self.trials}) < len(self.trials):
            raise ValueError("the same recording is rated twice")
        return self


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
        return Votes.model_validate_json(text).model_copy(update={"text": text})
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
    """Return the ratings of a session, a row each, with what is common to the session and the trial."""
    of_session = {key: getattr(votes, key) for key in ("session", "listener", "method", "seed", "headphones")}
    of_session["finished"] = votes.finished.isoformat()
    return [
        of_session
        | {"trial": number, "file": trial.file, "condition": trial.condition, "position": position}
        | {"system": name, "rating": trial.ratings[name], "seconds": trial.seconds}
        for number, trial in enumerate(votes.trials, 1)
        for position, name in enumerate(trial.order, 1)
    ]


def check_votes(votes: Votes, path: Path, systems: Collection[str], utterances: Collection[tuple[str, str]]) -> None:
    """Check that the comparison has scored what the votes are about.

    Args:
        votes: of one session.
        path: the file that they were read from.
        systems: the names on its leaderboard.
        utterances: file and condition of what it scored.

    Raises:
        OvertoneError: an unknown system, file or condition.
    """
    comparison = f"{votes.preset}-{votes.comparison}"
    if unknown := sorted({name for trial in votes.trials for name in trial.order} - {*systems, REFERENCE, *ANCHORS}):
        raise OvertoneError(
            f"{path}: votes on {unknown[0]!r}, which is not on the leaderboard of {comparison}. "
            "Are they of another comparison?"
        )
    if strange := sorted({(trial.file, trial.condition) for trial in votes.trials} - set(utterances)):
        file, condition = strange[0]
        raise OvertoneError(
            f"{path}: votes on {file!r} under {condition!r}, which {comparison} has not scored. "
            "Are they of another comparison?"
        )
