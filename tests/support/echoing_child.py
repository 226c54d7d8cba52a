"""A child process that tells its parent what it was asked, prints, and then waits, fails or is interrupted."""

import sys
import time

from experiments.runs import users_command
from experiments.training.child_process import serve
from overtone.errors import OvertoneError


def work(request, say):
    print("a library's words")
    say({"asked": request, "command": users_command()})
    if request.get("fails"):
        raise OvertoneError("it fails")
    end = time.monotonic() + request.get("seconds", 0.0)
    try:
        while time.monotonic() < end:
            time.sleep(0.05)
    finally:
        say({"last": True})


if __name__ == "__main__":
    sys.exit(serve(work, grace_seconds=60.0))
