"""What a user sees as a line instead of a traceback."""


class OvertoneError(ValueError):
    """A user's mistake or a broken input: the message says what was expected, what came, and what to do."""


def in_words(error: OSError) -> str:
    """Return what the operating system refused, such as room on a disk, as one line with what to do."""
    where = f"{error.filename}: " if error.filename else ""
    no_such_path = isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError)
    advice = "Check the path" if no_such_path else "Make room or permit access, then run again"
    return f"{where}{error.strerror or error}. {advice}."
