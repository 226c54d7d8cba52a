"""A training with its tracked run."""

from typing import TYPE_CHECKING

from experiments.keys import commit
from experiments.presets.preset import Preset, load_preset
from experiments.runs import comparison_experiment
from experiments.training.distribution import process_rank
from experiments.training.places import TrainingPlace, training_place
from experiments.training.requests import TrainRequest

if TYPE_CHECKING:
    import pandas as pd

    from datamodules.corpora.corpus import Corpus
    from experiments.training.callbacks import Progress
    from experiments.training.fit import TrainingRecord


def run_training(
    request: TrainRequest, corpus: "Corpus", progress: "Progress"
) -> "tuple[TrainingPlace, TrainingRecord]":
    """Train what a request asks for, tracked, or read the result if it is already there.

    Of several processes that train together, each calls this; the first one tracks.

    Args:
        request: what to train.
        corpus: the clips.
        progress: called with examples seen, the budget, and a note.
    """
    from experiments.tracking.tracker import open_tracker
    from experiments.training.fit import TrainingRecord, train

    preset, runs = load_preset(request.preset), request.workspace.runs
    place = training_place(runs, preset, request.model, request.seed, corpus.digest)
    tracking = request.workspace.tracking if process_rank() == 0 else "none"
    tracker = open_tracker(tracking, runs)
    if place.finished:
        return place, TrainingRecord.read(place)
    with tracker.run(comparison_experiment(preset.name), place.name, run_tags(preset, place, corpus), place.key) as run:
        run.log_dataset(clip_table(corpus, "train"), corpus.root.name, corpus.digest, "training")
        return place, train(preset, place, corpus, run, progress, distribution=request.distribution)


def clip_table(corpus: "Corpus", split: str) -> "pd.DataFrame":
    """Return the clips of a split, a row each.

    Args:
        corpus: the clips.
        split: train, val or test.
    """
    import pandas as pd

    rows = [(corpus.name_of(clip), clip.speaker, clip.seconds, clip.sample_rate) for clip in corpus.split(split)]
    return pd.DataFrame(rows, columns=["file", "speaker", "seconds", "sample_rate"])


def run_tags(preset: Preset, place: TrainingPlace, corpus: "Corpus") -> dict[str, str]:
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
