"""Controls that outrank a candidate: a reason to distrust the candidate, or the measure."""

from collections.abc import Collection, Iterable, Mapping


def reads_target(control: str) -> bool:
    """Whether a control is a reference that looks at the target, so that outranking a candidate is no surprise."""
    return control == "target_gain" or control.startswith("oracle_")


def outranked_by(losses: Mapping[str, float], candidates: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Say for each candidate which controls are better.

    Args:
        losses: a score by system, the smaller the better; one that is NaN is neither better nor worse.
        candidates: those of the systems that are candidates; the others are controls.

    Returns:
        The better controls by candidate, best first; none for one that is ahead of all.
    """
    controls = sorted((name for name in losses if name not in candidates), key=losses.__getitem__)
    return {
        candidate: tuple(name for name in controls if losses[name] < losses[candidate])
        for candidate in losses
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
