"""Measures of pairs equal loops over pairs in NumPy, and do not change where they must not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from armillary.diagnostics.pairs import alignment, clumping, crowding, subsample, uniformity
from armillary.errors import ShapeError

from .matrices import awkward


def units(x):
    x = x.numpy() / np.abs(x.numpy()).max(1, keepdims=True)
    return x / np.sqrt((x**2).sum(1, keepdims=True))


@pytest.mark.parametrize("name", awkward())
def test_uniformity_is_the_log_mean_over_pairs(name):
    x = awkward()[name]
    u = units(x)
    kernel = [np.exp(-2 * ((u[i] - u[j]) ** 2).sum()) for i in range(len(u)) for j in range(i)]
    assert float(uniformity(x)) == pytest.approx(np.log(np.mean(kernel)), rel=1e-6, abs=1e-9)


def test_uniformity_is_zero_for_equal_rows_and_falls_with_spread():
    assert float(uniformity(torch.ones(10, 4))) == pytest.approx(0, abs=1e-12)
    many = torch.randn(500, 64, generator=torch.Generator().manual_seed(0))
    assert float(uniformity(many)) == pytest.approx(-4, abs=0.3), "-2 t in many dimensions"


def test_alignment_is_the_mean_square_distance_of_positives():
    x, y = awkward()["normal"], awkward()["correlated"]
    assert float(alignment(x, y)) == pytest.approx(((units(x) - units(y)) ** 2).sum(1).mean())
    assert float(alignment(x, 7 * x)) == pytest.approx(0, abs=1e-20), "lengths do not matter"
    assert float(alignment(x, -x)) == pytest.approx(4)
    with pytest.raises(ShapeError, match="equal shapes"):
        alignment(x, y[:5])


@pytest.mark.parametrize("name", [name for name in awkward() if name != "wide"])
def test_crowding_is_the_fifth_neighbor_over_the_typical_pair(name):
    x = awkward()[name].numpy()
    away = np.sqrt(((x[:, None] / np.abs(x).max() - x[None] / np.abs(x).max()) ** 2).sum(-1))
    near = np.sort(away, 1)[:, 5]
    typical = np.sort(away[~np.eye(len(x), dtype=bool)])
    middle = typical[(len(typical) - 1) // 2]  # torch's median is the lower one
    wanted = np.sort(near)[(len(near) - 1) // 2] / middle
    assert float(crowding(torch.from_numpy(x))) == pytest.approx(wanted, rel=1e-6)


def test_crowding_tells_heaps_from_a_continuum():
    draw = torch.Generator().manual_seed(0)
    heaps = torch.randn(6, 32, generator=draw)[torch.arange(300) % 6] + 1e-4 * torch.randn(300, 32, generator=draw)
    plane = torch.rand(300, 2, generator=draw) @ torch.randn(2, 32, generator=draw)
    assert crowding(heaps) < 0.001 < 0.05 < crowding(plane) < 0.2 < 0.5 < crowding(torch.randn(300, 32, generator=draw))
    assert torch.isnan(crowding(torch.ones(10, 3)))


@pytest.mark.parametrize("rows", [32, 300])
def test_clumping_tells_heaps_from_few_dimensions(rows):
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(rows, 32, generator=draw)
    heaps = torch.randn(6, 32, generator=draw)[torch.arange(rows) % 6] + 1e-3 * noise
    plane = torch.randn(rows, 2, generator=draw) @ torch.randn(2, 32, generator=draw)
    assert (
        clumping(heaps)
        < 0.01
        < 0.7
        < min(clumping(plane), clumping(noise))
        <= max(clumping(plane), clumping(noise))
        < 1.4
    )
    assert torch.isnan(clumping(torch.ones(rows, 3)))


def test_clumping_compares_with_a_cloud_of_the_same_covariance():
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(1)).double() * torch.tensor([1.0, 2.0, 4.0, 8.0])
    clouds = torch.distributions.MultivariateNormal(x.mean(0), torch.cov(x.T))
    torch.manual_seed(0)
    wanted = torch.stack([crowding(clouds.sample((200,))) for _ in range(30)]).mean()
    assert float(clumping(x)) == pytest.approx(float(crowding(x) / wanted), rel=0.1)


def test_rotation_and_scale_change_no_measure_of_pairs():
    x = awkward()["normal"]
    turned = 11 * x @ torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0]
    for measure in (uniformity, crowding, clumping):
        assert float(measure(turned)) == pytest.approx(float(measure(x)))


def test_the_subsample_is_fixed_and_ascending():
    first = subsample(5000, 100)
    assert torch.equal(first, subsample(5000, 100)) and bool((first.diff() > 0).all()) and len(first) == 100
    assert not torch.equal(first, subsample(5000, 100, seed=1))
    assert torch.equal(subsample(7, 100), torch.arange(7))


def test_a_single_row_has_no_pairs():
    with pytest.raises(ShapeError, match="at least 2"):
        uniformity(torch.ones(1, 3))
    with pytest.raises(ShapeError, match="at least 2"):
        crowding(torch.ones(3))
