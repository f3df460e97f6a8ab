"""Losses of distributions equal their formulas, are least at the truth, and reject what they cannot score."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from armillary.errors import ConfigError, ShapeError
from armillary.functional.gaussian import Gaussian
from armillary.functional.likelihood import Quantiles, check_levels, even_levels, gaussian_nll, pinball


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_likelihood_is_that_of_numpy():
    mean, log_variance, y = normal(50, 3), normal(50, 3, seed=1), normal(50, 3, seed=2) * 5
    m, v, t = (x.double().numpy() for x in (mean, log_variance.exp(), y))
    density = np.exp(-((t - m) ** 2) / (2 * v)) / np.sqrt(2 * np.pi * v)
    assert float(gaussian_nll(Gaussian(mean, log_variance), y)) == pytest.approx(-np.log(density).mean(), rel=1e-5)
    wanted = (-np.log(density) * v**0.3).mean()
    assert float(gaussian_nll(Gaussian(mean, log_variance), y, 0.3)) == pytest.approx(wanted, rel=1e-5)


def test_beta_one_gives_means_the_gradient_of_half_the_squared_error_and_the_weight_none():
    mean, log_variance = normal(20, 2).requires_grad_(), normal(20, 2, seed=1).requires_grad_()
    y = normal(20, 2, seed=2)
    gaussian_nll(Gaussian(mean, log_variance), y, 1.0).backward()
    assert torch.allclose(mean.grad * mean.numel(), (mean - y).detach(), atol=1e-5)
    v = log_variance.detach().exp()
    wanted = v * 0.5 * (1 - (y - mean.detach()).square() / v)  # d nll / d log v, times v without gradient
    assert torch.allclose(log_variance.grad * mean.numel(), wanted, atol=1e-4)


def test_the_likelihood_is_least_at_the_true_variance():
    y = 3 * normal(20000, 1)
    mean = torch.zeros_like(y)
    found = [float(gaussian_nll(Gaussian(mean, mean + math.log(v)), y)) for v in (6.0, 9.0, 13.0)]
    assert found[1] == min(found)


def test_pinball_is_its_formula_and_least_at_the_quantiles():
    levels = (0.1, 0.5, 0.9)
    y = normal(40000, 1)
    q = normal(40000, 1, 3, seed=1)
    gap = y.double().numpy()[..., None] - q.double().numpy()
    tau = np.array(levels)
    wanted = np.where(gap >= 0, tau * gap, (tau - 1) * gap).mean()
    assert float(pinball(Quantiles(q, levels), y)) == pytest.approx(wanted, rel=1e-5)
    true = torch.tensor([-1.28155, 0.0, 1.28155]).expand(40000, 1, 3)
    best = pinball(Quantiles(true, levels), y)
    for shift in (-0.1, 0.1):
        assert best < pinball(Quantiles(true + shift, levels), y)


def test_losses_are_float32_under_autocast():
    p, y = Gaussian(normal(4, 2), normal(4, 2, seed=1)), normal(4, 2, seed=2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = gaussian_nll(p, y, 0.5), pinball(Quantiles(p.mean[..., None], (0.5,)), y)
    exact = gaussian_nll(p, y, 0.5), pinball(Quantiles(p.mean[..., None], (0.5,)), y)
    assert all(a.dtype == torch.float32 and torch.equal(a, b) for a, b in zip(rough, exact, strict=True))


def test_even_levels_hold_the_ends_of_the_usual_intervals():
    levels = even_levels(39)
    assert all(min(abs(level - end) for level in levels) < 1e-12 for end in (0.025, 0.05, 0.25, 0.5, 0.95, 0.975))


def test_wrong_input_is_told_in_words(unchecked):
    p = Gaussian(torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(ShapeError, match="one target for each number"):
        gaussian_nll(p, torch.zeros(3, 1))
    with pytest.raises(ConfigError, match="beta is 2"):
        gaussian_nll(p, torch.zeros(3, 2), 2)
    with pytest.raises(ShapeError, match="1 quantiles at 2 levels"):
        pinball(Quantiles(torch.zeros(3, 2, 1), (0.1, 0.2)), torch.zeros(3, 2))
    for levels in ((), (0.0, 0.5), (0.5, 0.5), (0.9, 0.1), (float("nan"),)):
        with pytest.raises(ConfigError, match="ascending"):
            check_levels(levels)
    with pytest.raises(ConfigError):
        even_levels(0)
