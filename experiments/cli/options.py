"""Options made from the dataclasses that hold them."""

import dataclasses
import inspect
import re
import typing
from argparse import SUPPRESS, Action
from collections.abc import Collection
from pathlib import Path

from jsonargparse import ArgumentParser, DefaultHelpFormatter, Namespace

from overtone.errors import OvertoneError

T = typing.TypeVar("T")


class PlainHelp(DefaultHelpFormatter):
    """Shows help as it is written: without names of types, and with a default only where the help does not say it."""

    def _get_help_string(self, action: Action) -> str:
        text, default = action.help or "", action.default
        said = text.endswith(")") or " else " in text or not action.option_strings
        return text if said or default in (None, False, SUPPRESS, []) else f"{text} (%(default)s)"


def command_parser(description: str, prog: str | None = None) -> ArgumentParser:
    """Return the parser of a command.

    Args:
        description: in its help.
        prog: its name; None where `overtone.cli.command.perform` gives it.
    """
    return ArgumentParser(prog=prog, description=description, formatter_class=PlainHelp)


def options_parser(cls: type, description: str, without: Collection[str] = (), **positional: str) -> ArgumentParser:
    """Return the parser of a command whose options are the fields of a dataclass, as `add_options` adds them.

    Args:
        cls: the dataclass.
        description: in the command's help.
        without: names of fields that are no options of this command.
        positional: arguments before the options, each with its help.
    """
    parser = command_parser(description)
    for name, text in positional.items():
        parser.add_argument(name, help=text)
    add_options(parser, cls, without)
    return parser


def add_options(parser: ArgumentParser, cls: type, without: Collection[str] = ()) -> None:
    """Add an option for each field of a dataclass, with its type, its default and the help that the docstring gives.

    A field without a default is a positional argument, unless its metadata say that it is a required option; one that
    is a dataclass itself gives its own fields as options, and a tuple is written as NAME,NAME. A field's metadata are
    keywords for `add_argument`.

    Args:
        parser: of the command.
        cls: the dataclass; its docstring describes each field under ``Attributes:``.
        without: names of fields that are no options of this command.
    """
    kinds, described = typing.get_type_hints(cls), _described(cls)
    for field in dataclasses.fields(cls):
        kind = kinds[field.name]
        if field.name in without:
            continue
        if dataclasses.is_dataclass(kind):
            add_options(parser, typing.cast("type", kind), without)
            continue
        option: dict[str, typing.Any] = {"help": described[field.name]}
        if kind is bool:
            option["action"] = "store_true"
        elif typing.get_origin(kind) is typing.Literal:
            option["choices"] = typing.get_args(kind)
        else:
            option["type"] = next((number for number in (int, float) if number in (kind, *typing.get_args(kind))), str)
        has_default = not (field.default is field.default_factory is dataclasses.MISSING)
        if field.default in (None, ()):
            option["default"] = SUPPRESS  # the dataclass has it
        elif has_default:
            make = field.default_factory
            default = field.default if make is dataclasses.MISSING else make()
            option["default"] = str(default) if isinstance(default, Path) else default
        is_option = has_default or "required" in field.metadata
        name = f"--{field.name.replace('_', '-')}" if is_option else field.name
        parser.add_argument(name, **(option | field.metadata))


def made(cls: type[T], options: Namespace) -> T:
    """Return a dataclass made of the options that `add_options` added for it.

    Args:
        cls: the dataclass.
        options: of the command.

    Raises:
        OvertoneError: a value is out of its range.
    """
    from experiments.records import checked
    from experiments.runs import tell_of_variable

    values: dict[str, typing.Any] = {}
    for name, kind in typing.get_type_hints(cls).items():
        if dataclasses.is_dataclass(kind):
            values[name] = made(typing.cast("type", kind), options)
        elif name in options:
            value = options[name]
            is_list = typing.get_origin(kind) is tuple and isinstance(value, str)
            values[name] = [part.strip() for part in value.split(",")] if is_list else value
    if values.get("tracking"):
        tell_of_variable(values["tracking"])
    try:
        return checked(cls, values)
    except OvertoneError as error:
        option, _, reason = str(error).partition(":")
        raise OvertoneError(f"--{option.replace('_', '-')}:{reason}") from None


def optional_path(value: str | None) -> Path | None:
    """Return an option that names a file or folder as a path."""
    return None if value is None else Path(value)


def _described(cls: type) -> dict[str, str]:
    entries = re.findall(r"^    (\w+): (.+(?:\n {8,}.+)*)", inspect.cleandoc(cls.__doc__ or ""), re.MULTILINE)
    return {name: " ".join(text.split()).replace("`", "").rstrip(".") for name, text in entries}
