"""Gaussians equal torch.distributions, quadrature and grids in float64; divergences vanish for equals alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from armillary.errors import ShapeError
from armillary.functional.gaussian import (
    BOUND,
    Gaussian,
    bounded,
    cross_entropy,
    kl,
    log_density,
    product,
    sample,
    split,
    standard,
    unbounded,
)
from armillary.randomness import Random, numbered


def drawn(seed: int, *shape: int, scale: float = 1.0, rows: int = 5) -> Gaussian:
    random = numbered(rows, seed)
    return Gaussian(scale * random.normal("mean", *shape), 2 * random.normal("log_variance", *shape))


def exact(g: Gaussian) -> Normal:
    """The same in float64."""
    return Normal(g.mean.double(), (g.log_variance.double() / 2).exp())


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4])
@pytest.mark.parametrize("width", [1, 3])
def test_divergence_and_density_equal_torch_distributions(width, scale):
    q, p = drawn(0, 4, width, scale=scale), drawn(1, 4, width, scale=scale)
    torch.testing.assert_close(kl(q, p).double(), kl_divergence(exact(q), exact(p)), rtol=1e-5, atol=1e-6)
    x = numbered(5, 2).normal("x", 4, width) * (1 + scale)
    torch.testing.assert_close(log_density(p, x).double(), exact(p).log_prob(x.double()), rtol=1e-5, atol=1e-5)


def test_cross_entropy_equals_quadrature_over_draws():
    q, p = drawn(0, 3), drawn(1, 3)
    nodes, weights = (torch.from_numpy(x) for x in np.polynomial.hermite_e.hermegauss(5))  # exact for quadratics
    at = exact(q).mean[..., None] + exact(q).stddev[..., None] * nodes
    inside = Normal(exact(p).mean[..., None], exact(p).stddev[..., None]).log_prob(at)
    wanted = -(inside * weights).sum(-1) / weights.sum()
    torch.testing.assert_close(cross_entropy(q, p).double(), wanted, rtol=1e-5, atol=1e-5)


def test_divergence_is_cross_entropy_minus_entropy():
    q, p = drawn(3, 7), drawn(4, 7)
    torch.testing.assert_close(
        kl(q, p).double(), cross_entropy(q, p).double() - exact(q).entropy(), rtol=1e-4, atol=1e-4
    )


def test_divergence_is_zero_for_equals_and_above_zero_for_others():
    q = drawn(0, 64, rows=50)
    assert kl(q, q).abs().max() == 0
    for step in (1e-2, 1.0):
        assert kl(q, Gaussian(q.mean + step * q.std, q.log_variance)).min() > 0
        assert kl(q, Gaussian(q.mean, q.log_variance + step)).min() > 0
        assert kl(q, Gaussian(q.mean, q.log_variance - step)).min() > 0
    for step in (1e-8, 1e-6, 1e-4):  # so near that 1 + x is 1: rounding, but nothing of note below 0
        assert kl(Gaussian(q.mean, q.log_variance + step), q).min() > -1e-9


def test_divergence_does_not_change_with_unit_and_origin():
    q, p = drawn(0, 6), drawn(1, 6)
    moved = [Gaussian(3 * g.mean - 1, g.log_variance + 2 * np.log(3)) for g in (q, p)]
    torch.testing.assert_close(kl(*moved), kl(q, p), rtol=1e-4, atol=1e-4)


def test_fixed_variance_makes_the_gradient_that_of_half_the_squared_error():
    """VJEPA's special case: JEPA's squared loss."""
    predicted, target = drawn(0, 6).mean.requires_grad_(), drawn(1, 6)
    (found,) = torch.autograd.grad(cross_entropy(target, Gaussian(predicted, torch.zeros(5, 6))).sum(), predicted)
    torch.testing.assert_close(found, predicted.detach() - target.mean)


def test_product_is_the_normalized_product_of_densities_on_a_grid():
    one, other = drawn(0, 1, rows=4), drawn(1, 1, rows=4)
    both = product(one, other)
    grid = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
    for row in range(4):
        log = sum(Normal(exact(g).mean[row], exact(g).stddev[row]).log_prob(grid) for g in (one, other))
        density = (log - log.max()).exp()
        density = density / density.sum()
        mean = (grid * density).sum()
        assert both.mean[row].item() == pytest.approx(mean.item(), rel=1e-4, abs=1e-4)
        assert both.variance[row].item() == pytest.approx(((grid - mean).square() * density).sum().item(), rel=1e-3)


def test_product_commutes_sharpens_and_ignores_a_vague_expert():
    one, other = drawn(0, 8), drawn(1, 8)
    there, back = product(one, other), product(other, one)
    torch.testing.assert_close(there.mean, back.mean)
    torch.testing.assert_close(there.log_variance, back.log_variance)
    assert (there.std <= torch.minimum(one.std, other.std)).all()
    vague = product(one, Gaussian(other.mean, torch.full_like(other.mean, 60.0)))
    torch.testing.assert_close(vague.mean, one.mean)
    torch.testing.assert_close(vague.log_variance, one.log_variance)
    static = product(one, Gaussian(other.mean[0], other.log_variance[0]))  # one expert for all rows
    torch.testing.assert_close(static.mean[3], product(*(Gaussian(g.mean[i], g.log_variance[i]) for g, i in
                                                         ((one, 3), (other, 0)))).mean)  # fmt: skip


def test_draws_have_the_moments_and_carry_gradients():
    q = Gaussian(torch.tensor([[1.0, -2.0]]).expand(20_000, 2), torch.tensor([[-2.0, 3.0]]).expand(20_000, 2))
    x = sample(q, numbered(20_000), "x").double()
    torch.testing.assert_close(x.mean(0), q.mean[0].double(), atol=0.1, rtol=0)
    torch.testing.assert_close(x.var(0), q.log_variance[0].exp().double(), rtol=0.05, atol=0)
    mean, log_variance = torch.zeros(4, 3, requires_grad=True), torch.ones(4, 3, requires_grad=True)
    drawn = sample(Gaussian(mean, log_variance), numbered(4), "x")
    by_mean, by_variance = torch.autograd.grad(drawn.sum(), [mean, log_variance])
    torch.testing.assert_close(by_mean, torch.ones(4, 3))
    torch.testing.assert_close(by_variance, drawn.detach() / 2)  # d std noise / d log variance = std noise / 2


def test_draws_follow_the_identity_of_the_row():
    q = drawn(0, 2, 3)
    order = torch.tensor([4, 0, 2, 1, 3])
    x = sample(q, numbered(5), "x")
    y = sample(Gaussian(q.mean[order], q.log_variance[order]), Random(0, 0, order), "x")
    assert torch.equal(x[order], y) and not torch.equal(x, sample(q, numbered(5), "other"))


def test_log_variances_are_bounded_and_never_without_gradient():
    x = torch.tensor([-60.0, -0.1, 0.0, 0.1, 60.0], requires_grad=True)
    y = bounded(x)
    assert (y.abs() <= BOUND).all() and (y[1:4] - x[1:4]).abs().max() < 1e-4
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert (slope > 0).all()
    assert [bounded(torch.tensor(unbounded(v))).item() for v in (-9.0, 0.0, 4.0)] == pytest.approx([-9, 0, 4], rel=1e-5)
    g = split(torch.cat([torch.full((2, 3), 7.0), torch.zeros(2, 3)], -1))
    assert (g.mean == 7).all() and (g.std == 1).all() and torch.equal(standard(g.mean).std, g.std)


def test_half_precision_is_computed_in_float32():
    q, p = drawn(0, 4), drawn(1, 4)
    half = [Gaussian(g.mean.bfloat16(), g.log_variance.bfloat16()) for g in (q, p)]
    full = [Gaussian(g.mean.float(), g.log_variance.float()) for g in half]
    for function in (kl, cross_entropy):
        assert torch.equal(function(*half), function(*full)) and function(*half).dtype == torch.float32


def test_other_widths_are_refused_in_words(unchecked):
    one, two = drawn(0, 3), drawn(0, 4)
    for function in (kl, cross_entropy, product):
        with pytest.raises(ShapeError, match=r"one width.*\(5, 3\) and \(5, 4\)"):
            function(one, two)
    with pytest.raises(ShapeError, match="one width"):
        log_density(one, two.mean)
    with pytest.raises(ShapeError, match="odd"):
        split(torch.zeros(2, 5))
