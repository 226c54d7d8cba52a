"""What an evaluation scores: reference files, each with all that is scored against it, read in one process."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from datamodules.degradation.filters import lowpass
from datamodules.degradation.scene import Scene
from evaluation.contracts import System, Utterance
from evaluation.harness import Row
from evaluation.measures.bandwidth import effective_band_hz
from experiments.scoring.alignment import Fitted, NotFitting, fit
from experiments.scoring.rows import Pair, Unusable
from models.baselines import build_controls
from overtone.audio import AudioError, Waveform
from overtone.audio_files.recordings import read_audio

GIVEN, NONE = "given", "none"


@dataclass(frozen=True)
class Source:
    """A file to be laid over its reference.

    Attributes:
        path: of the file.
        delay_seconds: by how much it is later than the reference; this is removed.
    """

    path: str
    delay_seconds: float


@dataclass(frozen=True)
class Task:
    """One reference and the files to be scored against it.

    Attributes:
        name: of the reference.
        reference: its path.
        estimates: files by system.
        controls: names of controls.
        narrowband: the controls' input; None where the low-passed reference stands in.
        cutoff_hz: where the input's own content ends, None where it is not known.
        band_hz: where the reference's own content ends; None where it is to be measured.
        tolerance_seconds: by how much lengths may differ.
    """

    name: str
    reference: str
    estimates: dict[str, Source]
    controls: tuple[str, ...]
    narrowband: Source | None
    cutoff_hz: float | None
    band_hz: float | None
    tolerance_seconds: float

    @property
    def systems(self) -> tuple[str, ...]:
        """Systems, then controls."""
        return (*self.estimates, *self.controls)

    def only(self, systems: Collection[str]) -> "Task":
        """Return the task of some of its systems and controls."""
        estimates = {system: source for system, source in self.estimates.items() if system in systems}
        return replace(self, estimates=estimates, controls=tuple(name for name in self.controls if name in systems))

    @property
    def identity(self) -> Row:
        """The reference's name."""
        return {"file": self.name}

    def pairs(self) -> Iterator[Pair | Unusable]:
        """Read the files, and yield a pair for each system and control that can be scored."""
        try:
            utterance = self._utterance()
        except AudioError as error:
            yield from (Unusable(system, str(error)) for system in self.systems)
            return
        for system, source in self.estimates.items():
            yield laid_over(system, utterance, source, self.tolerance_seconds)
        yield from self._control_pairs(utterance)

    def _utterance(self) -> Utterance:
        """The reference, with itself for an input."""
        wideband, sample_rate = read_audio(Path(self.reference))
        return Utterance(
            file=self.name,
            speaker=self.name,
            condition=condition(self.narrowband is not None, self.cutoff_hz),
            sample_rate=sample_rate,
            narrowband=wideband,
            wideband=wideband,
            cutoff_hz=self.cutoff_hz,
            band_hz=min(self.band_hz or effective_band_hz(wideband, sample_rate), sample_rate / 2),
            clean=self.narrowband is None,
        )

    def _control_pairs(self, utterance: Utterance) -> Iterable[Pair | Unusable]:
        if not self.controls:
            return []
        notes = ""
        if self.narrowband is not None:
            try:
                fitted = _fitted(utterance, self.narrowband, self.tolerance_seconds)
            except AudioError as error:
                return [Unusable(name, str(error)) for name in self.controls]
            utterance = replace(_covered(utterance, fitted), narrowband=fitted.waveform)
            notes = "; ".join(fitted.notes)
        elif self.cutoff_hz is not None:
            narrowband = low_passed(utterance.wideband, utterance.sample_rate, self.cutoff_hz)
            utterance = replace(utterance, narrowband=narrowband)
        wanted = (control for control in _controls() if control.name in self.controls)
        return (Pair(control.name, utterance, control(utterance), notes=notes) for control in wanted)


@dataclass(frozen=True)
class Evaluation:
    """All that is scored, in the order of the table.

    Attributes:
        tasks: a reference each.
        systems: names.
        controls: names.
        measures: keys.
        condition: the name of the controls' input.
        speakers: by the reference's name; None where they are not known.
    """

    tasks: Sequence[Task]
    systems: Sequence[str]
    controls: Sequence[str]
    measures: Sequence[str]
    condition: str
    speakers: Mapping[str, str] | None

    @property
    def common(self) -> list[str]:
        """The references that every system has a file for."""
        return [task.name for task in self.tasks if all(system in task.estimates for system in self.systems)]


def condition(narrowband: bool, cutoff_hz: float | None) -> str:
    """Return the name of the inputs: given, a low-passed reference, or none.

    Args:
        narrowband: whether there is a folder of inputs.
        cutoff_hz: where the input's own content ends; None where it is not known.
    """
    if narrowband:
        return GIVEN
    return NONE if cutoff_hz is None else f"lowpass_{cutoff_hz:g}"


def laid_over(system: str, utterance: Utterance, source: Source, tolerance_seconds: float) -> Pair | Unusable:
    """Read an estimate and lay it over its utterance; both are cut to what they have in common.

    Args:
        system: whose estimate it is.
        utterance: that it is of.
        source: its file.
        tolerance_seconds: by how much lengths may differ.
    """
    try:
        fitted = _fitted(utterance, source, tolerance_seconds)
    except AudioError as error:
        return Unusable(system, str(error))
    return Pair(system, _covered(utterance, fitted), fitted.waveform, notes="; ".join(fitted.notes))


def _fitted(utterance: Utterance, source: Source, tolerance_seconds: float) -> Fitted:
    waveform, sample_rate = read_audio(Path(source.path))
    try:
        samples, rate = len(utterance.wideband), utterance.sample_rate
        return fit(waveform, sample_rate, samples, rate, source.delay_seconds, tolerance_seconds)
    except NotFitting as error:
        raise AudioError(f"{source.path}: {error}") from None


def _covered(utterance: Utterance, fitted: Fitted) -> Utterance:
    if fitted.covered == slice(0, len(utterance.wideband)):
        return utterance
    wideband = utterance.wideband[fitted.covered]
    return replace(utterance, wideband=wideband, narrowband=wideband)


@cache
def _controls() -> Sequence[System]:
    return build_controls()


def low_passed(wideband: Waveform, sample_rate: int, cutoff_hz: float) -> Waveform:
    """Low-pass by resampling to twice ``cutoff_hz`` and back; returns ``(samples,)`` of the same length.

    Args:
        wideband: ``(samples,)``.
        sample_rate: its rate in Hz.
        cutoff_hz: more than 0; the resampler goes down to 1 Hz.
    """
    scene = Scene(sample_rate, np.random.default_rng(0))  # nothing is drawn from it
    return lowpass(wideband, scene, cutoff_hz=max(cutoff_hz, 0.5), family="resampling")
