"""The page's server under several users at once: errors, correctness of every answer, and how long one waits.

``python -m benchmarks.webapp --model DIR`` starts `overtone serve` as a process and eight users, each of whom uploads a
recording of its own again and again, and compares every answer with what the runtime gives.
"""

import argparse
import http.client
import io
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from overtone.enhancer import Enhancer
from overtone.model_package import load_model
from overtone.worker_pool import available_cores

INPUT_RATE = 16_000
TOLERANCE = 2.0**-22  # answers are WAV of 24 bits
SERVE = "import sys; from overtone.cli.main import main; sys.exit(main(sys.argv[1:]))"


@dataclass
class User:
    """One user: what is uploaded, what is expected, and what came of it."""

    upload: bytes
    expected: NDArray[np.float32]
    seconds: list[float] = field(default_factory=list)
    errors: int = 0
    wrong: int = 0


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="an exported package")
    parser.add_argument("--users", type=int, default=8, help="at the same time (8)")
    parser.add_argument("--uploads", type=int, default=10, help="of each user (10)")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long a recording is (5)")
    options = parser.parse_args()
    users = _users(options.model, options.users, options.seconds)
    with _server(options.model) as port:
        began = time.perf_counter()
        threads = [threading.Thread(target=_use, args=(user, port, options.uploads)) for user in users]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        _print(users, options.seconds, time.perf_counter() - began)


def _users(model_dir: Path, count: int, seconds: float) -> list[User]:
    enhancer = Enhancer(load_model(model_dir))
    users = []
    for number in range(count):
        noise = np.random.default_rng(number).standard_normal(round(seconds * INPUT_RATE))
        bursts = np.sin(2 * np.pi * (2 + 0.3 * number) * np.arange(noise.size) / INPUT_RATE) > 0
        samples = (0.05 * noise * bursts).astype(np.float32)
        file = io.BytesIO()
        soundfile.write(file, samples, INPUT_RATE, format="WAV", subtype="FLOAT")
        users.append(User(file.getvalue(), enhancer.enhance(samples, INPUT_RATE)[0]))
    return users


@contextmanager
def _server(model_dir: Path) -> Iterator[int]:
    command = [sys.executable, "-u", "-c", SERVE, "serve", "--port", "0", "--model", str(model_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        announced = re.search(r":(\d+)/", process.stdout.readline() if process.stdout else "")
        if announced is None:
            raise SystemExit("the server did not start")
        yield int(announced[1])
    finally:
        process.terminate()
        process.wait()


def _use(user: User, port: int, uploads: int) -> None:
    for _ in range(uploads):
        began = time.perf_counter()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
        try:
            connection.request("POST", "/api/enhance", user.upload)
            answer = connection.getresponse()
            data, gain_db = answer.read(), answer.headers.get("X-Overtone-Gain-dB", "0")
        except OSError:
            user.errors += 1
            continue
        finally:
            connection.close()
        user.seconds.append(time.perf_counter() - began)
        if answer.status != 200:
            user.errors += 1
        elif not _is_right(data, user.expected, float(gain_db)):
            user.wrong += 1


def _is_right(data: bytes, expected: NDArray[np.float32], gain_db: float) -> bool:
    heard, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    scaled = expected if gain_db == 0.0 else expected / np.abs(expected).max()
    return heard.shape == scaled.shape and bool(np.abs(heard - scaled).max() <= TOLERANCE)


def _print(users: list[User], seconds: float, elapsed: float) -> None:
    waits = np.concatenate([user.seconds for user in users])
    table = Table(title=f"{len(users)} users at once, {available_cores()} cores, {seconds:g} s of audio an upload")
    for heading in ("uploads", "errors", "wrong", "median s", "90 % s", "99 % s", "longest s", "audio s per s"):
        table.add_column(heading, justify="right")
    shares = [f"{value:.2f}" for value in np.percentile(waits, [50, 90, 99, 100])]
    errors, wrong = sum(user.errors for user in users), sum(user.wrong for user in users)
    table.add_row(str(waits.size), str(errors), str(wrong), *shares, f"{waits.size * seconds / elapsed:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
