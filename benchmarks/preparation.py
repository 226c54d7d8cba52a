"""What preparing a corpus costs beside decoding it: `python benchmarks/preparation.py --files 10000`.

Makes short FLAC files of noise-modulated synthetic speech in a temporary folder, then runs each measurement in a
process of its own: decoding alone, and `overtone data prepare` with one process and with two, the latter also on a
tenth of the files to show that memory does not grow.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from rich.console import Console
from rich.table import Table

SAMPLE_RATE = 48000
SPEAKERS = 50
MOST_TIMES_DECODING = 3.0
LEAST_SPEED_UP = 1.7
MOST_GROWTH = 1.15


def write_corpus(folder: Path, files: int, seconds: float) -> None:
    """Write ``files`` FLAC files of about ``seconds`` each, all different, in folders named after speakers."""
    rng = np.random.default_rng(0)
    samples = round(seconds * SAMPLE_RATE)
    time_axis = np.arange(2 * samples) / SAMPLE_RATE
    pitch = 2 * np.pi * np.cumsum(120 + 20 * np.sin(3 * time_axis)) / SAMPLE_RATE
    voiced = sum(np.sin(number * pitch) / number for number in range(1, 60))
    syllables = np.sin(2 * np.pi * 3 * time_axis)
    speech = 0.1 * np.maximum(syllables, 0) * voiced
    speech += 0.05 * np.maximum(-syllables, 0) * rng.standard_normal(2 * samples)
    speech += 1e-4 * rng.standard_normal(2 * samples)
    for number in range(files):
        start, gain = rng.integers(samples), rng.uniform(0.3, 1.0)
        path = folder / f"speaker{number % SPEAKERS:02d}" / f"{number:06d}.flac"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, gain * speech[start : start + samples], SAMPLE_RATE)


def decode(folder: Path) -> None:
    """Decode every file of a folder."""
    for path in sorted(folder.rglob("*.flac")):
        soundfile.read(path, dtype="float32")


def prepare(folder: Path, out: Path, jobs: int) -> None:
    """Prepare a folder, as the command does."""
    from datamodules.corpora.preparation import prepare as prepare_corpus

    prepare_corpus(folder, out, jobs=jobs)


@dataclass(frozen=True)
class Cost:
    """What a process took: seconds by the clock, seconds of all cores, and its or its largest child's peak in MiB."""

    seconds: float
    core_seconds: float
    peak_mib: float

    def row(self, files: int) -> tuple[str, ...]:
        """Return the cells of the table."""
        return f"{self.seconds:.1f}", f"{self.core_seconds:.1f}", f"{files / self.seconds:.0f}", f"{self.peak_mib:.0f}"


def measured(*arguments: str | Path) -> Cost:
    """Run this file as a process and return what it took."""
    started, used = time.perf_counter(), core_seconds()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return Cost(time.perf_counter() - started, core_seconds() - used, float(result.stdout))


def core_seconds() -> float:
    """Return the processor time that ended children of this process took."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def peak_mib() -> float:
    """Return the most memory that this process or one of its ended children held, in MiB."""
    uses = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(uses) / 1024


def verdict(value: float, required: float, *, at_most: bool) -> str:
    """Return a value beside what is required."""
    met = value <= required if at_most else value >= required
    return f"{value:.2f} ({'at most' if at_most else 'at least'} {required:g}: {'met' if met else 'MISSED'})"


def compare(files: int, seconds: float) -> None:
    """Make the corpus, measure, print the table."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        whole, tenth = root / "whole", root / "tenth"
        for folder, count in ((whole, files), (tenth, max(files // 10, 1))):
            folder.mkdir()
            write_corpus(folder, count, seconds)
        decode(whole)  # the second to read would find everything in the system's cache
        decoding = measured("decode", whole)
        one = measured("prepare", whole, root / "one", "1")
        two = measured("prepare", whole, root / "two", "2")
        few = measured("prepare", tenth, root / "few", "2")
        same = (root / "one" / "manifest.csv").read_bytes() == (root / "two" / "manifest.csv").read_bytes()
    table = Table(title=f"{files} FLAC files of {seconds:g} s at {SAMPLE_RATE} Hz", title_justify="left")
    for name in ("", "seconds", "core seconds", "files per s", "peak MiB", "required"):
        table.add_column(name, justify="left" if name in ("", "required") else "right")
    times = verdict(one.seconds / decoding.seconds, MOST_TIMES_DECODING, at_most=True) + " times decoding"
    faster = verdict(one.seconds / two.seconds, LEAST_SPEED_UP, at_most=False) + " times as fast as 1"
    growth = verdict(two.peak_mib / few.peak_mib, MOST_GROWTH, at_most=True) + " times a tenth's memory"
    table.add_row("decoding alone", *decoding.row(files))
    table.add_row("prepare, 1 process", *one.row(files), times)
    table.add_row("prepare, 2 processes", *two.row(files), faster)
    table.add_row("  a tenth of the files", *few.row(max(files // 10, 1)), growth)
    console = Console(width=130)
    console.print(table)
    console.print(f"Manifests of one and two processes: {'identical' if same else 'DIFFERENT'}.")


def main() -> None:
    """Measure one thing where told to, else everything."""
    if sys.argv[1:2] == ["decode"]:
        decode(Path(sys.argv[2]))
        print(peak_mib())
    elif sys.argv[1:2] == ["prepare"]:
        prepare(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
        print(peak_mib())
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--files", type=int, default=10000)
        parser.add_argument("--seconds", type=float, default=3.0)
        options = parser.parse_args()
        compare(options.files, options.seconds)


if __name__ == "__main__":
    main()
