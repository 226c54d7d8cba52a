"""How fast pairs are made, beside audiomentations, and what a training waits for them.

Two tables, both at 48 kHz with items of one second, as the preset ``fullband`` has them:

1. Pairs a second, one process, for each kind of damage. Where audiomentations does the same damage, it is given the
   same crops from the same reader, so that only the damage differs.
2. Seconds of a short epoch of each causal model, with pairs made as it goes, over seconds with pairs that lie ready in
   memory; rounds alternate, medians are compared. At most 1.15 is required.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import audiomentations
import numpy as np
import pytorch_lightning as lightning
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, IterableDataset

from datamodules.corpora.corpus import Corpus, load_corpus
from datamodules.degradation.conditions import Condition, parse_conditions
from datamodules.degradation.scene import Scene
from datamodules.degradation.steps import STEPS
from datamodules.demo.demo_corpus import prepare_demo_corpus
from datamodules.epoch_loader import Item
from datamodules.speech_pairs import SpeechPairsDataModule
from experiments.presets.preset import Preset, load_preset
from experiments.registry import MODELS, build_model
from experiments.training.fit import make_datamodule, quiet_libraries
from overtone.audio import Waveform

MOST_RATIO = 1.15
CAUSAL = [name for name in MODELS if not name.endswith("_original")]


@dataclass(frozen=True)
class Peer(Condition):
    """A condition whose damage audiomentations does."""

    transform: Callable[..., Waveform] | None = None

    def draw(self, rng: np.random.Generator) -> Condition:
        """Draws for itself."""
        return self

    def cutoff_hz(self, sample_rate: int) -> float | None:
        """Nobody asks."""
        return None

    def apply(self, waveform: Waveform, scene: Scene) -> Waveform:
        """Return the damaged waveform ``(samples,)``."""
        assert self.transform is not None
        return self.transform(waveform, sample_rate=scene.sample_rate)


def peers(noises: list[Path]) -> dict[str, tuple[dict[str, object], Callable[..., Waveform]]]:
    """Return the damage that both do: our step, and audiomentations' transform with the same settings."""
    background = audiomentations.AddBackgroundNoise(sounds_path=noises, min_snr_db=15, max_snr_db=15, p=1.0)
    low_pass = audiomentations.LowPassFilter(
        min_cutoff_freq=4000, max_cutoff_freq=4000, min_rolloff=48, max_rolloff=48, zero_phase=True, p=1.0
    )
    mp3 = audiomentations.Mp3Compression(min_bitrate=32, max_bitrate=32, p=1.0, quality=7)
    return {
        "noise 15 dB": ({"noise": {"snr_db": 15}}, background),
        "low-pass, 4 kHz, 48 dB an octave": (
            {"lowpass": {"family": "butterworth", "order": 8, "cutoff_hz": 4000}},
            low_pass,
        ),
        "MP3 32 kbps": ({"mp3": {"kbps": 32, "quality": 7}}, mp3),
    }


def pairs_per_second(module: SpeechPairsDataModule, seconds: float) -> float:
    """Return how many training pairs a second one process makes."""
    module.setup("fit")
    items = module.train_dataloader().dataset
    for index in range(4):  # designs filters, measures codecs
        items[0, index]
    started, made = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        items[1, made]
        made += 1
    return made / (time.perf_counter() - started)


def pairs_table(corpus: Corpus, preset: Preset, seconds: float) -> Table:
    """Measure every step, and the peers."""
    table = Table(title="Pairs a second, one process, items of 1 s at 48 kHz", title_justify="left")
    for column in ("damage", "Overtone", "audiomentations", "ratio"):
        table.add_column(column, justify="left" if column == "damage" else "right")
    base = make_datamodule(preset, corpus, seed=0)

    def rate(condition: Condition) -> float:
        settings = replace(preset.data, batch_size=8, num_workers=1)  # with workers, noises are read before they start
        module = SpeechPairsDataModule(corpus, preset.sample_rate, settings, examples_per_epoch=10**6, seed=0)
        module.train_conditions = (condition,)
        return pairs_per_second(module, seconds)

    for name, (plain, transform) in peers([clip.path for clip in corpus.noises_for("train")]).items():
        (condition,) = parse_conditions({name: {"steps": [plain]}})
        rounds = [(rate(condition), rate(Peer(name, (), 1.0, transform))) for _ in range(3)]
        ours, theirs = (median(one) for one in zip(*rounds, strict=True))
        table.add_row(name, f"{ours:.0f}", f"{theirs:.0f}", f"{ours / theirs:.2f}")
    for kind, step in STEPS.items():
        (condition,) = parse_conditions({kind: {"steps": [{kind: dict(step.example)}]}})
        shown = ", ".join(f"{name} {value}" for name, value in step.example.items())
        table.add_row(f"{kind} {shown}".strip(), f"{rate(condition):.0f}", "", "")
    table.add_row(f"all of preset {preset.name}", f"{pairs_per_second(base, 4 * seconds):.0f}", "", "")
    return table


class Ready(IterableDataset[Item]):
    """Batches that lie ready in memory."""

    def __init__(self, batches: list[Item]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Item]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


def epoch_seconds(preset: Preset, model: str, loader: DataLoader[Item]) -> float:
    """Train a fresh model on a loader's batches; return the seconds from the first batch to the last."""
    times: list[float] = []

    class Stopwatch(lightning.Callback):
        def on_train_batch_end(self, *_: object) -> None:
            times.append(time.perf_counter())

    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Stopwatch()],
    )
    lightning.seed_everything(0, verbose=False)
    trainer.fit(build_model(model, preset.sample_rate, preset.models[model]), loader)
    return times[-1] - times[0]


def epochs_table(corpus: Corpus, preset: Preset, batches: int, rounds: int) -> Table:
    """Measure an epoch of each causal model on live and on ready pairs."""
    title = (
        f"Seconds for {batches - 1} batches of {preset.data.batch_size}, preset {preset.name}, "
        f"{preset.budget.threads} thread(s) and {preset.data.num_workers} loader process(es)"
    )
    table = Table(title=title, title_justify="left")
    for column in ("model", "made as it goes", "ready in memory", "ratio", f"at most {MOST_RATIO}"):
        table.add_column(column, justify="left" if column == "model" else "right")
    preset = replace(preset, budget=replace(preset.budget, examples=batches * preset.data.batch_size, epochs=1))
    torch.set_num_threads(preset.budget.threads or torch.get_num_threads())
    module = make_datamodule(preset, corpus, seed=0)
    module.setup("fit")
    ready = DataLoader(Ready(list(module.train_dataloader())), batch_size=None)
    for model in CAUSAL:
        pairs = [
            (epoch_seconds(preset, model, module.train_dataloader()), epoch_seconds(preset, model, ready))
            for _ in range(rounds)
        ]
        live, held = (median(one) for one in zip(*pairs, strict=True))
        verdict = "passed" if live / held <= MOST_RATIO else "missed"
        table.add_row(model, f"{live:.1f}", f"{held:.1f}", f"{live / held:.3f}", verdict)
    return table


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="corpus (the demo corpus, made when missing)")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each rate (2)")
    parser.add_argument("--batches", type=int, default=30, help="an epoch (30)")
    parser.add_argument("--rounds", type=int, default=3, help="of each epoch (3)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    corpus = load_corpus(options.data or prepare_demo_corpus(Path("mlruns/corpora"), lambda done, total: None))
    preset = load_preset("fullband")
    console = Console()
    with quiet_libraries():
        console.print(pairs_table(corpus, preset, options.seconds))
        console.print(epochs_table(corpus, preset, options.batches, options.rounds))


if __name__ == "__main__":
    main()
