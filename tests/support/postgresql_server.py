"""A PostgreSQL server of its own on loopback, in a temporary folder, for tests and benchmarks."""

import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

from ports import free_port

DEBIAN = Path("/usr/lib/postgresql")
NOBODY = 65534


def find_binaries():
    """Return the folder of PostgreSQL's programs, newest version first; None where there is none."""
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    versions = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]), reverse=True)
    return versions[0].parent if versions else None


def why_not():
    """Return why no server can be started here, None where one can."""
    if find_binaries() is None:
        return "PostgreSQL's server is not installed"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "PostgreSQL refuses to run as root, and setpriv is not installed"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed: pip install 'overtone[postgresql]'"
    return None


class PostgresqlServer:
    """A server that is started, stopped and started again on the same port."""

    def __init__(self, folder):
        self._binaries, self._folder = find_binaries(), Path(folder)
        self._data = self._folder / "data"
        self.port = free_port()
        if os.geteuid() == 0:
            os.chown(self._folder, NOBODY, NOBODY)
        self._folder.chmod(0o700)
        self._run("initdb", "-D", self._data, "-U", "overtone", "-A", "trust", "--no-sync")

    def _run(self, program, *arguments):
        as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        command = [self._binaries / program, *arguments]
        if os.geteuid() == 0:
            command = [*as_nobody, *command]
        subprocess.run(
            [*map(str, command)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self._folder
        )

    def start(self):
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder} -F"
        self._run("pg_ctl", "-D", self._data, "-l", self._folder / "log", "-o", options, "-w", "start")

    def stop(self, mode="fast"):
        """Stop it; connections are cut."""
        self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")

    def make_database(self, name):
        """Make a database and return its URL."""
        import psycopg

        with psycopg.connect(f"host=127.0.0.1 port={self.port} user=overtone dbname=postgres", autocommit=True) as one:
            one.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://overtone@127.0.0.1:{self.port}/{name}"


@contextmanager
def postgresql_server():
    """Yield a running server."""
    with tempfile.TemporaryDirectory(prefix="overtone-postgresql-") as folder:
        server = PostgresqlServer(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
