"""Matrices on which measures go wrong first."""

from __future__ import annotations

import torch
from torch import Tensor


def _normal(n: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def awkward() -> dict[str, Tensor]:
    """By name: ordinary, correlated, rank 1, duplicated rows, one dimension, fewer rows than dimensions, huge, tiny."""
    base = _normal(60, 8)
    return {
        "normal": base,
        "correlated": base @ _normal(8, 8, 1) + 5,
        "rank 1": _normal(60, 1) @ _normal(1, 8, 1),
        "duplicated": base[:20].repeat(3, 1),
        "one dimension": _normal(60, 1),
        "wide": _normal(6, 40),
        "huge": base * 1e150,
        "tiny": base * 1e-150,
        "far away": base + 1e6,
    }
