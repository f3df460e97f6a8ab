"""Contrastive losses equal slow loops, are symmetric, and refuse what has no negatives."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from armillary.errors import ShapeError
from armillary.functional.contrast import info_nce, negative_cosine, nt_xent
from armillary.randomness import numbered


def views(rows: int = 6, width: int = 5) -> list[torch.Tensor]:
    return [numbered(rows, seed).normal("z", width).requires_grad_() for seed in (0, 1)]


def slow_nt_xent(one: torch.Tensor, two: torch.Tensor, temperature: float) -> torch.Tensor:
    """Equation 1 of SimCLR for each of the 2 N views, term by term."""
    z = F.normalize(torch.cat([one, two]), dim=1)
    count, total = len(one), torch.zeros(())
    for i in range(2 * count):
        j = (i + count) % (2 * count)
        others = sum(torch.exp(z[i] @ z[k] / temperature) for k in range(2 * count) if k != i)
        total = total - torch.log(torch.exp(z[i] @ z[j] / temperature) / others)
    return total / (2 * count)


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_equals_its_equation_in_value_and_gradient(temperature):
    one, two = views()
    found = torch.autograd.grad(nt_xent(one, two, temperature), [one, two])
    wanted = torch.autograd.grad(slow_nt_xent(one, two, temperature), [one, two])
    torch.testing.assert_close(nt_xent(one, two, temperature), slow_nt_xent(one, two, temperature))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def test_nt_xent_is_symmetric_in_its_views():
    one, two = views()
    torch.testing.assert_close(nt_xent(one, two), nt_xent(two, one))


def test_nt_xent_of_indistinguishable_rows_is_the_logarithm_of_all_candidates():
    same = torch.ones(8, 4)
    assert nt_xent(same, same).item() == pytest.approx(math.log(2 * 8 - 1), rel=1e-5)


def test_info_nce_of_indistinguishable_rows_is_the_logarithm_of_the_keys_times_2t():
    same = torch.ones(8, 4)
    assert info_nce(same, same, 0.2).item() == pytest.approx(0.4 * math.log(8), rel=1e-5)


@pytest.mark.parametrize("loss", [nt_xent, info_nce, negative_cosine])
def test_only_directions_count(loss):
    one, two = views()
    scale = torch.linspace(0.1, 9, len(one))[:, None]
    torch.testing.assert_close(loss(one * scale, two), loss(one, two))


@pytest.mark.parametrize("loss", [nt_xent, info_nce])
def test_matched_rows_cost_less_than_permuted_ones(loss):
    one, _ = views(16, 8)
    assert loss(one, one + 0.1) < loss(one, one.roll(1, 0) + 0.1) - 0.5


def test_info_nce_gives_no_gradient_to_detached_keys_but_one_to_queries():
    query, key = views()
    info_nce(query, key.detach()).backward()
    assert key.grad is None and query.grad is not None and query.grad.abs().sum() > 0


def test_negative_cosine_spans_minus_one_to_one_and_gives_byols_distance():
    p, z = views()
    assert negative_cosine(p, 3 * p).item() == pytest.approx(-1, abs=1e-6)
    assert negative_cosine(p, -p).item() == pytest.approx(1, abs=1e-6)
    byol = (F.normalize(p, dim=1) - F.normalize(z, dim=1)).square().sum(1).mean()
    torch.testing.assert_close(2 + 2 * negative_cosine(p, z), byol)


def test_half_precision_views_are_compared_in_float32():
    one, two = (view.detach().bfloat16() for view in views())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [nt_xent(one, two), info_nce(one, two), negative_cosine(one, two)]
    wanted = [loss(one.float(), two.float()) for loss in (nt_xent, info_nce, negative_cosine)]
    assert all(value.dtype == torch.float32 for value in found)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("loss", [nt_xent, info_nce])
def test_one_row_has_no_negatives_and_is_refused(loss):
    with pytest.raises(ShapeError, match="at least 2 rows"):
        loss(torch.zeros(1, 3), torch.zeros(1, 3))


@pytest.mark.parametrize("loss", [nt_xent, info_nce, negative_cosine])
def test_views_of_different_shapes_are_refused(loss, unchecked):
    with pytest.raises(ShapeError, match="one shape"):
        loss(torch.zeros(4, 3), torch.zeros(5, 3))
