"""Regions are disjoint, compact, of equal size and ordered by saliency."""

from __future__ import annotations

import pytest
import torch

from armillary.errors import ConfigError
from armillary.views.salient import salient_regions

SALIENCY = torch.rand(16, 64, generator=torch.Generator().manual_seed(0))


def test_regions_are_disjoint_and_cover_the_image():
    order = salient_regions(SALIENCY, 8, 8, 5, 10)
    assert torch.equal(order.sort(1).values, torch.arange(64).expand(16, -1))


def test_regions_are_ordered_by_mean_saliency():
    order = salient_regions(SALIENCY, 8, 8, 5, 10)
    scores = SALIENCY.gather(1, order)[:, :40].unflatten(1, (4, 10)).mean(2)
    assert bool((scores[:, :-1] >= scores[:, 1:]).all())
    assert bool((scores[:, 0] > scores[:, 3]).all())


def test_bright_spots_are_found_in_their_order():
    image = torch.zeros(8, 8)
    image[1:3, 1:3], image[5:7, 5:7] = 1.0, 2.0
    order = salient_regions(image.flatten()[None], 8, 8, 3, 4)[0].tolist()
    assert sorted(order[:4]) == [45, 46, 53, 54]
    assert sorted(order[4:8]) == [9, 10, 17, 18]


def test_first_regions_are_compact():
    """The first region that grows takes a disc; none is spread over the image as a threshold's patches are."""
    order = salient_regions(SALIENCY, 8, 8, 2, 9)[:, :9]
    row, column = order // 8, order % 8
    assert int((row.amax(1) - row.amin(1)).max()) <= 4 and int((column.amax(1) - column.amin(1)).max()) <= 4


def test_a_row_does_not_depend_on_others():
    order = salient_regions(SALIENCY, 8, 8, 5, 10)
    assert torch.equal(salient_regions(SALIENCY[3:4], 8, 8, 5, 10)[0], order[3])


def test_regions_that_leave_nothing_are_refused():
    with pytest.raises(ConfigError, match="do not fit"):
        salient_regions(SALIENCY, 8, 8, 5, 16)
