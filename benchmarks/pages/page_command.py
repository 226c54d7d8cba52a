"""How scripts that write a page of the documentation answer a user's mistake."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from overtone.errors import OvertoneError


def comparison_page_parser(module: str, description: str | None, out: str) -> argparse.ArgumentParser:
    """Return a parser of the options of each page that a finished comparison gives."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.pages.{module}", description=description)
    parser.add_argument("preset", help="its comparison has to be finished")
    parser.add_argument("--data", help="as it was given to `overtone compare`")
    parser.add_argument("--runs", type=Path, help="where the comparison lies (default: mlruns)")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder of the page (default %(default)s)")
    return parser


def run_page_command(make_page: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """Make a page; return 0, or 2 after a user's mistake, which is one line."""
    try:
        make_page(options)
    except OvertoneError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
