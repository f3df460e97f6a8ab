"""The order of rows is a pure function that sees every row once per epoch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from armillary.errors import DataError
from armillary.functional.order import order


@given(st.integers(0, 2**31 - 1), st.integers(1, 50), st.integers(0, 200), st.integers(0, 120), st.integers(0, 120))
def test_any_part_is_the_same_whoever_computes_it(seed, n, start, first, second):
    whole = order(seed, n, start, first + second)
    parts = torch.cat([order(seed, n, start, first), order(seed, n, start + first, second)])
    assert torch.equal(whole, parts)
    assert whole.dtype == torch.int64


@pytest.mark.parametrize("n", [1, 7, 100])
def test_every_epoch_holds_every_row_once(n):
    for epoch in range(3):
        assert torch.equal(order(3, n, epoch * n, n).sort().values, torch.arange(n))


def test_epochs_and_seeds_differ():
    assert not torch.equal(order(0, 100, 0, 100), order(0, 100, 100, 100))
    assert not torch.equal(order(0, 100, 0, 100), order(1, 100, 0, 100))


def test_first_rows_are_uniform():
    first = torch.stack([order(seed, 10, 0, 1) for seed in range(2000)]).flatten()
    count = first.bincount(minlength=10).float()
    assert ((count - 200).abs() < 5 * (200 * 0.9) ** 0.5).all()


def test_nothing_has_no_order():
    with pytest.raises(DataError, match="empty"):
        order(0, 0, 0, 1)
