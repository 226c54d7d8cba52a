"""The utterances that a report lets people hear: where the champion gains most, as usual, and least."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from evaluation.contracts import Utterance
from evaluation.statistics.intervals import speaker_mean, utterance_pairs
from experiments.pages.embedding import audio_uri
from experiments.pages.samples import Sample, loudest_part
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.columns import number
from experiments.ranking.findings import Findings
from experiments.ranking.outranking import without_target
from experiments.ranking.primary import PRIMARY, average_seeds
from experiments.ranking.selection import Status
from overtone.audio import Waveform

SECONDS = 6.0  # of the longest excerpt: the part of the target with the most energy
MOST_SYSTEMS = 8
MOST_AUDIO = 12_000_000  # bytes in a page; pictures and tables are a tenth of it

UtteranceName = tuple[str, str]


@dataclass(frozen=True)
class ChosenUtterance:
    """An utterance under a condition, and why it is shown.

    Attributes:
        role: ``best``, ``median`` or ``worst``.
        system: whose score it was chosen by.
        file: the utterance's file.
        condition: its condition.
        gain: by how much the system's primary score is better than that of the unprocessed input.
    """

    role: str
    system: str
    file: str
    condition: str
    gain: float

    @property
    def name(self) -> UtteranceName:
        """File and condition, by which utterances are found."""
        return self.file, self.condition


def choose_utterances(findings: Findings) -> list[ChosenUtterance]:
    """Choose the best, the median and the worst utterance by the champion's gain over the unprocessed input.

    Without a champion the candidate that is best on `val` decides. Seeds are averaged. Pairs of file and condition in
    which a score failed or does not apply are passed over; fewer than three pairs give as many utterances. The names of
    file and condition settle ties.
    """
    scores, selection = findings.scores, findings.selection
    system = selection.winner or next((one.system for one in selection.candidates), None)
    if system is None or not {system, UNPROCESSED} <= set(scores["system"]):
        return []
    pairs = utterance_pairs(scores, system, UNPROCESSED, PRIMARY).dropna(subset="difference")
    pairs = pairs.sort_values(["difference", "file", "condition"], ignore_index=True)
    places = {"best": 0, "median": (len(pairs) - 1) // 2, "worst": len(pairs) - 1}
    chosen: dict[int, ChosenUtterance] = {}
    for role, place in places.items():
        if len(pairs) and place not in chosen:
            row = pairs.iloc[place]
            gain = -float(row["difference"])
            chosen[place] = ChosenUtterance(role, system, str(row["file"]), str(row["condition"]), gain)
    return list(chosen.values())


def heard_systems(findings: Findings) -> list[str]:
    """Return the systems worth hearing: all but controls, best first, and the best control that reads no target.

    At most `MOST_SYSTEMS`, since each adds to the page's size.
    """
    board = findings.leaderboard
    is_control = board["status"] == Status.CONTROL
    controls = without_target(board.loc[is_control, "system"])
    best = [name for name in controls if name != UNPROCESSED][:1]
    return [*board.loc[~is_control, "system"].tolist()[: MOST_SYSTEMS - len(best)], *best]


def report_samples(
    chosen: Sequence[ChosenUtterance],
    utterances: Mapping[UtteranceName, Utterance],
    systems: Sequence[str],
    enhance: Callable[[str, Utterance], Waveform],
    scores: pd.DataFrame,
) -> list[Sample]:
    """Make what there is to hear: narrowband, every system, target.

    Args:
        chosen: as `choose_utterances` gives them.
        utterances: the utterances by file and condition; those that are missing are passed over.
        systems: their names, in this order.
        enhance: given a system's name and an utterance, returns its output ``(samples,)``.
        scores: a score table with the column ``primary``, which stands beside each name.
    """
    averaged = average_seeds(scores)
    samples = []
    for one in chosen:
        if one.name in utterances:
            given = utterances[one.name]
            outputs = {system: np.asarray(enhance(system, given), dtype=np.float32) for system in systems}
            samples.append(_sample(one, given, outputs, averaged))
    return samples


def shortened_to_fit(samples: Sequence[Sample]) -> list[Sample]:
    """Cut all clips of utterances alike, if need be, so that together they take `MOST_AUDIO` in the page at most."""
    fitting = list(samples)
    while (size := sum(_audio_size(sample) for sample in fitting)) > MOST_AUDIO:
        fitting = [_shortened(sample, 0.97 * MOST_AUDIO / size) for sample in fitting]
    return fitting


def _audio_size(sample: Sample) -> int:
    return sum(len(audio_uri(waveform, sample.sample_rate)) for waveform in sample.clips.values())


def _shortened(sample: Sample, share: float) -> Sample:
    clips = {label: waveform[: max(int(len(waveform) * share), 1)] for label, waveform in sample.clips.items()}
    return replace(sample, clips=clips)


def _sample(
    one: ChosenUtterance, utterance: Utterance, outputs: Mapping[str, Waveform], averaged: pd.DataFrame
) -> Sample:
    rows = averaged[(averaged["file"] == one.file) & (averaged["condition"] == one.condition)]
    primary = {str(system): speaker_mean(group, PRIMARY) for system, group in rows.groupby("system")}
    wanted = utterance.wideband.shape
    usable = {name: wave for name, wave in outputs.items() if wave.shape == wanted and np.isfinite(wave).all()}
    remarks = {name: number(primary[name], PRIMARY) for name in usable if name in primary}
    if not math.isnan(unprocessed := primary.get(UNPROCESSED, math.nan)):
        remarks["narrowband"] = number(unprocessed, PRIMARY)
    note = (
        f"{one.condition}, speaker {utterance.speaker}. {one.system} is {abs(one.gain):.3f} "
        f"{'better' if one.gain >= 0 else 'worse'} than doing nothing here."
    )
    if unusable := [name for name in outputs if name not in usable]:
        note += f" No usable output: {', '.join(unusable)}."
    window = loudest_part(utterance.wideband, round(SECONDS * utterance.sample_rate))
    clips = {"narrowband": utterance.narrowband, **usable, "target": utterance.wideband}
    return Sample(
        title=f"{one.role.capitalize()}: {one.file}",
        note=note,
        clips={label: waveform[window] for label, waveform in clips.items()},
        sample_rate=utterance.sample_rate,
        cutoff_hz=utterance.cutoff_hz,
        remarks=remarks,
    )
