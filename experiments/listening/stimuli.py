"""What a listening test plays: the same excerpt from every system, equally loud."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from datamodules.corpora.loudness import LoudnessMeter
from datamodules.degradation.filters import lowpass
from datamodules.degradation.scene import Scene
from evaluation.contracts import Utterance
from experiments.pages.samples import loudest_part, playable
from experiments.presets.winner_rule import UNPROCESSED
from overtone.audio import Waveform

REFERENCE = "reference"
# The reference through low-passes: low-range and mid-range anchor of ITU-R BS.1534-3, in Hz.
ANCHORS = {"low_anchor": 3500.0, "mid_anchor": 7000.0}
TARGET_LUFS = -23.0  # EBU R 128: leaves speech room enough for its peaks
CEILING = 10 ** (-1 / 20)
EDGE_SECONDS = 0.01


@dataclass(frozen=True)
class ListeningTrial:
    """One excerpt of speech, from every system.

    Attributes:
        reference: the wideband ``(samples,)``.
        stimuli: system to its waveform ``(samples,)``, as long as the reference. `unprocessed`, the narrowband, must
            be among them.
        sample_rate: of all waveforms, in Hz.
        condition: the named degradation.
        file: the utterance, as the score table names it.
    """

    reference: Waveform
    stimuli: dict[str, Waveform]
    sample_rate: int
    condition: str
    file: str


def matched(trial: ListeningTrial) -> dict[str, Waveform]:
    """Bring all stimuli of a trial and the hidden reference to one loudness.

    Integrated loudness after ITU-R BS.1770-4, gated, so that pauses do not count: -23 LUFS, or less where a stimulus
    would pass -1 dBFS then; nothing is clipped or limited. A stimulus that is silent stays as it is.

    Args:
        trial: of finite samples.

    Returns:
        System to waveform ``(samples,)``; the reference is `REFERENCE`.
    """
    sounds = {REFERENCE: trial.reference, **trial.stimuli}
    loudness = {name: _loudness(waveform, trial.sample_rate) for name, waveform in sounds.items()}
    heard = {name: level for name, level in loudness.items() if level is not None}
    headroom = [level + 20 * np.log10(CEILING / float(np.abs(sounds[name]).max())) for name, level in heard.items()]
    target = min([TARGET_LUFS, *headroom])
    gains = {name: np.float32(10 ** ((target - level) / 20)) for name, level in heard.items()}
    return {name: waveform * gains.get(name, np.float32(1)) for name, waveform in sounds.items()}


def _loudness(waveform: Waveform, sample_rate: int) -> float | None:
    meter = LoudnessMeter(sample_rate)
    meter.add(waveform)
    return meter.lufs


def chosen_utterances(names: Sequence[tuple[str, str, str]], trials: int) -> list[tuple[str, str]]:
    """Choose utterances that differ as much as they can: conditions in turn, and each time another speaker's.

    Args:
        names: speaker, file and condition of each utterance, in the split's order.
        trials: how many to choose at most.

    Returns:
        File and condition of each; the same ones for the same names.
    """
    left: dict[str, list[tuple[str, str]]] = {}
    for speaker, file, condition in names:
        left.setdefault(condition, []).append((speaker, file))
    heard: dict[str, int] = {}
    chosen: list[tuple[str, str]] = []
    while len(chosen) < trials and any(left.values()):
        for condition, waiting in left.items():
            if waiting and len(chosen) < trials:
                one = min(waiting, key=lambda pair: heard.get(pair[0], 0) + 10 * heard.get(pair[1], 0))
                waiting.remove(one)
                for name in one:
                    heard[name] = heard.get(name, 0) + 1
                chosen.append((one[1], condition))
    return chosen


def listening_trials(
    utterances: Iterable[Utterance],
    systems: Sequence[str],
    enhance: Callable[[str, Utterance], Waveform],
    *,
    seconds: float = 6.0,
) -> list[ListeningTrial]:
    """Make a trial of each utterance: its loudest part, from every system, unprocessed and as both anchors.

    An anchor that ends above the Nyquist frequency would be the reference and is left out. A system from outside that
    has no usable output of one of them is left out of all.

    Args:
        utterances: see `chosen_utterances`; ITU-R BS.1534-3 advises against more than 12 s and 15 trials.
        systems: their names; `unprocessed` is added.
        enhance: given a system's name and an utterance, returns its output ``(samples,)``.
        seconds: the longest excerpt.
    """
    given = list(utterances)
    outputs = {name: [playable(enhance(name, one)) for one in given] for name in systems if name != UNPROCESSED}
    whole = {
        name: waveforms
        for name, waveforms in outputs.items()
        if all(len(waveform) == len(one.wideband) for waveform, one in zip(waveforms, given, strict=True))
    }
    return [
        _trial(utterance, {name: waveforms[number] for name, waveforms in whole.items()}, seconds)
        for number, utterance in enumerate(given)
    ]


def _trial(utterance: Utterance, outputs: Mapping[str, Waveform], seconds: float) -> ListeningTrial:
    samples = round(seconds * utterance.sample_rate)
    window = loudest_part(utterance.wideband, samples)
    sounds: Mapping[str, Waveform] = {
        REFERENCE: utterance.wideband,
        UNPROCESSED: utterance.narrowband,
        **_anchors(utterance),
        **outputs,
    }
    excerpts = {name: _faded(waveform[window], utterance.sample_rate) for name, waveform in sounds.items()}
    reference = excerpts.pop(REFERENCE)
    return ListeningTrial(reference, excerpts, utterance.sample_rate, utterance.condition, utterance.file)


def _anchors(utterance: Utterance) -> dict[str, Waveform]:
    scene = Scene(utterance.sample_rate, np.random.default_rng(0))
    return {
        name: lowpass(utterance.wideband, scene, cutoff_hz=cutoff_hz, family="elliptic")
        for name, cutoff_hz in ANCHORS.items()
        if cutoff_hz < utterance.sample_rate / 2
    }


def _faded(waveform: Waveform, sample_rate: int) -> Waveform:
    length = min(round(EDGE_SECONDS * sample_rate), len(waveform) // 2)
    edge = (0.5 - 0.5 * np.cos(np.pi * np.arange(length) / max(length, 1))).astype(np.float32)
    faded = waveform.copy()
    faded[:length] *= edge
    faded[len(faded) - length :] *= edge[::-1]
    return faded
