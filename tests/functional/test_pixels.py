"""Patches hold the right pixels; the loss counts hidden ones only."""

from __future__ import annotations

import pytest
import torch

from armillary.errors import ShapeError
from armillary.functional.pixels import masked_pixel_loss, patch_normalized, patchify
from armillary.randomness import numbered
from armillary.types import gather


def image() -> torch.Tensor:
    return numbered(2).normal("image", 3, 8, 12)


def test_patches_are_cut_by_row_then_column_with_channels_last():
    x = image()
    patches = patchify(x, 4)
    assert patches.shape == (2, 6, 48)
    for row in range(2):
        for column in range(3):
            cut = x[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].permute(0, 2, 3, 1).flatten(1)
            assert torch.equal(patches[:, 3 * row + column], cut)


def test_normalized_patches_have_mean_zero_and_unbiased_variance_one():
    x = patch_normalized(5 + 3 * patchify(image(), 4))
    torch.testing.assert_close(x.mean(-1), torch.zeros(2, 6), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.var(-1), torch.ones(2, 6), atol=1e-4, rtol=0)


def test_a_flat_patch_normalizes_to_zeros():
    assert torch.equal(patch_normalized(torch.full((1, 2, 12), 0.7)), torch.zeros(1, 2, 12))


def test_visible_patches_get_no_gradient():
    predicted = numbered(2, 1).normal("p", 6, 48).requires_grad_()
    mask = torch.tensor([[1, 0, 1, 0, 1, 0], [0, 0, 1, 1, 1, 0]]).bool()
    masked_pixel_loss(predicted, patchify(image(), 4), mask).backward()
    assert predicted.grad is not None
    assert (predicted.grad[~mask] == 0).all() and (predicted.grad[mask] != 0).all()


@pytest.mark.parametrize("normalize", [False, True])
def test_hidden_patches_alone_give_the_value_of_all_with_a_mask(normalize):
    predicted, patches = numbered(2, 1).normal("p", 6, 48), patchify(image(), 4)
    hidden = torch.tensor([[0, 2, 4], [2, 3, 5]])
    mask = torch.zeros(2, 6).scatter(1, hidden, 1).bool()
    few = masked_pixel_loss(gather(predicted, hidden), gather(patches, hidden), normalize=normalize)
    torch.testing.assert_close(few, masked_pixel_loss(predicted, patches, mask, normalize))


def test_a_perfect_reconstruction_costs_nothing():
    patches = patchify(image(), 4)
    assert masked_pixel_loss(patch_normalized(patches), patches).item() == 0
    assert masked_pixel_loss(patches, patches, normalize=False).item() == 0


def test_shapes_that_do_not_fit_are_refused(unchecked):
    with pytest.raises(ShapeError, match="divides"):
        patchify(image(), 5)
    with pytest.raises(ShapeError, match="mask"):
        masked_pixel_loss(torch.zeros(2, 6, 48), torch.zeros(2, 6, 48), torch.ones(2, 5).bool())
    with pytest.raises(ShapeError, match="one shape"):
        masked_pixel_loss(torch.zeros(2, 6, 48), torch.zeros(2, 6, 47))
