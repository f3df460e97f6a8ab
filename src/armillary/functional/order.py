"""The order in which the rows of a data set are seen: an endless sequence of permutations, one per epoch."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Int64
from torch import Tensor

from ..errors import DataError
from ..randomness import Random


@lru_cache(maxsize=2)  # a batch touches at most two epochs, unless it is larger than the data set
def _epoch(seed: int, n: int, epoch: int) -> Tensor:
    return Random(seed, epoch, torch.zeros(1, dtype=torch.int64)).order("sample order", n)[0]


def order(seed: int, n: int, start: int, count: int) -> Int64[Tensor, " count"]:
    """The rows at positions start..start + count - 1 of an endless sequence of permutations of `n` rows.

    A pure function: any process computes any part of it, and resuming needs no state. Step s (1 is the first) of a run
    with batches of B takes positions (s - 1) * B to s * B - 1, whatever the number of processes and micro-batches.
    Raises:
        DataError: there are no rows.
    """
    if n < 1:
        raise DataError("there is no order of 0 rows: the data set is empty; check its path and its split")
    position = torch.arange(start, start + count)
    epoch, place = position // n, position % n
    return torch.cat([_epoch(seed, n, int(e))[place[epoch == e]] for e in epoch.unique()] or [position])
