"""Blocks: disjoint, of one size within a step, unbiased, independent of the batch, raising only where nothing fits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary.errors import ConfigError
from armillary.randomness import Random, numbered
from armillary.views.blocks import blocks, released_blocks


def coverage(side: int = 14, steps: int = 300, batch: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    context, target = torch.zeros(side * side), torch.zeros(side * side)
    for step in range(steps):
        masks = blocks(side, side, Random(0, step, torch.arange(batch)))
        context += torch.bincount(masks.context.flatten(), minlength=side * side)
        target += torch.bincount(masks.targets.flatten(), minlength=side * side)
    return (context / (steps * batch)).view(side, side), (target / (4 * steps * batch)).view(side, side)


def test_every_patch_is_reached_and_mirror_images_are_equally_likely():
    """The released collator never uses the last row and column and cuts the context from the bottom."""
    for share in coverage():
        assert share.min() > 0
        assert torch.allclose(share, share.flip(0), rtol=0.15, atol=0.01)
        assert torch.allclose(share, share.flip(1), rtol=0.15, atol=0.01)
    context = coverage(steps=100)[0].mean(1)
    assert context.max() / context.min() < 3


def test_released_collator_leaves_the_last_row_and_column_out():
    places, seen = torch.Generator().manual_seed(0), torch.zeros(196)
    for step in range(40):
        masks = released_blocks(14, 14, 8, step, places)
        seen += torch.bincount(torch.cat([masks.context.flatten(), masks.targets.flatten()]), minlength=196)
    assert seen.view(14, 14)[-1].sum() == 0 and seen.view(14, 14)[:, -1].sum() == 0


@given(
    rows=st.integers(3, 24), columns=st.integers(3, 24), targets=st.integers(1, 4), step=st.integers(0, 10**6),
    batch=st.integers(1, 9),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_context_and_targets_are_disjoint_and_inside(rows, columns, targets, step, batch):
    try:
        masks = blocks(rows, columns, Random(1, step, torch.arange(batch)), targets)
    except ConfigError:
        assert rows * columns <= 16  # only tiny grids have no room
        return
    assert masks.context.shape[1] >= max(1, 0.05 * rows * columns)
    for context, target in zip(masks.context, masks.targets, strict=True):
        assert len(context.unique()) == len(context)
        assert not set(context.tolist()) & set(target.flatten().tolist())
        assert context.min() >= 0 and max(context.max(), target.max()) < rows * columns
        for block in target:
            r, c = block // columns, block % columns
            assert len(block.unique()) == len(block) == (r.max() - r.min() + 1) * (c.max() - c.min() + 1)


def test_masks_of_a_sample_do_not_depend_on_its_neighbours():
    full = blocks(14, 14, Random(0, 3, torch.arange(64)))
    part = blocks(14, 14, Random(0, 3, torch.tensor([63, 5])))
    assert torch.equal(part.targets, full.targets[[63, 5]])
    assert torch.equal(part.context.sort(1).values, full.context[[63, 5]].sort(1).values)


def test_context_size_is_a_function_of_seed_and_step_alone():
    sizes = {blocks(8, 8, Random(0, 9, torch.arange(k, k + 5))).context.shape[1] for k in range(0, 100, 5)}
    assert len(sizes) == 1


def test_sizes_vary_and_scale_and_aspect_are_independent():
    shapes = set()
    for step in range(200):
        block = blocks(14, 14, Random(0, step, torch.arange(1))).targets[0, 0]
        shapes.add(
            (int((block // 14).max() - (block // 14).min() + 1), int((block % 14).max() - (block % 14).min() + 1))
        )
    assert len(shapes) >= 7  # the released collator makes five


def test_surplus_context_is_dropped_at_random_not_from_the_bottom():
    context = coverage(steps=150)[0]
    assert abs(context[:3].mean() - context[-3:].mean()) < 0.03


def test_impossible_geometry_says_what_to_do():
    with pytest.raises(ConfigError, match="fewer or smaller targets"):
        blocks(2, 2, numbered(4), targets=4, target_scale=(0.9, 1.0))
