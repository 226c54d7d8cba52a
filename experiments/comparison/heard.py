"""What two comparisons made, to be heard again: their trained models on the utterances that they were scored on."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from evaluation.contracts import System
from experiments.comparison.options import DiffOptions
from experiments.comparison.sides import Sides
from experiments.data.opening import open_corpus
from experiments.presets.preset import RESOLVED, load_preset
from experiments.ranking.columns import Row
from experiments.ranking.findings import read_stored
from experiments.scoring.splits import Utterances
from experiments.training.fit import make_datamodule
from experiments.training.places import kept_place
from experiments.training.trained_system import TrainedSystem
from overtone.errors import OvertoneError
from overtone.progress import Board


def with_sounds(sides: Sides, options: DiffOptions, progress: Board) -> Sides:
    """Return two comparisons with their utterances, and with what loads their models.

    Args:
        sides: as `experiments.comparison.sides.read_sides` returns them.
        options: of the command, with a corpus.
        progress: told how far reading the corpus is.

    Raises:
        OvertoneError: the corpus cannot be read, or is not the one that B was scored on.
    """
    a, b = (read_stored(folder) for folder in (options.a, options.b))
    preset = load_preset(str(options.b / RESOLVED))
    corpus = open_corpus(preset, options.workspace, progress)
    if corpus.digest != b.provenance.data_digest:
        raise OvertoneError(
            f"--data: expected the corpus that B was scored on, data {b.provenance.data_digest[:12]}, got "
            f"{corpus.root}, data {corpus.digest[:12]}. Name that one, or leave --data out: then there are no players."
        )
    data = make_datamodule(preset, corpus, seed=0)
    utterances = Utterances(partial(data.utterances, options.split), data.utterance_count(options.split))
    return replace(
        sides,
        a=replace(sides.a, load=partial(_trained, options.a, a.trainings)),
        b=replace(sides.b, load=partial(_trained, options.b, b.trainings)),
        utterances=utterances,
    )


def _trained(comparison: Path, trainings: Sequence[Row], name: str) -> System | None:
    """A system's first training; None of what was not trained, and where its weights are gone or of another code."""
    for row in trainings:
        if row["system"] != name:
            continue
        place = kept_place(comparison.resolve().parent.parent, name, int(row["seed"]), str(row.get("key")))
        try:
            return TrainedSystem.load(place) if place.weights.is_file() else None
        except OvertoneError:
            return None
    return None
