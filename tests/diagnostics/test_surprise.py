"""Surprise tells impossible clips from their twins, by counts, and finds the step."""

from __future__ import annotations

import jaxtyping
import numpy as np
import pytest
import torch

from armillary.diagnostics.surprise import band, first_exceeding, surprise, violation_of_expectation
from armillary.errors import ConfigError, DataError, ShapeError
from armillary.functional.statistics import wilson


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_surprise_is_the_mean_or_the_largest_error():
    error = normal(9, 5).square()
    assert np.allclose(surprise(error).numpy(), error.double().numpy().mean(1))
    assert np.allclose(surprise(error, "max").numpy(), error.double().numpy().max(1))


def test_accuracy_and_auroc_are_counts_with_intervals():
    possible = normal(60, 8).square()
    impossible = possible + torch.tensor([0.5, -0.2, 0.0] * 20)[:, None]
    found = violation_of_expectation(possible, impossible, resamples=50)
    assert found.pairs == 60 and found.accuracy == pytest.approx(20 / 60 + 0.5 * 20 / 60)
    assert found.accuracy_interval == pytest.approx((wilson(20, 60)[0], wilson(40, 60)[1]))
    p, q = (x.double().numpy().max(1) for x in (possible, impossible))
    assert found.auroc == pytest.approx((q[:, None] > p).mean() + 0.5 * (q[:, None] == p).mean())
    assert found.auroc_interval[0] < found.auroc < found.auroc_interval[1]


def test_twins_cancel_what_single_clips_do_not():
    """Clips differ more from each other than a violation adds: pairs see it, single clips hardly."""
    hard = 5 * normal(200, 1).abs()
    possible = hard + 0.1 * normal(200, 10, seed=1).abs()
    found = violation_of_expectation(possible, possible + 0.3, resamples=50)
    assert found.accuracy == 1 and found.accuracy_interval[0] > 0.98
    assert 0.5 < found.auroc < 0.65 and found.auroc_interval[1] < 0.75


def test_a_model_that_sees_nothing_is_at_chance():
    error = normal(40, 6).square()
    equal = violation_of_expectation(error, error, resamples=20)
    assert equal.accuracy == 0.5 and equal.auroc == 0.5 and equal.accuracy_interval == (0.0, 1.0)
    other = violation_of_expectation(normal(400, 6).square(), normal(400, 6, seed=1).square(), resamples=50)
    assert other.accuracy_interval[0] < 0.5 < other.accuracy_interval[1]
    assert other.auroc_interval[0] < 0.5 < other.auroc_interval[1]


def test_the_first_step_beyond_the_band_is_that_of_the_violation():
    usual = normal(500, 12).square()
    limit = band(usual[:300], 0.99)
    error = usual[300:].clone()
    at = torch.arange(200) % 12
    error[torch.arange(200), at] += 100
    first = first_exceeding(error, limit)
    assert float((first == at).float().mean()) > 0.9 and bool((first <= at).all())
    false = first_exceeding(usual[300:], limit)
    assert float((false >= 0).float().mean()) < 0.25, "1 % a step, 12 steps"
    assert first_exceeding(torch.tensor([[0.0, 2.0, 3.0], [0.0, 0.0, 0.0]]), torch.ones(3)).tolist() == [1, -1]
    assert bool(band(usual[:50], 0.99).isinf().all()), "50 clips cannot promise 1 %"


def test_wrong_input_is_told_in_words(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    error, bad = torch.ones(4, 3), torch.full((4, 3), float("nan"))
    for call in (lambda: surprise(bad), lambda: surprise(error[:0]), lambda: band(bad)):
        with pytest.raises(DataError):
            call()
    for call in (lambda: violation_of_expectation(error, error[:2]), lambda: surprise(error[0]),
                 lambda: first_exceeding(error, torch.ones(2)), lambda: surprise(torch.ones(4, 0))):  # fmt: skip
        with pytest.raises(ShapeError):
            call()
    with pytest.raises(ConfigError, match="'mean' or 'max'"):
        surprise(error, "median")
    with pytest.raises(ConfigError):
        band(error, 1.5)
