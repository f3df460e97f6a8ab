"""Reciprocal ranks: 1 for perfect equivariance, 2 / (S + 1) for invariance, chance for guesses."""

from __future__ import annotations

import pytest
import torch

from armillary.diagnostics.equivariance import reciprocal_rank
from armillary.errors import ShapeError


def test_perfect_predictions_have_rank_one():
    target = torch.randn(3, 256, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(reciprocal_rank(target.clone(), target), torch.ones(3))


def test_an_invariant_model_gets_what_ties_give():
    """All copies have one embedding, and so do predictions."""
    same = torch.randn(2, 1, 4).expand(-1, 256, -1)
    assert torch.allclose(reciprocal_rank(same, same), torch.full((2,), 2 / 257))


def test_guesses_get_chance():
    draw = torch.Generator().manual_seed(0)
    predicted, target = (torch.randn(40, 64, 8, generator=draw) for _ in range(2))
    chance = sum(1 / k for k in range(1, 65)) / 64
    assert abs(float(reciprocal_rank(predicted, target).mean()) - chance) < 0.02


def test_second_place_counts_half():
    target = torch.tensor([[[0.0], [1.0], [10.0]]])
    predicted = torch.tensor([[[0.9], [1.0], [10.0]]])  # the first is nearer to the second's target
    assert torch.allclose(reciprocal_rank(predicted, target), torch.tensor([(0.5 + 1 + 1) / 3]))


def test_shapes_must_be_equal():
    with pytest.raises(ShapeError, match=r"\[B, S, D\]"):
        reciprocal_rank(torch.zeros(2, 3, 4), torch.zeros(2, 4, 4))
