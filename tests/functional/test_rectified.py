"""Rectified generalized Gaussians have the stated moments; the sliced distance to their samples is one."""

from __future__ import annotations

import math
from itertools import permutations

import pytest
import torch

from armillary.errors import ConfigError, ShapeError
from armillary.functional.rectified import (
    generalized_gaussian,
    rdmreg,
    rectified_moments,
    rectified_samples,
    rectified_sigma,
    unit_sigma,
)
from armillary.functional.regularize import unit_directions
from armillary.randomness import Random, numbered

CASES = [(0.5, 0.0), (1.0, 0.0), (1.0, -1.0), (1.5, 0.5), (2.0, -1.0), (3.0, 1.0)]


def along(width: int, count: int) -> torch.Tensor:
    return unit_directions(width, count, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("p", [0.5, 1.0, 1.5, 2.0, 3.0, 8.0])
def test_samples_have_the_distribution_function_of_the_density(p):
    """Kolmogorov's distance from the integral of exp(-|w|^p / p)."""
    n = 40_000
    w = generalized_gaussian(numbered(400), n // 400, p).flatten().double().sort().values
    inside = torch.special.gammainc(torch.tensor(1 / p).double(), w.abs() ** p / p)
    expected = (1 + w.sign() * inside) / 2
    assert (expected - (torch.arange(n) + 0.5) / n).abs().max() < 2.0 / math.sqrt(n)


@pytest.mark.parametrize(("p", "mu"), CASES)
def test_samples_have_the_moments_in_closed_form(p, mu):
    y = rectified_samples(numbered(2000), 100, p, mu).double()
    mean, variance = rectified_moments(p, mu, unit_sigma(p))
    assert y.mean().item() == pytest.approx(mean, abs=5 * math.sqrt(variance / y.numel()))
    assert y.var().item() == pytest.approx(variance, rel=0.05)
    assert (y >= 0).all()


def test_moments_equal_numerical_integrals():
    for p, mu, sigma in ((1.0, -0.7, 1.3), (2.0, 0.4, 0.6), (3.0, -1.0, 2.0), (0.5, 0.2, 0.4)):
        w = torch.linspace(-200, 200, 4_000_001, dtype=torch.float64)
        density = torch.exp(-(w.abs() ** p) / p)
        y, density = (mu + sigma * w).relu(), density / density.sum()
        mean = (density @ y).item()
        wanted = (mean, (density @ (y - mean).square()).item())
        assert rectified_moments(p, mu, sigma) == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize(("p", "mu"), CASES)
def test_the_rectified_sigma_gives_variance_one(p, mu):
    assert rectified_moments(p, mu, rectified_sigma(p, mu))[1] == pytest.approx(1, rel=1e-9)


def test_a_lower_mu_gives_more_zeros():
    zeros = [(rectified_samples(numbered(500), 20, 1.0, mu) == 0).float().mean().item() for mu in (1, 0, -1)]
    assert zeros == pytest.approx([0.5 * math.exp(-math.sqrt(2)), 0.5, 1 - 0.5 * math.exp(-math.sqrt(2))], abs=0.02)


def test_samples_are_functions_of_the_row_the_step_and_the_stream():
    whole = rectified_samples(Random(1, 2, torch.arange(6)), 4, 3.0)
    assert torch.equal(rectified_samples(Random(1, 2, torch.tensor([5, 0])), 4, 3.0), whole[[5, 0]])
    assert not torch.equal(rectified_samples(Random(1, 3, torch.arange(6)), 4, 3.0), whole)
    assert not torch.equal(rectified_samples(Random(1, 2, torch.arange(6)), 4, 3.0, stream="other view"), whole)


def test_the_distance_equals_the_best_matching_of_each_projection():
    """The 2-Wasserstein distance is the smallest mean squared gap over all matchings."""
    z, y, directions = numbered(4).normal("z", 3), numbered(4).normal("y", 3), along(3, 5)
    a, b = z @ directions, y @ directions
    orders = [list(order) for order in permutations(range(4))]
    best = torch.stack([(a - b[order]).square().mean(0) for order in orders]).min(0).values
    torch.testing.assert_close(rdmreg(z, y, directions), best.mean())


def test_the_order_of_rows_does_not_matter_and_equal_sets_are_at_distance_zero():
    z, y, directions = numbered(8).normal("z", 3), numbered(8).normal("y", 3), along(3, 20)
    torch.testing.assert_close(rdmreg(z, y.flip(0), directions), rdmreg(z, y, directions))
    assert rdmreg(z, z.roll(1, 0), directions).item() == 0


def test_gradient_is_that_of_the_value_and_samples_get_none():
    z, y = numbered(6).normal("z", 4).requires_grad_(), numbered(6).normal("y", 4).requires_grad_()
    directions, step = along(4, 7), 1e-2 * numbered(6).normal("step", 4)
    rdmreg(z, y, directions).backward()
    assert y.grad is None and z.grad is not None
    with torch.no_grad():
        slope = (rdmreg(z + step, y, directions) - rdmreg(z - step, y, directions)) / 2
    assert (z.grad * step).sum().item() == pytest.approx(slope.item(), rel=1e-2)


def test_descent_makes_collapsed_embeddings_sparse_with_the_moments_of_the_target():
    z = (0.1 * numbered(128).normal("z", 4) + 0.3).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.05)
    for step in range(300):
        random = numbered(128, step=step)
        optimizer.zero_grad()
        rdmreg(z.relu(), rectified_samples(random, 4), unit_directions(4, 64, random.shared("along"))).backward()
        optimizer.step()
    y = z.detach().relu()
    mean, variance = rectified_moments(1.0, 0.0, unit_sigma(1.0))
    assert y.mean(0).tolist() == pytest.approx([mean] * 4, abs=0.1)
    assert y.var(0).tolist() == pytest.approx([variance] * 4, abs=0.2)
    assert 0.3 < (y < 0.02).float().mean() < 0.7


def test_wrong_input_is_refused(unchecked):
    with pytest.raises(ShapeError, match="one shape"):
        rdmreg(torch.zeros(4, 3), torch.zeros(5, 3), along(3, 2))
    with pytest.raises(ShapeError, match="directions"):
        rdmreg(torch.zeros(4, 3), torch.zeros(4, 3), along(2, 3))
    with pytest.raises(ConfigError, match="p is 0"):
        unit_sigma(0)
    with pytest.raises(ConfigError, match="sigma is -1"):
        rectified_samples(numbered(2), 3, sigma=-1)
