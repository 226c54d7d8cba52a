"""What several pages of the documentation have: utterances under one condition, a table of scores, and players."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from datamodules.corpora.corpus import Corpus
from evaluation.contracts import Utterance
from evaluation.measures.catalogue import MEASURES
from evaluation.statistics.intervals import summary
from experiments.pages.tables import markdown_table
from experiments.presets.preset import Preset
from experiments.training.fit import make_datamodule
from overtone.audio import Waveform
from overtone.errors import OvertoneError
from overtone.files import written_whole


def utterances_under(condition: str, preset: Preset, corpus: Corpus) -> list[Utterance]:
    """Return the test split under one condition.

    Args:
        condition: one of the preset's test conditions.
        preset: declares them.
        corpus: the clips.

    Raises:
        OvertoneError: the preset has no such condition.
    """
    known = preset.data.test_conditions
    if condition not in known:
        raise OvertoneError(f"--condition {condition}: expected one of {', '.join(known)}.")
    data = replace(preset.data, test_conditions={condition: known[condition]})
    return list(make_datamodule(replace(preset, data=data), corpus, seed=0).utterances("test"))


def score_table(measures: Sequence[str], scores: pd.DataFrame) -> str:
    """Return means over speakers with intervals as a Markdown table, a row per system.

    Args:
        measures: the columns, by key.
        scores: of all systems.
    """
    cells = summary(scores, measures).set_index(["system", "key"])
    arrows = [f"`{key}` {MEASURES[key].arrow}" for key in measures]
    labels = scores["system"].unique()
    rows = ([label, *(_cell(cells.loc[(label, key)]) for key in measures)] for label in labels)
    return markdown_table(["", *arrows], rows)


def _cell(interval: pd.Series) -> str:
    if np.isnan(interval["mean"]):
        return "–"
    return f"{interval['mean']:.2f} ({interval['low']:.2f} to {interval['high']:.2f})"


def player(label: str, waveform: Waveform, sample_rate: int, folder: Path, file: str = "") -> str:
    """Write a sound as FLAC and return its player in HTML.

    Args:
        label: what stands over it.
        waveform: ``(samples,)``.
        sample_rate: in Hz.
        folder: of the page.
        file: its name without suffix; made from the label where it is empty.
    """
    name = f"{file or re.sub('[^a-z0-9]+', '-', label.lower())}.flac"
    with written_whole(folder / name) as temporary:
        soundfile.write(temporary, np.clip(waveform, -1, 1), sample_rate, format="FLAC", subtype="PCM_16")
    return f'<figure><figcaption>{label}</figcaption><audio controls preload="none" src="{name}"></audio></figure>'
