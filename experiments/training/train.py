"""A training as a command: here, or in processes of their own side by side."""

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from experiments.data.opening import open_corpus, report_corpus
from experiments.presets.preset import load_preset
from experiments.runs import find_runs_folder
from experiments.training.checkpoints import checkpoint_damage
from experiments.training.child_process import POLL_SECONDS, Event, end
from experiments.training.distribution import (
    TrainRequest,
    launched_distribution,
    outer_launcher,
    process_rank,
    rank_environments,
)
from experiments.training.fit import TrainingRecord, quiet_libraries, run_training
from experiments.training.places import TrainingPlace, training_place
from experiments.training.processes import STOP_SECONDS, TrainingProcesses, termination_raised
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
    for place in places:
        if damage := checkpoint_damage(place.checkpoint):
            progress.say(f"{place.checkpoint} is damaged ({damage}): {place.name} is begun anew.")


def _train_here(request: TrainRequest, corpus: "Corpus", progress: Board) -> None:
    with quiet_libraries():
        run_training(request, corpus, lambda done, total, note: progress.update(request.name, done, total, note))


def _say_trained(place: TrainingPlace, progress: Board) -> None:
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
    waiting = list(requests)
    running: dict[str, TrainingProcesses] = {}
    with termination_raised():
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    request = waiting.pop(0)
                    log = request.workspace.runs / "trainings" / f"{request.name}.log"
                    environments = rank_environments(request.distribution, threads)
                    running[request.name] = TrainingProcesses(request, environments, log)
                time.sleep(POLL_SECONDS)
                ended = [name for name, one in running.items() if one.step(partial(_show, progress, name))]
                for name in ended:
                    running.pop(name)
        finally:
            end([child for one in running.values() for child in one.children], STOP_SECONDS)


def _show(progress: Board, name: str, event: Event) -> None:
    progress.update(name, event["done"], event["total"], event["note"])
