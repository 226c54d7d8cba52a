"""Scores per condition and per factor (codec, noise, cutoff): an average hides where a system fails."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from datamodules.degradation.conditions import Condition, ConditionStep
from evaluation.measures.catalogue import MEASURES, Shown, keys_shown
from evaluation.statistics.intervals import applicable, bootstrap_interval
from experiments.ranking.outranking import outranked_by
from experiments.ranking.primary import PRIMARY, average_seeds
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

    Example:
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


def condition_keys() -> list[str]:
    """Return the measures that have a section of their own by condition."""
    return [PRIMARY, *keys_shown(Shown.COMPACT)]


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
    known = rows["condition"].map({name: asdict(factors.get(name, ConditionFactors())) for name in groups})
    for place, column in enumerate(("codec", "noise", "cutoff_hz", "other"), start=2):
        rows.insert(place, column, [one[column] for one in known])
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
    systems = [str(system) for system in averaged["system"].drop_duplicates()]
    of_key = {key: applicable(averaged, key) for key in keys}
    rows = []
    for group, conditions in groups.items():
        of_group = {key: found[found["condition"].isin(list(conditions))] for key, found in of_key.items()}
        of_system = {key: dict(list(found.groupby("system"))) for key, found in of_group.items()}
        rows += [
            {"system": system, "condition": group, "key": key}
            | _cell(of_system[key].get(system, averaged.iloc[:0]), key)
            for system in systems
            for key in keys
        ]
    columns = ["system", "condition", "key", "mean", "low", "high", "half_width", "speakers", "utterances"]
    return _with_better_controls(pd.DataFrame(rows, columns=columns))


def _cell(rows: pd.DataFrame, key: str) -> dict[str, float]:
    found = bootstrap_interval(
        rows[key],
        rows["speaker"].tolist(),
        conditions=rows["condition"].tolist(),
        files=rows["file"].tolist(),
    )
    return vars(found) | {"half_width": (found.high - found.low) / 2.0}


def _with_better_controls(rows: pd.DataFrame) -> pd.DataFrame:
    better: dict[Any, tuple[str, ...]] = {}
    for (condition, key), cell in rows.groupby(["condition", "key"], sort=False):
        means = dict(zip(cell["system"], cell["mean"], strict=True))
        higher = key in MEASURES and MEASURES[str(key)].higher_is_better
        found = outranked_by(means, [name for name in means if name not in CONTROLS], higher_is_better=higher)
        better |= {(name, condition, key): controls for name, controls in found.items()}
    places = zip(rows["system"], rows["condition"], rows["key"], strict=True)
    return rows.assign(outranked_by=pd.Series([better.get(place, ()) for place in places], dtype=object))


def is_failed(mean: float, utterances: float) -> bool:
    """Return whether a mean is missing because a score failed, not because the measure does not apply.

    Args:
        mean: of the scores; NaN where it is missing.
        utterances: how many the measure applies to.
    """
    return math.isnan(mean) and utterances > 0
