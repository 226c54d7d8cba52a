"""One reference file and all that is scored against it, read and scored in one process."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from evaluation.contracts import System, Utterance
from evaluation.harness import Row, score_pair
from evaluation.measures.bandwidth import effective_band_hz
from experiments.scoring.alignment import Fitted, NotFitting, fit
from models.baselines import build_controls
from overtone.audio import AudioError, Waveform, read_audio, resample

NOTES = "notes"
GIVEN, NONE = "given", "none"


@dataclass(frozen=True)
class Source:
    """A file to be laid over its reference.

    Attributes:
        path: where it lies.
        delay_seconds: how much later than the reference it is, which is taken off.
    """

    path: str
    delay_seconds: float


@dataclass(frozen=True)
class Task:
    """What is scored against one reference.

    Attributes:
        name: of the reference.
        reference: its path.
        estimates: files by system.
        controls: names of controls.
        narrowband: the controls' input; None where the low-passed reference stands in.
        cutoff_hz: where the input's own content ends, None where nobody says.
        measures: keys.
        tolerance_seconds: by how much lengths may differ.
    """

    name: str
    reference: str
    estimates: dict[str, Source]
    controls: tuple[str, ...]
    narrowband: Source | None
    cutoff_hz: float | None
    measures: tuple[str, ...]
    tolerance_seconds: float


def condition(narrowband: bool, cutoff_hz: float | None) -> str:
    """Return what the inputs are: given, a low-passed reference, or none."""
    if narrowband:
        return GIVEN
    return NONE if cutoff_hz is None else f"lowpass_{cutoff_hz:g}"


def score_task(task: Task) -> dict[str, Row]:
    """Return a row of scores per system and control; one that cannot be scored has a row of failures."""
    try:
        utterance = _utterance(task)
    except AudioError as error:
        return {system: failed_row(task, str(error)) for system in (*task.estimates, *task.controls)}
    scores = {system: _score_estimate(task, utterance, source) for system, source in task.estimates.items()}
    if task.controls:
        scores |= _score_controls(task, utterance)
    return scores


def failed_row(task: Task, reason: str) -> Row:
    """Return a row in which every measure failed for one reason."""
    words = " ".join(reason.replace(";", ",").split())
    return {key: np.nan for key in task.measures} | {
        "failures": "; ".join(f"{key}: {words}" for key in task.measures),
        "not_applicable": "",
        NOTES: "",
    }


def _utterance(task: Task) -> Utterance:
    """The reference, with itself for an input."""
    wideband, sample_rate = read_audio(Path(task.reference))
    return Utterance(
        file=task.name,
        speaker=task.name,
        condition=condition(task.narrowband is not None, task.cutoff_hz),
        sample_rate=sample_rate,
        narrowband=wideband,
        wideband=wideband,
        cutoff_hz=task.cutoff_hz,
        band_hz=effective_band_hz(wideband, sample_rate),
        clean=task.narrowband is None,
    )


def _score_estimate(task: Task, utterance: Utterance, source: Source) -> Row:
    try:
        fitted = _fitted(task, utterance, source)
    except AudioError as error:
        return failed_row(task, str(error))
    return _row(task, _covered(utterance, fitted), fitted.waveform, fitted.notes)


def _fitted(task: Task, utterance: Utterance, source: Source) -> Fitted:
    waveform, sample_rate = read_audio(Path(source.path))
    try:
        return fit(
            waveform,
            sample_rate,
            len(utterance.wideband),
            utterance.sample_rate,
            source.delay_seconds,
            task.tolerance_seconds,
        )
    except NotFitting as error:
        raise AudioError(f"{source.path}: {error}") from None


def _covered(utterance: Utterance, fitted: Fitted) -> Utterance:
    if fitted.covered == slice(0, len(utterance.wideband)):
        return utterance
    wideband = utterance.wideband[fitted.covered]
    return replace(utterance, wideband=wideband, narrowband=wideband)


def _score_controls(task: Task, utterance: Utterance) -> dict[str, Row]:
    notes: tuple[str, ...] = ()
    if task.narrowband is not None:
        try:
            fitted = _fitted(task, utterance, task.narrowband)
        except AudioError as error:
            return {name: failed_row(task, str(error)) for name in task.controls}
        utterance = replace(_covered(utterance, fitted), narrowband=fitted.waveform)
        notes = fitted.notes
    elif task.cutoff_hz is not None:
        narrowband = low_passed(utterance.wideband, utterance.sample_rate, task.cutoff_hz)
        utterance = replace(utterance, narrowband=narrowband)
    return {
        control.name: _row(task, utterance, control(utterance), notes)
        for control in _controls()
        if control.name in task.controls
    }


@cache
def _controls() -> Sequence[System]:
    return build_controls()


def _row(task: Task, utterance: Utterance, estimate: Waveform, notes: Sequence[str]) -> Row:
    row = score_pair(utterance, estimate, task.measures)
    kept = (*task.measures, "failures", "not_applicable")
    return {key: _plain(row[key]) for key in kept} | {NOTES: "; ".join(notes)}


def _plain(value: object) -> object:
    return value if isinstance(value, str) else float(value)  # type: ignore[arg-type]


def low_passed(wideband: Waveform, sample_rate: int, cutoff_hz: float) -> Waveform:
    """Return ``(samples,)`` without what lies above ``cutoff_hz``: resampled to twice that and back, as long."""
    low_rate = max(round(2 * cutoff_hz), 1)
    narrowband = resample(resample(wideband, sample_rate, low_rate), low_rate, sample_rate)[: len(wideband)]
    return np.pad(narrowband, (0, len(wideband) - len(narrowband)))
