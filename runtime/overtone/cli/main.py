"""The command `overtone`: finds the command that was asked for, and imports no other.

Another distribution plugs a command in with an entry point of the group `overtone.commands`: its name is the command's,
and it leads to a mapping in which that name is a `Command`.
"""

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points, version
from io import TextIOWrapper

from overtone.cli import models
from overtone.cli.command import USAGE, Command, failed, perform

GROUP = "overtone.commands"
# Known here, so that help lists them without importing them, and so that one that is missing can be named.
LABORATORY = {
    "compare": "train, evaluate, choose and register a champion",
    "select": "train each study's best, choose and register a champion",
    "sweep": "search the settings of a preset's models",
    "train": "train one model of a preset",
    "evaluate": "score folders of audio against a reference",
    "diff": "what changed between two comparisons or models",
    "listen": "take in the votes of a listening test",
    "export": "write a model that runs without torch, with proof",
    "data": "fetch, prepare and inspect corpora",
    "publish": "bring to MLflow what it lacks of the runs",
    "ui": "browse runs in MLflow",
}


def main(arguments: Sequence[str] | None = None, plugged: Mapping[str, Command] | None = None) -> int:
    """Run a command; return 0, 1 after a user's mistake, 130 after Ctrl-C.

    Args:
        arguments: what follows `overtone`; the process's own where it is None.
        plugged: commands by name, instead of those that installed distributions plug in.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a file's name may be in any encoding
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0].startswith("-"):
        return _without_command(given, plugged)
    name, *rest = given
    command = models.COMMANDS.get(name) or _plugged(name, plugged)
    if command is not None:
        return perform(name, command, rest)
    if name in LABORATORY:
        return failed(
            f"{name} belongs to the laboratory, which is not installed here. "
            "Install it from Overtone's repository: make venv"
        )
    known = ", ".join(_known(plugged))
    print(f"usage: overtone COMMAND ...\novertone: unknown command {name!r}; expected {known}.", file=sys.stderr)
    raise SystemExit(USAGE)


def _without_command(given: Sequence[str], plugged: Mapping[str, Command] | None) -> int:
    parser = ArgumentParser(
        prog="overtone",
        usage="%(prog)s [-h] [--version] COMMAND ...",
        formatter_class=RawDescriptionHelpFormatter,
        description="Low-quality speech in, high-quality speech out; and the laboratory that compares such models.",
        epilog=_listing(_known(plugged)),
    )
    parser.add_argument("--version", action="version", version=f"overtone {version('overtone')}")
    parser.parse_args(given)
    parser.print_help(sys.stderr)
    raise SystemExit(USAGE)


def _listing(known: Mapping[str, str]) -> str:
    lines = [f"  {name:<9} {text}".rstrip() for name, text in known.items()]
    if not known.keys() & LABORATORY:
        lines.append(f"The laboratory, which is not installed here, adds {', '.join(LABORATORY)}.")
    return "\n".join(["commands (overtone COMMAND --help explains one):", *lines])


def _known(plugged: Mapping[str, Command] | None) -> dict[str, str]:
    """Return the commands that are there, each with a line of help."""
    others = {entry.name for entry in entry_points(group=GROUP)} if plugged is None else plugged.keys()
    listed = [*(name for name in LABORATORY if name in others), *sorted(others - LABORATORY.keys())]
    return models.HELP | {name: LABORATORY.get(name, "") for name in listed}


def _plugged(name: str, plugged: Mapping[str, Command] | None) -> Command | None:
    if plugged is not None:
        return plugged.get(name)
    found = entry_points(group=GROUP, name=name)
    return next(iter(found)).load()[name] if found else None


if __name__ == "__main__":
    sys.exit(main())
