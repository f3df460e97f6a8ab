"""Intervals of a comparison, against slow references and by how often they hold the truth."""

from __future__ import annotations

import math

import pytest
import torch

from armillary.bench.intervals import difference, over_seeds, ranks, student
from armillary.errors import ConfigError, ShapeError
from armillary.functional.statistics import paired_success, wilson
from armillary.randomness import numbered

TABLE = [(1, 12.7062), (2, 4.30265), (4, 2.77645), (30, 2.04227), (1e5, 1.95999)]


@pytest.mark.parametrize(("freedom", "expected"), TABLE)
def test_student_quantile_is_that_of_the_tables(freedom: float, expected: float):
    assert student(0.975, freedom) == pytest.approx(expected, rel=1e-4)


def test_student_quantile_of_a_half_is_zero_and_wrong_input_is_refused():
    assert student(0.5, 3.7) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ConfigError, match="freedom"):
        student(0.975, 0)


def answers(chance: list[float], n: int, seed: int = 0) -> torch.Tensor:
    return numbered(len(chance), seed).uniform("answers", n) < torch.tensor(chance)[:, None]


def test_interval_over_seeds_is_students():
    right = answers([0.5, 0.6, 0.55], 400)
    means = [float(row.double().mean()) for row in right]
    mean = sum(means) / 3
    half = 4.302653 * math.sqrt(sum((m - mean) ** 2 for m in means) / 2 / 3)
    assert over_seeds(right) == pytest.approx((mean - half, mean + half), rel=1e-5)


def test_single_seed_gives_the_interval_of_its_test_rows():
    right, other = answers([0.6], 100), answers([0.4], 100, seed=1)
    assert over_seeds(right) == pytest.approx(tuple(wilson(int(right.sum()), 100)))
    assert difference(right, other)[1:] == pytest.approx(tuple(paired_success(right[0], other[0])))


def test_seeds_of_equal_scores_give_the_interval_of_the_rows():
    right = answers([0.6], 100).expand(3, -1)
    assert over_seeds(right) == pytest.approx(tuple(wilson(int(right[0].sum()), 100)))


def test_difference_adds_the_variances_of_seeds_and_rows():
    a, b = answers([0.6, 0.7, 0.65], 50), answers([0.5, 0.5, 0.5], 50, seed=1)
    gap = [[float(a[s, i]) - float(b[s, i]) for i in range(50)] for s in range(3)]
    mean = sum(map(sum, gap)) / 150
    seeds = [sum(row) / 50 for row in gap]
    rows = [sum(gap[s][i] for s in range(3)) / 3 for i in range(50)]
    parts = [(sum((x - mean) ** 2 for x in v) / (len(v) - 1) / len(v), len(v) - 1) for v in (seeds, rows)]
    variance = sum(p for p, _ in parts)
    half = student(0.975, variance**2 / sum(p * p / f for p, f in parts)) * math.sqrt(variance)
    assert difference(a, b) == pytest.approx((mean, mean - half, mean + half))


def test_intervals_of_differences_hold_the_truth_nearly_always():
    """Seeds and test rows differ in quality; the truth is the mean over both, and 95 % or more are to hold it."""
    held = 0
    for trial in range(200):
        seeds = numbered(2, trial).normal("seeds", 3) * 0.02  # of two methods
        rows = numbered(1, trial).normal("rows", 300)[0] * 0.15
        noise = numbered(2, trial).uniform("noise", 3, 300)
        a, b = (noise[m] < 0.5 + 0.1 * m + seeds[m][:, None] + rows[None] for m in range(2))
        _, low, high = difference(b, a)
        held += low <= 0.1 <= high
    assert held >= 188


def test_difference_of_equal_answers_is_zero_and_unlike_shapes_are_refused():
    right = answers([0.5, 0.6], 40)
    mean, low, high = difference(right, right)
    assert mean == 0 and -0.1 < low < 0 < high < 0.1  # 40 rows without a difference do not prove that there is none
    with pytest.raises(ShapeError, match="paired"):
        difference(right, right[:, :30])


def test_ranks_follow_scores_and_their_intervals_tell_what_is_certain():
    clear = [answers([p] * 3, 500, seed=i) for i, p in enumerate((0.9, 0.3, 0.6))]
    assert ranks(clear) == [(1.0, 1, 1), (3.0, 3, 3), (2.0, 2, 2)]
    alike = [answers([0.5] * 3, 500, seed=i) for i in range(2)]
    assert all((low, high) == (1, 2) for _, low, high in ranks(alike))
    assert [middle for middle, _, _ in ranks([alike[0], alike[0]])] == [1.5, 1.5]
