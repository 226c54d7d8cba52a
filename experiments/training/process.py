"""A training as a process of its own.

It reads one request from standard input, reports its progress in JSON lines on standard output, and ends when standard
input closes, so that no training outlives the process that started it.
"""

import json
import os
import signal
import sys
import threading
from pathlib import Path

from experiments.data.opening import open_corpus
from experiments.presets.preset import load_preset
from experiments.training.fit import quiet_libraries
from experiments.training.requests import TrainRequest
from experiments.training.tracked import run_training
from overtone.errors import OvertoneError, in_words
from overtone.progress import Board


def serve_one_request() -> int:
    """Run the request on standard input; the exit code says how it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which then ends this process
    request = TrainRequest.from_line(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever libraries print belongs to the log

    def say(event: dict[str, object]) -> None:
        out.write(json.dumps(event) + "\n")

    try:
        with quiet_libraries():
            preset, runs = load_preset(request.preset), Path(request.runs)
            corpus = open_corpus(preset, request.data, runs, Board(None), request.extra)
            run_training(request, corpus, lambda done, total, note: say({"done": done, "total": total, "note": note}))
    except OvertoneError as error:
        say({"error": str(error)})
        return 1
    except OSError as error:
        say({"error": in_words(error)})
        return 1
    return 0


def _end_with_parent() -> None:
    # Not sys.stdin.read(): its lock would be held for ever, and a data loader's forked process closes sys.stdin.
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(serve_one_request())
