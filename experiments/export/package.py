"""Writing a model package: graph, configuration, card, checksums and the proof of parity."""

import importlib.metadata
import json
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from datamodules.corpora.corpus import Corpus
from experiments.export.card import Speed, TrainingData, write_card
from experiments.export.generated_speech import generated_clips, syllables
from experiments.export.parity import (
    Parity,
    parity_of,
    parity_page,
    parity_record,
    real_clips,
)
from experiments.export.source import ModelSource
from experiments.keys import commit
from experiments.training.resource_use import processor_name, real_time_factor
from models.export.graphs import Graph, export_graph
from models.streaming.spectral_frame import SpectralFrame
from overtone.enhancer import Enhancer
from overtone.errors import OvertoneError
from overtone.model_package import (
    CARD,
    CHECKSUMS,
    CONFIGURATION,
    FORMAT,
    FORMAT_VERSION,
    GRAPH,
    NOISE,
    WINDOW,
    Model,
    ModelPackageError,
    check_sums,
    load_model,
    write_sums,
)

PARITY_RECORD, PARITY_PAGE = "parity.json", "parity.md"
LIBRARIES = ("torch", "onnx", "onnxscript", "onnxruntime", "numpy")
SPEED_SECONDS = 4.0


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
        versions = f"Made with {', '.join(f'{name} {version}' for name, version in _exporter_versions().items())}."
        (folder / PARITY_RECORD).write_text(json.dumps(parity_record(parity), indent=1))
        (folder / PARITY_PAGE).write_text(parity_page(parity, versions))
        write_card(folder / CARD, model, source, parity, data=data, speed=measure_speed(model))
        write_sums(folder)
        _replace_package(folder, out)
    return parity


def check_target(out: Path) -> None:
    """Raise unless a package may be written to a folder: it is missing, empty, or holds a whole package and no more.

    Args:
        out: the folder.

    Raises:
        OvertoneError: ``out`` is a file, the working directory, or a folder with a file that is not part of an
            unchanged package.
    """
    if out.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise OvertoneError(
            f"{out}: is or holds the working directory, which cannot be replaced. Name another folder with --out."
        )
    if out.is_dir():
        names = {path.name for path in out.iterdir()}
        if not names:
            return
        try:
            own = {CHECKSUMS, *check_sums(out)}
        except ModelPackageError:
            own = set()
        if foreign := sorted(names - own):
            raise OvertoneError(
                f"{out}: holds {foreign[0]}, which is no part of an exported model. Nothing was removed. "
                "Name another folder with --out."
            )
    elif out.exists():
        raise OvertoneError(f"{out}: expected a folder, found a file. Name another folder with --out.")


def _replace_package(folder: Path, out: Path) -> None:
    """Move a package, in a temporary folder, to its place; one that is there is set aside first and removed last."""
    former = folder.with_name(f"{folder.name}.former")
    if out.is_dir():
        out.rename(former)  # it is removed with the temporary folder, after the new one is in its place
    folder.rename(out)


def _exporter_versions() -> dict[str, str]:
    """Return the versions of the libraries that wrote the package."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def measure_speed(model: Model) -> Speed:
    """Measure a package's real-time factors on one thread."""
    enhancer, rate = Enhancer(model), model.sample_rate
    clip = syllables(rate, SPEED_SECONDS, 0)
    block = rate // 100

    def streaming() -> None:
        stream = enhancer.stream(rate)
        for start in range(0, len(clip), block):
            stream.push(clip[start : start + block])

    whole_file = real_time_factor(lambda: enhancer.enhance(clip, rate), SPEED_SECONDS, repeats=2)
    return Speed(whole_file, real_time_factor(streaming, SPEED_SECONDS, repeats=2), processor_name())


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
        "libraries": _exporter_versions(),
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
            f"{_exporter_versions()}."
        )
    return parity
