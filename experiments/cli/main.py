"""The command line: torch and MLflow are imported by the command that needs them, so that help answers at once."""

import sys
from collections.abc import Sequence

from jsonargparse import ArgumentParser, Namespace

from experiments.cli import data as cli_data
from experiments.cli import models as cli_models
from experiments.cli import scoring as cli_scoring
from experiments.cli import training as cli_training
from experiments.cli.options import Command
from overtone.errors import OvertoneError, in_words

INTERRUPTED = 130
COMMANDS = cli_training.COMMANDS | cli_scoring.COMMANDS | cli_models.COMMANDS
DATA_ACTIONS = cli_data.ACTIONS


def build_parser() -> ArgumentParser:
    """Return the parser of all commands."""
    parser = ArgumentParser(prog="overtone", description="Compare speech super-resolution architectures honestly.")
    commands = parser.add_subcommands(required=True, dest="command", title="commands")
    for name, command in COMMANDS.items():
        commands.add_subcommand(name, command.parser(), help=command.help)
    data = ArgumentParser(description="Fetch, prepare and inspect corpora.")
    commands.add_subcommand("data", data, help="fetch, prepare and inspect corpora")
    # Inner subcommands come last: jsonargparse wants a level complete before the next one starts.
    actions = data.add_subcommands(required=True, dest="action", title="actions")
    for name, action in DATA_ACTIONS.items():
        actions.add_subcommand(name, action.parser(), help=action.help)
    return parser


def chosen(options: Namespace) -> tuple[Command, Namespace]:
    """Return the command that was asked for, and its options."""
    own = options[options.command]
    if options.command == "data":
        return DATA_ACTIONS[own.action], own[own.action]
    return COMMANDS[options.command], own


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, 1 after a user's mistake, 130 after Ctrl-C."""
    command, options = chosen(build_parser().parse_args(arguments))
    try:
        command.run(options)
    except OvertoneError as error:
        print(f"overtone: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        again = " The same command continues where it was." if command.resumable else ""
        print(f"\novertone: stopped.{again}", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        print(f"overtone: {in_words(error)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
