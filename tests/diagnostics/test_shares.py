"""Shares of variance equal sums of squares in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from armillary.diagnostics.shares import group_share, place_share, within_share
from armillary.errors import ShapeError


def tokens(seed=0):
    return torch.randn(12, 5, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_within_share_equals_sums_of_squares():
    x = (tokens() + 3 * tokens(1)[:, :1]).numpy()
    within = ((x - x.mean(1, keepdims=True)) ** 2).sum()
    assert float(within_share(torch.from_numpy(x))) == pytest.approx(within / ((x - x.mean((0, 1))) ** 2).sum())


def test_tokens_that_are_not_valid_count_for_nothing():
    x = tokens()
    valid = torch.arange(5).expand(12, 5) < 3
    spoiled = torch.where(valid[..., None], x, torch.full_like(x, 1e6))
    assert float(within_share(spoiled, valid)) == pytest.approx(float(within_share(x[:, :3])))


def test_the_ends_are_a_static_code_and_a_common_mean():
    static = tokens()[:, :1].expand(-1, 5, -1)
    assert float(within_share(static)) == pytest.approx(0, abs=1e-12)
    assert float(within_share(tokens() - tokens().mean(1, keepdim=True))) == pytest.approx(1)
    assert torch.isnan(within_share(torch.ones(4, 3, 2))) and torch.isnan(within_share(tokens()[:, :1]))
    with pytest.raises(ShapeError):
        within_share(torch.ones(4, 3))


def test_group_share_is_the_adjusted_coefficient_of_determination():
    x, group = tokens().flatten(0, 1), torch.arange(60) % 7 * 10
    dummies = np.eye(7)[(group // 10).numpy()]
    fitted = dummies @ np.linalg.lstsq(dummies, x.numpy(), rcond=None)[0]
    r2 = 1 - ((x.numpy() - fitted) ** 2).sum() / ((x.numpy() - x.numpy().mean(0)) ** 2).sum()
    assert float(group_share(x, group)) == pytest.approx(1 - (1 - r2) * 59 / 53)


def test_place_share_is_one_for_places_alone_and_about_zero_for_noise():
    places = tokens()[:1].expand(12, -1, -1)
    assert float(place_share(places)) == pytest.approx(1)
    noise = torch.randn(400, 5, 4, generator=torch.Generator().manual_seed(3))
    assert abs(float(place_share(noise))) < 0.01
    assert torch.isnan(group_share(tokens()[0], torch.arange(5))), "a group of one row each explains nothing"
