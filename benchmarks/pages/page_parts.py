"""What several pages of the documentation have: a table of scores with intervals, and players."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile

from evaluation.measures.catalogue import MEASURES
from evaluation.statistics.intervals import summary
from experiments.pages.tables import markdown_table
from overtone.audio import Waveform
from overtone.files import written_whole


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
