"""Scores per condition and per factor (codec, noise, cutoff): an average hides where a system fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from datamodules.degradation.conditions import Condition, ConditionStep
from experiments.ranking.columns import loss
from experiments.ranking.outranking import outranked_by
from experiments.ranking.primary import average_seeds, interval
from models.baselines import CONTROLS

CODECS = ("bits", "mp3", "opus", "vorbis", "mulaw", "alaw", "gsm")
NOISES = ("noise", "talkers", "music", "transmission")
BANDS = ("lowpass", "bandpass", "resample")
UNITS = {"kbps": "kbit/s", "snr_db": "dB", "db": "dB", "rt60_seconds": "s", "bits": "", "rate": "Hz"}
NONE = "none"


@dataclass(frozen=True)
class ConditionFactors:
    """What a condition does to speech, by kind of damage.

    Attributes:
        codec: as ``mp3 32 kbit/s``; several are joined by `` + ``; ``none`` without one.
        noise: what was added, as ``noise 15 dB``; ``none`` if nothing.
        cutoff_hz: where the band ends; None where none is missing.
        other: rooms, clipping, lost packets, gain; ``none`` if nothing.
    """

    codec: str = NONE
    noise: str = NONE
    cutoff_hz: float | None = None
    other: str = NONE

    @property
    def levels(self) -> dict[str, str]:
        """The level of each factor as text; ``cutoff`` as ``4 kHz``."""
        cutoff = NONE if self.cutoff_hz is None else f"{self.cutoff_hz / 1000:.3g} kHz"
        return {"codec": self.codec, "noise": self.noise, "cutoff": cutoff, "other": self.other}


def condition_factors(condition: Condition, sample_rate: int) -> ConditionFactors:
    """Read the factors off a condition's steps.

    Args:
        condition: a fixed one, as test conditions are.
        sample_rate: of the wideband, in Hz.

    Raises:
        ValueError: something is left to be drawn.

    Examples:
        >>> from datamodules.degradation.conditions import parse_conditions
        >>> steps = [{"noise": {"snr_db": 15}}, {"mp3": {"kbps": 32}}, {"resample": {"rate": 8000}}]
        >>> noisy, = parse_conditions({"noisy": {"steps": steps}})
        >>> condition_factors(noisy, 16000)
        ConditionFactors(codec='mp3 32 kbit/s', noise='noise 15 dB', cutoff_hz=4000.0, other='none')
    """
    known = {*CODECS, *NOISES, *BANDS}
    return ConditionFactors(
        codec=_described([step for step in condition.steps if step.kind in CODECS]),
        noise=_described([step for step in condition.steps if step.kind in NOISES]),
        cutoff_hz=condition.cutoff_hz(sample_rate),
        other=_described([step for step in condition.steps if step.kind not in known]),
    )


def _described(steps: Sequence[ConditionStep]) -> str:
    return " + ".join(_step_text(step) for step in steps) or NONE


def _step_text(step: ConditionStep) -> str:
    """The step with its first parameter, which is its strength."""
    name, value = next(iter(step.values.items()), ("", ""))
    if isinstance(value, str):
        return step.kind
    if name in UNITS:
        return f"{step.kind} {value:g} {UNITS[name]}".rstrip()
    return f"{step.kind} {name} {value:g}"


def condition_rows(
    scores: pd.DataFrame, keys: Sequence[str], factors: Mapping[str, ConditionFactors] | None = None
) -> pd.DataFrame:
    """Return every system's scores under every condition, a row per system, condition and measure.

    Args:
        scores: a score table with the column ``primary``; training seeds are averaged.
        keys: the measures; those that the table lacks are left out.
        factors: of each condition, by its name; empty or None where the steps are not known.

    Returns:
        Columns ``system, condition, codec, noise, cutoff_hz, other`` (the last four only with ``factors``), ``key``,
        the ``mean`` over speakers with its 95 % interval ``low, high`` and ``half_width``, ``speakers, utterances``,
        and ``outranked_by``, a tuple of the controls that are better there. NaN is a measure with a failed score, or,
        with 0 utterances, one that does not apply.
    """
    groups = {str(name): [str(name)] for name in scores["condition"].drop_duplicates()}
    rows = _rows(scores, [key for key in keys if key in scores], groups)
    if not factors:
        return rows
    known = [factors.get(name, ConditionFactors()) for name in rows["condition"]]
    for place, column in enumerate(("codec", "noise", "cutoff_hz", "other"), start=2):
        rows.insert(place, column, [getattr(one, column) for one in known])
    return rows


def level_rows(scores: pd.DataFrame, key: str, factors: Mapping[str, ConditionFactors]) -> pd.DataFrame:
    """Return one measure's scores by levels of codec, noise and cutoff, means over the conditions of each level.

    Args:
        scores: a score table with the column ``primary``; training seeds are averaged.
        key: the measure, or ``primary``.
        factors: of each condition, by its name.

    Returns:
        As `condition_rows`, with levels as ``codec: mp3 32 kbit/s`` in place of conditions; a factor that is the same
        under all conditions is left out.
    """
    groups: dict[str, list[str]] = {}
    present = [name for name in scores["condition"].drop_duplicates() if name in factors]
    for factor in ConditionFactors().levels:
        levels = {name: factors[name].levels[factor] for name in present}
        if len(set(levels.values())) > 1:
            for name, level in levels.items():
                groups.setdefault(f"{factor}: {level}", []).append(name)
    return _rows(scores, [key], groups)


def _rows(scores: pd.DataFrame, keys: Sequence[str], groups: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    averaged = average_seeds(scores)
    rows: list[dict[str, Any]] = []
    for group, conditions in groups.items():
        inside = averaged[averaged["condition"].isin(list(conditions))]
        of_system = {str(name): part for name, part in inside.groupby("system", sort=False)}
        for key in keys:
            found = {system: interval(part, key) for system, part in of_system.items()}
            better = outranked_by(
                {system: loss(key, one.mean) for system, one in found.items()},
                [name for name in found if name not in CONTROLS],
            )
            rows += [
                {"system": system, "condition": group, "key": key, "half_width": (one.high - one.low) / 2.0}
                | vars(one)
                | {"outranked_by": better.get(system, ())}
                for system, one in found.items()
            ]
    columns = ["system", "condition", "key", "mean", "low", "high", "half_width", "speakers", "utterances"]
    return pd.DataFrame(rows, columns=[*columns, "outranked_by"])
