"""Keys that are pressed, without waiting for Enter; none where standard input is no terminal."""

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def pressed_keys() -> Iterator[Callable[[], str]]:
    """Yield a function that returns the keys pressed since its last call; the terminal is as before afterwards."""
    if not sys.stdin or not sys.stdin.isatty():
        yield lambda: ""
    elif sys.platform == "win32":
        import msvcrt

        def read() -> str:
            keys = ""
            while msvcrt.kbhit():
                keys += msvcrt.getwch()
            return keys

        yield read
    else:
        with _without_lines() as terminal:
            yield terminal


if sys.platform != "win32":

    @contextlib.contextmanager
    def _without_lines() -> Iterator[Callable[[], str]]:
        import os
        import select
        import termios
        import tty

        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
        tty.setcbreak(terminal)

        def read() -> str:
            waiting, _, _ = select.select([terminal], [], [], 0)
            return os.read(terminal, 100).decode(errors="ignore") if waiting else ""

        try:
            yield read
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
