"""One trial: a training with proposed settings, whose curve may prune it, and its score on val."""

import math
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import optuna
import pandas as pd
import pytorch_lightning as lightning
from optuna.exceptions import TrialPruned

from datamodules.corpora.corpus import Corpus
from evaluation.contracts import System, Utterance
from evaluation.measures.catalogue import MEASURES
from evaluation.statistics.intervals import speaker_mean
from experiments.presets.preset import Preset
from experiments.presets.winner_rule import UNPROCESSED
from experiments.ranking.guards import FAILED_SCORES, GUARDS, Measured, Reason, disqualifying, guard_names
from experiments.ranking.primary import PRIMARY, PRIMARY_MEASURES, add_primary, failed_scores
from experiments.runs import held
from experiments.scoring.rows import score_pairs
from experiments.scoring.splits import read_scores, write_scores
from experiments.sweep.publication import StudyRuns
from experiments.sweep.results import COSTS, REASON
from experiments.sweep.search_space import SearchSpace
from experiments.sweep.storage import DATABASE_ERRORS, retries
from experiments.sweep.study import VAL_LOSS, trial_preset
from experiments.tracking.run import Run
from experiments.training.callbacks import TrainingDiverged
from experiments.training.child_process import Say
from experiments.training.fit import TrainingRecord, make_datamodule, train
from experiments.training.places import TrainingPlace, training_place
from experiments.training.trained_system import TrainedSystem, cost_of
from models.baselines import Unprocessed
from overtone.errors import OvertoneError

KEPT_BYTES = 512 * 2**20


class TrialFailed(Exception):
    """A trial failed through its own settings; the study goes on without it."""


class TrialScoring:
    """Scores the trials of one study; a small val split is kept in memory from one trial to the next.

    Args:
        preset: declares objective, guards and val.
        corpus: the clips.
        folder: where the control's scores are kept.
    """

    def __init__(self, preset: Preset, corpus: Corpus, folder: Path) -> None:
        sweep, rule = preset.sweep, preset.winner
        self._sweep = sweep
        visqol = rule.visqol_above_unprocessed and sweep.visqol
        # The objective already leads away from doing nothing; whether the best setting beats it, `select` decides.
        self._rule = replace(rule, visqol_above_unprocessed=visqol, gain_over_unprocessed=math.inf)
        wanted = {*PRIMARY_MEASURES, sweep.objective, *(guard_names(self._rule) if sweep.guards else ())}
        self._measures = [key for key in MEASURES if key in wanted]
        self._control = folder / f"{UNPROCESSED}.csv"
        self._data = make_datamodule(preset, corpus, seed=0)
        self._kept: list[Utterance] | None = None

    def score(self, place: TrainingPlace, record: TrainingRecord) -> tuple[dict[str, float], Sequence[Reason]]:
        """Score a finished training.

        Args:
            place: of the training.
            record: its losses.

        Returns:
            All that was measured, means over speakers and conditions, the objective among them unless it could not be
            scored, and the cost at run time; and the guards that it fails.
        """
        sweep, cost = self._sweep, cost_of(place)
        scores = {VAL_LOSS: record.val_loss, "rtf": cost.rtf, "latency_ms": cost.latency_ms, "macs": cost.macs}
        reasons: list[Reason] = []
        if sweep.guards or sweep.objective != VAL_LOSS:
            if not self._control.is_file():
                write_scores(self._rows(Unprocessed()), self._control)
            tables = [self._rows(TrainedSystem.load(place)).assign(seed=0.0), read_scores(self._control)]
            table = add_primary(pd.concat(tables, ignore_index=True))
            trained, control = table[table["seed"].notna()], table[table["seed"].isna()]
            scores |= {key: speaker_mean(trained, key) for key in (PRIMARY, *self._measures)}
            measured = Measured(trained, control, pd.Series(cost.numbers), failed_scores(trained))
            guards = GUARDS if sweep.guards else [FAILED_SCORES]
            if math.isnan(cost.latency_ms):  # no setting would change that, and every trial would fail
                guards = [guard for guard in guards if guard.key != "latency_ms"]
            reasons = list(disqualifying(measured, self._rule, guards))
        return {key: float(value) for key, value in scores.items() if math.isfinite(value)}, reasons

    def _rows(self, system: System) -> pd.DataFrame:
        pairs = ((utterance, system(utterance)) for utterance in self._utterances())
        return score_pairs(pairs, system.name, self._measures, getattr(system, "block_samples", None))

    def _utterances(self) -> Iterable[Utterance]:
        """Yield val; kept, if it is small, because making it can take longer than scoring it."""
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Utterance] = []
        size = 0
        for utterance in self._data.utterances("val"):
            size += utterance.narrowband.nbytes + utterance.wideband.nbytes
            kept = [*kept, utterance] if size <= KEPT_BYTES else []
            yield utterance
        self._kept = kept or None


@dataclass(frozen=True)
class Objective:
    """The function that Optuna calls with a trial.

    Attributes:
        preset: the study's.
        model: the study's.
        corpus: the clips.
        folder: of the trainings of this study.
        scoring: of the study.
        runs: the tracked runs of the study.
        parent: the run of the study.
        say: called with events for the parent process.
    """

    preset: Preset
    model: str
    corpus: Corpus
    folder: Path
    scoring: TrialScoring
    runs: StudyRuns
    parent: Run
    say: Say

    def __call__(self, trial: optuna.Trial) -> float:
        """Train and score.

        Raises:
            TrialPruned: its curve is worse than the median of the others, it diverged, or it could not be scored.
            TrialFailed: the training or the scoring raised an error that may be due to the settings.
            OvertoneError: an error that every trial would meet, such as an unreadable corpus; as the two after it,
                it leaves the trial in the study's queue.
            OSError: the same, such as a full disk.
            KeyboardInterrupt: the process was told to stop.
        """
        self.say({"trial": trial.number})
        try:
            return self._train_and_score(trial)
        except (TrialPruned, *DATABASE_ERRORS):
            raise
        except (KeyboardInterrupt, OvertoneError, OSError):
            retries(None)(trial.study, trial.study.trials[trial.number])
            raise
        except Exception as error:
            traceback.print_exc()
            trial.set_user_attr(REASON, f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])
            raise TrialFailed from error

    def _train_and_score(self, trial: optuna.Trial) -> float:
        space = SearchSpace(self.preset, self.model)
        preset = trial_preset(self.preset, self.model, space.settings_with(space.suggest(trial)))
        place = training_place(self.folder, preset, self.model, preset.sweep.seed, self.corpus.digest)
        trial.set_user_attr("folder", str(place.folder))
        with held(place.folder / ".trial.lock"):  # two trials may have equal settings, and are trained once
            started = time.monotonic()
            record = self._train(trial, preset, place)
            trained = time.monotonic()
            scores, reasons = self.scoring.score(place, record)
        attributes = {key: getattr(record, key) for key in COSTS}
        attributes |= {"training_seconds": trained - started, "scoring_seconds": time.monotonic() - trained}
        attributes |= {"scores": scores, "guards": [str(reason) for reason in reasons]}
        for key, value in attributes.items():
            trial.set_user_attr(key, value)
        # A number of guards, not a distance: the real-time factor is measured, and its noise would steer the sampler.
        trial.set_constraint("guards", len({reason.guard for reason in reasons}))
        if preset.sweep.objective not in scores:
            raise _pruned(trial, f"{preset.sweep.objective} could not be scored")
        return scores[preset.sweep.objective]

    def _train(self, trial: optuna.Trial, preset: Preset, place: TrainingPlace) -> TrainingRecord:
        """Train, or read what was trained with the same settings."""
        seen = 0

        def progress(done: int, total: int, note: str) -> None:
            nonlocal seen
            if not seen and done > preset.data.batch_size:
                self.say({"say": f"trial {trial.number} continues from its checkpoint."})
            seen = done
            self.say({"done": done, "total": total, "note": note})

        run = self.runs.trial(trial.number, self.parent)
        try:
            record = train(preset, place, self.corpus, run, progress, callbacks=[Curve(trial)])
        except (TrainingDiverged, TrialPruned) as error:
            trial.set_user_attr("examples", seen)
            raise _pruned(trial, str(error).partition(". ")[0]) from None
        for epoch, (_, value) in enumerate(record.curve, start=1):
            trial.report(value, epoch)  # Optuna ignores those that it knows
        return record


class Curve(lightning.Callback):
    """Reports the validation loss of each epoch to the trial, and ends a training that the pruner rejects.

    Args:
        trial: its steps are epochs.
    """

    def __init__(self, trial: optuna.Trial) -> None:
        self._trial = trial

    def on_validation_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Report the epoch.

        Args:
            trainer: knows the epoch and its validation loss.
            module: is not used.

        Raises:
            TrialPruned: the trial is worse than the median of the others at this epoch.
        """
        epoch = trainer.current_epoch + 1
        self._trial.report(float(trainer.callback_metrics["val/loss"]), epoch)
        if epoch < (trainer.max_epochs or 0) and self._trial.should_prune():
            raise TrialPruned(f"pruned after epoch {epoch}")


def _pruned(trial: optuna.Trial, reason: str) -> TrialPruned:
    trial.set_user_attr(REASON, reason)
    return TrialPruned(reason)
