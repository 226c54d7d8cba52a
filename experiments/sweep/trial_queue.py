"""Which trials of a study count, which are owed another try, and who is one too many; exact without any lock.

Any number of workers on any number of machines start trials at the same time, and any of them may die at any time. The
study still has to end with exactly as many finished trials as were asked for, and a trial whose process died has to be
tried again. Both follow from a rule that each worker applies alone, to what it reads:

- A trial and its retries are a *lineage*, which keeps the place that its first trial's number gave it.
- A lineage is *dead* when its last trial failed and is not owed another try; else it is alive.
- The first thing that a trial does is to count the living lineages that began before its own. If they are as many as
  the trials asked for, it is *surplus*: it fails at once, is never retried and never shown.

Why never more than N finish: numbers are given under a lock of the storage, so whoever has a number sees all smaller
ones, and no lineage with an earlier beginning can come later. Alive turns into dead but dead never into alive. So the
count that a trial makes can only fall afterwards. If more than N lineages finished, the last begun of them had at least
N that finished, hence were alive when it counted, before it: it was surplus and did not finish. A contradiction.

Why N finish: while fewer than N lineages are alive, a worker may begin one, and every living one is finished, running,
waiting, or owed a retry, which whoever comes next puts in the queue.

A retry is told by the number of the trial that it repeats. Two who put the same retry in the queue at the same time
make two trials with the same mark: the one with the smaller number is in the lineage, the other is surplus. The same
holds for the preset's own settings, which are the first trial of every study.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from optuna import Study, create_trial
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

RETRY_OF = "retry_of"
DEFAULT = "default"
SURPLUS = "surplus"
RELEASED = "released"
REASON = "reason"
KEPT_BY_RETRIES = (DEFAULT,)
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass
class Lineage:
    """A trial and its retries, oldest first.

    Attributes:
        trials: all of them; the last one's state is the lineage's.
        max_retries: how often one whose process died is tried again.
    """

    trials: list[FrozenTrial]
    max_retries: int

    @property
    def number(self) -> int:
        """The first trial's number, which is the lineage's place."""
        return self.trials[0].number

    @property
    def last(self) -> FrozenTrial:
        """The trial that counts."""
        return self.trials[-1]

    @property
    def finished(self) -> bool:
        """Whether it is complete or pruned."""
        return self.last.state in FINISHED

    @property
    def owed(self) -> bool:
        """Whether its last trial failed and is to be tried again."""
        if self.last.state != TrialState.FAIL or SURPLUS in self.last.user_attrs:
            return False
        # Who released a trial, after Ctrl-C or on a full disk, may do so any number of times.
        deaths = sum(RELEASED not in trial.user_attrs for trial in self.trials)
        return RELEASED in self.last.user_attrs or deaths <= self.max_retries

    @property
    def alive(self) -> bool:
        """Whether it counts, or will."""
        if SURPLUS in self.last.user_attrs:
            return False
        return self.last.state != TrialState.FAIL or self.owed

    @property
    def given_up(self) -> bool:
        """Whether it failed too often."""
        return not self.alive and SURPLUS not in self.last.user_attrs


@dataclass(frozen=True)
class TrialQueue:
    """What a study's trials come to.

    Attributes:
        trials: all of a study.
        max_retries: how often one whose process died is tried again.
    """

    trials: Sequence[FrozenTrial]
    max_retries: int
    _duplicates: set[int] = field(default_factory=set, init=False)

    @cached_property
    def lineages(self) -> list[Lineage]:
        """All lineages in their order; duplicates of a queued trial are in none."""
        by_last: dict[int, Lineage] = {}
        lineages: list[Lineage] = []
        default_seen = False
        for trial in sorted(self.trials, key=lambda one: one.number):
            repeated = trial.user_attrs.get(RETRY_OF)
            if repeated is not None:
                lineage = by_last.pop(repeated, None)
                if lineage is None:  # another retry of it has the smaller number
                    self._duplicates.add(trial.number)
                    continue
                lineage.trials.append(trial)
            else:
                if trial.user_attrs.get(DEFAULT) and default_seen:
                    self._duplicates.add(trial.number)
                    continue
                default_seen |= bool(trial.user_attrs.get(DEFAULT))
                lineage = Lineage([trial], self.max_retries)
                lineages.append(lineage)
            by_last[trial.number] = lineage
        return lineages

    @property
    def living(self) -> int:
        """How many lineages count, or will."""
        return sum(lineage.alive for lineage in self.lineages)

    @property
    def finished(self) -> int:
        """How many trials are complete or pruned."""
        return sum(lineage.finished for lineage in self.lineages)

    @property
    def running(self) -> list[FrozenTrial]:
        """Trials that somebody is at, or was when the process died."""
        return [trial for trial in self.trials if trial.state == TrialState.RUNNING]

    @property
    def given_up(self) -> list[Lineage]:
        """What failed too often."""
        return [lineage for lineage in self.lineages if lineage.given_up]

    @property
    def next_place(self) -> int:
        """How many lineages come before the trial that is next to start, surplus ones left out.

        It is what its sampler is seeded with, so one that was given up counts: its successor is not to be its equal.
        """
        waiting = [one.number for one in self.trials if one.state == TrialState.WAITING]
        before = 0
        for lineage in self.lineages:
            if waiting and lineage.last.number == min(waiting):
                break
            before += lineage.alive or lineage.given_up
        return before

    def may_start(self, wanted: int) -> bool:
        """Whether a worker has something to begin; a guess that saves trials, the count within the trial decides."""
        if self.finished >= wanted:
            return False
        waits = any(trial.state == TrialState.WAITING for trial in self.trials)
        return waits or self.living < wanted

    def is_surplus(self, number: int, wanted: int) -> bool:
        """Whether the trial of this number is one too many."""
        before = 0
        for lineage in self.lineages:
            if any(trial.number == number for trial in lineage.trials):
                return before >= wanted
            before += lineage.alive
        return True


def read_queue(study: Study, max_retries: int) -> TrialQueue:
    """Return a study's queue as it is now."""
    return TrialQueue(study.get_trials(deepcopy=False), max_retries)


def enqueue_retries(study: Study, max_retries: int) -> list[FrozenTrial]:
    """Put in the queue what is owed a retry; any number of processes may do so at the same time.

    Returns:
        The trials that are to be repeated.
    """
    owed = [lineage.last for lineage in read_queue(study, max_retries).lineages if lineage.owed]
    for trial in owed:
        kept = {key: value for key, value in trial.user_attrs.items() if key in KEPT_BY_RETRIES}
        _enqueue(study, trial.params, trial.distributions, kept | {RETRY_OF: trial.number})
    return owed


def enqueue_default(study: Study, parameters: Mapping[str, Any], distributions: Mapping[str, BaseDistribution]) -> None:
    """Put the preset's own settings in the queue of a new study."""
    if not study.get_trials(deepcopy=False):
        _enqueue(study, parameters, distributions, {DEFAULT: True})


def _enqueue(
    study: Study,
    parameters: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    attributes: Mapping[str, Any],
) -> None:
    study.add_trial(
        create_trial(
            state=TrialState.WAITING,
            params=dict(parameters),
            distributions=dict(distributions),
            user_attrs=dict(attributes),
        )
    )
