"""Processes that tests start: waiting for them, and finding what they have left behind."""

import os
import time

PATIENCE = 300.0  # seconds: nothing but a hanging test ever waits so long


def wait_for(condition, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        direct = [int(child) for child in file.read().split()]
    threads = [int(task) for task in os.listdir(f"/proc/{pid}/task")]
    for thread in threads:
        with open(f"/proc/{pid}/task/{thread}/children") as file:
            direct += [int(child) for child in file.read().split()]
    return sorted(set(direct))


def is_running(pid):
    """Whether a process runs; one that has ended and that nobody has asked for does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
