"""Ship a model: a folder with an ONNX graph, configuration, card, checksums, and the proof that it is the same."""

import importlib.metadata
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from datamodules.corpus import Corpus, load_corpus
from experiments.export_parity import (
    Parity,
    parity_of,
    parity_page,
    parity_record,
    real_clips,
)
from experiments.generated_speech import generated_clips, syllables
from experiments.model_card import Speed, TrainingData, training_data, write_card
from experiments.model_source import ModelSource, champion_source, checkpoint_source
from experiments.progress import board, console
from experiments.runs import commit, find_runs_folder
from models.export import Graph, export_graph
from models.spectral import SpectralFrame
from runtime.enhancer import Enhancer
from runtime.errors import OvertoneError
from runtime.model_package import (
    CARD,
    CHECKSUMS,
    CONFIGURATION,
    FORMAT,
    FORMAT_VERSION,
    GRAPH,
    NOISE,
    WINDOW,
    Model,
    load_model,
    write_sums,
)

PARITY_RECORD, PARITY_PAGE = "parity.json", "parity.md"
LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")
SPEED_SECONDS = 4.0


def export_command(
    out: Path,
    preset: str | None = None,
    checkpoint: Path | None = None,
    runs: Path | None = None,
    data: str | None = None,
    extra: Sequence[str] = (),
) -> None:
    """Export a champion or a file of weights.

    Args:
        out: the package's folder; replaced when it is one already.
        preset: whose champion; with ``checkpoint``, what that was trained for.
        checkpoint: a file of weights or a training's checkpoint.
        runs: folder for runs.
        data: corpus for the proof and the card; without it clips are generated and the card states no data.
        extra: further splits of the manifest that had joined train.

    Raises:
        OvertoneError: nothing to export, a model that cannot stream, a folder that is something else, or an exported
            graph that differs from the model; then nothing is left behind.
    """
    check_target(out)
    if checkpoint is not None:
        source = checkpoint_source(checkpoint, preset)
    elif preset is not None:
        source = champion_source(preset, find_runs_folder(runs))
    else:
        raise OvertoneError("Expected --preset NAME for its champion, or --checkpoint FILE; received neither.")
    corpus, about = _corpus(data, source, extra)
    with board() as progress:
        progress.say(f"Exporting {source.module.name} at {source.module.sample_rate} Hz from {source.origin} ...")
        parity = export_package(source, out, corpus, about)
    largest = parity.largest
    console.print(
        f"Wrote {out}: PyTorch and ONNX Runtime differ by {largest.difference:.1e} at most "
        f"in {len(parity.rows)} comparisons.",
        highlight=False,
        soft_wrap=True,
    )


def export_package(
    source: ModelSource, out: Path, corpus: Corpus | None = None, data: TrainingData | None = None
) -> Parity:
    """Write a package whole or not at all.

    Args:
        source: what to export.
        out: its folder.
        corpus: real speech for the proof; None for generated clips.
        data: for the card.

    Returns:
        The proof.

    Raises:
        OvertoneError: the exported graph differs from the model by more than allowed, or ``out`` is something else.
    """
    check_target(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".part", dir=out.parent) as temporary:
        folder = Path(temporary) / out.name
        folder.mkdir()
        _write_model(source, folder)
        model = load_model(folder)
        parity = _checked_parity(source, model, corpus)
        versions = f"Made with {', '.join(f'{name} {version}' for name, version in library_versions().items())}."
        (folder / PARITY_RECORD).write_text(json.dumps(parity_record(parity), indent=1))
        (folder / PARITY_PAGE).write_text(parity_page(parity, versions))
        write_card(folder / CARD, model, source, parity, data=data, speed=measure_speed(model))
        write_sums(folder)
        if out.is_dir():
            shutil.rmtree(out)
        folder.rename(out)
    return parity


def check_target(out: Path) -> None:
    """Refuse to replace anything but a package or an empty folder.

    Raises:
        OvertoneError: ``out`` is a file, or a folder with something else in it.
    """
    if out.is_dir():
        if any(out.iterdir()) and not (out / CHECKSUMS).is_file():
            raise OvertoneError(f"{out}: not empty and no exported model. Name another folder with --out.")
    elif out.exists():
        raise OvertoneError(f"{out}: expected a folder, found a file. Name another folder with --out.")


def library_versions() -> dict[str, str]:
    """Return the versions of what wrote the package."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def measure_speed(model: Model) -> Speed:
    """Measure a package's real-time factors on one thread, the better of two."""
    enhancer, rate = Enhancer(model), model.sample_rate
    clip = syllables(rate, SPEED_SECONDS, 0)
    block = rate // 100

    def whole() -> None:
        enhancer.enhance(clip, rate)

    def streaming() -> None:
        stream = enhancer.stream(rate)
        for start in range(0, len(clip), block):
            stream.push(clip[start : start + block])

    def factor(run: Callable[[], None]) -> float:
        seconds = []
        for _ in range(2):
            started = time.process_time()
            run()
            seconds.append(time.process_time() - started)
        return min(seconds) / SPEED_SECONDS

    return Speed(whole_file=factor(whole), streaming=factor(streaming), machine=_processor())


def _write_model(source: ModelSource, folder: Path) -> None:
    network = source.module.network
    graph = export_graph(network, folder / GRAPH)
    if isinstance(network, SpectralFrame):
        np.save(folder / NOISE, network.excitation.noise.numpy(), allow_pickle=False)
        np.save(folder / WINDOW, network.analysis.window.numpy(), allow_pickle=False)
    (folder / CONFIGURATION).write_text(json.dumps(_configuration(source, graph), indent=1))
    write_sums(folder)


def _configuration(source: ModelSource, graph: Graph) -> dict[str, object]:
    module, network = source.module, source.module.network
    front_end: dict[str, object] = {"kind": graph.front_end}
    if isinstance(network, SpectralFrame):
        front_end["n_fft"] = network.hop_samples + network.delay_samples
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": module.name,
        "preset": source.preset,
        "origin": source.origin,
        "sample_rate": module.sample_rate,
        "hop_samples": network.hop_samples,
        "delay_samples": network.delay_samples,
        "latency_samples": network.latency_samples,
        "widest_input_hz": source.widest_input_hz,
        "front_end": front_end,
        "states": [asdict(state) for state in graph.states],
        "settings": module.description()["settings"],
        "training": source.training or None,
        "training_digest": source.training_digest,
        "data_digest": source.training.get("data_digest"),
        "evidence": source.evidence,
        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "libraries": library_versions(),
    }


def _checked_parity(source: ModelSource, model: Model, corpus: Corpus | None) -> Parity:
    rate = model.sample_rate
    clips = generated_clips(rate) if corpus is None else real_clips(corpus, rate)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        parity = parity_of(source.module, model, clips, real=corpus is not None)
    finally:
        torch.set_num_threads(threads)
    if not parity.holds:
        largest = parity.largest
        raise OvertoneError(
            f"{source.origin}: the exported graph differs from the model by {largest.difference:.1e} ({largest.clip}, "
            f"{largest.samples} samples, blocks: {largest.blocks}); nothing was written. Report it with the versions "
            f"{library_versions()}."
        )
    return parity


def _corpus(data: str | None, source: ModelSource, extra: Sequence[str]) -> tuple[Corpus | None, TrainingData | None]:
    if data is None:
        return None, None
    path = Path(data)
    corpus = load_corpus(path, extra)
    manifest = path / "manifest.csv" if path.is_dir() else path
    if not manifest.is_file() or manifest.suffix != ".csv":
        return corpus, None
    return corpus, training_data(corpus, manifest, source.training.get("data_digest"))


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
