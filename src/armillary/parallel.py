"""Means and gathers over all ranks, with gradients. On one process every function here is the identity."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def ranks() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process; 0 is the one that writes."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


class _AllSum(torch.autograd.Function):
    """Sum over ranks. The gradient of a replicated loss is summed over ranks too, as every rank used the result."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        out = x.clone().contiguous()
        dist.all_reduce(out)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        grad = grad.clone().contiguous()
        dist.all_reduce(grad)
        return grad


def all_sum(x: Tensor) -> Tensor:
    """The sum of `x` over ranks; its gradient is the sum of the ranks' gradients.

    A loss that every rank computes in full from global sums and whose gradients DistributedDataParallel then averages
    gets exactly the gradient of one process: n ranks times 1/n.
    """
    return _AllSum.apply(x) if ranks() > 1 else x  # type: ignore[no-any-return]


def all_mean(x: Tensor) -> Tensor:
    """The mean of `x` over ranks, with gradient; exact for equal shares of the batch."""
    return all_sum(x) / ranks() if ranks() > 1 else x


def all_gather(x: Tensor) -> Tensor:
    """The rows of all ranks, in rank order, with gradient to the own rows."""
    n = ranks()
    if n == 1:
        return x
    place = x.new_zeros(n, *x.shape)
    place[rank()] = x
    return all_sum(place).flatten(0, 1)


def barrier() -> None:
    """Wait until every rank is here."""
    if ranks() > 1:
        dist.barrier()
