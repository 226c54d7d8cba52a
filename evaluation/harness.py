"""Scores (utterance, estimate) pairs of any system; a failed score is NaN with its reason, never dropped."""

import base64
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.contracts import Utterance
from evaluation.measures.band_levels import missing_band_levels
from evaluation.measures.catalogue import MEASURES, keys_shown
from evaluation.measures.declaration import OverPairs, Shown
from evaluation.measures.stft import NotApplicable, spectrograms_shared
from overtone.audio import Waveform
from overtone.errors import OvertoneError

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
        Plain values: the utterance's own columns, a number per measure, ``failures`` ("key: reason; ...", "" when
        none) and ``not_applicable`` (keys, comma-separated). A score in either of these two is NaN. In place of a
        score that a pair alone does not have stands a text, which `settled` makes a score of. Last come the levels of
        `missing_band_levels`, where they apply.

    Raises:
        OvertoneError: an unknown measure is named.
    """
    keys = check_measures(measures)
    fault = _estimate_fault(utterance, np.asarray(estimate))
    if fault is not None:
        return identity(utterance) | failed_row(keys, fault)
    samples = np.asarray(estimate, dtype=np.float32)
    with spectrograms_shared():
        scores = _scores(utterance, samples, keys, block_samples)
        return identity(utterance) | scores | band_levels(utterance, samples)


def band_levels(utterance: Utterance, estimate: Waveform) -> Row:
    """Return the levels of `missing_band_levels`; empty where they do not apply.

    Args:
        utterance: what the system was given, and the target.
        estimate: ``(samples,)``, as long as the target.
    """
    try:
        return dict(
            missing_band_levels(
                preds=estimate,
                target=utterance.wideband,
                sample_rate=utterance.sample_rate,
                cutoff_hz=utterance.cutoff_hz,
                band_hz=utterance.band_hz,
            )
        )
    except NotApplicable:
        return {}


def identity(utterance: Utterance) -> Row:
    """Return an utterance's own columns, `IDENTITY_COLUMNS`."""
    row: Row = {name: getattr(utterance, name) for name in IDENTITY_COLUMNS}
    cutoff_hz = np.nan if utterance.cutoff_hz is None else float(utterance.cutoff_hz)
    return row | {"cutoff_hz": cutoff_hz, "band_hz": float(utterance.band_hz), "clean": bool(utterance.clean)}


def failed_row(measures: Sequence[str], reason: str) -> Row:
    """Return the columns of an estimate that cannot be scored: NaN for every measure, each with the reason.

    Args:
        measures: keys.
        reason: why, in a line.
    """
    return dict.fromkeys(measures, np.nan) | _states(dict.fromkeys(measures, reason), [])


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
        renamed = " The original project's fingerprint is original_ber now." if "seed_ber" in unknown else ""
        raise OvertoneError(f"Unknown measure {', '.join(unknown)}. Known: {', '.join(MEASURES)}.{renamed}")
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
            if MEASURES[key].over_pairs is not None:
                scores[key] = _packed(np.asarray(value))
            elif np.isfinite(value):
                scores[key] = float(value)
            else:
                failures[key] = f"gave {value}"
    return scores | _states(failures, not_applicable)


def settled(rows: Iterable[Row], measures: Sequence[str]) -> list[Row]:
    """Return one system's rows with scores in place of what `score_pair` kept for measures over all pairs.

    Args:
        rows: of all utterances, each with its ``speaker`` and ``condition``.
        measures: keys.
    """
    listed = [dict(row) for row in rows]
    for key in measures:
        if (over_pairs := MEASURES[key].over_pairs) is None:
            continue
        groups: dict[str, list[Row]] = {}
        for row in listed:
            if isinstance(row[key], str):
                groups.setdefault(row["condition"], []).append(row)
        for group in groups.values():
            _settle(group, key, over_pairs)
    return listed


def _settle(rows: Sequence[Row], key: str, over_pairs: OverPairs) -> None:
    """Give the rows of one condition their scores in one measure, or say in all of them why there are none."""
    kept = [_unpacked(row[key]) for row in rows]
    scores: Sequence[float] = [np.nan] * len(rows)
    state, reason, between = "", "", ""
    try:
        scores = over_pairs(kept, [row["speaker"] for row in rows])
    except NotApplicable:
        state, reason, between = "not_applicable", key, ","
    except Exception as error:  # as for a pair
        reason = _states({key: f"{type(error).__name__}: {error}"}, [])["failures"]
        state, between = "failures", "; "
    for row, score in zip(rows, scores, strict=True):
        row[key] = float(score)
        if state:
            row[state] = between.join(filter(None, (row[state], reason)))


def _packed(values: NDArray[np.float64]) -> str:
    """Numbers as a text of a few bytes each, so that rows of many utterances stay small in memory and in files."""
    shape = "x".join(map(str, values.shape))
    return f"{shape}:{base64.b64encode(values.astype('<f4').tobytes()).decode()}"


def _unpacked(text: str) -> NDArray[np.float64]:
    shape, _, encoded = text.partition(":")
    values = np.frombuffer(base64.b64decode(encoded), "<f4").astype(np.float64)
    return values.reshape([int(length) for length in shape.split("x")])


def _states(failures: dict[str, str], not_applicable: list[str]) -> Row:
    reasons = (f"{key}: {' '.join(reason.replace(';', ',').split())}" for key, reason in failures.items())
    return {"failures": "; ".join(reasons), "not_applicable": ",".join(not_applicable)}
