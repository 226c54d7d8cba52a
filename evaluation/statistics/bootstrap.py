"""The hierarchical bootstrap: speakers are drawn, then utterances of each drawn speaker, all columns together."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

Array = NDArray[np.float64]


def utterance_matrices(
    values: Array, speakers: Sequence[Any], files: Sequence[Any], columns: Sequence[Any]
) -> list[Array]:
    """Arrange values by speaker.

    Args:
        values: ``(rows,)``.
        speakers: whom each row belongs to ``(rows,)``.
        files: each row's utterance ``(rows,)``.
        columns: which column of its utterance each row belongs to ``(rows,)``, a condition for example.

    Returns:
        Each speaker's values ``(utterances, columns)``, columns sorted, NaN where an utterance lacks one.
    """
    speaker, number_of_speakers = _numbered(speakers)
    file, number_of_files = _numbered(files)
    column, number_of_columns = _numbered(columns)
    known, utterance = np.unique(speaker * number_of_files + file, return_inverse=True)
    sums = np.zeros((len(known), number_of_columns))
    counts = np.zeros_like(sums)
    np.add.at(sums, (utterance, column), values)
    np.add.at(counts, (utterance, column), 1.0)
    means = np.where(counts > 0, sums / np.maximum(counts, 1.0), np.nan)
    # Utterances are numbered speaker by speaker.
    sizes = np.bincount(known // number_of_files, minlength=number_of_speakers)
    return np.split(means, np.cumsum(sizes)[:-1])


def _numbered(names: Sequence[Any]) -> tuple[NDArray[np.intp], int]:
    """Return the place of each name among the sorted ones ``(rows,)``, and how many there are."""
    places = {name: place for place, name in enumerate(sorted(set(names)))}
    return np.array([places[name] for name in names], dtype=np.intp), len(places)


def resampled_means(per_speaker: list[Array], resamples: int, generator: np.random.Generator) -> Array:
    """Mean over the drawn speakers of their means in each resample ``(resamples, columns)``; NaN where none has any.

    Args:
        per_speaker: as `utterance_matrices` gives them.
        resamples: how many.
        generator: of the draws.
    """
    tables = np.stack([_speaker_means(matrix, resamples, generator) for matrix in per_speaker])
    speakers = len(per_speaker)
    drawn = generator.integers(speakers, size=(resamples, speakers))
    # A speaker drawn twice in one resample must bring different draws of its utterances: take another column.
    column = (np.arange(resamples)[:, None] + generator.integers(resamples, size=(1, speakers))) % resamples
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a resample may lack a condition
        return np.asarray(np.nanmean(tables[drawn, column], axis=1))


def mean_of(per_speaker: list[Array]) -> float:
    """Mean over columns of the mean over speakers of their means over utterances."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a speaker may lack a column
        of_speakers = np.stack([np.nanmean(matrix, axis=0) for matrix in per_speaker])
    return float(np.nanmean(of_speakers, axis=0).mean())


def mean_over_columns(means: Array) -> Array:
    """Mean over the columns that a resample has ``(resamples,)``; NaN where it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(means, axis=1))


def percentiles(means: Array, speakers: int, confidence: float) -> tuple[float, float]:
    """The interval's bounds: percentiles of the resampled means ``(resamples,)``, expanded for few speakers.

    Hesterberg 2015, "What teachers should know about the bootstrap", expanded percentile interval: the tail is
    ``norm.cdf(-sqrt(n / (n - 1)) * t(1 - tail, n - 1))`` for n speakers, as wide as Student's interval is.

    Args:
        means: ``(resamples,)``; NaN is left out.
        speakers: how many the means are over.
        confidence: of the interval, between 0 and 1.
    """
    tail = (1.0 - confidence) / 2.0
    if speakers > 1:
        tail = float(norm.cdf(np.sqrt(speakers / (speakers - 1)) * t.ppf(tail, speakers - 1)))
    low, high = np.quantile(means[np.isfinite(means)], [tail, 1.0 - tail])
    return float(low), float(high)


def _speaker_means(matrix: Array, resamples: int, generator: np.random.Generator) -> Array:
    """A speaker's mean per column over resampled utterances ``(resamples, columns)``."""
    utterances = len(matrix)
    weights = generator.multinomial(utterances, np.full(utterances, 1.0 / utterances), size=resamples)
    counts = weights @ np.isfinite(matrix)
    sums = weights @ np.nan_to_num(matrix)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
