"""Cost of scoring, beside that of the usual script: one file after the other, librosa, pystoi, pesq and torchmetrics.

Both read the same wav files at 48 kHz. Seconds are given for an hour of audio: of the clock, and of processors, which
other programs on the machine disturb less. Factors say how many times as long the usual script takes, by the clock and
by processors. Limits are on processors' seconds: 12 minutes on two cores for everything but ViSQOL, 0.1 of real time on
one for ViSQOL. Processors' seconds come from /proc: Linux only.
"""

import argparse
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import librosa
import numpy as np
import torch
from pesq import pesq
from pystoi import stoi
from rich.console import Console
from rich.table import Table
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio, signal_noise_ratio
from visqol import VisqolApi

from datamodules.corpora.corpus import Corpus, load_corpus
from datamodules.demo.demo_corpus import prepare_demo_corpus
from datamodules.pair_settings import PairSettings
from datamodules.speech_pairs import SpeechPairsDataModule
from evaluation.contracts import Utterance
from evaluation.harness import check_measures
from experiments.scoring.rows import score_pairs
from overtone.audio import Waveform, write_audio
from overtone.audio_files.recordings import read_audio
from overtone.worker_pool import WorkerPool

SAMPLE_RATE, NARROW_RATE = 48_000, 16_000
HOUR = 3600.0
MOST_MINUTES, MOST_VISQOL = 12.0, 0.1
ALL_BUT_VISQOL = [key for key in check_measures(None) if key != "visqol"]
IN_BOTH = ["lsd", "si_sdr", "snr", "stoi", "pesq_wb"]


@dataclass(frozen=True)
class Pair:
    """Two files of a clip, and what the harness wants to know besides."""

    reference: Path
    estimate: Path
    utterance: Utterance

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return len(self.utterance.wideband) / self.utterance.sample_rate


@dataclass(frozen=True)
class Cost:
    """Seconds for an hour of audio, by the clock and of processors."""

    clock: float
    processors: float


def write_pairs(corpus: Corpus, folder: Path, files: int) -> list[Pair]:
    """Write test clips of speakers in turn, and what is left of each at 16 kHz with faint noise above."""
    conditions = {"resampled": {"steps": [{"resample": {"rate": NARROW_RATE}}]}}
    settings = PairSettings(conditions, conditions, test_utterances_per_speaker=None)
    module = SpeechPairsDataModule(corpus, SAMPLE_RATE, settings, examples_per_epoch=1, seed=0)
    pairs = []
    for number, utterance in enumerate(islice(module.utterances("test", per_speaker=4), files)):
        noise = np.random.default_rng(number).standard_normal(len(utterance.wideband)) * 10**-3.5
        paths = folder / f"{number}-reference.wav", folder / f"{number}-estimate.wav"
        write_audio(paths[0], utterance.wideband, SAMPLE_RATE)
        write_audio(paths[1], (utterance.narrowband + noise).astype(np.float32), SAMPLE_RATE)
        pairs.append(Pair(*paths, utterance))
    return pairs


def read_pairs(pairs: list[Pair]) -> Iterator[tuple[Utterance, Waveform]]:
    """Read both files of each pair as `overtone evaluate` does."""
    for pair in pairs:
        known = {name: value for name, value in vars(pair.utterance).items() if name != "wideband"}
        yield Utterance(**known, wideband=read_audio(pair.reference)[0]), read_audio(pair.estimate)[0]


def processor_seconds() -> float:
    """Return the processor time of this process and of its scoring processes so far."""
    tick = os.sysconf("SC_CLK_TCK")
    stats = (Path(f"/proc/{child.pid}/stat").read_text() for child in multiprocessing.active_children())
    return time.process_time() + sum(sum(map(int, one.rpartition(")")[2].split()[11:13])) for one in stats) / tick


def timed(run: Callable[[], object], pairs: list[Pair]) -> Cost:
    """Run once and return its cost for an hour of such audio."""
    seconds = sum(pair.seconds for pair in pairs)
    processors, clock = processor_seconds(), time.perf_counter()
    run()
    clock = time.perf_counter() - clock
    return Cost(clock * HOUR / seconds, (processor_seconds() - processors) * HOUR / seconds)


def ours(pairs: list[Pair], measures: list[str], workers: int) -> Cost:
    """Cost of the harness; starting processes and loading what measures need is not part of it."""
    with WorkerPool(workers) as pool:
        score_pairs(read_pairs(pairs[: 4 * workers]), "warm", measures, pool=pool)
        return timed(lambda: score_pairs(read_pairs(pairs), "any", measures, pool=pool), pairs)


def usual_script(pairs: list[Pair]) -> list[dict[str, float]]:
    """Score as evaluation scripts of papers do."""
    rows = []
    for pair in pairs:
        reference, _ = librosa.load(pair.reference, sr=SAMPLE_RATE)
        estimate, _ = librosa.load(pair.estimate, sr=SAMPLE_RATE)
        tensors = torch.from_numpy(estimate), torch.from_numpy(reference)
        wide = [librosa.resample(one, orig_sr=SAMPLE_RATE, target_sr=16_000) for one in (reference, estimate)]
        rows.append(
            {
                "lsd": usual_lsd(estimate, reference),
                "si_sdr": float(scale_invariant_signal_distortion_ratio(*tensors)),
                "snr": float(signal_noise_ratio(*tensors)),
                "stoi": float(stoi(reference, estimate, SAMPLE_RATE)),
                "pesq_wb": float(pesq(16_000, *wide, "wb")),
            }
        )
    return rows


def usual_lsd(estimate: Waveform, reference: Waveform) -> float:
    """Return the field's log-spectral distance on librosa."""
    logs = [
        np.log10(np.maximum(np.abs(librosa.stft(one, n_fft=2048, hop_length=512)) ** 2, 1e-8))
        for one in (estimate, reference)
    ]
    return float(np.mean(np.sqrt(np.mean((logs[0] - logs[1]) ** 2, axis=0))))


def usual_lsd_script(pairs: list[Pair]) -> list[float]:
    """Score the log-spectral distance alone."""
    return [
        usual_lsd(*(librosa.load(path, sr=SAMPLE_RATE)[0] for path in (pair.estimate, pair.reference)))
        for pair in pairs
    ]


def usual_visqol_script(pairs: list[Pair]) -> list[float]:
    """Score ViSQOL as visqol-python's own example does."""
    interface = VisqolApi()
    interface.create(mode="audio")
    return [interface.measure(str(pair.reference), str(pair.estimate)).moslqo for pair in pairs]


def cost_table(pairs: list[Pair]) -> Table:
    """Measure the harness and the usual scripts."""
    minutes = sum(pair.seconds for pair in pairs) / 60
    table = Table(title=f"Seconds for an hour of 48 kHz speech, from {len(pairs)} files, {minutes:.1f} min")
    for column in ("measures", "how", "clock", "processors", "factors", "at most"):
        table.add_column(column, justify="left" if column in ("measures", "how") else "right")
    usual_script(pairs[:1]), usual_visqol_script(pairs[:1])

    def rows(
        measures: list[str], name: str, script: Callable[[list[Pair]], object] | None, limit: float | None
    ) -> None:
        usual = None if script is None else timed(lambda: script(pairs), pairs)
        if usual is not None:
            table.add_row(name, "usual script", f"{usual.clock:.0f}", f"{usual.processors:.0f}", "", "")
        for workers in (1, 2):
            cost = ours(pairs, measures, workers)
            how = f"Overtone, {workers} process{'es' if workers > 1 else ''}"
            factor = (
                "" if usual is None else f"{usual.clock / cost.clock:.1f}, {usual.processors / cost.processors:.1f}"
            )
            verdict = "" if limit is None else f"{'passed' if cost.processors <= limit else 'missed'} {limit:.0f}"
            table.add_row(name, how, f"{cost.clock:.0f}", f"{cost.processors:.0f}", factor, verdict)

    rows(["lsd"], "LSD", usual_lsd_script, None)
    rows(IN_BOTH, "LSD, SI-SDR, SNR, STOI, PESQ", usual_script, None)
    rows(ALL_BUT_VISQOL, f"all {len(ALL_BUT_VISQOL)} but ViSQOL", None, 2 * MOST_MINUTES * 60)
    rows(["visqol"], "ViSQOL", usual_visqol_script, MOST_VISQOL * HOUR)
    return table


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="corpus (the demo corpus, made when missing)")
    parser.add_argument("--files", type=int, default=40, help="to score (40)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    corpus = load_corpus(options.data or prepare_demo_corpus(Path("mlruns/corpora"), lambda done, total: None))
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        pairs = write_pairs(corpus, Path(folder), options.files)
        console.print(cost_table(pairs))


if __name__ == "__main__":
    main()
