"""Controls that outrank a candidate: a reason to distrust the candidate, or the measure."""

from collections.abc import Collection, Iterable, Mapping


def reads_target(control: str) -> bool:
    """Whether a control is a reference that looks at the target, so that outranking a candidate is no surprise."""
    return control == "target_gain" or control.startswith("oracle_")


def outranked_by(
    means: Mapping[str, float], candidates: Collection[str], *, higher_is_better: bool = False
) -> dict[str, tuple[str, ...]]:
    """Say for each candidate which controls are better.

    Args:
        means: a score by system; one that is NaN is neither better nor worse.
        candidates: those of the systems that are candidates; the others are controls.
        higher_is_better: the score's better direction.

    Returns:
        The better controls by candidate, best first; none for one that is ahead of all.
    """
    sign = -1.0 if higher_is_better else 1.0
    controls = sorted((name for name in means if name not in candidates), key=lambda name: sign * means[name])
    return {
        candidate: tuple(name for name in controls if sign * means[name] < sign * means[candidate])
        for candidate in means
        if candidate in candidates
    }


def without_target(controls: Iterable[str]) -> tuple[str, ...]:
    """Return the controls that read no target: one that is ahead is an alarm, where a reference is expected to be."""
    return tuple(name for name in controls if not reads_target(name))


def flagged(better: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Return the candidates that each control outranks, of the controls that read no target.

    Args:
        better: as `outranked_by` gives it.
    """
    names = dict.fromkeys(name for controls in better.values() for name in without_target(controls))
    return {name: [candidate for candidate, controls in better.items() if name in controls] for name in names}
