"""Features whose truth is known."""

from __future__ import annotations

import torch

from armillary.probes.extract import Features


def features(x: torch.Tensor, y: torch.Tensor) -> Features:
    """Features of single rows."""
    index = torch.arange(len(x))
    return Features(x, y, index, index)


def clusters(n: int, classes: int = 4, width: int = 12, apart: float = 1.0, seed: int = 0) -> Features:
    """Overlapping Gaussian classes of different scale per feature; equal centers for every seed."""
    centers = torch.randn(classes, width, generator=torch.Generator().manual_seed(99)) * apart
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, classes, (n,), generator=generator)
    x = centers[y] + torch.randn(n, width, generator=generator)
    return features(x * torch.logspace(-2, 2, width) + 5, y)
