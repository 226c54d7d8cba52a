"""Batches that are the same for any number of workers and ranks: of virtual epochs, resumable, and of fixed items."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader, DistributedSampler, Sampler

from overtone.errors import OvertoneError

Item = dict[str, Any]


class EpochSampler(DistributedSampler[int]):
    """Yields (epoch, index), so that an item knows its epoch whatever worker makes it.

    The trainer calls `set_epoch` before each epoch, also after a resumption. Being a distributed sampler already, it
    is not wrapped by the trainer in one that would keep `set_epoch` to itself. The items being endless, an epoch that
    the replicas cannot share evenly is rounded up with further items instead of repeated ones.

    Args:
        examples: indices an epoch, over all replicas.
        replicas: how many processes share an epoch.
        rank: which of them this is.
    """

    def __init__(self, examples: int, replicas: int = 1, rank: int = 0) -> None:
        rounded_up = -(-examples // replicas) * replicas
        super().__init__(range(rounded_up), num_replicas=replicas, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.first = 0

    def __iter__(self) -> Iterator[tuple[int, int]]:  # type: ignore[override]
        """Yield this rank's keys from its ``first`` on, which counts for one epoch only."""
        first, self.first = self.first, 0
        return ((self.epoch, index) for index in islice(super().__iter__(), first, None))


class EpochDataLoader(DataLoader[Item]):
    """Batches of an epoch, which a checkpoint between two of them can continue.

    It starts to make batches when the first is asked for: the trainer asks for an iterator before it says which epoch
    comes, and worker processes would start at once, on the wrong one.
    """

    sampler: EpochSampler
    batch_size: int
    _examples = 0

    def __iter__(self) -> Iterator[Item]:  # type: ignore[override]
        """Yield the batches.

        Raises:
            OvertoneError: an item cannot be made; in one line, also where a worker process met it.
        """
        self._examples = self.sampler.first * self.sampler.num_replicas
        try:
            for batch in super().__iter__():
                self._examples += self.batch_size * self.sampler.num_replicas
                yield batch
        except OvertoneError as error:
            raise OvertoneError(str(error).rstrip().rpartition("Error: ")[2]) from None

    def state_dict(self) -> dict[str, int]:
        """Return how many examples of the epoch all ranks have been given."""
        ended = self._examples >= self.sampler.total_size
        return {"examples": 0 if ended else self._examples}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next epoch begin after the examples of a checkpoint, on any number of ranks."""
        self.sampler.first = state["examples"] // self.sampler.num_replicas


class DealtBatches(Sampler[list[int]]):
    """Yields the batches of fixed items, whole, dealt to the replicas in turn.

    A batch is the one that a single process would make, so that nothing depends on how items are shared. All replicas
    yield equally many: one that has none left yields the first batch, which `is_counted` tells apart.

    Args:
        items: how many there are.
        batch_size: items a batch.
        replicas: how many processes share the batches.
        rank: which of them this is.
    """

    def __init__(self, items: int, batch_size: int, replicas: int = 1, rank: int = 0) -> None:
        self._items, self._batch_size = items, batch_size
        self._replicas, self._rank = replicas, rank
        self._batches = -(-items // batch_size)

    def __len__(self) -> int:
        """How many batches this replica yields."""
        return -(-self._batches // self._replicas)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of each batch."""
        for turn in range(len(self)):
            start = self._number(turn) * self._batch_size if self.is_counted(turn) else 0
            yield list(range(start, min(start + self._batch_size, self._items)))

    def is_counted(self, turn: int) -> bool:
        """Whether the batch of a turn is one that no other replica yields."""
        return self._number(turn) < self._batches

    def _number(self, turn: int) -> int:
        return turn * self._replicas + self._rank


class FixedDataLoader(DataLoader[Item]):
    """Batches of `DealtBatches`, each with ``clips``: how many of its items count, all or none."""

    batch_sampler: DealtBatches

    def __iter__(self) -> Iterator[Item]:  # type: ignore[override]
        """Yield the batches."""
        for turn, batch in enumerate(super().__iter__()):
            yield batch | {"clips": len(batch["file"]) if self.batch_sampler.is_counted(turn) else 0}
