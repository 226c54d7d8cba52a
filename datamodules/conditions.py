"""Conditions: named chains of degradation steps, written as plain values in a preset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from datamodules.degradation import STEPS, parameters_of
from runtime.audio import Waveform
from runtime.errors import OvertoneError

Parameter = float | tuple[float, float]


@dataclass(frozen=True)
class ConditionStep:
    """One step of a condition: its kind in `STEPS`, and each parameter as a number or a range (low, high)."""

    kind: str
    parameters: tuple[tuple[str, Parameter], ...]

    @property
    def ranged(self) -> bool:
        """Whether a parameter is still a range."""
        return any(isinstance(value, tuple) for _, value in self.parameters)

    def draw(self, rng: np.random.Generator) -> "ConditionStep":
        """Return the step with each range replaced by a number drawn uniformly from it."""
        drawn = tuple(
            (name, float(rng.uniform(*value)) if isinstance(value, tuple) else value) for name, value in self.parameters
        )
        return replace(self, parameters=drawn)

    @property
    def numbers(self) -> dict[str, float]:
        """The parameters as numbers.

        Raises:
            ValueError: one of them is still a range; `draw` first.
        """
        numbers = {name: value for name, value in self.parameters if not isinstance(value, tuple)}
        if len(numbers) < len(self.parameters):
            raise ValueError(f"step {self.kind!r} holds a range: draw it first")
        return numbers


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
        """Whether a parameter of a step is a range, to be drawn for each item."""
        return any(step.ranged for step in self.steps)

    @property
    def clean(self) -> bool:
        """Whether nothing but a band goes missing."""
        return all(step.kind == "resample" for step in self.steps)

    def draw(self, rng: np.random.Generator) -> "Condition":
        """Return the condition with every range replaced by a number."""
        return replace(self, steps=tuple(step.draw(rng) for step in self.steps))

    def cutoff_hz(self, sample_rate: int) -> float | None:
        """Return where the narrowband's content ends, or None where no band is missing at ``sample_rate``.

        Only resampling takes a band away: MP3's own low-pass at speech bit rates stays within a tenth of a 16 kHz
        target's Nyquist frequency.

        Raises:
            ValueError: the rate is still a range; `draw` first.
        """
        rates = [round(step.numbers["rate"]) for step in self.steps if step.kind == "resample"]
        return min(rates) / 2 if rates and min(rates) < sample_rate else None

    def apply(
        self,
        waveform: Waveform,
        sample_rate: int,
        rng: np.random.Generator,
        noises: Sequence[Waveform] = (),
    ) -> Waveform:
        """Return the narrowband of a wideband waveform ``(samples,)``: as long, and sample-aligned with it.

        Args:
            waveform: ``(samples,)``, not changed.
            sample_rate: in Hz.
            rng: draws ranges and noise.
            noises: background noises ``(samples,)`` at ``sample_rate``; empty for synthetic pink noise.

        Raises:
            OvertoneError: a step does not work at this sample rate.
        """
        for step in self.draw(rng).steps:
            waveform = STEPS[step.kind](waveform, sample_rate, rng, noises, **step.numbers)
        return waveform


def parse_conditions(plain: Mapping[str, Any], *, fixed: bool = False) -> tuple[Condition, ...]:
    """Build conditions from plain values.

    Args:
        plain: ``{name: {"share": weight, "steps": [{kind: {parameter: number or [low, high]}}]}}``; ``share`` may be
            left out.
        fixed: refuse ranges and shares of zero, as test conditions must.

    Raises:
        OvertoneError: there is no condition, an unknown step, key or parameter, a value that is no number or range,
            or a range where ``fixed``.

    Example:
        >>> telephone, = parse_conditions({"telephone": {"steps": [{"resample": {"rate": 8000}}]}})
        >>> telephone.cutoff_hz(16000)
        4000.0
    """
    if not isinstance(plain, Mapping) or not plain:
        raise OvertoneError(f"conditions: expected a mapping of names to steps, got {plain!r}.")
    conditions = tuple(_parse_condition(str(name), value) for name, value in plain.items())
    if fixed:
        refuse_ranges(conditions)
    return conditions


def refuse_ranges(conditions: Sequence[Condition]) -> None:
    """Refuse conditions that would differ from one scoring to the next.

    Raises:
        OvertoneError: a condition holds a range.
    """
    for condition in conditions:
        if condition.ranged:
            raise OvertoneError(
                f"test condition {condition.name!r}: expected numbers, got a range [low, high]. Scores are compared "
                "under fixed conditions; name one condition per value."
            )


def _parse_condition(name: str, value: Any) -> Condition:  # noqa: ANN401 - what a YAML file holds
    where = f"condition {name!r}"
    if not isinstance(value, Mapping) or not value.get("steps"):
        raise OvertoneError(f"{where}: expected a mapping with a list 'steps', got {value!r}.")
    unknown = set(value) - {"share", "steps"}
    if unknown:
        raise OvertoneError(f"{where}: unknown key {sorted(unknown)[0]!r}; known are share, steps.")
    share = value.get("share", 1.0)
    if not _is_number(share) or share < 0:
        raise OvertoneError(f"{where}: expected a share of 0 or more, got {share!r}.")
    steps = value["steps"]
    if not isinstance(steps, Sequence) or isinstance(steps, str):
        raise OvertoneError(f"{where}: expected a list of steps, got {steps!r}.")
    return Condition(name, tuple(_parse_step(where, step) for step in steps), float(share))


def _parse_step(where: str, step: Any) -> ConditionStep:  # noqa: ANN401
    if not isinstance(step, Mapping) or len(step) != 1:
        raise OvertoneError(f"{where}: expected a step like {{resample: {{rate: 8000}}}}, got {step!r}.")
    kind, parameters = next(iter(step.items()))
    if kind not in STEPS:
        raise OvertoneError(f"{where}: unknown step {kind!r}; known are {', '.join(STEPS)}.")
    if not isinstance(parameters, Mapping):
        raise OvertoneError(f"{where}: step {kind!r} expects a mapping of parameters, got {parameters!r}.")
    known = parameters_of(kind)
    if set(parameters) != set(known):
        raise OvertoneError(
            f"{where}: step {kind!r} takes the parameters {', '.join(known)}; got {', '.join(map(str, parameters))}."
        )
    return ConditionStep(kind, tuple((name, _parse_parameter(where, kind, name, parameters[name])) for name in known))


def _parse_parameter(where: str, kind: str, name: str, value: Any) -> Parameter:  # noqa: ANN401
    if _is_number(value):
        return float(value)
    if isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value)) and value[0] <= value[1]:
        return float(value[0]), float(value[1])
    raise OvertoneError(f"{where}: {kind}.{name} expects a number or [low, high], got {value!r}.")


def _is_number(value: Any) -> bool:  # noqa: ANN401
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))
