"""A training as a command: here, or in processes of their own side by side.

Run as a module it is such a process: it reads one request from standard input, says its progress in JSON lines on
standard output, and ends when standard input closes, so that no training outlives whoever started it.
"""

import json
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.distribution import (
    Distribution,
    launched_distribution,
    outer_launcher,
    process_rank,
    rank_environments,
)
from experiments.preset import Preset, load_preset
from experiments.progress import Board, board
from experiments.runs import TrainingPlace, commit, find_runs_folder, training_place
from experiments.training_processes import Event, TrainingProcesses, termination_raised
from runtime.errors import OvertoneError, in_words

if TYPE_CHECKING:
    import pandas as pd

    from datamodules.corpus import Corpus
    from experiments.training import Progress, TrainingRecord

DEMO_CORPUS = "demo"
TrackingKind = str  # mlflow, none, or the address of an MLflow server


@dataclass(frozen=True)
class TrainRequest:
    """What a training needs to be told; plain values, so that it can go to another process.

    Attributes:
        model: the registry's name.
        preset: name or path of the preset.
        seed: of weights and order of examples.
        data: folder or manifest of the corpus, None for the preset's own.
        runs: the folder for runs.
        tracking: where curves go.
        extra: further splits of the manifest that join train.
        distribution: over how many processes it is spread.
    """

    model: str
    preset: str
    seed: int
    data: str | None
    runs: str
    tracking: TrackingKind
    extra: Sequence[str] = ()
    distribution: Distribution = field(default_factory=Distribution)

    @property
    def name(self) -> str:
        """The training's readable name."""
        return f"{self.model}-seed{self.seed}"

    def as_line(self) -> str:
        """Return the request as one line of text."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_line(line: str) -> "TrainRequest":
        """Read what `as_line` wrote."""
        values = json.loads(line)
        return TrainRequest(**values | {"distribution": Distribution(**values["distribution"])})


def comparison_experiment(preset: Preset) -> str:
    """Return the name of the MLflow experiment in which a preset's runs stand."""
    return f"compare-{preset.name}"


def open_corpus(preset: Preset, data: str | None, runs: Path, progress: Board, extra: Sequence[str] = ()) -> "Corpus":
    """Return the corpus: the named folder or manifest, else the preset's; the demo corpus is made when missing.

    Args:
        preset: names the corpus where ``data`` does not.
        data: folder or manifest.
        runs: where the demo corpus is made.
        progress: told of it.
        extra: further splits of the manifest that join train.

    Raises:
        OvertoneError: there is none, or it cannot be read.
    """
    from datamodules.corpus import load_corpus

    source = data or preset.corpus
    if source is None:
        raise OvertoneError(f"Preset {preset.name} has no corpus of its own: name a folder of speech with --data.")
    if source != DEMO_CORPUS:
        return load_corpus(
            Path(source), extra, lambda done, total: progress.update("corpus", done, total, "files looked at")
        )
    from datamodules.demo_corpus import prepare_demo_corpus

    folder = prepare_demo_corpus(
        runs / "corpora", lambda done, total: progress.update("demo corpus", done, total, "voices")
    )
    return load_corpus(folder)


def run_training(
    request: TrainRequest, corpus: "Corpus", progress: "Progress"
) -> "tuple[TrainingPlace, TrainingRecord]":
    """Train what a request asks for, tracked, or read the result if it is already there.

    Of several processes that train together, each calls this; the first one tracks.
    """
    from experiments.tracking import open_tracker, send_what_waits
    from experiments.training import TrainingRecord, train

    preset, runs = load_preset(request.preset), Path(request.runs)
    place = training_place(runs, preset, request.model, request.seed, corpus.digest)
    tracking = request.tracking if process_rank() == 0 else "none"
    if place.finished:
        send_what_waits(tracking, runs)
        return place, TrainingRecord.read(place)
    tracker = open_tracker(tracking, runs)
    with tracker.run(comparison_experiment(preset), place.name, run_tags(preset, place, corpus), place.key) as run:
        run.log_dataset(clip_table(corpus, "train"), corpus.root.name, corpus.digest, "training")
        return place, train(preset, place, corpus, run, progress, distribution=request.distribution)


def clip_table(corpus: "Corpus", split: str) -> "pd.DataFrame":
    """Return the clips of a split, a row each."""
    import pandas as pd

    rows = [(corpus.name_of(clip), clip.speaker, clip.seconds, clip.sample_rate) for clip in corpus.split(split)]
    return pd.DataFrame(rows, columns=["file", "speaker", "seconds", "sample_rate"])


def run_tags(preset: Preset, place: TrainingPlace, corpus: "Corpus") -> dict[str, str]:
    """Return the tags by which a reviewer filters and groups runs."""
    architecture = place.model.removesuffix("_seed")
    return {
        "model": place.model,
        "architecture": architecture,
        "variant": "plain" if architecture == place.model else "seed",
        "seed": str(place.seed),
        "preset": preset.name,
        "data_digest": corpus.digest,
        "commit": commit(),
    }


def train_command(request: TrainRequest, runs: Path | None) -> None:
    """Train one model of a preset and say where it lies.

    Args:
        request: what to train; its folder is filled in.
        runs: the folder for runs, None for the usual one.

    Raises:
        OvertoneError: a user's mistake, an unusable corpus, a failed training.
    """
    preset = load_preset(request.preset)
    preset.training_configuration(request.model, request.seed)
    request = replace(
        request, runs=str(find_runs_folder(runs)), distribution=launched_distribution(request.distribution)
    )
    request.distribution.check(preset.data.batch_size)
    if process_rank() > 0:  # the first process says it all
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), board() as progress:
            train_here(
                request, open_corpus(preset, request.data, Path(request.runs), progress, request.extra), progress
            )
        return
    with board() as progress:
        corpus = open_corpus(preset, request.data, Path(request.runs), progress, request.extra)
        report_corpus(corpus, progress)
        if request.distribution.processes > 1 and outer_launcher() is None:
            train_side_by_side([request], 1, preset.budget.threads, progress)
            say_trained(request, preset, corpus, progress)
        else:
            train_here(request, corpus, progress)
            say_trained(request, preset, corpus, progress)


def train_here(request: TrainRequest, corpus: "Corpus", progress: Board) -> None:
    """Train in this process."""
    with quiet_libraries():
        run_training(request, corpus, lambda done, total, note: progress.update(request.name, done, total, note))


def say_trained(request: TrainRequest, preset: Preset, corpus: "Corpus", progress: Board) -> None:
    """Say what a training cost and where it lies."""
    from experiments.training import TrainingRecord

    place = training_place(Path(request.runs), preset, request.model, request.seed, corpus.digest)
    if not place.finished:  # a machine whose part has ended before the first one's
        return
    record = TrainingRecord.read(place)
    several = f" on {record.processes} processes" if record.processes > 1 else ""
    progress.say(
        f"{place.name}: {record.examples} examples in {record.seconds:.0f} s{several}, weights in {place.weights}"
    )


def report_corpus(corpus: "Corpus", progress: Board, most: int = 5) -> None:
    """Say what a corpus holds, what was converted and what was left out."""
    speakers = len({clip.speaker for clip in corpus.clips})
    minutes = sum(clip.seconds for clip in corpus.clips) / 60
    progress.say(f"Corpus: {len(corpus.clips)} clips, {speakers} speakers, {minutes:.0f} minutes ({corpus.root})")
    for note, count in corpus.notes.items():
        progress.say(f"  {count} files: {note}")
    for path, reason in corpus.skipped[:most]:
        progress.say(f"  skipped {path}: {reason}")
    if len(corpus.skipped) > most:
        progress.say(f"  ... and {len(corpus.skipped) - most} more files skipped")


def train_side_by_side(requests: Sequence[TrainRequest], jobs: int, threads: int | None, progress: Board) -> None:
    """Run trainings in processes of their own, ``jobs`` at a time.

    Args:
        requests: the trainings.
        jobs: how many at a time, however many processes each is spread over.
        threads: of each process, None for all cores, or an equal share of them.
        progress: told of all.

    Raises:
        OvertoneError: one of them failed; the others are stopped and go on from their checkpoints next time.
    """
    running: list[TrainingProcesses] = []
    with termination_raised(), ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(_train_in_processes, request, threads, progress, running) for request in requests]
        try:
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
        finally:
            for future in futures:
                future.cancel()
            for processes in list(running):
                processes.stop()


def _train_in_processes(
    request: TrainRequest, threads: int | None, progress: Board, running: list[TrainingProcesses]
) -> None:
    log = Path(request.runs) / "trainings" / f"{request.name}.log"
    processes = TrainingProcesses(request.name, rank_environments(request.distribution, threads), log)

    def update(event: Event) -> None:
        progress.update(request.name, event["done"], event["total"], event["note"])

    running.append(processes)
    try:
        processes.run(request.as_line(), update)
    finally:
        running.remove(processes)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep what Lightning and torch tell developers out of a user's terminal."""
    import pytorch_lightning  # noqa: F401 - before its logger is muted: it sets the level when it is imported

    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _serve_one_request() -> int:
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
    sys.exit(_serve_one_request())
