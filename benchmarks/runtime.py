"""What enhancing costs on one core at 48 kHz, beside a stack of layers with the AP-BWE generator's published shape.

Three tables: real-time factors of whole arrays, ours and the stack's on the same sound in the same run, with their
ratio; the time of each block of 10 ms of a long stream, and what the process holds at its start and at its end; what a
process holds at most that enhances a file of a minute, and one of an hour, block by block. Everything runs on one
thread of one core (Linux only), so that another program on that core shows up in the highest percentiles. The stack is
AP-BWE's (Lu 2024) in size, 29.8 M parameters, not in weights: what it gives is noise.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from experiments.export.generated_speech import narrowed, syllables
from experiments.export.package import export_package
from experiments.export.source import ModelSource
from experiments.registry import build_model
from experiments.training.resource_use import real_time_factor
from models.base import StreamingModule
from overtone.audio import Waveform
from overtone.enhancer import Enhancer
from overtone.errors import OvertoneError
from overtone.model_package import load_model
from overtone.packed_models import default_model

RATE, BLOCK = 48_000, 480
MOST_WHOLE, MOST_LATENCY_MS, MOST_GROWN_MB = 0.05, 40.0, 20.0
MOST_STREAM, MOST_STREAM_PACED = 0.10, 0.12  # a core that sleeps between blocks has to wake up
CHANNELS, N_FFT, WINDOW, HOP, BLOCKS, EXPANSION, KERNEL = 512, 1024, 320, 80, 8, 3, 7
PHRASE_SECONDS, CLIP_SECONDS = 20.0, 10.0
SETTLED_SECONDS = 20.0


class ConvNextBlock(nn.Module):
    """A ConvNeXt V2 block over time (Woo 2023), as AP-BWE has it."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(CHANNELS, CHANNELS, KERNEL, padding=KERNEL // 2, groups=CHANNELS)
        self.norm = nn.LayerNorm(CHANNELS)
        self.expand = nn.Linear(CHANNELS, EXPANSION * CHANNELS)
        self.gamma = nn.Parameter(torch.zeros(EXPANSION * CHANNELS))
        self.beta = nn.Parameter(torch.zeros(EXPANSION * CHANNELS))
        self.contract = nn.Linear(EXPANSION * CHANNELS, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        """Process ``(batch, channels, frames)``."""
        wide = nn.functional.gelu(self.expand(self.norm(self.depthwise(x).transpose(1, 2))))
        energy = wide.norm(dim=1, keepdim=True)
        wide = wide + self.gamma * wide * energy / (energy.mean(dim=-1, keepdim=True) + 1e-6) + self.beta
        return x + self.contract(wide).transpose(1, 2)


class AmplitudeAndPhase(nn.Module):
    """Two streams of ConvNeXt blocks, over log-amplitudes and phases, that exchange sums before each block."""

    def __init__(self) -> None:
        super().__init__()
        bins = N_FFT // 2 + 1
        self.before = nn.ModuleList(nn.Conv1d(bins, CHANNELS, KERNEL, padding=KERNEL // 2) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(CHANNELS) for _ in range(4))
        self.streams = nn.ModuleList(nn.ModuleList(ConvNextBlock() for _ in range(BLOCKS)) for _ in range(2))
        self.after = nn.ModuleList(nn.Linear(CHANNELS, bins) for _ in range(3))
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Enhance ``(batch, samples)``."""
        window = self.get_buffer("window")
        spectra = torch.stft(waveform, N_FFT, HOP, WINDOW, window, return_complex=True)
        log_amplitude = torch.log(spectra.abs() + 1e-4)
        pair = [before(x) for before, x in zip(self.before, (log_amplitude, spectra.angle()), strict=True)]
        pair = [norm(x.transpose(1, 2)).transpose(1, 2) for norm, x in zip(self.norms, pair, strict=False)]
        for amplitude_block, phase_block in zip(*self.streams, strict=True):
            amplitude, phase = pair[0] + pair[1], pair[1] + pair[0]
            pair = [amplitude_block(amplitude), phase_block(phase)]
        amplitude, phase = (norm(x.transpose(1, 2)) for norm, x in zip(list(self.norms)[2:], pair, strict=True))
        level = torch.exp(log_amplitude + self.after[0](amplitude).transpose(1, 2).clamp(-5, 5))
        angle = torch.atan2(self.after[1](phase), self.after[2](phase)).transpose(1, 2)
        return torch.istft(torch.polar(level, angle), N_FFT, HOP, WINDOW, window, length=waveform.shape[-1])


@dataclass(frozen=True)
class Streamed:
    """A long stream in blocks of 10 ms.

    Attributes:
        milliseconds: the time of each block.
        settled_mb: what the process held once everything had been allocated.
        last_mb: what it held at the end.
    """

    milliseconds: Waveform
    settled_mb: float
    last_mb: float


def telephone_speech(seconds: float) -> Waveform:
    """Return speech-like sound that ends at 4 kHz, repeated."""
    phrase = narrowed(syllables(RATE, PHRASE_SECONDS, 0), RATE)
    return np.resize(phrase, round(seconds * RATE))


def whole_table(enhancer: Enhancer) -> Table:
    """Measure whole arrays, ours and the stack's."""
    clip = telephone_speech(CLIP_SECONDS)
    stack = AmplitudeAndPhase().eval()
    millions = sum(parameter.numel() for parameter in stack.parameters()) / 1e6
    with torch.inference_mode():
        theirs = real_time_factor(lambda: stack(torch.from_numpy(clip)[None]), CLIP_SECONDS)
    ours = real_time_factor(lambda: enhancer.enhance(clip, RATE), CLIP_SECONDS)
    stereo = real_time_factor(lambda: enhancer.enhance(np.stack([clip, clip], axis=1), RATE), CLIP_SECONDS)
    table = _table("Real-time factor, whole arrays", "what", "factor", "ratio", f"at most {MOST_WHOLE}")
    table.add_row(f"{enhancer.model.name}, mono", f"{ours:.4f}", "1", _verdict(ours <= MOST_WHOLE))
    table.add_row(f"{enhancer.model.name}, stereo", f"{stereo:.4f}", f"{stereo / ours:.1f}", "")
    table.add_row(f"AP-BWE's shape, {millions:.1f} M, mono", f"{theirs:.4f}", f"{theirs / ours:.1f}", "")
    return table


def stream_blocks(enhancer: Enhancer, minutes: float, *, paced: bool) -> Streamed:
    """Push blocks of 10 ms, each when it is due or without pauses."""
    phrase = telephone_speech(PHRASE_SECONDS)
    stream = enhancer.stream(RATE)
    milliseconds = np.zeros(round(minutes * 60 * RATE / BLOCK), np.float32)
    settled, began = held_mb(), time.perf_counter()
    for number in range(len(milliseconds)):
        if paced:
            time.sleep(max(began + number * BLOCK / RATE - time.perf_counter(), 0))
        start = number * BLOCK % len(phrase)
        block = phrase[start : start + BLOCK]
        started = time.perf_counter()
        stream.push(block)
        milliseconds[number] = 1000 * (time.perf_counter() - started)
        if number == round(SETTLED_SECONDS * RATE / BLOCK):
            settled = held_mb()
    return Streamed(milliseconds, settled, held_mb())


def stream_table(enhancer: Enhancer, minutes: float, *, paced: bool) -> Table:
    """Measure a long stream."""
    streamed = stream_blocks(enhancer, minutes, paced=paced)
    times, length = streamed.milliseconds, 1000 * BLOCK / RATE
    latency = 1000 * enhancer.stream(RATE).latency_seconds
    share, high = float(times.mean()) / length, float(np.percentile(times, 99.9))
    grown = streamed.last_mb - streamed.settled_mb
    pace, most = ("each when it is due", MOST_STREAM_PACED) if paced else ("without pauses", MOST_STREAM)
    table = _table(f"A stream of {minutes:g} minutes in blocks of 10 ms, {pace}", "what", "value", "at most", "")
    table.add_row("real-time factor", f"{share:.4f}", f"{most}", _verdict(share <= most))
    table.add_row("block time, median", f"{np.median(times):.2f} ms", "", "")
    table.add_row("block time, 99th percentile", f"{np.percentile(times, 99):.2f} ms", "", "")
    table.add_row("block time, 99.9th percentile", f"{high:.2f} ms", f"{length:g} ms", _verdict(high < length))
    table.add_row("block time, longest", f"{times.max():.2f} ms", "", "")
    table.add_row("latency", f"{latency:.1f} ms", f"{MOST_LATENCY_MS:g} ms", _verdict(latency <= MOST_LATENCY_MS))
    table.add_row("memory grown", f"{grown:.1f} MB", f"{MOST_GROWN_MB:g} MB", _verdict(grown <= MOST_GROWN_MB))
    return table


def memory_table(package: Path, long_minutes: float) -> Table:
    """Measure what a process holds at most that enhances files, each in a process of its own."""
    table = _table(
        "Peak memory, stereo file at 48 kHz, block by block", "minutes", "MB", f"at most +{MOST_GROWN_MB:g} MB"
    )
    first = None
    with tempfile.TemporaryDirectory() as folder:
        for minutes in (1.0, long_minutes):
            path = Path(folder) / "long.wav"
            write_long(path, minutes)
            command = [sys.executable, "-m", "benchmarks.runtime_memory", str(package), str(path)]
            peak = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            first = first or peak
            table.add_row(f"{minutes:g}", f"{peak:.0f}", _verdict(peak - first <= MOST_GROWN_MB))
    return table


def write_long(path: Path, minutes: float) -> None:
    """Write a stereo file of repeated phrases."""
    phrase = telephone_speech(PHRASE_SECONDS)
    both = np.stack([phrase, phrase[::-1]], axis=1)
    with soundfile.SoundFile(path, "w", RATE, 2, "PCM_16") as file:
        for _ in range(round(minutes * 60 / PHRASE_SECONDS)):
            file.write(both)


def held_mb() -> float:
    """Return what this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def find_package(named: Path | None, folder: Path) -> Path:
    """Return the named package, else the packed default, else one of untrained weights, which cost the same."""
    if named is not None:
        return named
    try:
        return default_model("fullband")
    except OvertoneError:
        module = build_model("dnn_fft", RATE, {})
        assert isinstance(module, StreamingModule)
        export_package(ModelSource(module.eval(), "untrained weights", None), folder / "untrained")
        return folder / "untrained"


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def _verdict(passed: bool) -> str:
    return "passed" if passed else "missed"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="exported 48 kHz model (the packed one)")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the stream (10)")
    parser.add_argument("--long-minutes", type=float, default=60.0, help="of the long file (60)")
    parser.add_argument("--paced", action="store_true", help="push each block when it is due, as a microphone would")
    parser.add_argument("--core", type=int, help="which core (the first allowed)")
    parser.add_argument("--data", type=Path, help="not used: speed does not depend on the speech")
    options = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0)) if options.core is None else options.core})
    torch.set_num_threads(1)
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        package = find_package(options.model, Path(folder))
        enhancer = Enhancer(load_model(package))
        console.print(whole_table(enhancer))
        console.print(stream_table(enhancer, options.minutes, paced=options.paced))
        console.print(memory_table(package, options.long_minutes))


if __name__ == "__main__":
    main()
