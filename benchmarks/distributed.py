"""Whether two processes train what one trains: loss on val of each, beside what rounding and another seed change.

    python -m benchmarks.distributed --data prepared --examples 160 --seeds 3

Every model of a preset is trained with each seed in one process, and with the first seed in several. What rounding does
is shown by a training in one process with each batch's examples in reverse order.
"""

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import yaml

from datamodules import speech_pairs
from datamodules.corpora.corpus import Corpus
from datamodules.pair_datasets import collate
from experiments.data.opening import open_corpus
from experiments.pages.tables import markdown_table
from experiments.presets.preset import PRESETS, Preset, load_preset
from experiments.registry import build_model
from experiments.runs import Workspace
from experiments.training.distribution import Distribution, TrainRequest
from experiments.training.fit import TrainingRecord, quiet_libraries, run_training
from experiments.training.places import training_place
from experiments.training.train import train_side_by_side
from overtone.progress import Board

RATE_SHARE = 0.2  # of the preset's rates: so short a schedule warms up in a few steps, and at full rate goes astray


def main() -> None:
    """Train and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--data", help="folder or manifest of speech (the preset's own)")
    parser.add_argument("--models", help="NAME,NAME (all of the preset's)")
    parser.add_argument("--examples", type=int, default=160)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder, quiet_libraries():
        path = shortened_preset(arguments.preset, arguments.examples, Path(folder))
        preset = load_preset(str(path))
        workspace = Workspace(Path(folder), arguments.data, tracking="none")
        corpus = open_corpus(preset, workspace, Board(None))
        speakers = len({clip.speaker for clip in corpus.split("train")})
        print(f"{arguments.examples} examples of {speakers} speakers, batches of {preset.data.batch_size}")
        headings = ["model", "1 process", f"{arguments.processes} processes", "difference", "by rounding", "over seeds"]
        print(markdown_table([*headings, "CPU s, 1", f"CPU s, {arguments.processes}"], []))
        for model in arguments.models.split(",") if arguments.models else preset.models:
            request = TrainRequest(model, str(path), 0, workspace)
            cells = row(request, preset, corpus, arguments.seeds, arguments.processes)
            print("| " + " | ".join(cells) + " |", flush=True)


def shortened_preset(name: str, examples: int, folder: Path) -> Path:
    """Write a preset with a smaller budget and rates, one utterance of each speaker for validation, one thread."""
    preset = load_preset(name)
    plain = yaml.safe_load((PRESETS / f"{name}.yaml").read_text())
    plain["budget"] |= {"examples": examples, "epochs": 2, "threads": 1}
    plain["data"]["val_utterances_per_speaker"] = 1
    for model, settings in plain["models"].items():
        rate = build_model(model, preset.sample_rate, settings).settings.learning_rate
        plain["models"][model] = settings | {"learning_rate": RATE_SHARE * rate}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(plain))
    return path


def row(request: TrainRequest, preset: Preset, corpus: Corpus, seeds: int, processes: int) -> list[str]:
    """Return a model's line of the table."""

    def placed(folder: str) -> TrainRequest:
        return replace(request, workspace=replace(request.workspace, runs=request.workspace.runs / folder))

    def alone(seed: int, folder: str = ".") -> TrainingRecord:
        return run_training(replace(placed(folder), seed=seed), corpus, lambda *_: None)[1]

    one, *others = (alone(seed) for seed in range(seeds))
    with patch.object(speech_pairs, "collate", lambda items: collate(items[::-1])):
        reversed_order = alone(0, "reversed")
    together = replace(placed("together"), distribution=Distribution(devices=processes))
    train_side_by_side([together], 1, 1, Board(None))
    place = training_place(together.workspace.runs, preset, request.model, 0, corpus.digest)
    several = TrainingRecord.read(place)
    losses = [record.val_loss for record in (one, *others)]
    return [
        request.model,
        f"{one.val_loss:.5f}",
        f"{several.val_loss:.5f}",
        f"{several.val_loss - one.val_loss:+.1e}",
        f"{reversed_order.val_loss - one.val_loss:+.1e}",
        f"{np.std(losses, ddof=1) if others else np.nan:.1e}",
        f"{one.cpu_seconds:.0f}",
        f"{several.cpu_seconds:.0f}",
    ]


if __name__ == "__main__":
    main()
