"""Kernel discrepancies equal plain loops and integrals, vanish at the target, and lead embeddings there."""

from __future__ import annotations

import math

import pytest
import torch

from armillary.errors import ConfigError, ShapeError
from armillary.functional.discrepancy import ksd, mmd, sliced_ksd, sliced_mmd, sliced_mmd_limit
from armillary.functional.regularize import epps_pulley, unit_directions
from armillary.randomness import numbered

KERNELS = ["gaussian", "imq"]


def normal(rows: int, width: int, seed: int = 0) -> torch.Tensor:
    return numbered(rows, seed).normal("z", width).double()


def kernel_of(name: str, x: torch.Tensor, y: torch.Tensor, h: float) -> torch.Tensor:
    square = (x - y).square().sum(-1)
    return torch.exp(-square / (2 * h * h)) if name == "gaussian" else (1 + square / h**2) ** -0.5


def stein(name: str, x: torch.Tensor, y: torch.Tensor, h: float) -> torch.Tensor:
    """The Stein kernel of a standard normal from its definition, by automatic differentiation."""
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    k = kernel_of(name, x, y, h)
    by_x, by_y = torch.autograd.grad(k, [x, y], create_graph=True)
    trace = sum(torch.autograd.grad(by_x[i], y, retain_graph=True)[0][i] for i in range(len(x)))
    return ((x @ y) * k - x @ by_y - y @ by_x + trace).detach()


def pairs(z: torch.Tensor, unbiased: bool) -> list[tuple[int, int]]:
    return [(i, j) for i in range(len(z)) for j in range(len(z)) if i != j or not unbiased]


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("name", KERNELS)
def test_ksd_equals_the_loop_over_its_definition(name, unbiased):
    z, h = 1.3 * normal(5, 3) + 0.2, 1.7
    wanted = torch.stack([stein(name, z[i], z[j], h) for i, j in pairs(z, unbiased)]).mean()
    torch.testing.assert_close(ksd(z, name, h, unbiased), wanted)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("h", [0.8, 4.0])
def test_mmd_equals_a_loop_with_integrals_over_the_normal(name, h, unbiased):
    """In two dimensions the expectations over the normal are sums over a fine grid."""
    z = 1.3 * normal(6, 2) + 0.2
    line = torch.linspace(-8, 8, 161, dtype=torch.float64)
    grid = torch.cartesian_prod(line, line)
    density = torch.softmax(-grid.square().sum(1) / 2, 0)
    within = torch.stack([kernel_of(name, z[i], z[j], h) for i, j in pairs(z, unbiased)]).mean()
    across = torch.stack([density @ kernel_of(name, row, grid, h) for row in z]).mean()
    double = torch.linspace(-12, 12, 241, dtype=torch.float64)  # y - y' has variance 2
    gap = torch.cartesian_prod(double, double)
    target = torch.softmax(-gap.square().sum(1) / 4, 0) @ kernel_of(name, gap, torch.zeros(2).double(), h)
    torch.testing.assert_close(mmd(z, name, h, unbiased), within - 2 * across + target, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", KERNELS)
def test_mmd_in_many_dimensions_agrees_with_samples_of_the_normal(name):
    z, y = 1.5 * normal(20, 64), normal(2000, 64, seed=1)
    h = math.sqrt(2 * 64)
    across = kernel_of(name, z[:, None], y[None], h).mean()
    target = kernel_of(name, y[:700, None], y[None, 700:], h).mean()
    within = torch.stack([kernel_of(name, z[i], z[j], h) for i, j in pairs(z, True)]).mean()
    assert mmd(z, name).item() == pytest.approx((within - 2 * across + target).item(), abs=3e-3)


def test_sigreg_over_all_frequencies_is_sliced_gaussian_mmd():
    z, directions = 1.4 * normal(50, 6).float() + 0.3, unit_directions(6, 20, torch.Generator().manual_seed(0))
    statistic = epps_pulley(z @ directions, knots=200, limit=10.0)
    mine = sliced_mmd(z, directions, "gaussian", 1.0, unbiased=False)
    torch.testing.assert_close(statistic, mine * len(z) * math.sqrt(2 * math.pi), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("width", [2, 3, 16])
@pytest.mark.parametrize("unbiased", [False, True])
def test_the_limit_is_that_of_many_directions(width, unbiased):
    z = 1.4 * normal(12, width) + 0.3
    directions = unit_directions(width, 40_000, torch.Generator().manual_seed(0))
    many = sliced_mmd(z, directions, unbiased=unbiased)
    assert sliced_mmd_limit(z, unbiased=unbiased).item() == pytest.approx(many.item(), abs=2e-3, rel=1e-2)


def test_the_limit_kernel_is_kummers_function():
    """1F1(1/2; D/2; -a) by its power series; two rows a distance apart isolate the kernel."""
    for width, a in ((2, 0.5), (3, 2.0), (7, 6.0), (64, 20.0)):
        term, series = 1.0, 1.0
        for n in range(200):
            term *= -a * (0.5 + n) / ((width / 2 + n) * (n + 1))
            series += term
        apart, same = torch.zeros(2, 2, width, dtype=torch.float64)
        apart[0, 0] = math.sqrt(2 * a)
        same[:, 0] = math.sqrt(2 * a)
        zero = torch.zeros(2, width, dtype=torch.float64)
        found = sliced_mmd_limit(apart) - (sliced_mmd_limit(same) + sliced_mmd_limit(zero)) / 2 + 1
        assert found.item() == pytest.approx(series, rel=1e-5)


def test_in_one_dimension_slicing_changes_nothing():
    z, along = 1.3 * normal(9, 1), torch.tensor([[1.0, -1.0]])
    for name in KERNELS:
        torch.testing.assert_close(sliced_mmd(z, along, name, 1.3), mmd(z, name, 1.3), rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(sliced_ksd(z, along, name, 1.3), ksd(z, name, 1.3))
    torch.testing.assert_close(sliced_mmd_limit(z), mmd(z, "gaussian", 1.0))


LOSSES = {
    "mmd gaussian": lambda z: mmd(z, "gaussian"),
    "mmd imq": lambda z: mmd(z, "imq"),
    "limit": sliced_mmd_limit,
    "ksd gaussian": lambda z: ksd(z, "gaussian"),
    "ksd imq": lambda z: ksd(z, "imq"),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_unbiased_estimates_average_to_zero_at_the_target_and_are_large_off_it(loss):
    at_target = torch.stack([loss(normal(128, 16, seed)) for seed in range(30)])
    assert at_target.mean().abs() < 4 * at_target.std() / math.sqrt(30)
    z = normal(128, 16)
    dimensional = z * torch.tensor([1.0] * 8 + [0.0] * 8)
    for wrong in (torch.zeros_like(z) + z[:1], 0.4 * z, 2 * z, z + 1, dimensional):
        assert loss(wrong) > at_target.mean() + 3 * at_target.std()


@pytest.mark.parametrize("name", KERNELS)
def test_v_statistics_are_never_negative(name):
    z = normal(32, 8)
    directions = unit_directions(8, 10, torch.Generator().manual_seed(0))
    values = [mmd(z, name, unbiased=False), ksd(z, name, unbiased=False)]
    values += [sliced(z, directions, name, unbiased=False) for sliced in (sliced_mmd, sliced_ksd)]
    assert min(values) > 0


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("name", KERNELS)
def test_gradients_are_those_of_the_values(name, unbiased):
    z = normal(5, 4).requires_grad_()
    directions = unit_directions(4, 3, torch.Generator().manual_seed(0))
    for loss in (mmd, ksd):
        assert torch.autograd.gradcheck(lambda z, loss=loss: loss(z, name, None, unbiased), z)
    for loss in (sliced_mmd, sliced_ksd):
        assert torch.autograd.gradcheck(lambda z, loss=loss: loss(z, directions, name, 1.0, unbiased), z)
    assert torch.autograd.gradcheck(lambda z: sliced_mmd_limit(z, 1.0, unbiased), z)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_descent_from_a_narrow_shifted_cloud_ends_white(loss):
    z = (0.1 * normal(64, 4).float() @ torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.1])) + 0.7).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        loss(z).backward()
        optimizer.step()
    z = z.detach()
    assert z.mean(0).abs().max() < 0.1
    assert (torch.cov(z.T) - torch.eye(4)).abs().max() < 0.3  # a U-statistic of few rows spreads them a little too far


def test_bfloat16_is_computed_in_float32():
    z = normal(16, 8).bfloat16()
    directions = unit_directions(8, 4, torch.Generator().manual_seed(0))
    for loss in (mmd, ksd, sliced_mmd_limit, lambda z: sliced_mmd(z, directions)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = loss(z)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, loss(z.float()))


def test_wrong_input_is_refused(unchecked):
    z = torch.zeros(4, 3)
    with pytest.raises(ShapeError, match="at least 2 rows"):
        mmd(torch.zeros(1, 3))
    with pytest.raises(ShapeError, match="at least 2 rows"):
        ksd(torch.zeros(2, 2, 3))
    with pytest.raises(ConfigError, match="bandwidth is 0"):
        ksd(z, bandwidth=0)
    with pytest.raises(ConfigError, match="'gaussian' and 'imq'"):
        mmd(z, "laplace")  # type: ignore[arg-type]
