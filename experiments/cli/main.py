"""The laboratory's commands, which the entry points of the group `overtone.commands` lead to."""

import sys
from collections.abc import Sequence

from experiments.cli import data, models, scoring, training
from overtone.cli.main import main as run_command

COMMANDS = training.COMMANDS | scoring.COMMANDS | models.COMMANDS | data.COMMANDS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line `overtone` with this checkout's laboratory, whatever is installed.

    Args:
        arguments: what follows `overtone`; the process's own where it is None.
    """
    return run_command(arguments, COMMANDS)


if __name__ == "__main__":
    sys.exit(main())
