"""What a user sees as a line instead of a traceback."""

import errno

_ROOM_OR_ACCESS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE)


class OvertoneError(ValueError):
    """A user's mistake or a broken input: the message says what was expected, what came, and what to do."""


def in_words(error: OSError) -> str:
    """Return what the operating system refused, such as room on a disk, as one line with what to do."""
    where = f"{error.filename}: " if error.filename else ""
    advice = "Make room or permit access, then run again" if error.errno in _ROOM_OR_ACCESS else "Check the path"
    return f"{where}{error.strerror or error}. {advice}."
