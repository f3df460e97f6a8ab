"""What a data set is, how it is opened, and which of its rows are held out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int64
from torch import Tensor

from ..errors import ConfigError, DataError, suggest
from ..types import Batch

SPLITS = ("train", "test")


@runtime_checkable
class Dataset(Protocol):
    """Rows that are read in batches."""

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def batch(self, index: Int64[Tensor, " B"]) -> Batch:
        """The rows at `index` as they are stored (uint8 images), on the CPU, with `index` among the keys."""
        ...

    def prepare(self, batch: Batch) -> Batch:
        """A raw batch as methods receive it (float32, normalized), on whatever device it is; a pure function."""
        ...


@runtime_checkable
class DataConfig(Protocol):
    """A frozen dataclass that says where data are and how they are read."""

    def open(self, split: str) -> Dataset:
        """The rows of one split."""
        ...


def open_data(config: object, split: str = "train") -> Dataset:
    """The rows of `split`, "train" or "test", of the data that `config` (`Images`, `Points`, `Episodes`) describes.

    Raises:
        ConfigError: unknown split, or `config` describes no data.
        DataError: the data are missing, damaged or empty.
    """
    if split not in SPLITS:
        raise ConfigError(f"there is no split {split!r}: {suggest(split, SPLITS)}")
    if not isinstance(config, DataConfig):
        raise ConfigError(f"{type(config).__name__} describes no data: it needs a method `open(split) -> Dataset`")
    return config.open(split)


def held_out(names: Sequence[str], share: float) -> Bool[np.ndarray, " n"]:
    """True for the rows that are held out for testing: the `share` of them whose names hash lowest, at least one.

    Depends on the set of names alone, not on their order. A single row is never held out.
    """
    n = len(names)
    out = np.zeros(n, bool)
    if share > 0 and n > 1:
        hashes = np.array(
            [int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") for name in names], np.uint64
        )
        out[np.argsort(hashes, kind="stable")[: min(n - 1, max(1, round(share * n)))]] = True
    return out


def checked(index: Int64[Tensor, " B"], n: int) -> Int64[np.ndarray, " B"]:
    """`index` as an array, after a check that it names rows of a data set of `n`.

    Raises:
        DataError: a number is outside 0..n-1.
    """
    rows = index.cpu().numpy()
    if len(rows) and (rows.min() < 0 or rows.max() >= n):
        raise DataError(f"rows {rows.min()} to {rows.max()} were asked of a data set of {n}; rows are 0 to {n - 1}")
    return rows
