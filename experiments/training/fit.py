"""One training: seed, build, fit within the budget, keep the weights and what they cost."""

import json
import logging
import math
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import timedelta

import pandas as pd
import pytorch_lightning as lightning
import torch
import yaml
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.strategies import DDPStrategy, Strategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from datamodules.corpora.corpus import Corpus
from datamodules.speech_pairs import SpeechPairsDataModule
from experiments.keys import commit
from experiments.presets.preset import Preset, load_preset
from experiments.records import read_record
from experiments.registry import build_model
from experiments.runs import comparison_experiment
from experiments.tracking.run import Run
from experiments.tracking.tracker import open_tracker
from experiments.training.callbacks import Divergence, EpochReport, Progress, RandomState, Spending
from experiments.training.checkpoints import Checkpoints, Interruption
from experiments.training.child_process import TERMINATED
from experiments.training.distribution import Distribution, TrainRequest, cluster_environment, process_rank
from experiments.training.places import TrainingPlace, training_place
from models.base import SpeechModule
from overtone.errors import OvertoneError
from overtone.files import written_whole

SPECTROGRAM_CLIPS = 2
CHECKPOINT_INTERVAL = timedelta(minutes=2)
# Settings of the data that change no training: how it is loaded, and what scoring hears.
NO_PARAMETERS = {
    *("num_workers", "test_conditions", "joined_seconds", "gap_seconds"),
    *("val_utterances_per_speaker", "test_utterances_per_speaker"),
}


@dataclass(frozen=True)
class TrainingRecord:
    """What a training cost.

    Attributes:
        examples: training examples seen.
        seconds: wall-clock time, all starts of a resumed training together.
        cpu_seconds: processor time of all starts and all processes, loader processes included.
        peak_mb: memory in MiB of the start that took most: the sum of its processes' peaks, loader processes included.
            Pages that processes share count for each.
        over_budget: whether the safety stop ended it.
        val_loss: spectral loss on the validation crops at the end.
        curve: examples seen and that loss, after each epoch.
        processes: over how many the last start was spread, one a device.
        gpu_peak_mb: as ``peak_mb``, memory that torch had allocated on GPUs.
    """

    examples: int
    seconds: float
    cpu_seconds: float
    peak_mb: float
    over_budget: bool
    val_loss: float
    curve: Sequence[tuple[int, float]]
    processes: int = 1
    gpu_peak_mb: float = 0.0

    @property
    def examples_per_second(self) -> float:
        """Training examples per second of wall-clock time, validation and pictures included."""
        return self.examples / self.seconds if self.seconds > 0 else math.nan

    @property
    def costs(self) -> dict[str, float]:
        """What is one number each."""
        numbers = {key: float(value) for key, value in asdict(self).items() if key != "curve"}
        return numbers | {"examples_per_second": self.examples_per_second}

    @staticmethod
    def read(place: TrainingPlace) -> "TrainingRecord":
        """Read the record of a finished training.

        Raises:
            OvertoneError: the file is damaged.
        """
        advice = "Remove the file: the same command then finishes the training again from its last checkpoint."
        return read_record(place.record, TrainingRecord, advice)


def run_training(request: TrainRequest, corpus: Corpus, progress: Progress) -> tuple[TrainingPlace, TrainingRecord]:
    """Train what a request asks for, tracked, or read the result if it is already there.

    Of several processes that train together, each calls this; the first one tracks.

    Args:
        request: what to train.
        corpus: the clips.
        progress: called with examples seen, the budget, and a note.
    """
    preset, runs = load_preset(request.preset), request.workspace.runs
    place = training_place(runs, preset, request.model, request.seed, corpus.digest)
    tracker = open_tracker(request.workspace.tracking if process_rank() == 0 else "none", runs)
    if place.finished:
        return place, TrainingRecord.read(place)
    with tracker.run(comparison_experiment(preset.name), place.name, run_tags(preset, place, corpus), place.key) as run:
        run.log_dataset(clip_table(corpus, "train"), corpus.root.name, corpus.digest, "training")
        return place, train(preset, place, corpus, run, progress, distribution=request.distribution)


def clip_table(corpus: Corpus, split: str) -> pd.DataFrame:
    """Return the clips of a split, a row each.

    Args:
        corpus: the clips.
        split: train, val or test.
    """
    rows = [(corpus.name_of(clip), clip.speaker, clip.seconds, clip.sample_rate) for clip in corpus.split(split)]
    return pd.DataFrame(rows, columns=["file", "speaker", "seconds", "sample_rate"])


def run_tags(preset: Preset, place: TrainingPlace, corpus: Corpus) -> dict[str, str]:
    """Return the tags by which a reviewer filters and groups runs.

    Args:
        preset: that the training belongs to.
        place: of the training.
        corpus: the clips.
    """
    architecture = place.model.removesuffix("_original")
    return {
        "model": place.model,
        "architecture": architecture,
        "variant": "causal" if architecture == place.model else "original",
        "seed": str(place.seed),
        "preset": preset.name,
        "data_digest": corpus.digest,
        "commit": commit(),
    }


def make_datamodule(preset: Preset, corpus: Corpus, seed: int) -> SpeechPairsDataModule:
    """Return the DataModule that a preset declares; the same pairs for every architecture.

    Args:
        preset: declares how pairs are made.
        corpus: the clips.
        seed: of the training items.
    """
    examples = preset.budget.examples_per_epoch
    return SpeechPairsDataModule(corpus, preset.sample_rate, preset.data, examples_per_epoch=examples, seed=seed)


def train(
    preset: Preset,
    place: TrainingPlace,
    corpus: Corpus,
    run: Run,
    progress: Progress,
    callbacks: Sequence[lightning.Callback] = (),
    distribution: Distribution | None = None,
) -> TrainingRecord:
    """Train one model of a preset, or continue where it was interrupted; a finished one is only read.

    Spread over several processes, each of them calls this; the first one alone writes and tracks.

    Args:
        preset: declares data, budget and hyper-parameters.
        place: which model, which seed, where.
        corpus: the clips.
        run: where curves and spectrograms go.
        progress: called with examples seen, the budget, and a note.
        callbacks: what else the trainer is to call, after its own.
        distribution: over how many processes it is spread; None for one.

    Raises:
        OvertoneError: it diverged, or cannot be spread like that.
    """
    if place.finished:
        return TrainingRecord.read(place)
    distribution = distribution or Distribution()
    distribution.check(preset.data.batch_size)
    if preset.budget.threads is not None:
        torch.set_num_threads(preset.budget.threads)
        os.environ.setdefault("OMP_NUM_THREADS", str(preset.budget.threads))  # else the trainer sets its own number
    lightning.seed_everything(place.seed, verbose=False)
    module = build_model(place.model, preset.sample_rate, preset.models[place.model])
    datamodule = make_datamodule(preset, corpus, place.seed)
    timer, spending = Timer(timedelta(seconds=preset.budget.safety_seconds)), Spending()
    clips = [utterance for utterance, _ in zip(datamodule.utterances("val"), range(SPECTROGRAM_CLIPS), strict=False)]
    report = EpochReport(run, progress, clips, preset)
    interruption = Interruption(place.checkpoint)
    own = [Divergence(), timer, spending, report, RandomState(), interruption]
    checkpoints = Checkpoints(place.checkpoint, CHECKPOINT_INTERVAL)
    trainer = _make_trainer(preset, module, [*own, *callbacks, checkpoints], distribution)
    if trainer.is_global_zero:
        _declare(preset, place, asdict(module.settings), corpus, run)
    try:
        with interruption:
            trainer.fit(module, datamodule, ckpt_path=interruption.resumed_from, weights_only=True)
    except SystemExit as stop:  # Lightning's answer to Ctrl-C, which would end the command with code 1 and no word
        if trainer.interrupted and stop.code != TERMINATED:
            raise KeyboardInterrupt from None
        raise
    record = _make_record(trainer, timer, spending, report, preset)
    if not trainer.is_global_zero:
        return record
    module.save_weights(place.weights)
    with written_whole(place.record) as path:
        path.write_text(json.dumps(asdict(record), indent=2))
    run.log_metrics({f"work/train_{key}": value for key, value in record.costs.items()}, trainer.current_epoch)
    return record


def _declare(preset: Preset, place: TrainingPlace, settings: Mapping[str, object], corpus: Corpus, run: Run) -> None:
    """Write down what is about to be trained, with all settings of the model, not only those that the preset names."""
    configuration = preset.training_configuration(place.model, place.seed)
    resolved = configuration | {"settings": json.loads(json.dumps(settings)), "data_digest": corpus.digest}
    with written_whole(place.folder / "config.yaml") as path:
        path.write_text(yaml.safe_dump(resolved, sort_keys=False))
    run.log_parameters(run_parameters(preset, settings))
    run.log_file(place.folder / "config.yaml")


def run_parameters(preset: Preset, settings: Mapping[str, object]) -> dict[str, object]:
    """Return what decided a training as a reader compares it: few names, no nesting, nothing that a tag says already.

    Args:
        preset: declares budget and data; of its data only what was set and concerns the training.
        settings: of the model, all of them.
    """
    data = {
        one.name: value
        for one in fields(preset.data)
        if (value := getattr(preset.data, one.name)) != one.default and one.name not in NO_PARAMETERS
    }
    return {
        **settings,
        "examples": preset.budget.examples,
        "epochs": preset.budget.epochs,
        "batch_size": preset.data.batch_size,
        "crop_seconds": preset.data.crop_seconds,
        **data,
        "train_conditions": ", ".join(preset.data.train_conditions),
        "sample_rate": preset.sample_rate,
    }


def _make_trainer(
    preset: Preset, module: SpeechModule, callbacks: Sequence[lightning.Callback], distribution: Distribution
) -> lightning.Trainer:
    """Return a quiet trainer for one process of a training."""
    strategy = make_strategy(module, distribution)
    try:
        return lightning.Trainer(
            max_epochs=preset.budget.epochs,
            accelerator=distribution.accelerator,
            devices=distribution.devices,
            num_nodes=distribution.num_nodes,
            strategy=strategy,
            plugins=[cluster_environment()],
            use_distributed_sampler=False,  # the DataModule shares its batches itself
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            callbacks=list(callbacks),
        )
    except (MisconfigurationException, RuntimeError, ValueError) as error:
        raise OvertoneError(
            f"--devices {distribution.devices} --accelerator {distribution.accelerator}: this machine cannot train "
            f"like that ({' '.join(str(error).split())})."
        ) from None


def make_strategy(module: SpeechModule, distribution: Distribution) -> Strategy | str:
    """Return how gradients are averaged.

    An architecture with two optimisers leaves the other one's parameters without a gradient at each step, which DDP
    has to search for. Other architectures are spared the search.

    Args:
        module: what is trained.
        distribution: over how many processes the training is spread.

    Raises:
        OvertoneError: such an architecture was told not to look.
    """
    if distribution.processes == 1:
        return "auto"
    alternates = not module.automatic_optimization
    if alternates and distribution.strategy == "ddp_find_unused_parameters_false":
        raise OvertoneError(
            f"{module.name} steps two optimisers in turn and leaves the other one's parameters unused: expected "
            "--strategy auto or ddp_find_unused_parameters_true, got ddp_find_unused_parameters_false."
        )
    find = alternates or distribution.strategy == "ddp_find_unused_parameters_true"
    return DDPStrategy(find_unused_parameters=find, broadcast_buffers=False)  # all buffers are constants


def _make_record(
    trainer: lightning.Trainer, timer: Timer, spending: Spending, report: EpochReport, preset: Preset
) -> TrainingRecord:
    batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
    return TrainingRecord(
        examples=min(batches * preset.data.batch_size, preset.budget.examples),
        seconds=round(timer.time_elapsed(), 1),
        cpu_seconds=round(spending.cpu_seconds, 1),
        peak_mb=round(spending.peak_mb, 1),
        over_budget=trainer.should_stop,
        val_loss=float(trainer.callback_metrics.get("val/loss", torch.nan)),
        curve=report.curve,
        processes=trainer.world_size,
        gpu_peak_mb=round(spending.gpu_peak_mb, 1),
    )


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep what Lightning and torch tell developers out of a user's terminal."""
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
