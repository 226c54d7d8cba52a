"""A small model package and the server of the page as a process, for the tests of the page."""

import contextlib
import http.client
import io
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from packages import package
from processes import PATIENCE
from project import PROJECT
from waveforms import speech_like

SERVE = """
import json, sys
from pathlib import Path
from overtone.serve.limits import Limits
from overtone.serve.serve import serve
limits = Limits(**json.loads(sys.argv[2]))
serve(Path(sys.argv[1]), port=int(sys.argv[3]), limits=limits, announce=lambda line: print(line, flush=True))
"""


def clip(seconds=0.5, sample_rate=16000, seed=0, channels=1):
    """Speech-like noise ``(samples, channels)``."""
    count = round(seconds * sample_rate)
    return np.stack([speech_like(sample_rate, count, seed + one) for one in range(channels)], axis=1)


def encoded(samples, sample_rate=16000, kind="WAV", subtype=None):
    """Samples as the bytes of a file."""
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate, format=kind, subtype=subtype)
    return file.getvalue()


def decoded(data):
    """The samples ``(frames, channels)`` and rate of a file's bytes."""
    return soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)


class Server:
    """A running server."""

    def __init__(self, process, port, temporary):
        self.process = process
        self.port = port
        self.temporary = temporary
        self.address = f"http://127.0.0.1:{port}/"

    def request(self, method, path, body=None, headers=None, timeout=PATIENCE):
        """One request on a connection of its own; returns status, headers and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def enhance(self, data, query="", headers=None):
        """Upload a file's bytes."""
        return self.request("POST", f"/api/enhance{query}", data, headers)


@contextlib.contextmanager
def running_server(port=0, **limits):
    """The server in a process of its own, with a folder for temporary files of its own."""
    with tempfile.TemporaryDirectory() as temporary:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(package()), json.dumps(limits), str(port)],
            cwd=PROJECT,
            env={"PATH": "/usr/bin:/bin", "TMPDIR": temporary, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            announced = re.search(r"http://127\.0\.0\.1:(\d+)/", process.stdout.readline())
            assert announced, "the server did not start"
            yield Server(process, int(announced[1]), Path(temporary))
        finally:
            process.terminate()
            process.wait(PATIENCE)
            process.stdout.close()
