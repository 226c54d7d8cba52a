"""One comparison while it runs: its corpus, trainings and scored splits, and what it decided."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import cache, cached_property, partial
from pathlib import Path

import pandas as pd
import torch

from datamodules.corpora.corpus import Corpus
from datamodules.degradation.conditions import parse_conditions
from evaluation.contracts import System, Utterance
from experiments.comparison.externals import Externals
from experiments.keys import commit, digest, utterances_code
from experiments.listening.results import Results, stored_votes
from experiments.presets.preset import Preset
from experiments.ranking.conditions import condition_factors
from experiments.ranking.findings import Findings, Provenance, TrainingCurve
from experiments.ranking.primary import add_primary
from experiments.ranking.selection import champion_seed, choose
from experiments.runs import Workspace, count_test_use
from experiments.scoring.splits import ScoredSplit, ScoringTask, Utterances, scored, split_key
from experiments.training.distribution import Distribution, TrainRequest
from experiments.training.fit import TrainingRecord, make_datamodule
from experiments.training.places import TrainingPlace, training_place
from experiments.training.train import tell_damaged, train_side_by_side
from experiments.training.trained_system import TrainedSystem, cost_of
from models.baselines import CONTROLS, build_controls
from overtone.audio import Waveform
from overtone.errors import OvertoneError
from overtone.progress import Board
from overtone.worker_pool import WorkerPool, available_cores

FIT_UTTERANCES_PER_SPEAKER = 2


class Comparison:
    """A preset's comparison on a corpus: its trainings, its scores, its folder."""

    def __init__(self, preset: Preset, corpus: Corpus, runs: Path, progress: Board) -> None:
        self.preset, self.corpus, self.runs, self.progress = preset, corpus, runs, progress
        self.places = [training_place(runs, preset, model, seed, corpus.digest) for model, seed in preset.trainings()]
        self.data = make_datamodule(preset, corpus, seed=0)
        self._keys = {"val": self._split_key("val"), "test": self._split_key("test")}
        self.externals = Externals(preset, self.split("test"), self._utterances_key(), runs, progress)
        key = [sorted(place.key for place in self.places), self._keys, asdict(preset.winner)]
        self.key = digest(*key, *([self.externals.keys] if preset.external else []))
        self.folder = runs / "comparisons" / f"{preset.name}-{self.key}"

    def _split_key(self, split: str) -> str:
        return split_key(split, self._conditions(split), self.corpus.digest)

    def _utterances_key(self) -> str:
        """What changes when the utterances of `test` may change: their estimates outlive a change of the measures."""
        return digest("test", self._conditions("test"), self.corpus.digest, utterances_code())

    def _conditions(self, split: str) -> list[object]:
        data = self.preset.data
        per_speaker = data.val_utterances_per_speaker if split == "val" else data.test_utterances_per_speaker
        shape = [data.joined_seconds, data.gap_seconds, per_speaker, self.preset.sample_rate]
        return [data.test_conditions, shape]

    def split(self, name: str) -> ScoredSplit:
        """Return the utterances of ``val`` or ``test`` with the key of their scores."""
        utterances = Utterances(partial(self.data.utterances, name), self.data.utterance_count(name))
        return ScoredSplit(name, utterances, self._keys[name])

    def train(self, preset_file: str, workspace: Workspace, distribution: Distribution, jobs: int) -> None:
        """Train what is not yet trained.

        Args:
            preset_file: name or file of the preset, by which trainings find it.
            workspace: corpus, folder for runs and tracking.
            distribution: over how many processes each training is spread.
            jobs: trainings side by side.

        Raises:
            OvertoneError: a training failed, or the sources were changed meanwhile.
        """
        pending = [place for place in self.places if not place.finished]
        kept = len(self.places) - len(pending)
        if kept:
            self.progress.say(f"{kept} of {len(self.places)} trainings are finished and kept.")
        tell_damaged(pending, self.progress)
        requests = [TrainRequest(place.model, preset_file, place.seed, workspace, distribution) for place in pending]
        train_side_by_side(requests, jobs, self.preset.budget.threads, self.progress)
        if not all(place.finished for place in self.places):
            raise OvertoneError("The sources changed while models were trained. Start the same command again.")

    def scores(self, pool: WorkerPool, split: ScoredSplit) -> pd.DataFrame:
        """Return the score table of all models, with their seeds, and all controls, with the primary score.

        Systems from outside are scored on `test` alone: no choice is made among them.

        Args:
            pool: of the processes that score.
            split: the utterances.
        """
        tasks = self._tasks() + (self.externals.tasks() if split.name == "test" else [])

        def progress(done: int, total: int, file: str) -> None:
            self.progress.update(f"score {split.name}", done, total, file)

        return add_primary(pd.concat(scored(pool, tasks, split, progress), ignore_index=True))

    def _tasks(self) -> list[ScoringTask]:
        models = [
            ScoringTask(place.model, partial(TrainedSystem.load, place), place.folder, float(place.seed))
            for place in self.places
        ]
        controls = self.runs / "controls"
        return models + [ScoringTask(name, partial(self._control, name), controls / name) for name in CONTROLS]

    def _control(self, name: str) -> System:
        return self._controls[name]

    @cached_property
    def _controls(self) -> dict[str, System]:
        """Built, which for some means fitted, only when one of them has not been scored yet."""
        fit = self.data.utterances("train", per_speaker=FIT_UTTERANCES_PER_SPEAKER)
        return {control.name: control for control in build_controls(fit)}

    def costs(self) -> pd.DataFrame:
        """Return what each model costs at run time, the mean over its seeds, indexed by system."""
        rows = [{"system": place.model, **cost_of(place).numbers} for place in self.places]
        return pd.DataFrame(rows).groupby("system", sort=False).mean().rename_axis(None)

    def trainings(self) -> pd.DataFrame:
        """Return what each training cost, a row each."""
        rows = [
            {"system": place.model, "seed": place.seed, "key": place.key, **TrainingRecord.read(place).costs}
            for place in self.places
        ]
        return pd.DataFrame(rows)

    def curves(self) -> tuple[TrainingCurve, ...]:
        """Return how each training went."""
        curves = ((place, TrainingRecord.read(place).curve) for place in self.places)
        return tuple(
            TrainingCurve(place.model, place.seed, tuple((at, loss) for at, loss in curve)) for place, curve in curves
        )

    def best_place(self, val: pd.DataFrame, name: str) -> TrainingPlace | None:
        """Return the training whose seed is best on val; None for a control or a system from outside.

        Args:
            val: the score table of `val`.
            name: of a system.
        """
        if name in CONTROLS or name in self.externals.names:
            return None
        seed = champion_seed(val, name)
        return next(place for place in self.places if (place.model, place.seed) == (name, seed))

    def enhancer(self, val: pd.DataFrame) -> Callable[[str, Utterance], Waveform]:
        """Return what enhances an utterance by a system's name; of a model, its best seed, loaded once."""

        @cache
        def load(name: str) -> System:
            place = self.best_place(val, name)
            return TrainedSystem.load(place) if place else self._control(name)

        def enhance(name: str, utterance: Utterance) -> Waveform:
            outside = name in self.externals.names
            return self.externals.enhance(name, utterance) if outside else load(name)(utterance)

        return enhance


@dataclass(frozen=True)
class Outcome:
    """What a comparison found.

    Attributes:
        comparison: whose trainings were scored.
        val: the score table that the winner was chosen on.
        test_split: the utterances that were scored once.
        findings: all else.
    """

    comparison: Comparison
    val: pd.DataFrame
    test_split: ScoredSplit
    findings: Findings

    @property
    def winner(self) -> TrainingPlace | None:
        """The training that ships: the winner's seed with the best primary score on val; None without a winner."""
        winner = self.findings.selection.winner
        return self.comparison.best_place(self.val, winner) if winner else None


def decide(comparison: Comparison, commands: Sequence[str]) -> Outcome:
    """Choose on val by the declared rule, then score test, once.

    Args:
        comparison: whose trainings are finished.
        commands: the command lines that give this result.
    """
    preset, corpus = comparison.preset, comparison.corpus
    torch.set_num_threads(1)  # the other cores are busy scoring
    with WorkerPool(available_cores()) as pool:
        val = comparison.scores(pool, comparison.split("val"))
        costs = comparison.costs()
        selection = replace(choose(val, costs, preset.winner), externals=comparison.externals.names)
        test_split = comparison.split("test")
        uses = count_test_use(comparison.runs, corpus.digest, comparison.key)
        test = comparison.scores(pool, test_split)
    external = comparison.externals.words()
    conditions = parse_conditions(preset.data.test_conditions, fixed=True)
    votes = stored_votes(comparison.folder)
    heard = Results.of(votes) if votes else None
    findings = Findings(
        preset=preset.name,
        scores=test,
        selection=selection,
        costs=pd.concat([costs, comparison.externals.costs()]),
        trainings=comparison.trainings(),
        curves=comparison.curves(),
        factors={one.name: condition_factors(one, preset.sample_rate) for one in conditions},
        provenance=Provenance(tuple(commands), commit(), corpus.digest, datetime.now()),
        test_uses=uses,
        external=external,
        ratings=heard.ratings if heard else None,
        remarks=heard.remarks if heard else {},
    )
    return Outcome(comparison, val, test_split, findings)
