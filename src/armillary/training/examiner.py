"""What is looked at while training: the representations of the same rows, again and again."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from ..contracts import Method
from ..diagnostics.reading import Reading, read, token_numbers
from ..diagnostics.teachers import teacher_gap
from ..randomness import Random
from ..types import Batch, Forecast, Tokens
from .feed import Dataset, to
from .precision import autocast

CLOSELY = 64  # rows, or a chunk more, of which tokens and predictions are looked at too: they are what takes memory


class Examiner:
    """Rows spread evenly over the data set, read once, with the draws of views that go with them.

    Rows whose input is not finite say nothing about a method and are left out.
    Args:
        rows: how many, at most all. chunk: how many pass through the method together.
    """

    def __init__(self, dataset: Dataset, rows: int, chunk: int, seed: int):
        self.rows, self._seed, self._prepare = min(rows, len(dataset)), seed, dataset.prepare
        index = torch.arange(self.rows) * len(dataset) // self.rows
        self._raw: list[Batch] = []
        for part in index.split(chunk):
            raw = dataset.batch(part)
            good = finite_rows(dataset.prepare(raw))
            if good.any():
                self._raw.append({key: value[good] for key, value in raw.items()})

    @torch.no_grad()
    def reading(self, method: Method, precision: Literal["bf16", "fp32"], step: int) -> Reading | None:
        """Read off the method in evaluation mode, and leave it in training mode; None for fewer than 2 rows."""
        device = next(method.parameters()).device
        pooled, tokens, forecasts = [], [], []
        method.eval()
        for raw in self._raw:
            batch = self._prepare(to(raw, device))
            first = sum(len(part.x) for part in tokens) < CLOSELY
            with autocast(precision, device):
                encoded = method.encode(batch)
                forecast = method.forecast(batch, Random(self._seed, 0, batch["index"])) if first else None
            pooled.append(encoded.pooled().float())
            tokens += [encoded] if first else []
            forecasts += [forecast] if forecast else []
        method.train()
        if sum(map(len, pooled)) < 2:
            return None
        forecast = Forecast.joined(forecasts) if forecasts else None
        closely = token_numbers(Tokens.joined(tokens))
        return read(torch.cat(pooled), forecast, step, teacher_gap=teacher_gap(method), **closely)


def finite_rows(batch: Batch) -> Bool[Tensor, " B"]:
    """True for the rows of which every number is finite."""
    good = torch.ones_like(batch["index"], dtype=torch.bool)
    for value in batch.values():
        if value.is_floating_point():
            good &= value.reshape(len(good), -1).isfinite().all(1)
    return good
