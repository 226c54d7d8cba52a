"""How scripts that write a page of the documentation answer a user's mistake."""

import argparse
import sys
from collections.abc import Callable

from runtime.errors import OvertoneError


def run_page_command(make_page: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """Make a page; return 0, or 2 after a user's mistake, which is one line."""
    try:
        make_page(options)
    except OvertoneError as error:
        print(error, file=sys.stderr)
        return 2
    return 0
