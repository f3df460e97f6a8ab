"""Tokens are sets with coordinates; gather works row by row."""

from __future__ import annotations

import torch

from armillary.types import Tokens, gather


def test_gather_takes_each_row_from_itself():
    x = torch.arange(24.0).view(2, 4, 3)
    index = torch.tensor([[[0, 1]], [[3, 3]]])
    out = gather(x, index)
    assert (
        out.shape == (2, 1, 2, 3)
        and out[1, 0, 0].tolist() == x[1, 3].tolist()
        and out[0, 0, 1].tolist() == x[0, 1].tolist()
    )


def test_take_keeps_coordinates_and_validity_with_the_embeddings():
    tokens = Tokens(torch.randn(1, 3, 2), torch.tensor([[[0.0], [1.0], [2.0]]]), torch.tensor([[True, False, True]]))
    taken = tokens.take(torch.tensor([[2, 1]]))
    assert taken.pos.flatten().tolist() == [2.0, 1.0] and taken.valid.tolist() == [[True, False]]


def test_pooled_ignores_what_is_not_valid():
    tokens = Tokens(torch.tensor([[[1.0], [100.0], [3.0]]]), torch.zeros(1, 3, 1), torch.tensor([[True, False, True]]))
    assert tokens.pooled().item() == 2.0
