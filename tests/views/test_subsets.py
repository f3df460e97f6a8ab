"""Random subsets split the tokens, reach each one equally often and are functions of the sample."""

from __future__ import annotations

import pytest
import torch

from armillary.errors import ConfigError
from armillary.randomness import Random, numbered
from armillary.views.subsets import random_masks, split_by


def test_visible_and_hidden_tokens_are_all_tokens():
    visible, hidden = random_masks(16, 4, numbered(50))
    assert visible.shape == (50, 4) and hidden.shape == (50, 12)
    assert torch.equal(torch.cat([visible, hidden], 1).sort(1).values, torch.arange(16).expand(50, 16))


def test_each_token_is_kept_equally_often():
    visible, _ = random_masks(16, 4, numbered(8000))
    share = visible.flatten().bincount(minlength=16) / 8000
    assert (share - 0.25).abs().max() < 5 * (0.25 * 0.75 / 8000) ** 0.5


def test_a_subset_depends_on_the_sample_and_not_on_its_batch():
    whole, _ = random_masks(16, 4, Random(3, 7, torch.arange(10)))
    part, _ = random_masks(16, 4, Random(3, 7, torch.tensor([8, 2])))
    assert torch.equal(part, whole[[8, 2]])
    assert not torch.equal(whole, random_masks(16, 4, Random(3, 8, torch.arange(10)))[0])


def test_the_smallest_values_are_kept():
    visible, hidden = split_by(torch.tensor([[0.3, 0.1, 0.9, 0.2]]), 2)
    assert visible.tolist() == [[1, 3]] and hidden.tolist() == [[0, 2]]


@pytest.mark.parametrize("keep", [0, 17])
def test_impossible_numbers_are_refused(keep):
    with pytest.raises(ConfigError, match="cannot be kept"):
        random_masks(16, keep, numbered(2))
