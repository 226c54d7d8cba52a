"""Plain values from outside, checked once against the type that holds them."""

import dataclasses
import json
import typing
from collections.abc import Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from overtone.errors import OvertoneError

T = typing.TypeVar("T")
SHOWN = 60  # characters of a wrong value


def checked(kind: type[T], plain: object) -> T:
    """Return a dataclass, or a value of any other type, made of plain values.

    Args:
        kind: the type; a dataclass, and those in it, take no key that they do not have.
        plain: mappings, lists, numbers and texts, as YAML and JSON files hold them.

    Raises:
        OvertoneError: a value is missing, unknown or not as its type says; the message names the first one.
    """
    try:
        return TypeAdapter(kind).validate_python(plain, extra="forbid")
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
    first = min(errors, key=lambda one: one["type"] != "unexpected_keyword_argument")  # a missing key is often misspelt
    where = ".".join(map(str, first["loc"]))[:SHOWN]
    if first["type"] == "unexpected_keyword_argument":
        raise OvertoneError(f"unknown key {where}. Known: {', '.join(_keys(kind, first['loc'][:-1]))}.")
    if first["type"] == "value_error":  # the dataclass' own check, whose message names the value
        raise OvertoneError(first["msg"].removeprefix("Value error, "))
    if first["type"] == "missing":
        raise OvertoneError(f"{where}: expected a value, found none.")
    place = f"{where}: " if where else ""
    raise OvertoneError(f"{place}{_expected(first['msg'])}, got {_shown(first['input'])}.")


def read_record(path: Path, kind: type[T], advice: str) -> T:
    """Return what a JSON file holds.

    Args:
        path: of the file.
        kind: of what it holds, as `checked` takes it.
        advice: what to do about a damaged file, as a sentence.

    Raises:
        OvertoneError: it is no JSON, or holds something else.
    """
    try:
        return checked(kind, json.loads(path.read_text(encoding="utf-8")))
    except OvertoneError as error:
        raise OvertoneError(f"{path}: damaged; {error} {advice}") from None
    except (ValueError, RecursionError):
        raise OvertoneError(f"{path}: damaged; expected JSON. {advice}") from None


def _keys(kind: typing.Any, section: Sequence[int | str]) -> list[str]:  # noqa: ANN401
    for key in section:
        kind = typing.get_type_hints(kind)[str(key)]
    return [field.name for field in dataclasses.fields(kind)]


def _expected(message: str) -> str:
    words = {
        "Input should be": "expected",
        "greater than or equal to": "at least",
        "less than or equal to": "at most",
        "greater than": "more than",
    }
    for long, short in words.items():
        message = message.replace(long, short, 1)
    return message


def _shown(value: object) -> str:
    if isinstance(value, dict | list):
        return f"a {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
