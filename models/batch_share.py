"""What a training on several processes needs so that it is the training of one: each has a share of every batch.

A batch of B examples is dealt out in turn: process r of n holds the examples r, r + n, r + 2n and so on, and the
processes' gradients are averaged. That is the gradient of the whole batch where a loss is a mean over examples. Where
it divides by something that depends on the batch, or draws random numbers for its examples, the functions here see to
it. Alone, they change nothing.
"""

from collections.abc import Callable

import torch.distributed
from torch import Tensor


def rank_and_count() -> tuple[int, int]:
    """Return which of the training's processes this is, and how many there are; (0, 1) for one that is alone."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def mean_over_shares(value: Tensor) -> Tensor:
    """Return the mean of a value over all processes, without a gradient; all of them must ask for it.

    A mean or a sum over the whole batch is that of the shares' (a sum but for the factor that averaging the gradients
    takes back), since all shares are equally large.
    """
    _, count = rank_and_count()
    if count == 1:
        return value
    total = value.detach().clone()
    torch.distributed.all_reduce(total)
    return total / count


def drawn_for_batch(draw: Callable[[int], Tensor], examples: int) -> Tensor:
    """Return the random numbers of this process' examples, out of those drawn for the whole batch.

    Every process draws for all, from generators in the same state: an example then gets the number that it would have
    got in a single process, and a checkpoint's one state of the generator suits any number of processes.

    Args:
        draw: makes numbers for so many examples, along the first axis, on the CPU, whose generator checkpoints keep.
        examples: how many this process holds.
    """
    rank, count = rank_and_count()
    return draw(examples * count)[rank::count]
