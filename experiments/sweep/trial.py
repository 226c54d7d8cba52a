"""One trial: a training with proposed settings, whose curve may prune it, and its score on val."""

import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytorch_lightning as lightning
from optuna.exceptions import TrialPruned

from datamodules.corpora.corpus import Corpus
from experiments.presets.preset import Preset
from experiments.runs import held
from experiments.sweep.publication import StudyRuns
from experiments.sweep.results import COSTS, REASON
from experiments.sweep.search_space import SearchSpace
from experiments.sweep.storage import DATABASE_ERRORS, retries
from experiments.sweep.study import trial_preset
from experiments.sweep.trial_scoring import TrialScoring
from experiments.tracking.run import Run
from experiments.training.callbacks import TrainingDiverged
from experiments.training.child_process import Say
from experiments.training.fit import TrainingRecord, train
from experiments.training.places import TrainingPlace, training_place
from overtone.errors import OvertoneError


class TrialFailed(Exception):
    """A trial failed through its own settings; the study goes on without it."""


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
            scores = self.scoring.score(place, record)
        attributes = {key: getattr(record, key) for key in COSTS}
        attributes |= {"training_seconds": trained - started, "scoring_seconds": time.monotonic() - trained}
        attributes |= {"scores": scores.scores, "guards": [str(reason) for reason in scores.reasons]}
        for key, value in attributes.items():
            trial.set_user_attr(key, value)
        # A number of guards, not a distance: the real-time factor is measured, and its noise would steer the sampler.
        trial.set_constraint("guards", len({reason.guard for reason in scores.reasons}))
        if scores.value != scores.value:
            raise _pruned(trial, f"{preset.sweep.objective} could not be scored")
        return scores.value

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
