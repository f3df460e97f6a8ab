"""Batches in training order, read one step ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int64
from torch import Tensor

from ..errors import ConfigError
from ..functional.order import order
from ..parallel import rank, ranks
from ..types import Batch


@runtime_checkable
class Dataset(Protocol):
    """Rows that are read in batches: what training needs of a data set (see data/dataset.py)."""

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def batch(self, index: Int64[Tensor, " B"]) -> Batch:
        """The rows at `index` as they are stored, on the CPU, with `index` among the keys."""
        ...

    def prepare(self, batch: Batch) -> Batch:
        """A raw batch as methods receive it, on whatever device it is; a pure function."""
        ...


def feed(dataset: Dataset, batch: int, seed: int, steps: range, accumulate: int = 1) -> Iterator[list[Batch]]:
    """Raw micro-batches of each of `steps`; the next step's are read while the current one's are used.

    A step's rows are a function of (seed, step) alone. They are cut into `accumulate` micro-batches first and each of
    these into the ranks' shares, so that a micro-batch holds the same rows whatever the number of processes.
    Raises:
        ConfigError: `batch` cannot be shared evenly.
    """
    share, rest = divmod(batch, accumulate * ranks())
    if share < 1 or rest:
        raise ConfigError(
            f"a batch of {batch} cannot be shared by {ranks()} processes in {accumulate} micro-batches: use a multiple "
            f"of {accumulate * ranks()}"
        )

    def read(step: int) -> list[Batch]:
        first = (step - 1) * batch + rank() * share
        every = share * ranks()
        return [dataset.batch(order(seed, len(dataset), first + i * every, share)) for i in range(accumulate)]

    return _ahead(read, steps)


def _ahead(read: Callable[[int], list[Batch]], steps: range) -> Iterator[list[Batch]]:
    # Closing the generator (or losing it) leaves the `with`, which waits for the one read that is under way.
    with ThreadPoolExecutor(1, thread_name_prefix="armillary-feed") as reader:
        pending = reader.submit(read, steps.start) if steps else None
        for step in steps:
            assert pending is not None
            ready = pending.result()  # raises here what the reader raised
            pending = reader.submit(read, step + 1) if step + 1 in steps else None
            yield ready


def to(batch: Batch, device: torch.device) -> Batch:
    """The batch on `device`."""
    return {key: value.to(device, non_blocking=True) for key, value in batch.items()}
