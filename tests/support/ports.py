"""Ports for servers that tests start."""

import itertools
import os
import socket

# Below those that systems give to outgoing connections, which could take one before its server does; a range for each
# of pytest-xdist's processes.
_candidates = itertools.count(20_000 + 500 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")))


def free_port():
    """Return a port of this machine that is free, and that no other test gets."""
    for port in _candidates:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
