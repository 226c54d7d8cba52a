"""Scores (utterance, estimate) pairs of any system; a failed score is NaN with its reason, never dropped."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from evaluation.contracts import Utterance
from evaluation.measures.catalogue import MEASURES, Shown, keys_shown
from evaluation.measures.stft import NotApplicable, Spectrograms
from overtone.audio import Waveform
from overtone.errors import OvertoneError
from overtone.worker_pool import ScoringPool

IDENTITY_COLUMNS = ("file", "speaker", "condition", "cutoff_hz", "band_hz", "clean")
STATE_COLUMNS = ("failures", "not_applicable")

Row = dict[str, Any]


def score_pair(
    utterance: Utterance,
    estimate: ArrayLike,
    measures: Sequence[str] | None = None,
    block_samples: int | None = None,
) -> Row:
    """Score one estimate.

    Args:
        utterance: what the system was given, and the target.
        estimate: ``(samples,)``, as long as the target.
        measures: keys of `MEASURES`; None for the default ones.
        block_samples: the system's block length in samples; None where it has no block borders.

    Returns:
        The utterance's own columns, a number per measure, ``failures`` ("key: reason; ...", "" when none) and
        ``not_applicable`` (keys, comma-separated). A score in either of these two is NaN.

    Raises:
        OvertoneError: an unknown measure is named.
    """
    keys = check_measures(measures)
    row: Row = {name: getattr(utterance, name) for name in IDENTITY_COLUMNS}
    row["cutoff_hz"] = np.nan if utterance.cutoff_hz is None else float(utterance.cutoff_hz)
    fault = _estimate_fault(utterance, np.asarray(estimate))
    if fault is not None:
        return row | dict.fromkeys(keys, np.nan) | _states({key: fault for key in keys}, [])
    return row | _scores(utterance, np.asarray(estimate, dtype=np.float32), keys, block_samples)


def check_measures(measures: Sequence[str] | None) -> list[str]:
    """Return the keys in order, those of the default measures for None.

    Raises:
        OvertoneError: a key is unknown.
    """
    if measures is None:
        return keys_shown(Shown.SCORES)
    keys = list(measures)
    unknown = [key for key in keys if key not in MEASURES]
    if unknown:
        raise OvertoneError(f"Unknown measure {', '.join(unknown)}. Known: {', '.join(MEASURES)}.")
    return keys


def _estimate_fault(utterance: Utterance, estimate: np.ndarray) -> str | None:
    if estimate.shape != utterance.wideband.shape:
        return f"estimate has shape {estimate.shape}, expected {utterance.wideband.shape}"
    if not np.isfinite(estimate).all():
        return "estimate holds NaN or infinite samples"
    return None


def _scores(utterance: Utterance, estimate: Waveform, keys: list[str], block_samples: int | None) -> Row:
    available = {
        "preds": estimate,
        "target": utterance.wideband,
        "sample_rate": utterance.sample_rate,
        "cutoff_hz": utterance.cutoff_hz,
        "band_hz": utterance.band_hz,
        "block_samples": block_samples,
        "spectrograms": Spectrograms(),
    }
    scores: Row = {}
    failures: dict[str, str] = {}
    not_applicable: list[str] = []
    for key in keys:
        scores[key] = np.nan
        try:
            value = MEASURES[key](**available)
        except NotApplicable:
            not_applicable.append(key)
        except Exception as error:  # a measure's own failure must cost its score only, not the whole table
            failures[key] = f"{type(error).__name__}: {error}"
        else:
            if np.isfinite(value):
                scores[key] = value
            else:
                failures[key] = f"gave {value}"
    return scores | _states(failures, not_applicable)


def _states(failures: dict[str, str], not_applicable: list[str]) -> Row:
    reasons = (f"{key}: {' '.join(reason.replace(';', ',').split())}" for key, reason in failures.items())
    return {"failures": "; ".join(reasons), "not_applicable": ",".join(not_applicable)}


class Scorer:
    """Scores systems one after the other in the same processes, which take seconds to start.

    Args:
        workers: processes to score in; 1 scores in the calling one. With more, the calling script needs the usual
            ``if __name__ == "__main__"`` guard, since they are spawned.
    """

    def __init__(self, workers: int = 1) -> None:
        self._pool = ScoringPool(workers)

    def __enter__(self) -> Self:
        self._pool.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._pool.__exit__(*exception)

    def score(
        self,
        pairs: Iterable[tuple[Utterance, ArrayLike]],
        system: str,
        measures: Sequence[str] | None = None,
        block_samples: int | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> pd.DataFrame:
        """Score the estimates of one system; see `score_pairs`."""
        keys = check_measures(measures)
        rows: dict[int, Row] = {}
        jobs = (_Job(number, *pair, keys, block_samples) for number, pair in enumerate(pairs))
        for job, row in self._pool.map(_score_job, jobs):
            if row is None:
                raise OvertoneError("A scoring process was killed, probably for lack of memory. Use fewer workers.")
            rows[job.number] = {"system": system} | row
            if progress is not None:
                progress(len(rows))
        columns = ["system", *IDENTITY_COLUMNS, *keys, *STATE_COLUMNS]
        return pd.DataFrame([rows[number] for number in sorted(rows)], columns=columns)


class _Job(NamedTuple):
    number: int
    utterance: Utterance
    estimate: ArrayLike
    keys: list[str]
    block_samples: int | None


def _score_job(job: _Job) -> Row:
    return score_pair(job.utterance, job.estimate, job.keys, job.block_samples)


def score_pairs(
    pairs: Iterable[tuple[Utterance, ArrayLike]],
    system: str,
    measures: Sequence[str] | None = None,
    block_samples: int | None = None,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Score the estimates of one system.

    Args:
        pairs: utterances with their estimates; consumed as they are scored, so that memory does not grow
            with their number.
        system: name for the column ``system``.
        measures: keys of `MEASURES`; None for the default ones.
        block_samples: the system's block length in samples; None where it has no block borders.
        workers: processes to score in, as for `Scorer`.
        progress: called with the number of pairs scored so far.

    Returns:
        One row per pair, in their order: ``system``, the columns of `score_pair`.

    Raises:
        OvertoneError: an unknown measure is named, or the system killed a scoring process.
    """
    with Scorer(workers) as scorer:
        return scorer.score(pairs, system, measures, block_samples, progress)
