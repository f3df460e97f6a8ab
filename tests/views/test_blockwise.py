"""Blockwise masks: as many patches as asked, in blocks, anywhere, each sample for itself."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from armillary.errors import ConfigError
from armillary.randomness import Random, numbered
from armillary.views.blockwise import blockwise


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 1000))
def test_exactly_as_many_as_asked_are_hidden(rows, columns, seed):
    count = torch.tensor([0, 1, rows * columns // 2, rows * columns])
    mask = blockwise(rows, columns, numbered(4, seed), count)
    assert mask.shape == (4, rows * columns) and torch.equal(mask.sum(1), count)


def test_hidden_patches_lie_together_and_everywhere():
    mask = blockwise(14, 14, numbered(500), torch.full((500,), 60)).view(-1, 14, 14).float()
    neighbors = (mask[:, :, 1:] * mask[:, :, :-1]).sum() / mask[:, :, 1:].sum()
    assert neighbors > 0.75  # single patches would give 60 / 196 = 0.31
    assert mask.mean(0).min() > 0


def test_masks_are_symmetric():
    share = blockwise(8, 8, numbered(4000), torch.full((4000,), 32)).view(-1, 8, 8).float().mean(0)
    for other in (share.flip(0), share.flip(1), share.T):
        assert (share - other).abs().max() < 0.06


def test_a_mask_is_a_function_of_its_sample():
    count = torch.full((6,), 20)
    together = blockwise(8, 8, Random(1, 2, torch.tensor([5, 3, 8, 1, 0, 2])), count)
    alone = blockwise(8, 8, Random(1, 2, torch.tensor([8])), count[:1])
    assert torch.equal(together[2], alone[0])
    assert len(together.unique(dim=0)) == 6


def test_wrong_aspects_are_refused():
    with pytest.raises(ConfigError, match="positive"):
        blockwise(8, 8, numbered(1), torch.tensor([3]), aspect=(0.0, 1.0))
