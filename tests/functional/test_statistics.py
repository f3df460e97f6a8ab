from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest

from armillary.errors import ConfigError, ShapeError
from armillary.functional.statistics import bootstrap, kendall, mean_interval, paired_mean, paired_success, wilson
from armillary.randomness import numbered


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (0, 20), (34, 40), (40, 40), (97, 100), (1, 7)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_is_scipys(successes: int, trials: int, level: float) -> None:
    expected = binomtest(successes, trials).proportion_ci(level, method="wilson")
    low, high = wilson(successes, trials, level)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= successes / trials <= high <= 1


def test_paired_interval_covers_the_true_difference_at_its_level() -> None:
    u = numbered(2000).uniform("pairs", 60, 2)  # 2000 experiments of 60 goals; both succeed on the same easy goals
    first, second = u[..., 0] < 0.9, torch.where(u[..., 1] < 0.5, u[..., 0] < 0.9, u[..., 1] < 0.95)
    truth = 0.9 - (0.5 * 0.9 + 0.45)
    covered = [
        low <= truth <= high for low, high in (paired_success(*pair) for pair in zip(first, second, strict=True))
    ]
    assert sum(covered) / len(covered) > 0.94


def test_paired_interval_keeps_a_width_when_both_always_succeed() -> None:
    same = torch.ones(100, dtype=torch.bool)
    low, high = paired_success(same, same)
    assert low == -high and 0.01 < high < 0.05


def test_paired_interval_narrows_with_agreement_and_turns_with_the_order() -> None:
    first = torch.arange(100) < 90
    near, far = first.clone(), first.roll(50)
    near[0] = False
    close, wide = paired_success(first, near), paired_success(first, far)
    assert close[1] - close[0] < 0.5 * (wide[1] - wide[0])
    assert paired_success(near, first) == pytest.approx([-close[1], -close[0]])


def test_bootstrap_of_a_mean_is_the_normal_interval_for_many_rows() -> None:
    x = numbered(1).normal("x", 2000)[0] * 3 + 5
    low, high = mean_interval(x)
    half = 1.96 * 3 / 2000**0.5
    assert (low, high) == pytest.approx((x.mean().item() - half, x.mean().item() + half), abs=0.03)
    assert mean_interval(x) == [low, high]  # the same seed gives the same interval
    assert mean_interval(x, seed=1) != [low, high]


def test_bootstrap_takes_any_statistic_of_rows() -> None:
    a = numbered(1).normal("a", 300)[0]
    b = a + 0.1 * numbered(1).normal("b", 300)[0]
    low, high = bootstrap(lambda i: torch.corrcoef(torch.stack([a[i], b[i]]))[0, 1], 300, resamples=200)
    assert 0.98 < low < torch.corrcoef(torch.stack([a, b]))[0, 1] < high < 1


def test_pairing_removes_what_both_share() -> None:
    shared = 10 * numbered(1).normal("shared", 200)[0]
    first, second = shared + 0.1, shared + 0.01 * numbered(1).normal("own", 200)[0]
    low, high = paired_mean(first, second)
    assert 0.09 < low < high < 0.11


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (-1, 5), (6, 5)])
def test_impossible_counts_are_named(successes: int, trials: int) -> None:
    with pytest.raises(ConfigError, match=f"{successes} successes of {trials}"):
        wilson(successes, trials)


def test_other_wrong_input_is_named() -> None:
    with pytest.raises(ConfigError, match="level is 95"):
        wilson(1, 2, 95.0)
    with pytest.raises(ConfigError, match="0 rows"):
        mean_interval(torch.zeros(0))
    with pytest.raises(ShapeError, match="0 and 0"):
        paired_success(torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.bool))


@pytest.mark.parametrize("ties", [False, True])
def test_kendall_equals_scipys_tau_b(ties):
    stats = pytest.importorskip("scipy.stats")
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(40, generator=draw), torch.randn(40, generator=draw)
    a, b = a, a + b
    if ties:
        a, b = a.round(), b.round()
    assert float(kendall(a, b)) == pytest.approx(stats.kendalltau(a.numpy(), b.numpy()).statistic)


def test_kendall_of_an_order_its_reverse_and_a_constant():
    order = torch.arange(10.0)
    assert float(kendall(order, order**3)) == 1 and float(kendall(order, -order)) == -1
    assert torch.isnan(kendall(order, torch.ones(10)))
    with pytest.raises(ShapeError):
        kendall(order, order[:3])
