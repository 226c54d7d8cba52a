"""What measures make of cheats: scores of every row, and a mark where one contradicts what everybody knows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.stats import t as student

from benchmarks.pages.cheats import NOTHING_GAINED, TARGET_CHANGED, Trial, build_trials
from datamodules.corpora.corpus import Corpus
from datamodules.pair_settings import PairSettings
from datamodules.speech_pairs import SpeechPairsDataModule
from evaluation.contracts import Utterance
from evaluation.measures.catalogue import MEASURES
from evaluation.statistics.intervals import applicable
from experiments.scoring.rows import score_pairs
from overtone.errors import OvertoneError
from overtone.progress import Board
from overtone.worker_pool import WorkerPool

UNPROCESSED, IDEAL = "unprocessed", "target_gain"
EXCERPT_SECONDS = 4.0
LEAST_BAND = 1.25
LEAST_SHARE, LEAST = 0.02, 0.01
FOOLED, FOOLED_MORE, BLIND, STEP_MISSED, FAILED = "▲", "▲▲", "▼", "▽", "failed"


@dataclass(frozen=True)
class Task:
    """A narrowband rate and a wideband rate, in Hz."""

    name: str
    sample_rate: int
    narrowband_rate: int

    @property
    def title(self) -> str:
        """In words."""
        return f"{self.narrowband_rate / 1000:g} kHz to {self.sample_rate / 1000:g} kHz"


TASKS = (Task("telephone", 16_000, 8_000), Task("fullband", 48_000, 16_000))


def tasks_for(corpus: Corpus) -> list[Task]:
    """Return the tasks in which training speech of this corpus reaches well above the cutoff.

    Raises:
        OvertoneError: there is none.
    """
    highest_hz = max(clip.band_hz or clip.sample_rate / 2 for clip in corpus.split("train"))
    tasks = [task for task in TASKS if highest_hz > LEAST_BAND * task.narrowband_rate / 2]
    if not tasks:
        raise OvertoneError(
            f"{corpus.root}: expected speech with a band well above {TASKS[0].narrowband_rate / 2:g} Hz, its widest "
            f"ends at {highest_hz:.0f} Hz. Use another corpus."
        )
    return tasks


def utterances_of(corpus: Corpus, task: Task, split: str, speakers: int | None) -> list[Utterance]:
    """Return an excerpt of one utterance of each speaker, of so many speakers spread evenly over their names.

    Raises:
        OvertoneError: a clip cannot be read.
    """
    names = sorted({clip.speaker for clip in corpus.split(split)})
    count = min(len(names), speakers or len(names))
    chosen = {names[index * len(names) // count] for index in range(count)}
    kept = replace(corpus, clips=tuple(c for c in corpus.clips if c.split != split or c.speaker in chosen))
    conditions = {task.name: {"steps": [{"resample": {"rate": task.narrowband_rate}}]}}
    settings = PairSettings(conditions, conditions)
    data = SpeechPairsDataModule(kept, task.sample_rate, settings, examples_per_epoch=1, seed=0)
    return [_excerpt(utterance) for utterance in data.utterances(split, per_speaker=1)]


def _excerpt(utterance: Utterance) -> Utterance:
    samples = round(EXCERPT_SECONDS * utterance.sample_rate)
    return replace(utterance, narrowband=utterance.narrowband[:samples], wideband=utterance.wideband[:samples])


def score_trials(
    corpus: Corpus, task: Task, speakers: int | None, measures: Sequence[str] | None, pool: WorkerPool, progress: Board
) -> tuple[list[Trial], pd.DataFrame]:
    """Score every row of a task on the split `test`.

    Returns:
        The rows, and a score table with a row per system and utterance.
    """
    utterances = utterances_of(corpus, task, "test", speakers)
    trials = build_trials(utterances_of(corpus, task, "train", None))
    tables = []
    for number, trial in enumerate(trials):
        progress.update(task.title, number, len(trials), trial.name)
        pairs = [(utterance, trial.system(utterance)) for utterance in utterances]
        tables.append(score_pairs(pairs, trial.name, measures, pool=pool))
    progress.update(task.title, len(trials), len(trials))
    table = pd.concat(tables, ignore_index=True)
    if failed := int((table["failures"] != "").sum()):
        first = table[table["failures"] != ""].iloc[0]
        reason = " ".join(first["failures"].split())
        progress.say(f"{failed} of {len(table)} estimates have failed scores; the first, {first['system']}: {reason}")
    return trials, table


@dataclass(frozen=True)
class Verdict:
    """Means and marks of one task.

    Attributes:
        means: indexed by system, a column a measure; NaN where it does not apply.
        marks: of the same shape, text. `FOOLED`: gains nothing, yet scores better than the unprocessed input;
            `FOOLED_MORE`: and better than a step that the measure knows. `BLIND`: known to be better, yet scores
            worse than the unprocessed input. `STEP_MISSED`: scores worse than the row that it is better than. A guard,
            which does not tell the unprocessed input from the target, has neither of these. `FAILED`: a score did.
    """

    means: pd.DataFrame
    marks: pd.DataFrame

    @property
    def keys(self) -> list[str]:
        """The measures, in order."""
        return [str(key) for key in self.means.columns]

    def value(self, system: str, key: str) -> float:
        """Return a row's mean."""
        return float(self.means[key].loc[system])

    def mark(self, system: str, key: str) -> str:
        """Return a row's mark, "" for none."""
        return str(self.marks[key].loc[system])

    def uncheated(self) -> list[str]:
        """Measures that tell the unprocessed input from the target, and that no cheat fools."""
        fooled = self.marks.isin([FOOLED, FOOLED_MORE]).any()
        return [key for key in self.keys if not fooled[key] and self.tells(key)]

    def consistent(self) -> list[str]:
        """Those of `uncheated` with no mark at all."""
        return [key for key in self.uncheated() if not (self.marks[key] != "").any()]

    def tells(self, key: str) -> bool:
        """Return whether a measure rates the target above the unprocessed input; a guard does not."""
        unprocessed, ideal = (MEASURES[key].loss(self.value(name, key)) for name in (UNPROCESSED, IDEAL))
        return unprocessed - ideal > LEAST


def judge(trials: Sequence[Trial], table: pd.DataFrame) -> Verdict:
    """Compare every row with what is known of it, per measure.

    A difference counts when the 95 % interval of its mean over speakers excludes 0 and it is at least 0.01 and 2 % of
    the way from the unprocessed input to the target.

    Raises:
        OvertoneError: the unprocessed input was not scored.
    """
    names = [trial.name for trial in trials]
    if UNPROCESSED not in names or IDEAL not in names:
        raise OvertoneError(f"expected the controls {UNPROCESSED} and {IDEAL} among the rows, got {', '.join(names)}.")
    keys = [key for key in MEASURES if key in table]
    means = pd.DataFrame(index=pd.Index(names, name="system"), columns=keys, dtype=float)
    marks = pd.DataFrame("", index=means.index, columns=keys)
    for key in keys:
        rows = applicable(table, key)
        scores = rows.pivot(index="file", columns="system", values=key).reindex(columns=names)
        means[key] = scores.mean()
        marks[key] = _marks(trials, -MEASURES[key].loss(scores))
        failed = sorted(set(rows.loc[rows[key].isna(), "system"].astype(str)))
        means.loc[failed, key], marks.loc[failed, key] = np.nan, FAILED
    return Verdict(means, marks)


def _marks(trials: Sequence[Trial], scores: pd.DataFrame) -> list[str]:
    """Marks of one measure, of which more is better; ``scores`` has a row per file and a column per system."""
    span = abs(float((scores[IDEAL] - scores[UNPROCESSED]).mean()))

    def above(one: str, other: str) -> bool:
        difference = (scores[one] - scores[other]).dropna()
        if len(difference) < 2:
            return False
        half = student.ppf(0.975, len(difference) - 1) * float(difference.std(ddof=1)) / np.sqrt(len(difference))
        return bool(difference.mean() > max(half, LEAST_SHARE * span, LEAST))

    steps = {trial.name: trial.better_than for trial in trials if trial.better_than is not None}
    heard = [step for step in steps if not above(UNPROCESSED, step)]
    guard = not above(IDEAL, UNPROCESSED)
    marks = []
    for trial in trials:
        mark = ""
        if trial.group == NOTHING_GAINED and above(trial.name, UNPROCESSED):
            mark = FOOLED_MORE if any(above(trial.name, step) for step in heard) else FOOLED
        elif (trial.group == TARGET_CHANGED or trial.name in steps) and not guard:
            if above(UNPROCESSED, trial.name):
                mark = BLIND
            elif trial.name in steps and above(steps[trial.name], trial.name):
                mark = STEP_MISSED
        marks.append(mark)
    return marks
