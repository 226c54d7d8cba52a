"""A real MLflow server on this machine that tests can kill and start again on the same store."""

import os
import subprocess
import sys
import time
import urllib.request

from ports import free_port
from processes import PATIENCE

from experiments.tracking.store import SILENT_ENVIRONMENT


class MlflowServer:
    """SQLite and artifacts in a folder; clients reach the artifacts through the server only."""

    def __init__(self, folder):
        self.port = free_port()
        self.folder, self.url, self._process = folder, f"http://127.0.0.1:{self.port}", None

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder / 'server.db'}"]
        command += ["--artifacts-destination", str(self.folder / "files")]
        with (self.folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                command, env=os.environ | SILENT_ENVIRONMENT, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + PATIENCE
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while True:
            try:
                opener.open(f"{self.url}/health", timeout=10)
                return
            except OSError:
                assert self._process.poll() is None, (self.folder / "server.log").read_text()
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.1)

    def kill(self):
        if self._process.poll() is None:
            os.killpg(self._process.pid, 9)
            self._process.wait()
