"""Rotary positions as released: written again as matrices, relative nowhere promised, unturned rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from armillary.errors import ShapeError
from armillary.functional.rotary import rotated, rotation
from armillary.randomness import numbered


def by_matrices(x: np.ndarray, pos: np.ndarray) -> np.ndarray:
    """float64, one token and one pair of features at a time."""
    out, share = x.copy(), x.shape[1] // (2 * pos.shape[1])
    for n, token in enumerate(x):
        for p, coordinate in enumerate(pos[n]):
            first = 2 * share * p
            for i in range(0, 2 * share, 2):
                one, two = (coordinate / 10_000 ** ((j % share) / share) for j in (i, i + 1))
                a, b = token[first + i], token[first + i + 1]
                out[n, first + i] = a * np.cos(one) - b * np.sin(one)
                out[n, first + i + 1] = b * np.cos(two) + a * np.sin(two)
    return out


@pytest.mark.parametrize("width", [6, 8, 25, 32])
def test_features_are_turned_by_the_formula_in_float64(width):
    x = numbered(5).normal("x", width)
    pos = torch.tensor([[0.0, 0, 0], [1, 2, 3], [7, 0, 1], [2, 15, 11], [40, 3, 9]])
    found = rotated(x, rotation(pos, width))
    np.testing.assert_allclose(found.numpy(), by_matrices(x.double().numpy(), pos.numpy()), rtol=1e-4, atol=1e-5)


def test_the_origin_and_what_is_left_of_the_width_are_not_turned():
    x = numbered(4).normal("x", 2, 4, 25)
    assert torch.equal(rotated(x, rotation(torch.zeros(4, 3), 25)), x)
    moved = rotated(x, rotation(torch.rand(4, 3) + 1, 25))
    assert torch.equal(moved[..., 24], x[..., 24]) and (moved[..., :24] - x[..., :24]).abs().min() > 0


def test_half_precision_is_kept_and_computed_in_float32():
    x, turn = numbered(4).normal("x", 12), rotation(torch.arange(12.0).view(4, 3), 12)
    half = rotated(x.bfloat16(), turn)
    assert half.dtype == torch.bfloat16 and torch.equal(half, rotated(x.bfloat16().float(), turn).bfloat16())


def test_heads_without_a_pair_for_each_coordinate_are_refused():
    with pytest.raises(ShapeError, match="6 or wider"):
        rotation(torch.zeros(2, 3), 5)
