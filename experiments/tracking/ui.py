"""The MLflow server on this machine's runs, opened where a reviewer wants to be."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import IO

from experiments.tracking.database import ARTIFACTS_NAME, DATABASE_NAME, database_uri
from experiments.tracking.store import SILENT_ENVIRONMENT
from experiments.tracking.tracker import open_tracker
from experiments.tracking.ui_app import APP_NAME, FRAGMENT_VARIABLE
from overtone.errors import OvertoneError

START_SECONDS = 180.0  # of a busy machine; a server that ends is noticed at once
STOP_SECONDS = 10.0


def serve_ui(
    runs_dir: Path, host: str = "127.0.0.1", port: int = 5000, announce: Callable[[str], None] = print
) -> None:
    """Serve the runs until Ctrl-C or SIGTERM.

    Args:
        runs_dir: the folder with ``mlflow.db``.
        host: address to listen on; the server has no login, so keep it local.
        port: port to listen on.
        announce: takes the lines for the user, the address among them.

    Raises:
        OvertoneError: there is no database, the port is taken, or the server does not start.
    """
    runs_dir = runs_dir.resolve()
    if not (runs_dir / DATABASE_NAME).is_file():
        raise OvertoneError(
            f"{runs_dir}: holds no {DATABASE_NAME}. Run `overtone compare demo` first, or name the folder by --runs."
        )
    _require_free_port(host, port)
    fragment = open_tracker("mlflow", runs_dir).latest_fragment()
    with tempfile.TemporaryFile("w+") as log, _server(runs_dir, host, port, fragment, log) as server:
        _wait_until_up(server, host, port, log)
        announce(f"MLflow: http://{host}:{port}{fragment}")
        announce("Ctrl-C stops it.")
        status = server.wait()
        raise OvertoneError(f"the MLflow server ended by itself (status {status}): {_last_line(log)}")


def _require_free_port(host: str, port: int) -> None:
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OvertoneError(f"{host}:{port}: cannot listen there ({reason}). Choose another --port.") from None


@contextmanager
def _server(runs_dir: Path, host: str, port: int, fragment: str, log: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """Run the server in a process group of its own and end all of it, quietly on Ctrl-C and SIGTERM."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", database_uri(runs_dir / DATABASE_NAME)]
    command += ["--default-artifact-root", (runs_dir / ARTIFACTS_NAME).as_uri()]
    if entry_points(group="mlflow.app", name=APP_NAME):  # not where overtone was installed before it had one
        command += ["--app-name", APP_NAME]
    environment = {**SILENT_ENVIRONMENT, **os.environ, FRAGMENT_VARIABLE: fragment.removeprefix("/")}
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    server = subprocess.Popen(
        command, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        yield server
    except KeyboardInterrupt:
        pass
    finally:
        _stop(server)
        signal.signal(signal.SIGTERM, before)


def _stop(server: subprocess.Popen[str]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
            server.wait(STOP_SECONDS)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _wait_until_up(server: subprocess.Popen[str], host: str, port: int, log: IO[str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    reachable = "127.0.0.1" if host == "0.0.0.0" else host
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline and server.poll() is None:
        try:
            opener.open(f"http://{reachable}:{port}/health", timeout=1)
            return
        except OSError:
            time.sleep(0.2)
    raise OvertoneError(f"the MLflow server did not start on {host}:{port}: {_last_line(log)}")


def _last_line(log: IO[str]) -> str:
    log.seek(0)
    lines = log.read().strip().splitlines()
    return lines[-1] if lines else "it said nothing"
