"""Short trainings that say what their first steps were; started by torchrun, this is one of its processes.

Arguments: the preset, the corpus, the folder for runs.
"""

import signal
import sys
from pathlib import Path

import pytorch_lightning as pl
import torch

from datamodules.corpora.corpus import load_corpus
from experiments.cli.main import main
from experiments.presets.preset import load_preset
from experiments.registry import MODELS
from experiments.tracking.run import Run
from experiments.training.distribution import Distribution, launched_distribution, process_rank
from experiments.training.fit import TrainingRecord, quiet_libraries, train
from experiments.training.places import training_place

STOP_AFTER = 3


class FirstGradients(pl.Callback):
    """Keeps each parameter's gradient of the first step that its optimiser takes."""

    def __init__(self):
        self.gradients = {}

    def on_before_optimizer_step(self, trainer, module, optimizer):
        stepped = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        for name, parameter in module.named_parameters():
            if id(parameter) in stepped and name not in self.gradients:
                self.gradients[name] = None if parameter.grad is None else parameter.grad.clone()


class Weights(pl.Callback):
    """Keeps all weights at the end, the critic's too."""

    def on_train_end(self, trainer, module):
        self.weights = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def place_of(preset, corpus, runs, model):
    return training_place(Path(runs), preset, model, 0, corpus.digest)


def trained(preset, corpus, runs, model, distribution=None):
    """Train; return the record, the first gradients and the last weights."""
    first, last = FirstGradients(), Weights()
    place = place_of(preset, corpus, runs, model)
    train(preset, place, corpus, Run(), lambda *_: None, [first, last], distribution)
    return {"gradients": first.gradients, "weights": last.weights}


def stop(preset, corpus, runs, model, distribution=None, here=True):
    """Train until this process is told to terminate, or another one; leave a checkpoint."""
    batches = 0

    def progress(*_):
        nonlocal batches
        batches += 1
        if here and batches == STOP_AFTER:
            signal.raise_signal(signal.SIGTERM)

    try:
        train(preset, place_of(preset, corpus, runs, model), corpus, Run(), progress, distribution=distribution)
    except SystemExit as ended:
        assert ended.code == 143
    assert batches == STOP_AFTER, batches


def run(preset_path, corpus_path, runs):
    preset, corpus, rank = load_preset(preset_path), load_corpus(Path(corpus_path)), process_rank()
    distribution = launched_distribution(Distribution())
    assert distribution.processes == 2
    with quiet_libraries():
        for model in MODELS:
            torch.save(trained(preset, corpus, runs, model, distribution), Path(runs) / f"{model}-{rank}.pt")
        trained(preset, corpus, Path(runs) / "stopped-alone", "wavegan", distribution)
    options = ["--data", corpus_path, "--runs", f"{runs}/command", "--tracking", "none"]
    assert main(["train", "dnn_fft", preset_path, *options]) == 0
    assert main(["compare", preset_path, *options]) == 1
    with quiet_libraries():
        stop(preset, corpus, Path(runs) / "stopped-together", "wavegan", distribution, here=rank == 1)


def record_of(preset, corpus, runs, model):
    return TrainingRecord.read(place_of(preset, corpus, runs, model))


if __name__ == "__main__":
    run(*sys.argv[1:])
