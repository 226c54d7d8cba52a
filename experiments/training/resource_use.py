"""What processes have used, the calling one and those it has started, and how fast a system is on this machine."""

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes
MIB = 2**20


def resource_use() -> tuple[float, float]:
    """Return what this process, and those it has started, have used since they began.

    Where the system has no /proc, processes that still run are left out.

    Returns:
        Processor seconds, user and system, of processes that have ended and of those that run; and MiB: the largest
        resident memory of this process plus that of each process that it has running. Pages that they share count for
        each: an upper bound.
    """
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    peak = own.ru_maxrss * MAXRSS_UNIT
    for process in _descendants(os.getpid()):
        try:
            cpu_seconds += _cpu_seconds(process)
            peak += _peak_bytes(process)
        except (OSError, ValueError, IndexError):  # it has ended since
            continue
    return cpu_seconds, peak / MIB


def real_time_factor(run: Callable[[], object], seconds: float, repeats: int = 5) -> float:
    """Return processor seconds per second of audio; lower is faster.

    Processor time, so that other work on the machine does not rule a model out.

    Args:
        run: does the work, on one thread.
        seconds: of audio that it works on.
        repeats: passes after a first one that does not count; the result is their median.
    """
    spent = []
    for _ in range(repeats + 1):
        started = time.process_time()
        run()
        spent.append(time.process_time() - started)
    return statistics.median(spent[1:]) / seconds


def processor_name() -> str:
    """Return what this machine's processor is called."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def _descendants(process: int) -> list[int]:
    found: list[int] = []
    for listing in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = [int(child) for child in listing.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *_descendants(child)]
    return found


def _cpu_seconds(process: int) -> float:
    """Processor time of a running process and of the children that it has waited for."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _peak_bytes(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    line = next((line for line in status.splitlines() if line.startswith("VmHWM:")), "VmHWM: 0 kB")
    return int(line.split()[1]) * 1024
