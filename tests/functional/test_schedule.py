"""Schedules are pure functions with the stated ends; golden/test_schedules.py compares them with released tables."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from armillary.functional.schedule import learning_rate, progress, weight_decay


@given(st.integers(1, 10_000), st.floats(1.0, 2.0), st.data())
def test_rate_stays_between_its_ends(steps, stretch, data):
    warmup = data.draw(st.integers(0, steps))
    hold = data.draw(st.integers(0, steps - warmup))
    shape = data.draw(st.sampled_from(["cosine", "linear"]))
    step = data.draw(st.integers(1, steps))
    rate = learning_rate(step, steps, warmup, 0.1, 1.0, 0.01, stretch, hold, shape)
    assert 0.01 - 1e-12 <= rate <= 1.0 + 1e-12
    if warmup <= step < warmup + hold:
        assert rate == 1.0


def test_rate_rises_to_the_peak_and_falls_to_the_end():
    rates = [learning_rate(step, 100, 10, 0.0, 1.0, 0.25) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == 1.0 == max(rates)
    assert all(a < b for a, b in itertools.pairwise(rates[:10]))
    assert all(a > b for a, b in itertools.pairwise(rates[9:]))
    assert rates[-1] == 0.25


def test_a_stretched_schedule_is_cut_short():
    assert learning_rate(100, 100, 0, 0.0, 1.0, 0.0, stretch=2.0) == pytest.approx(0.5)
    assert weight_decay(100, 100, 0.0, 1.0, stretch=2.0) == pytest.approx(0.5)
    assert progress(101, 100, stretch=2.0) == 0.5


def test_progress_is_what_was_done_before():
    assert progress(1, 10) == 0.0
    assert progress(10, 10) == 0.9
