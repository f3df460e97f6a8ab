"""Covariance terms: zero for white embeddings, large for collapsed ones, with a gradient that spreads them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes

from armillary.errors import ShapeError
from armillary.functional.decorrelate import (
    barlow_twins,
    covariance,
    cross_correlation,
    off_diagonal,
    variance_covariance,
    variance_hinge,
)
from armillary.randomness import numbered


def test_covariance_is_that_of_torch():
    z = numbered(40).normal("z", 7)
    assert torch.allclose(covariance(z), torch.cov(z.T), atol=1e-6)


def test_a_constant_embedding_pays_the_whole_hinge_and_its_gradient_is_finite():
    z = torch.ones(8, 5, requires_grad=True)
    value = variance_hinge(covariance(z))
    value.backward()
    assert value.item() == pytest.approx(1 - 1e-2) and z.grad is not None and z.grad.isfinite().all()


def test_copies_of_a_dimension_are_what_the_covariance_term_sees():
    z = numbered(500).normal("z", 4)
    apart, copied = off_diagonal(covariance(z)), off_diagonal(covariance(z[:, [0, 0, 0, 0]]))
    assert apart < 0.1 and copied > 8


def test_gradient_descent_on_hinge_and_covariance_makes_dimensions_independent():
    z = (numbered(64).normal("z", 1) * torch.ones(4) * 0.1 + 0.01 * numbered(64).normal("n", 4)).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.02)
    for _ in range(400):
        optimizer.zero_grad()
        c = covariance(z)
        (25 * variance_hinge(c) + off_diagonal(c) / 4).backward()
        optimizer.step()
    c = covariance(z).detach()
    assert c.diagonal().sqrt().min() > 0.95 and off_diagonal(c) < 0.01


def test_barlow_twins_vanishes_for_equal_white_views_and_is_symmetric():
    one, two = numbered(2000).normal("a", 3), numbered(2000).normal("b", 3)
    assert barlow_twins(cross_correlation(one, one)) < 0.01
    there, back = cross_correlation(one, two), cross_correlation(two, one)
    assert torch.allclose(there, back.T, atol=1e-6)
    assert barlow_twins(there).item() == pytest.approx(barlow_twins(back).item(), rel=1e-4)


def test_one_row_is_refused():
    with pytest.raises(ShapeError, match="at least 2 rows"):
        covariance(torch.zeros(1, 3))


def terms(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    spread = covariance(one)
    return variance_hinge(spread, 2.0) + off_diagonal(spread) + barlow_twins(cross_correlation(one, two))


def rows(rank: int, ranks: int) -> list[torch.Tensor]:
    """Two views of this rank's share of 12 rows."""
    return [numbered(12, seed).normal("z", 5).chunk(ranks)[rank].clone().requires_grad_() for seed in (0, 1)]


def shared(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    views = rows(rank, 2)
    value = terms(*views)
    value.backward()
    torch.save([value.detach(), views[0].grad / 2], f"{folder}/{rank}.pt")  # averaged, as data-parallel training does
    dist.destroy_process_group()


def test_two_processes_give_the_terms_and_gradients_of_one(tmp_path: Path):
    processes.spawn(shared, (str(tmp_path),), nprocs=2)
    views = rows(0, 1)
    value = terms(*views)
    value.backward()
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    assert all(torch.allclose(other, value, rtol=1e-5) for other, _ in found)
    assert torch.allclose(torch.cat([gradient for _, gradient in found]), views[0].grad, atol=1e-5)


def test_vicreg_terms_of_one_view_are_hinge_and_covariance_over_width():
    z = 0.5 * numbered(30).normal("z", 6)
    variance, decorrelation = variance_covariance(z)
    std = (z.var(0) + 1e-4).sqrt()
    outside = torch.cov(z.T) - torch.diag(z.var(0))
    assert variance.item() == pytest.approx((1 - std).relu().mean().item(), rel=1e-4)
    assert decorrelation.item() == pytest.approx((outside.square().sum() / 6).item(), rel=1e-4)
