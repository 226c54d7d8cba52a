"""Checkpoints of a training: kept whole, at intervals and on interruption."""

import signal
import time
import zipfile
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Self

import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import Checkpoint

from experiments.training.child_process import TERMINATED
from overtone.errors import OvertoneError

CHECKPOINT_PARTS = ("state_dict", "optimizer_states", "loops", "callbacks", "epoch", "global_step")


def largest_of_all(trainer: lightning.Trainer, value: int) -> int:
    """Return the largest value that any of a training's processes has; all must ask for it at the same point.

    Args:
        trainer: of this process.
        value: this process' own.
    """
    if trainer.world_size == 1:
        return value
    shared = torch.tensor(value, device=trainer.strategy.root_device)
    torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
    return int(shared)


def keep_checkpoint(trainer: lightning.Trainer, path: Path) -> None:
    """Keep a checkpoint whole or not at all; all processes of a training call this.

    The trainer moves what it writes from the system's temporary folder, which may be on another disk: a full one, or
    one that is killed then, would leave half a file in place of the checkpoint before.

    Args:
        trainer: of this process.
        path: of the checkpoint.
    """
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            part.replace(path)
    finally:
        if trainer.is_global_zero:
            part.unlink(missing_ok=True)


def checkpoint_damage(path: Path) -> str | None:
    """Return why a training cannot continue from a checkpoint; None where it can, or where there is none.

    A disk that loses its power, or a copy that was cut short, leaves such files.
    """
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as parts:
            broken = parts.testzip()  # torch looks at no checksum
        kept = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the bytes make of the reader
        return f"{type(error).__name__}: {' '.join(str(error).split())[:80]}"
    if broken:
        return f"{broken} is not as it was written"
    missing = [part for part in CHECKPOINT_PARTS if not isinstance(kept, dict) or part not in kept]
    return f"it holds no {missing[0]}" if missing else None


class Interruption(lightning.Callback):
    """Ends a training between two batches after Ctrl-C or a request to terminate, and keeps what it has learnt.

    An exception thrown in wherever the program happens to be can be swallowed by a library's callback; a second
    Ctrl-C still raises one. Several processes stop after the same batch, whichever of them it was
    that was told to.

    Args:
        checkpoint: the file to continue from.

    Attributes:
        resumed_from: the same file where a training can continue from it, else None.
    """

    def __init__(self, checkpoint: Path) -> None:
        self._checkpoint = checkpoint
        self._received = 0
        usable = checkpoint.exists() and checkpoint_damage(checkpoint) is None
        self.resumed_from = checkpoint if usable else None

    def __enter__(self) -> Self:
        self._previous = signal.getsignal(signal.SIGINT)
        if self._previous is signal.default_int_handler:  # a worker has its own handler
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._previous)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_fit_start(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """See that all processes continue from the same point.

        Raises:
            OvertoneError: only some of them see the checkpoint.
        """
        resumed = self.resumed_from is not None
        some, all_but_some = largest_of_all(trainer, resumed), largest_of_all(trainer, not resumed)
        if some and all_but_some:
            raise OvertoneError(
                f"{self._checkpoint}: only some of the processes see this checkpoint. Expected a folder that all "
                "machines share; name it with --runs."
            )

    def on_train_start(self, *_: Any) -> None:  # noqa: ANN401
        """Take over SIGTERM: the trainer's own answer talks to other processes from wherever this one happens to be."""
        signal.signal(signal.SIGTERM, self._note)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Stop if Ctrl-C was pressed or a process was told to terminate; after an epoch's last batch, validate first.

        A training that goes on from an epoch's last batch would leave that validation out.
        """
        self._stop(trainer, waits=trainer.is_last_batch)

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Stop if that was put off."""
        self._stop(trainer, waits=False)

    def _stop(self, trainer: lightning.Trainer, waits: bool) -> None:
        received = largest_of_all(trainer, self._received)
        if not received:
            return
        keep_checkpoint(trainer, self._checkpoint)
        if waits:
            return
        if received == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(TERMINATED)


class Checkpoints(Checkpoint):
    """Keeps a checkpoint of each epoch's end, and now and then one within an epoch.

    The trainer's own callback, asked for a time interval, keeps none of a model that takes its optimisers' steps
    itself.

    Args:
        path: the file; the last checkpoint is the only one.
        interval: after which one is kept within an epoch.
    """

    def __init__(self, path: Path, interval: timedelta) -> None:
        self._path, self._interval_seconds = path, interval.total_seconds()
        self._saved = time.monotonic()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Keep one if the last is old."""
        if largest_of_all(trainer, time.monotonic() - self._saved >= self._interval_seconds):
            self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: Any) -> None:  # noqa: ANN401
        """Keep one."""
        self._save(trainer)

    def _save(self, trainer: lightning.Trainer) -> None:
        keep_checkpoint(trainer, self._path)
        self._saved = time.monotonic()
