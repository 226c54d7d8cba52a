"""One trial: a training with proposed settings, whose curve may prune it, and its score on val."""

import errno
import fcntl
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytorch_lightning as lightning
from optuna.exceptions import TrialPruned, UpdateFinishedTrialError

from datamodules.corpora.corpus import Corpus
from experiments.presets.preset import Preset
from experiments.sweep.search_space import settings_with, suggest
from experiments.sweep.storage import BROKEN, StorageGone
from experiments.sweep.study import trial_preset
from experiments.sweep.trial_queue import REASON, RELEASED, RETRY_OF, SURPLUS, read_queue
from experiments.sweep.trial_scoring import TrialScores, TrialScoring
from experiments.tracking.tracker import Run
from experiments.training.callbacks import TrainingDiverged
from experiments.training.checkpoints import is_whole_checkpoint, keep_checkpoint
from experiments.training.fit import TrainingRecord, train
from experiments.training.places import TrainingPlace, training_place
from overtone.errors import OvertoneError, in_words

DISK_RESERVE_BYTES = 16 * 2**20
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
STORAGE_ERRORS = (*BROKEN, StorageGone)
Say = Callable[[dict[str, Any]], None]


class Surplus(Exception):
    """A trial is one too many."""


class Lost(Exception):
    """A trial was given up on by the others, who thought its process dead."""


class Interrupted(OvertoneError):
    """A trial cannot go on here and now, through no fault of its own; the message says why."""


@dataclass(frozen=True)
class Workplace:
    """What all trials of a worker share.

    Attributes:
        preset: the study's.
        model: the study's.
        wanted: trials asked for.
        corpus: the clips.
        runs: where the trainings of this study lie.
        scoring: of the study.
        track: opens the tracked run of a trial by its number.
        say: told in plain values what goes on.
    """

    preset: Preset
    model: str
    wanted: int
    corpus: Corpus
    runs: Path
    scoring: TrialScoring
    track: Callable[[int], Run]
    say: Say


class Objective:
    """What Optuna calls with a trial.

    Args:
        study: the trial's.
        work: what all trials of this worker share.

    Attributes:
        number: the last trial's, None where it was surplus.
        run: its tracked run, to be closed when the trial has its state; None before it has one.
    """

    def __init__(self, study: optuna.Study, work: Workplace) -> None:
        self._study, self._work = study, work
        self.number: int | None = None
        self.run: Run | None = None

    def __call__(self, trial: optuna.Trial) -> float:
        """Train and score.

        Raises:
            Surplus: the trial is one too many.
            Lost: others have given up on it.
            Interrupted: the disk is full, or the database went away; the trial is to be tried again.
            TrialPruned: its curve is worse than the median of the others, or no score came out.
        """
        self.number = self.run = None
        # First of all, while nothing is spent on it: see `experiments.sweep.trial_queue`.
        if read_queue(self._study, self._work.preset.sweep.max_retries).is_surplus(trial.number, self._work.wanted):
            trial.set_user_attr(SURPLUS, True)
            raise Surplus
        self.number = trial.number
        self._work.say({"trial": trial.number})
        try:
            return self._train_and_score(trial)
        except UpdateFinishedTrialError:
            raise Lost from None
        except TrialPruned:
            raise
        except BaseException as error:
            raise self._released(trial, error) from error

    def _train_and_score(self, trial: optuna.Trial) -> float:
        work = self._work
        settings = settings_with(suggest(trial, work.preset, work.model), work.preset, work.model)
        preset = trial_preset(work.preset, work.model, settings)
        place = training_place(work.runs, preset, work.model, work.preset.sweep.seed, work.corpus.digest)
        trial.set_user_attr("place", place.key)
        trial.set_user_attr("folder", str(place.folder))
        with alone_in(place.folder, work.say):
            self.run = work.track(trial.number)
            record, training_seconds = self._train(trial, preset, place)
            started = time.monotonic()
            scores = work.scoring.score(place, record)
        attributes = {
            "examples": record.examples,
            "seconds": record.seconds,
            "cpu_seconds": record.cpu_seconds,
            "peak_mb": record.peak_mb,
            "training_seconds": round(training_seconds, 3),
            "scoring_seconds": round(time.monotonic() - started, 3),
        }
        for key, value in attributes.items():
            trial.set_user_attr(key, value)
        return self._judge(trial, scores)

    def _train(self, trial: optuna.Trial, preset: Preset, place: TrainingPlace) -> tuple[TrainingRecord, float]:
        """Train, or read what was trained with the same settings; return also how long that took here."""
        work, name = self._work, f"trial {trial.number}"
        curve = Curve(trial, place.folder / "checkpoints" / "last.ckpt", preset.data.batch_size)
        retried = trial.user_attrs.get(RETRY_OF)
        if place.finished:
            record = TrainingRecord.read(place)
            each = preset.budget.examples_per_epoch
            curve.repeat([(-(-examples // each), value) for examples, value in record.curve])
            work.say({"say": f"{name}: a training with its settings is finished and is read."})
            return record, 0.0

        seen = 0

        def progress(done: int, total: int, note: str) -> None:
            nonlocal seen
            seen = done
            if curve.resumed_at is not None:
                work.say({"say": f"{name}: resumes from its checkpoint at {curve.resumed_at}/{total} examples."})
                curve.resumed_at = None
            work.say({"done": done, "total": total, "note": note})

        if retried is not None and not is_whole_checkpoint(curve.checkpoint):
            work.say({"say": f"{name}: repeats trial {retried} from the start."})
        started = time.monotonic()
        try:
            record = train(preset, place, work.corpus, self._tracked, progress, callbacks=[curve])
        except (TrainingDiverged, TrialPruned) as error:
            if isinstance(error, TrainingDiverged):
                trial.set_user_attr(REASON, str(error).partition(". ")[0])
            trial.set_user_attr("examples", seen)
            trial.set_user_attr("seconds", round(time.monotonic() - started, 1))
            raise TrialPruned(str(error)) from None
        return record, time.monotonic() - started

    @property
    def _tracked(self) -> Run:
        assert self.run is not None
        return self.run

    def _judge(self, trial: optuna.Trial, scores: TrialScores) -> float:
        trial.set_user_attr("scores", scores.scores)
        trial.set_user_attr("guards", scores.reasons)
        for guard, failed in scores.guards.items():
            # Yes or no: the real-time factor is measured, and no two studies would propose the same after its noise.
            trial.set_constraint(guard, 1.0 if failed else 0.0)
        if scores.value != scores.value:
            trial.set_user_attr(REASON, f"{self._work.preset.sweep.objective} could not be scored")
            raise TrialPruned
        return scores.value

    def _released(self, trial: optuna.Trial, error: BaseException) -> BaseException:
        """Note why a trial ends without a result, and return what to raise."""
        why: BaseException = error
        if isinstance(error, KeyboardInterrupt | SystemExit):
            reason, why = "interrupted", KeyboardInterrupt()
        elif is_disk_full(error, self._work.runs):
            reason = "the disk is full"
            why = Interrupted(
                in_words(error) if isinstance(error, OSError) else f"{self._work.runs}: the disk is full."
            )
        elif isinstance(error, STORAGE_ERRORS):
            reason = "the database went away"
        elif isinstance(error, OvertoneError | OSError):  # a user's: it would befall every trial
            reason = str(error)
            why = Interrupted(str(error) if isinstance(error, OvertoneError) else in_words(error))
        else:
            with suppress(*STORAGE_ERRORS, UpdateFinishedTrialError):
                trial.set_user_attr(REASON, f"{type(error).__name__}: {error}"[:500])
            return error
        with suppress(*STORAGE_ERRORS, UpdateFinishedTrialError):
            trial.set_user_attr(RELEASED, reason)
            trial.set_user_attr(REASON, reason)
        return why


class Curve(lightning.Callback):
    """Reports the validation loss of each epoch to the trial, and ends a training that the pruner sees no hope for.

    Of a training that is continued, be it for another trial, the values before are reported again, so that later ones
    are judged by the whole curve.

    Args:
        trial: told the values; its steps are epochs.
        checkpoint: what the training continues from.
        batch_size: examples of a step.

    Attributes:
        resumed_at: examples seen before this start, None for a new training.
    """

    def __init__(self, trial: optuna.Trial, checkpoint: Path, batch_size: int) -> None:
        self._trial, self._batch_size = trial, batch_size
        self._values: list[tuple[int, float]] = []
        self.checkpoint = checkpoint
        self.resumed_at: int | None = None

    def state_dict(self) -> dict[str, Any]:
        """Return the values so far."""
        return {"values": self._values}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with a checkpoint's values."""
        self._values = [(epoch, value) for epoch, value in state_dict["values"]]

    def repeat(self, values: list[tuple[int, float]]) -> None:
        """Report the epochs and values of a training that was done before."""
        for epoch, value in values:
            self._trial.report(value, epoch)

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Report what the checkpoint remembers."""
        done = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        self.resumed_at = done * self._batch_size if done else None
        self.repeat(self._values)

    def on_validation_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Report the epoch.

        Raises:
            TrialPruned: there is no hope.
            UpdateFinishedTrialError: others have given up on this trial, whose process they thought dead.
        """
        epoch, value = trainer.current_epoch + 1, float(trainer.callback_metrics["val/loss"])
        self._values.append((epoch, value))
        try:
            self._trial.report(value, epoch)
        except UpdateFinishedTrialError:
            keep_checkpoint(trainer, self.checkpoint)  # for whoever repeats it
            raise
        if epoch < (trainer.max_epochs or 0) and self._trial.should_prune():
            self._trial.set_user_attr(REASON, f"pruned after epoch {epoch}")
            raise TrialPruned(f"after epoch {epoch}")


@contextmanager
def alone_in(folder: Path, say: Say, poll_seconds: float = 0.5) -> Iterator[None]:
    """Wait until nobody else trains in a folder: equal settings, or a process that woke up after it was thought dead.

    The system releases the lock when a process ends, however it ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".trial.lock").open("w") as lock:
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    say({"say": f"Waiting for another process that trains the same settings in {folder}."})
                    told = True
                time.sleep(poll_seconds)
        yield


def is_disk_full(error: BaseException, folder: Path) -> bool:
    """Return whether an error is a full disk's doing; libraries have many names for it."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any(isinstance(one, OSError) and one.errno in DISK_FULL for one in causes):
        return True
    if any("disk is full" in str(one) or "No space left" in str(one) for one in causes):
        return True
    with suppress(OSError):
        return isinstance(error, Exception) and shutil.disk_usage(folder).free < DISK_RESERVE_BYTES
    return False
