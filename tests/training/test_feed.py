"""Batches come in the order that (seed, step) says, read ahead, and errors arrive where they are used."""

from __future__ import annotations

import threading

import pytest
import torch

from armillary.errors import ConfigError, DataError
from armillary.functional.order import order
from armillary.training.feed import feed

from .rows import tiny


def test_micro_batches_together_are_the_step():
    _, rows = tiny("rivals.supervised", 10)
    for accumulate in (1, 3):
        for step, parts in enumerate(feed(rows, 6, 5, range(4, 8), accumulate), 4):
            assert len(parts) == accumulate
            assert torch.equal(torch.cat([p["index"] for p in parts]), order(5, 10, (step - 1) * 6, 6))


def test_the_next_step_is_read_while_this_one_is_used():
    _, rows = tiny("rivals.supervised", 10)
    second, read = threading.Event(), rows.batch
    calls = []

    def batch(index):
        calls.append(threading.current_thread())
        if len(calls) == 2:
            second.set()
        return read(index)

    rows.batch = batch
    parts = feed(rows, 2, 0, range(1, 3))
    next(parts)
    assert second.wait(10)
    assert len(list(parts)) == 1
    assert len(calls) == 2
    assert threading.main_thread() not in calls


def test_an_error_of_the_data_reaches_the_loop():
    _, rows = tiny("rivals.supervised", 10)
    good = rows.batch

    def batch(index):
        if 3 in index.tolist():
            raise DataError("row 3 is broken")
        return good(index)

    rows.batch = batch
    with pytest.raises(DataError, match="row 3"):
        list(feed(rows, 2, 0, range(1, 6)))


def test_a_batch_that_cannot_be_shared_is_refused():
    _, rows = tiny("rivals.supervised", 10)
    with pytest.raises(ConfigError, match="multiple of 4"):
        feed(rows, 6, 0, range(1, 2), 4)
    with pytest.raises(ConfigError, match="batch of 0"):
        feed(rows, 0, 0, range(1, 2))
