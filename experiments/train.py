"""A training as a command: here, or in processes of their own side by side.

Run as a module it is such a process: it reads one request from standard input, says its progress in JSON lines on
standard output, and ends when standard input closes, so that no training outlives whoever started it.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from experiments.preset import Preset, load_preset
from experiments.progress import Board, board
from experiments.runs import TrainingPlace, commit, find_runs_folder, training_place
from runtime.errors import OvertoneError, in_words

if TYPE_CHECKING:
    import pandas as pd

    from datamodules.corpus import Corpus
    from experiments.training import Progress, TrainingRecord

DEMO_CORPUS = "demo"
TrackingKind = Literal["mlflow", "none"]


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
    """

    model: str
    preset: str
    seed: int
    data: str | None
    runs: str
    tracking: TrackingKind
    extra: Sequence[str] = ()


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
    """Train what a request asks for, tracked, or read the result if it is already there."""
    from experiments.tracking import open_tracker
    from experiments.training import TrainingRecord, train

    preset, runs = load_preset(request.preset), Path(request.runs)
    place = training_place(runs, preset, request.model, request.seed, corpus.digest)
    if place.finished:
        return place, TrainingRecord.read(place)
    tracker = open_tracker(request.tracking, runs)
    with tracker.run(comparison_experiment(preset), place.name, run_tags(preset, place, corpus), place.key) as run:
        run.log_dataset(clip_table(corpus, "train"), corpus.root.name, corpus.digest, "training")
        return place, train(preset, place, corpus, run, progress)


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


def train_command(
    model: str,
    preset: str,
    seed: int,
    data: str | None,
    runs: Path | None,
    tracking: TrackingKind,
    extra: Sequence[str] = (),
) -> None:
    """Train one model of a preset and say where it lies."""
    folder = find_runs_folder(runs)
    request = TrainRequest(model, preset, seed, data, str(folder), tracking, extra)
    load_preset(preset).training_configuration(model, seed)
    with board() as progress:
        corpus = open_corpus(load_preset(preset), data, folder, progress, extra)
        report_corpus(corpus, progress)
        with quiet_libraries():
            place, record = run_training(
                request, corpus, lambda done, total, note: progress.update(f"{model}-seed{seed}", done, total, note)
            )
        progress.say(f"{place.name}: {record.examples} examples in {record.seconds:.0f} s, weights in {place.weights}")


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

    Raises:
        OvertoneError: one of them failed; the others are stopped and go on from their checkpoints next time.
    """
    running: set[subprocess.Popen[str]] = set()
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(_train_in_process, request, threads, progress, running) for request in requests]
        try:
            for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                future.result()
        finally:
            for future in futures:
                future.cancel()
            for process in list(running):
                process.terminate()


def _train_in_process(
    request: TrainRequest, threads: int | None, progress: Board, running: set[subprocess.Popen[str]]
) -> None:
    name = f"{request.model}-seed{request.seed}"
    environment = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    log = Path(request.runs) / "trainings" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "experiments.train"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
        )
        running.add(process)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(asdict(request)) + "\n")
        process.stdin.flush()
        failure = None
        for line in process.stdout:
            event = json.loads(line)
            if "error" in event:
                failure = event["error"]
            else:
                progress.update(name, event["done"], event["total"], event["note"])
        code = process.wait()
        running.discard(process)
    if code != 0:
        raise OvertoneError(failure or f"{name}: the training process ended with code {code}; see {log}")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep what Lightning and torch tell developers out of a user's terminal."""
    import pytorch_lightning  # noqa: F401 - before its logger is muted: it sets the level when it is imported

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _serve_one_request() -> int:
    """Run the request on standard input; the exit code says how it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which then ends this process
    request = TrainRequest(**json.loads(sys.stdin.readline()))
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
