"""LiDAR equals its formula by another way, and counts what tells inputs apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from armillary.diagnostics.lidar import lidar
from armillary.errors import ShapeError


def views(n=40, q=6, width=10, noise=0.3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    scale = torch.logspace(0, -2, width, dtype=torch.float64)
    means = torch.randn(n, 1, width, generator=draw, dtype=torch.float64) * scale
    return means + noise * torch.randn(n, q, width, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(("n", "width"), [(40, 10), (5, 20), (30, 1)])
def test_lidar_equals_eigenvalues_of_the_generalized_problem(n, width, scale):
    x = (views(n, width=width) * scale).numpy()
    means = x.mean(1)
    within = np.mean([np.outer(r, r) for r in (x - means[:, None]).reshape(-1, width)], 0) + 1e-4 * np.eye(width)
    between = np.mean([np.outer(r, r) for r in means - means.mean(0)], 0)
    value = np.linalg.eigvals(np.linalg.inv(within) @ between).real.clip(0)  # similar to Sw^-1/2 Sb Sw^-1/2
    p = value / value.sum() + 1e-7
    p = p[: min(n, width)] if n >= width else np.sort(p)[::-1][:n]
    assert float(lidar(torch.from_numpy(x))) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-4)


def test_directions_that_views_of_one_input_share_count_for_nothing():
    draw = torch.Generator().manual_seed(1)
    told = torch.randn(200, 1, 3, generator=draw).expand(-1, 8, -1) + 0.1 * torch.randn(200, 8, 3, generator=draw)
    noise = 3 * torch.randn(200, 8, 20, generator=draw)
    assert float(lidar(torch.cat([told, noise], 2))) == pytest.approx(3, abs=0.5)


def test_a_rotation_changes_nothing_and_collapse_gives_one():
    x = views()
    turn = torch.linalg.qr(torch.randn(10, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))[0]
    assert float(lidar(x @ turn)) == pytest.approx(float(lidar(x)))
    assert float(lidar(torch.ones(5, 3, 4))) == 1


def test_lidar_needs_views():
    for shape in ((5, 4), (1, 3, 4), (5, 1, 4)):
        with pytest.raises(ShapeError, match="at least 2 views of at least 2 inputs"):
            lidar(torch.zeros(shape))
