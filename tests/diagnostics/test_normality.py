"""The statistic of SIGReg, used as a measure."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from armillary.diagnostics.normality import normality
from armillary.errors import ShapeError
from armillary.functional.regularize import unit_directions


def normal(n, width, seed=0):
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_it_equals_the_integral_of_characteristic_functions():
    x = normal(200, 5) @ normal(5, 5, 1) + 2
    unit = unit_directions(5, 16, torch.Generator().manual_seed(3)).double().numpy()
    y = x.numpy() - x.numpy().mean(0)
    y = y / np.sqrt((y**2).mean()) @ unit
    t = np.linspace(-3, 3, 33)
    phi = np.exp(1j * t[:, None, None] * y).mean(1)
    gap = np.abs(phi - np.exp(-(t**2) / 2)[:, None]) ** 2 * np.exp(-(t**2) / 2)[:, None]
    assert normality(x, 16, seed=3) == pytest.approx(np.trapezoid(gap, t, axis=0).mean(), rel=1e-3)


def test_normal_embeddings_are_nearest_whatever_their_size_and_place():
    x = normal(2000, 16)
    heaps = normal(4, 16)[torch.arange(2000) % 4]
    flat = x * torch.logspace(0, -3, 16)
    assert normality(x) < 0.002 < 0.01 < min(normality(heaps), normality(flat))
    assert normality(1000 * x + 7) == pytest.approx(normality(x), rel=1e-3)
    assert normality(x, scaled=False) < 0.002 < normality(1000 * x, scaled=False)


def test_constants_and_single_rows():
    assert 0.1 < normality(torch.ones(10, 3)) < 1
    with pytest.raises(ShapeError, match="at least 2"):
        normality(torch.ones(1, 3))
