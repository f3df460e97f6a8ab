"""Every method with endless made-up rows of the kind it learns from."""

from __future__ import annotations

import importlib
import math
from dataclasses import replace
from pathlib import Path

import torch

import armillary
from armillary.contracts import Method, build
from armillary.randomness import Random
from armillary.types import Batch

METHODS = sorted(
    f"{path.parent.name}.{path.stem}"
    for path in (Path(armillary.__file__).parent / "methods").glob("*/*.py")
    if path.stem != "__init__"
)


class Rows:
    """A data set of `n` rows that look like those of `like`; those in `poisoned` are NaN."""

    def __init__(self, like: Batch, n: int, poisoned: frozenset[int] = frozenset()):
        self.like, self.n, self.poisoned = like, n, poisoned
        self.dtype = torch.float32

    def __len__(self) -> int:
        return self.n

    def batch(self, index: torch.Tensor) -> Batch:
        random, rows = Random(7, 0, index), {"index": index}
        for key, value in self.like.items():
            if key == "normalization":
                rows[key] = value[:1].expand(len(index), -1, -1)
            elif value.is_floating_point():
                rows[key] = random.normal(key, *value.shape[1:])
                for i, row in enumerate(index.tolist()):
                    if row in self.poisoned:
                        rows[key][i] = math.nan
            elif key != "index":
                rows[key] = random.integers(key, int(value.max()) + 1, *value.shape[1:])
        return rows

    def prepare(self, batch: Batch) -> Batch:
        return {key: value.to(self.dtype) if value.is_floating_point() else value for key, value in batch.items()}

    def double(self) -> Rows:
        """The same rows in float64."""
        self.dtype = torch.float64
        return self


def tiny(name: str, n: int = 48, poisoned: frozenset[int] = frozenset(), **changes: object) -> tuple[Method, Rows]:
    """The tiny instance of a method, `family.name`, always with the same weights, and rows for it."""
    with torch.random.fork_rng():
        made, like = importlib.import_module(f"armillary.methods.{name}").tiny()
    return build(replace(made.config, **changes)), Rows(like, n, poisoned)
