"""The one exception that a user sees as a line instead of a traceback."""


class OvertoneError(Exception):
    """A user's mistake or a broken input: the message says what was expected, what came, and what to do."""
