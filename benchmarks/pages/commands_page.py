"""Writes the page of commands from the parsers themselves while the site is built: a hook of MkDocs (`mkdocs.yml`)."""

import os
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from experiments.cli.main import COMMANDS as LABORATORY
from experiments.cli.main import DATA_ACTIONS
from overtone.cli.models import COMMANDS as RUNTIME

PAGE, MARK = "commands.md", "<!-- commands -->"
COLUMNS = 100  # characters of a line of help


def on_page_markdown(markdown: str, *, page: Any, **_: object) -> str:  # noqa: ANN401 (MkDocs' page)
    """Put every command's help into the page of commands.

    Args:
        markdown: of any page.
        page: says which one it is.
    """
    return markdown.replace(MARK, commands_markdown()) if page.file.src_uri == PAGE else markdown


def commands_markdown() -> str:
    """Return a section for each command, with its help as the command prints it."""
    with mock.patch.dict(os.environ, {"COLUMNS": str(COLUMNS)}):
        sections = [f"## {name}\n\n```\n{parser.format_help().rstrip()}\n```\n" for name, parser in parsers()]
    return "\n".join(sections)


def parsers() -> Iterator[tuple[str, ArgumentParser]]:
    """Yield each command as it is typed, with its parser; those with actions once for each."""
    actions = {"data": DATA_ACTIONS}
    for name, command in {**RUNTIME, **LABORATORY}.items():
        named: dict[str, Callable[[], ArgumentParser]]
        if name in actions:
            named = {f"overtone {name} {action}": made for action, (_, made, _) in actions[name].items()}
        else:
            named = {f"overtone {name}": command.parser}
        for words, make in named.items():
            parser = make()
            parser.prog = words
            yield words, parser
