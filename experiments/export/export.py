"""Ship a model: a folder with an ONNX graph, configuration, card, checksums, and the proof that it is the same."""

from pathlib import Path

from datamodules.corpora.corpus import Corpus, load_corpus
from datamodules.corpora.manifest import find_manifest
from experiments.export.card import TrainingData, training_data
from experiments.export.package import check_target, export_package
from experiments.export.source import ModelSource, champion_source, checkpoint_source
from experiments.runs import Workspace, find_runs_folder
from overtone.errors import OvertoneError
from overtone.progress import board, console


def export_command(out: Path, workspace: Workspace, preset: str | None = None, checkpoint: Path | None = None) -> None:
    """Export a champion or a file of weights.

    Args:
        out: the package's folder; replaced when it is one already.
        workspace: folder for runs, and the corpus for the proof and the card; without it clips are generated and the
            card states no data.
        preset: whose champion; with ``checkpoint``, what that was trained for.
        checkpoint: a file of weights or a training's checkpoint.

    Raises:
        OvertoneError: nothing to export, a model that cannot stream, a folder that is something else, or an exported
            graph that differs from the model; then nothing is left behind.
    """
    check_target(out)
    if checkpoint is not None:
        source = checkpoint_source(checkpoint, preset)
    elif preset is not None:
        source = champion_source(preset, find_runs_folder(workspace.runs))
    else:
        raise OvertoneError("Expected --preset NAME for its champion, or --checkpoint FILE; received neither.")
    corpus, about = _corpus(workspace, source)
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


def _corpus(workspace: Workspace, source: ModelSource) -> tuple[Corpus | None, TrainingData | None]:
    if workspace.data is None:
        return None, None
    path = Path(workspace.data)
    corpus = load_corpus(path, workspace.extra)
    manifest = find_manifest(path)
    if manifest is None or manifest.suffix != ".csv":
        return corpus, None
    return corpus, training_data(corpus, manifest, source.training.get("data_digest"))
