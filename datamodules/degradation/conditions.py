"""Conditions: named chains of degradation steps, written as plain values in a preset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from datamodules.degradation.scene import Scene
from datamodules.degradation.steps import STEPS, Between, OneOf, Step
from overtone.audio import Waveform
from overtone.errors import OvertoneError

Parameter = float | str | tuple[float, float] | tuple[str, ...]


@dataclass(frozen=True)
class ConditionStep:
    """One step of a condition.

    Attributes:
        kind: its name in `STEPS`.
        parameters: all of them, each as a number, a range (low, high), a name, or names of which one is drawn.
        probability: with which it happens at all.
    """

    kind: str
    parameters: tuple[tuple[str, Parameter], ...]
    probability: float = 1.0

    @property
    def ranged(self) -> bool:
        """Whether anything is left to be drawn."""
        return self.probability < 1 or any(isinstance(value, tuple) for _, value in self.parameters)

    def draw(self, rng: np.random.Generator) -> "ConditionStep":
        """Return the step, which now happens, with each range and choice replaced by one value, drawn uniformly."""
        drawn = tuple((name, _drawn(self.kind, name, value, rng)) for name, value in self.parameters)
        return replace(self, parameters=drawn, probability=1.0)

    @property
    def widest(self) -> "ConditionStep":
        """The step with each range replaced by its upper end, and each choice by the first."""
        highest = tuple(
            (name, value if not isinstance(value, tuple) else value[0] if isinstance(value[0], str) else value[1])
            for name, value in self.parameters
        )
        return replace(self, parameters=highest)

    @property
    def values(self) -> dict[str, float | str]:
        """The parameters as numbers and names.

        Raises:
            ValueError: one of them is still a range or a choice; `draw` first.
        """
        values = {name: value for name, value in self.parameters if not isinstance(value, tuple)}
        if self.probability < 1 or len(values) < len(self.parameters):
            raise ValueError(f"step {self.kind!r} leaves something to chance: draw it first")
        return values


@dataclass(frozen=True)
class Condition:
    """A named degradation that turns wideband speech into its narrowband.

    Attributes:
        name: what scores are reported under.
        steps: applied in order.
        share: weight with which training draws this condition among the others.
    """

    name: str
    steps: tuple[ConditionStep, ...]
    share: float = 1.0

    @property
    def ranged(self) -> bool:
        """Whether a step leaves something to be drawn for each item."""
        return any(step.ranged for step in self.steps)

    @property
    def clean(self) -> bool:
        """Whether nothing but a band goes missing."""
        return all(STEPS[step.kind].clean for step in self.steps)

    def draw(self, rng: np.random.Generator) -> "Condition":
        """Return the condition with the steps that happen, and every range and choice replaced by one value."""
        happening = (step for step in self.steps if step.probability == 1 or rng.random() < step.probability)
        return replace(self, steps=tuple(step.draw(rng) for step in happening))

    def cutoff_hz(self, sample_rate: int) -> float | None:
        """Return where the narrowband's content ends, or None where no band is missing at ``sample_rate``.

        Codecs' own low-passes are measured once for each setting. Background noise that follows a low-pass does not
        count as content.

        Raises:
            ValueError: something is left to be drawn; `draw` first.
        """
        cutoffs = [STEPS[step.kind].cutoff_hz(sample_rate, **step.values) for step in self.steps]
        return min((cutoff for cutoff in cutoffs if cutoff is not None and cutoff < sample_rate / 2), default=None)

    def widest_hz(self, sample_rate: int) -> float:
        """Return how far up the narrowband's content reaches at most, whatever is drawn, in Hz."""
        certain = (step for step in self.steps if step.probability == 1)
        return replace(self, steps=tuple(step.widest for step in certain)).cutoff_hz(sample_rate) or sample_rate / 2

    def apply(self, waveform: Waveform, scene: Scene) -> Waveform:
        """Return the narrowband of a wideband waveform ``(samples,)``: as long, and sample-aligned with it.

        Args:
            waveform: ``(samples,)``, not changed.
            scene: sample rate, generator and the recordings that steps may add.
        """
        for step in self.draw(scene.rng).steps:
            waveform = STEPS[step.kind].apply(waveform, scene, **step.values)
        return waveform


def parse_conditions(plain: Mapping[str, Any], *, fixed: bool = False) -> tuple[Condition, ...]:
    """Build conditions from plain values.

    Args:
        plain: ``{name: {"share": weight, "steps": [{kind: {parameter: value}, "probability": p}]}}``; a value is a
            number, a range ``[low, high]``, a name or a list of names. ``share``, ``probability`` and parameters with
            a default may be left out.
        fixed: refuse what is left to chance, as test conditions must.

    Raises:
        OvertoneError: there is no condition, an unknown step, key or parameter, a value that a parameter cannot have,
            or something left to chance where ``fixed``.

    Examples:
        >>> telephone, = parse_conditions({"telephone": {"steps": [{"resample": {"rate": 8000}}]}})
        >>> telephone.cutoff_hz(16000)
        4000.0
    """
    if not isinstance(plain, Mapping) or not plain:
        raise OvertoneError(f"conditions: expected a mapping of names to steps, got {plain!r}.")
    conditions = tuple(_parse_condition(str(name), value) for name, value in plain.items())
    if fixed and (ranged := next((condition.name for condition in conditions if condition.ranged), None)):
        raise OvertoneError(
            f"test condition {ranged!r}: expected fixed values, got a range [low, high], a list of names or a "
            "probability. Scores are compared under fixed conditions; name one condition per value."
        )
    return conditions


def _parse_condition(name: str, value: Any) -> Condition:  # noqa: ANN401 - what a YAML file holds
    where = f"condition {name!r}"
    if not isinstance(value, Mapping) or not value.get("steps"):
        raise OvertoneError(f"{where}: expected a mapping with a list 'steps', got {value!r}.")
    unknown = set(value) - {"share", "steps"}
    if unknown:
        raise OvertoneError(f"{where}: unknown key {sorted(unknown)[0]!r}; known are share, steps.")
    share = value.get("share", 1.0)
    if not _is_number(share) or not 0 <= share <= 1e6:
        raise OvertoneError(f"{where}: expected a share from 0 to 1 000 000, got {share!r}.")
    steps = value["steps"]
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        raise OvertoneError(f"{where}: expected a list of steps, got {steps!r}.")
    return Condition(name, tuple(_parse_step(where, step) for step in steps), float(share))


def _parse_step(where: str, step: Any) -> ConditionStep:  # noqa: ANN401
    kinds = [key for key in step if key != "probability"] if isinstance(step, Mapping) else []
    if len(kinds) != 1:
        raise OvertoneError(f"{where}: expected a step like {{resample: {{rate: 8000}}}}, got {step!r}.")
    kind, parameters = kinds[0], step[kinds[0]]
    if kind not in STEPS:
        raise OvertoneError(f"{where}: unknown step {kind!r}; known are {', '.join(STEPS)}.")
    if not isinstance(parameters, Mapping):
        raise OvertoneError(f"{where}: step {kind!r} expects a mapping of parameters, got {parameters!r}.")
    probability = step.get("probability", 1.0)
    if not _is_number(probability) or not 0 <= probability <= 1:
        raise OvertoneError(f"{where}: step {kind!r} expects a probability from 0 to 1, got {probability!r}.")
    return ConditionStep(kind, _parse_parameters(where, kind, STEPS[kind], parameters), float(probability))


def _parse_parameters(where: str, kind: str, step: Step, given: Mapping[str, Any]) -> tuple[tuple[str, Parameter], ...]:
    unknown = [name for name in given if name not in step.allowed]
    missing = [name for name in step.allowed if name not in given and name not in step.defaults]
    if unknown or missing:
        problem = f"unknown is {unknown[0]!r}" if unknown else f"{missing[0]!r} is missing"
        known = ", ".join(name + (" (optional)" if name in step.defaults else "") for name in step.allowed)
        raise OvertoneError(f"{where}: step {kind!r} takes {known or 'no parameters'}; {problem}.")
    values = {**step.defaults, **given}
    return tuple((name, _parse_value(where, kind, name, values[name])) for name in step.allowed)


def _parse_value(where: str, kind: str, name: str, value: Any) -> Parameter:  # noqa: ANN401
    allowed = STEPS[kind].allowed[name]
    values = value if isinstance(value, list | tuple) else [value]
    several = "a list of them" if isinstance(allowed, OneOf) else "a range [low, high]"
    if not values or not all(_is_allowed(one, allowed) for one in values):
        raise OvertoneError(f"{where}: {kind}.{name} expects {allowed} or {several}, got {value!r}.")
    if isinstance(allowed, OneOf):
        return tuple(values) if isinstance(value, list | tuple) else str(value)
    if values is not value:
        return float(value)
    if len(values) != 2 or values[0] > values[1]:
        raise OvertoneError(f"{where}: {kind}.{name} expects {allowed} or {several}, got {value!r}.")
    return float(values[0]), float(values[1])


def _is_allowed(value: Any, allowed: Between | OneOf) -> bool:  # noqa: ANN401
    if isinstance(allowed, OneOf):
        return isinstance(value, str) and value in allowed.names
    within = _is_number(value) and allowed.lowest <= value <= allowed.highest
    return within and (not allowed.whole or value == round(value))


def _drawn(kind: str, name: str, value: Parameter, rng: np.random.Generator) -> float | str:
    if not isinstance(value, tuple):
        return value
    allowed = STEPS[kind].allowed[name]
    if isinstance(allowed, OneOf):
        return str(value[int(rng.integers(len(value)))])
    low, high = (float(one) for one in value)
    return float(rng.integers(int(low), int(high) + 1)) if allowed.whole else float(rng.uniform(low, high))


def _is_number(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, int | float) and not isinstance(value, bool) and -np.inf < value < np.inf
