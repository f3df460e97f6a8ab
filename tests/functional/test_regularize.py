"""SIGReg: equal to the plain formula, value and gradient; it ranks collapse; it refuses one sample."""

from __future__ import annotations

import pytest
import torch

from armillary.errors import ShapeError
from armillary.functional.regularize import epps_pulley, knots_and_weights, sigreg, unit_directions


def plain(z: torch.Tensor, directions: torch.Tensor, knots: int = 17, limit: float = 3.0) -> torch.Tensor:
    """The formula of the paper, with every cosine stored."""
    t, phi, weight = (x.to(z.dtype) for x in knots_and_weights(knots, limit))
    angle = (z @ directions.to(z.dtype))[..., None] * t
    gap = (angle.cos().mean(-3) - phi).square() + angle.sin().mean(-3).square()
    return (gap @ weight).mean() * z.shape[-2]


@pytest.mark.parametrize(("knots", "limit"), [(17, 3.0), (21, 5.0), (5, 2.0)])
def test_value_and_gradient_equal_the_plain_formula(knots, limit):
    z = torch.randn(3, 64, 16, generator=torch.Generator().manual_seed(0)) * 1.5 + 0.3
    directions = unit_directions(16, 300, torch.Generator().manual_seed(1))
    ours, theirs = z.clone().requires_grad_(), z.double().requires_grad_()
    sigreg(ours, directions, knots, limit).mul(0.7).backward()
    plain(theirs, directions, knots, limit).mul(0.7).backward()
    torch.testing.assert_close(
        sigreg(z, directions, knots, limit).double(), plain(z.double(), directions, knots, limit), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(ours.grad.double(), theirs.grad, rtol=1e-4, atol=1e-6)


def test_worse_distributions_have_larger_values():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(512, 16, generator=generator)
    directions = unit_directions(16, 256, generator)
    low_rank = z * torch.tensor([1.0] * 2 + [0.0] * 14)
    values = [float(sigreg(x, directions)) for x in (z, z * 1.3, low_rank, torch.zeros_like(z))]
    assert values == sorted(values) and values[0] < 1.5


def test_bfloat16_context_does_not_coarsen_the_statistic():
    z, directions = torch.randn(64, 8), unit_directions(8, 32, torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(sigreg(z, directions), sigreg(z, directions))
        assert sigreg(z, directions).dtype == torch.float32


def test_one_sample_is_refused():
    with pytest.raises(ShapeError, match="at least 2 samples"):
        epps_pulley(torch.zeros(1, 4))
