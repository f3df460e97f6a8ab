"""Measures of calibration equal integrals, loops and counts in NumPy, and tell honest predictions from others."""

from __future__ import annotations

import math

import jaxtyping
import numpy as np
import pytest
import torch

from armillary.diagnostics.calibration import (
    calibration_error,
    conformal,
    conformal_quantile,
    coverage,
    crps,
    crps_ensemble,
    crps_gaussian,
    crps_quantiles,
    intervals,
    pit_ensemble,
    pit_gaussian,
    pit_histogram,
    quantile,
    sharpness,
)
from armillary.errors import ConfigError, DataError, ShapeError
from armillary.functional.gaussian import Gaussian
from armillary.functional.likelihood import Quantiles, even_levels

LEVELS = (0.5, 0.9)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(mean, std):
    return Gaussian(mean, 2 * std.log())


def integral(cdf, y, low, high, steps=400001):
    """CRPS by its definition: the integral of (F(x) - [x >= y])²."""
    x = np.linspace(low, high, steps)
    return np.trapezoid((cdf(x) - (x >= y)) ** 2, x)


@pytest.mark.parametrize(("mean", "std", "y"), [(0, 1, 0.3), (2, 0.1, 1.5), (-1, 3, 8), (0, 1, 0)])
def test_crps_of_a_gaussian_is_the_integral_of_its_definition(mean, std, y):
    cdf = np.vectorize(lambda x: 0.5 * (1 + math.erf((x - mean) / std / math.sqrt(2))))
    wanted = integral(cdf, y, min(mean - 9 * std, y - 1), max(mean + 9 * std, y + 1), 40001)
    given = [torch.tensor([float(v)]) for v in (mean, std, y)]
    assert float(crps_gaussian(*given)) == pytest.approx(wanted, rel=1e-3, abs=1e-4)


def test_crps_without_spread_is_the_absolute_error_and_scales_with_the_unit():
    mean, y = normal(20), normal(20, seed=1)
    assert torch.allclose(crps_gaussian(mean, torch.zeros(20), y), (y - mean).abs())
    std = normal(20, seed=2).exp()
    for unit in (1e-150, 7.0, 1e150):
        assert torch.allclose(crps_gaussian(unit * mean, unit * std, unit * y), unit * crps_gaussian(mean, std, y))


@pytest.mark.parametrize("kind", ["normal", "duplicates", "constant", "far away", "two"])
def test_crps_of_an_ensemble_is_the_mean_over_pairs(kind):
    members = {
        "normal": normal(7, 5, 2), "duplicates": normal(2, 5, 2).repeat(3, 1, 1), "constant": torch.ones(4, 5, 2),
        "far away": normal(7, 5, 2) + 1e6, "two": normal(2, 5, 2),
    }[kind].double()  # fmt: skip
    y = normal(5, 2, seed=1) + (1e6 if kind == "far away" else 0)
    x, t, count = members.numpy(), y.numpy(), len(members)
    pairs = np.abs(x[:, None] - x[None]).sum((0, 1))
    for fair in (True, False):
        wanted = np.abs(x - t).mean(0) - pairs / (2 * count * (count - fair))
        assert np.allclose(crps_ensemble(members, y, fair).numpy(), wanted, atol=1e-9)


def test_crps_of_quantiles_is_that_of_members_and_approaches_the_closed_form():
    members, y = normal(9, 4, 2), normal(4, 2, seed=1)
    at = Quantiles(members.sort(0).values.movedim(0, -1), tuple((i + 0.5) / 9 for i in range(9)))
    assert torch.allclose(crps_quantiles(at, y), crps_ensemble(members, y, fair=False))
    p = gaussian(normal(300, 2), normal(300, 2, seed=2).exp())
    y = p.mean + p.log_variance.div(2).exp() * normal(300, 2, seed=3)
    levels = even_levels(199)
    many = Quantiles(torch.stack([quantile(p, level) for level in levels], -1), levels)
    assert float(crps(many, y).mean()) == pytest.approx(float(crps(p, y).mean()), rel=5e-3)


def test_the_truth_has_the_best_crps():
    y = normal(4000, 1)
    found = [float(crps(gaussian(torch.zeros(4000, 1), torch.full((4000, 1), s)), y).mean()) for s in (0.7, 1.0, 1.4)]
    assert found[1] == min(found)
    assert found[1] == pytest.approx(1 / math.sqrt(math.pi), rel=0.03), "the expectation for a standard normal"


def test_coverage_sharpness_and_error_are_counts():
    p, y = gaussian(torch.zeros(5000, 2), torch.ones(5000, 2)), normal(5000, 2)
    low, high = intervals(p, LEVELS)
    found = coverage(low, high, y)
    counted = [np.mean(np.abs(y.numpy()) <= edge) for edge in (0.674490, 1.644854)]
    assert found.tolist() == pytest.approx(counted, abs=2e-4) and found.dtype == torch.float64
    assert sharpness(low, high).tolist() == pytest.approx([2 * 0.674490, 2 * 1.644854], abs=1e-5)
    wanted = np.mean([abs(counted[0] - 0.5), abs(counted[1] - 0.9)])
    assert float(calibration_error(LEVELS, found)) == pytest.approx(wanted, abs=2e-4)
    assert coverage(torch.ones(1, 3), torch.ones(1, 3), torch.ones(3)).tolist() == [1.0], "ends are inside"


def test_quantiles_between_known_levels_lie_on_a_line():
    p = Quantiles(torch.tensor([[[0.0, 1.0, 3.0]]]), (0.25, 0.5, 0.75))
    assert [float(quantile(p, level)) for level in (0.25, 0.3, 0.5, 0.7, 0.75)] == pytest.approx([0, 0.2, 1, 2.6, 3])
    with pytest.raises(ConfigError, match="predict further ones"):
        quantile(p, 0.9)


@pytest.mark.parametrize("n", [1, 9, 10, 19, 20, 100])
@pytest.mark.parametrize("level", [0.07, 0.5, 0.9, 0.95])
def test_the_conformal_quantile_is_the_smallest_that_keeps_its_promise(n, level):
    """Exact by exchangeability: the new score is equally likely at each of n + 1 places among the held-back ones."""
    scores = torch.randperm(n, generator=torch.Generator().manual_seed(n)).double()
    found = float(conformal_quantile(scores, level))
    below = n + 1 if math.isinf(found) else found + 1  # places at or under the threshold
    assert below / (n + 1) >= level - 1e-9
    assert (below - 1) / (n + 1) < level, "one score lower would break the promise"


def test_conformal_coverage_holds_over_many_draws():
    inside, level, n = [], 0.8, 12
    for seed in range(400):
        scores = normal(n + 1, 3, seed=seed).abs()
        inside.append((scores[n] <= conformal_quantile(scores[:n], level)).double())
    mean = float(torch.stack(inside).mean())
    assert mean == pytest.approx(math.ceil((n + 1) * level) / (n + 1), abs=0.03)


def test_conformal_correction_mends_intervals_of_any_width():
    std, y = normal(8000, 2, seed=1).exp(), normal(8000, 2)
    for width in (0.2, 1.0, 5.0):
        p = gaussian(torch.zeros(8000, 2), width * std)
        held, new = (Gaussian(p.mean[i], p.log_variance[i]) for i in (slice(4000), slice(4000, None)))
        low, high = conformal(held, (std * y)[:4000], new, LEVELS)
        assert coverage(low, high, (std * y)[4000:]).tolist() == pytest.approx(LEVELS, abs=0.02)
        reach = (high - low) / (2 * std[4000:])
        assert float(reach[1].std()) < 0.1, "as wide as the noise of each row"


def test_conformal_correction_of_skewed_quantiles_keeps_their_sides():
    levels = even_levels(19)
    y = -torch.rand(8000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log()  # exponential
    true = -torch.log1p(-torch.tensor(levels, dtype=torch.float64))
    value = math.log(2) + 0.3 * (true - math.log(2))  # far too narrow
    held = Quantiles(value.expand(4000, 1, 19), levels)
    low, high = conformal(held, y[:4000], held, (0.5, 0.8))
    assert coverage(low, high, y[4000:]).tolist() == pytest.approx((0.5, 0.8), abs=0.02)
    assert bool(((high - math.log(2)) > 1.5 * (math.log(2) - low)).all())


def test_conformal_correction_survives_intervals_without_width():
    p = Quantiles(torch.zeros(50, 1, 3), (0.05, 0.5, 0.95))
    low, high = conformal(p, torch.zeros(50, 1), p, (0.9,))
    assert bool((low <= 0).all() & (high >= 0).all()) and not bool(low.isnan().any())
    low, high = conformal(p, normal(50, 1).float(), p, (0.9,))
    assert not bool(low.isnan().any() | high.isnan().any())
    few = Quantiles(torch.zeros(3, 1, 3), (0.05, 0.5, 0.95))
    low, high = conformal(few, torch.zeros(3, 1), p, (0.9,))
    assert bool((low == -torch.inf).all() & (high == torch.inf).all()), "three scores cannot promise 90 %"


def test_the_pit_is_flat_when_calibrated_and_bent_when_not():
    y = normal(20000, 1)
    shares = {
        std: pit_histogram(pit_gaussian(gaussian(torch.zeros(20000, 1), torch.full((20000, 1), std)), y), 10)
        for std in (0.5, 1.0, 2.0)
    }
    assert torch.allclose(shares[1.0], torch.full((10,), 0.1, dtype=torch.float64), atol=0.01)
    assert shares[0.5][0] > 0.2 > 0.1 > shares[0.5][5] and shares[2.0][0] < 0.05 < 0.1 < shares[2.0][5]
    assert float(shares[0.5].sum()) == pytest.approx(1)


def test_the_pit_of_an_ensemble_is_its_rank():
    members = torch.tensor([[1.0], [2.0], [2.0], [5.0]])
    found = [float(pit_ensemble(members, torch.tensor([y]))) for y in (0.0, 2.0, 3.0, 9.0)]
    assert found == pytest.approx([0.5 / 5, (1 + 1 + 0.5) / 5, 3.5 / 5, 4.5 / 5])
    draws = normal(10, 5000)
    flat = pit_histogram(pit_ensemble(draws[:9], draws[9]), 10)
    assert torch.allclose(flat, torch.full((10,), 0.1, dtype=torch.float64), atol=0.02)


def test_wrong_input_is_told_in_words(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    one, bad = torch.ones(3, 1), torch.tensor([[1.0], [float("nan")], [1.0]])
    p = Gaussian(one, one)
    for call in (lambda: crps(p, bad), lambda: crps_ensemble(bad[None].repeat(3, 1, 1), one),
                 lambda: conformal_quantile(bad, 0.5), lambda: coverage(one[None], bad[None], one),
                 lambda: pit_histogram(bad), lambda: pit_histogram(one[:0]), lambda: pit_histogram(2 * one),
                 lambda: crps_gaussian(one, -one, one)):  # fmt: skip
        with pytest.raises(DataError):
            call()
    for call in (lambda: crps(p, one[:2]), lambda: coverage(one[None], one[None], one[:2]),
                 lambda: crps_ensemble(one[None], one), lambda: sharpness(one, one[:2]),
                 lambda: calibration_error(LEVELS, torch.ones(3))):  # fmt: skip
        with pytest.raises(ShapeError):
            call()
    for call in (lambda: conformal_quantile(one, 1.0), lambda: pit_histogram(one, 0), lambda: quantile(p, 0.0)):
        with pytest.raises(ConfigError):
            call()
