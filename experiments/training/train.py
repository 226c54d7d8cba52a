"""A training as a command: here, or in processes of their own side by side."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING

from experiments.data.opening import open_corpus, report_corpus
from experiments.presets.preset import load_preset
from experiments.runs import find_runs_folder
from experiments.training.child_process import Event
from experiments.training.distribution import (
    launched_distribution,
    outer_launcher,
    process_rank,
    rank_environments,
)
from experiments.training.fit import quiet_libraries
from experiments.training.places import TrainingPlace, training_place
from experiments.training.processes import TrainingProcesses, termination_raised
from experiments.training.requests import TrainRequest
from experiments.training.tracked import run_training
from overtone.progress import Board, board

if TYPE_CHECKING:
    from datamodules.corpora.corpus import Corpus


def train_command(request: TrainRequest) -> None:
    """Train one model of a preset and say where it lies.

    Args:
        request: what to train.

    Raises:
        OvertoneError: a user's mistake, an unusable corpus, a failed training.
    """
    preset = load_preset(request.preset)
    preset.training_configuration(request.model, request.seed)
    distribution = launched_distribution(request.distribution)
    distribution.check(preset.data.batch_size)
    workspace = replace(request.workspace, runs=find_runs_folder(request.workspace.runs))
    request = replace(request, workspace=workspace, distribution=distribution)
    with _only_first_prints(), board() as progress:
        corpus = open_corpus(preset, workspace, progress)
        report_corpus(corpus, progress)
        place = training_place(workspace.runs, preset, request.model, request.seed, corpus.digest)
        tell_damaged([] if place.finished else [place], progress)
        if distribution.processes > 1 and outer_launcher() is None:
            train_side_by_side([request], 1, preset.budget.threads, progress)
        else:
            _train_here(request, corpus, progress)
        _say_trained(place, progress)


@contextmanager
def _only_first_prints() -> Iterator[None]:
    """Let only the first of several processes of a training print: it says it all."""
    if process_rank() == 0:
        yield
    else:
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
            yield


def tell_damaged(places: Iterable[TrainingPlace], progress: Board) -> None:
    """Say which trainings begin anew because their checkpoints are damaged.

    Args:
        places: of trainings that are not finished.
        progress: told of each.
    """
    from experiments.training.checkpoints import checkpoint_damage

    for place in places:
        if damage := checkpoint_damage(place.checkpoint):
            progress.say(f"{place.checkpoint} is damaged ({damage}): {place.name} is begun anew.")


def _train_here(request: TrainRequest, corpus: "Corpus", progress: Board) -> None:
    """Train in this process."""
    with quiet_libraries():
        run_training(request, corpus, lambda done, total, note: progress.update(request.name, done, total, note))


def _say_trained(place: TrainingPlace, progress: Board) -> None:
    """Say what a training cost and where it lies."""
    from experiments.training.fit import TrainingRecord

    if not place.finished:  # a machine whose part has ended before the first one's
        return
    record = TrainingRecord.read(place)
    several = f" on {record.processes} processes" if record.processes > 1 else ""
    progress.say(
        f"{place.name}: {record.examples} examples in {record.seconds:.0f} s{several}, weights in {place.weights}"
    )


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
    log = request.workspace.runs / "trainings" / f"{request.name}.log"
    processes = TrainingProcesses(request, rank_environments(request.distribution, threads), log)

    def update(event: Event) -> None:
        progress.update(request.name, event["done"], event["total"], event["note"])

    running.append(processes)
    try:
        processes.run(update)
    finally:
        running.remove(processes)
