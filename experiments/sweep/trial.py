"""One trial: a training with proposed settings, whose curve may prune it, and its score on val."""

import fcntl
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytorch_lightning as lightning
from optuna.exceptions import TrialPruned

from datamodules.corpora.corpus import Corpus
from experiments.presets.preset import Preset
from experiments.sweep.results import REASON
from experiments.sweep.search_space import SearchSpace
from experiments.sweep.storage import DATABASE_ERRORS
from experiments.sweep.study import trial_preset
from experiments.sweep.trial_scoring import TrialScoring
from experiments.tracking.tracker import Run
from experiments.training.callbacks import TrainingDiverged
from experiments.training.child_process import Say
from experiments.training.fit import TrainingRecord, train
from experiments.training.places import TrainingPlace, training_place
from overtone.errors import OvertoneError


class TrialFailed(Exception):
    """A trial failed through its own settings; the study goes on without it."""


@dataclass
class Objective:
    """The function that Optuna calls with a trial.

    Attributes:
        preset: the study's.
        model: the study's.
        corpus: the clips.
        runs: folder of the trainings of this study.
        scoring: of the study.
        track: opens the tracked run of a trial by its number.
        say: called with events for the parent process.
        number: of the running trial; None between trials.
        run: the tracked run of the last trial.
    """

    preset: Preset
    model: str
    corpus: Corpus
    runs: Path
    scoring: TrialScoring
    track: Callable[[int], Run]
    say: Say
    number: int | None = None
    run: Run | None = None

    def __call__(self, trial: optuna.Trial) -> float:
        """Train and score.

        Raises:
            TrialPruned: its curve is worse than the median of the others, it diverged, or it could not be scored.
            TrialFailed: the training or the scoring raised an error that may be due to the settings.
            OvertoneError: an error that every trial would meet, such as an unreadable corpus.
            OSError: the same, such as a full disk.
        """
        self.number = trial.number
        self.say({"trial": trial.number})
        try:
            return self._train_and_score(trial)
        except (TrialPruned, OvertoneError, OSError, *DATABASE_ERRORS):
            raise
        except Exception as error:
            traceback.print_exc()
            trial.set_user_attr(REASON, f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])
            raise TrialFailed from error

    def _train_and_score(self, trial: optuna.Trial) -> float:
        space = SearchSpace(self.preset, self.model)
        preset = trial_preset(self.preset, self.model, space.settings_with(space.suggest(trial)))
        place = training_place(self.runs, preset, self.model, preset.sweep.seed, self.corpus.digest)
        trial.set_user_attr("folder", str(place.folder))
        with alone_in(place.folder):
            self.run = self.track(trial.number)
            started = time.monotonic()
            record = self._train(trial, preset, place, self.run)
            trained = time.monotonic()
            scores = self.scoring.score(place, record)
        costs = {key: getattr(record, key) for key in ("examples", "seconds", "cpu_seconds", "peak_mb")}
        costs |= {"training_seconds": trained - started, "scoring_seconds": time.monotonic() - trained}
        attributes = costs | {"scores": scores.scores, "guards": [str(reason) for reason in scores.reasons]}
        for key, value in attributes.items():
            trial.set_user_attr(key, value)
        # A number of guards, not a distance: the real-time factor is measured, and its noise would steer the sampler.
        trial.set_constraint("guards", len({reason.guard for reason in scores.reasons}))
        if scores.value != scores.value:
            raise _pruned(trial, f"{preset.sweep.objective} could not be scored")
        return scores.value

    def _train(self, trial: optuna.Trial, preset: Preset, place: TrainingPlace, run: Run) -> TrainingRecord:
        """Train, or read what was trained with the same settings."""
        seen = 0

        def progress(done: int, total: int, note: str) -> None:
            nonlocal seen
            if not seen and done > preset.data.batch_size:
                self.say({"say": f"trial {trial.number} continues from its checkpoint."})
            seen = done
            self.say({"done": done, "total": total, "note": note})

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

        Raises:
            TrialPruned: the trial is worse than the median of the others at this epoch.
        """
        epoch = trainer.current_epoch + 1
        self._trial.report(float(trainer.callback_metrics["val/loss"]), epoch)
        if epoch < (trainer.max_epochs or 0) and self._trial.should_prune():
            raise TrialPruned(f"pruned after epoch {epoch}")


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process trains in a folder: two trials may have equal settings.

    The system releases the lock when a process ends, however it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".trial.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _pruned(trial: optuna.Trial, reason: str) -> TrialPruned:
    trial.set_user_attr(REASON, reason)
    return TrialPruned(reason)
