"""What a command is, and how one is run: one line for every mistake, and exit codes that scripts can rely on."""

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from overtone.errors import OvertoneError, in_words

MISTAKE, USAGE, INTERRUPTED = 1, 2, 130


@dataclass(frozen=True)
class Command:
    """A command of the command line.

    Attributes:
        parser: makes its parser.
        run: does it, given the parsed options; imports what is slow itself, so that help answers at once.
        resumable: whether the same command continues where it was interrupted.
        example: is shown with a short usage where the command is called without arguments.
        extra: of the distribution `overtone`, which installs what the command needs.
    """

    parser: Callable[[], ArgumentParser]
    run: Callable[[Any], None]
    resumable: bool = False
    example: str = ""
    extra: str = ""


def perform(name: str, command: Command, arguments: Sequence[str]) -> int:
    """Run a command; return 0, 1 after a user's mistake, 2 without arguments that it needs, 130 after Ctrl-C.

    Args:
        name: of the command, as the user typed it.
        command: the command.
        arguments: what follows its name.
    """
    if command.example and not arguments:
        print(f"usage: {command.example}\nAll options: overtone {name} --help", file=sys.stderr)
        return USAGE
    parser = command.parser()
    parser.prog = f"overtone {name}"
    options = parser.parse_args(arguments)
    try:
        command.run(options)
    except ModuleNotFoundError as error:
        if not command.extra:
            raise
        return failed(
            f"{name} needs {error.name}, which is missing. Install it: pip install 'overtone[{command.extra}]'"
        )
    except KeyboardInterrupt:
        again = " The same command continues where it was." if command.resumable else ""
        print(f"\novertone: stopped.{again}", file=sys.stderr)
        return INTERRUPTED
    except OvertoneError as error:
        return failed(str(error))
    except OSError as error:
        return failed(in_words(error))
    return 0


def failed(reason: str) -> int:
    """Print why a command failed, and return its exit code."""
    print(f"overtone: {reason}", file=sys.stderr)
    return MISTAKE
