"""Runs along a chain of points."""

from __future__ import annotations

import pytest
import torch

from armillary.errors import ConfigError
from armillary.randomness import Random, numbered
from armillary.types import Masks
from armillary.views.runs import along, nearest_chain, runs


def test_runs_are_contiguous_and_context_avoids_targets():
    for step in range(50):
        masks = runs(64, Random(0, step, torch.arange(8)))
        assert (masks.targets.diff(dim=-1) == 1).all()
        for context, target in zip(masks.context, masks.targets, strict=True):
            taken = set(target.flatten().tolist())
            assert not taken & set(context.tolist())
            between = [i for i in range(int(context.min()), int(context.max()) + 1) if i not in taken]
            assert between == context.tolist()  # consecutive among the free places


def test_runs_of_a_sample_do_not_depend_on_its_neighbours():
    full, part = runs(64, Random(0, 3, torch.arange(16))), runs(64, Random(0, 3, torch.tensor([9])))
    assert torch.equal(part.context, full.context[[9]]) and torch.equal(part.targets, full.targets[[9]])


def test_samples_of_a_batch_get_their_own_runs():
    masks = runs(64, numbered(16))
    assert len(masks.targets.flatten(1).unique(dim=0)) > 8


def test_chain_starts_at_the_smallest_sum_and_goes_to_the_nearest():
    centers = numbered(3).normal("c", 20, 3)
    chain = nearest_chain(centers)
    assert torch.equal(chain.sort(1).values, torch.arange(20).expand(3, 20))
    for cloud, order in zip(centers, chain, strict=True):
        assert order[0] == cloud.sum(-1).argmin()
        left = set(range(20)) - {int(order[0])}
        for here, there in zip(order[:-1].tolist(), order[1:].tolist(), strict=True):
            nearest = min(left, key=lambda k: float((cloud[k] - cloud[here]).norm()))
            assert nearest == there
            left.remove(there)


def test_along_replaces_places_by_tokens():
    chain = torch.tensor([[2, 0, 1]])
    masks = along(chain, Masks(torch.tensor([[0]]), torch.tensor([[[1, 2]]])))
    assert masks.context.tolist() == [[2]] and masks.targets.tolist() == [[[0, 1]]]


def test_targets_that_may_leave_no_context_are_refused():
    with pytest.raises(ConfigError, match="fewer or shorter"):
        runs(8, numbered(2), targets=4, target_ratio=(0.3, 0.3))
