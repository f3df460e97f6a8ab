from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from armillary.planning.noise import colored, knotted, smooth
from armillary.planning.search import Gaussian, Round, fitted, softmin
from armillary.randomness import numbered

SCORE = torch.tensor([[0.3, 0.5, 2.0, torch.inf], [1e30, 1e30, 2e30, 3e30], [torch.inf] * 4])
ELITE = numbered(3).normal("elite", 4, 2, 2)
OLD = Gaussian(numbered(3).normal("mean", 2, 2), numbered(3).uniform("std", 2, 2) + 0.1)


@pytest.mark.parametrize("temperature", [1e-30, 0.5, 200.0, math.inf])
def test_weights_are_those_of_the_formula(temperature: float) -> None:
    weight = softmin(SCORE, temperature)
    score = SCORE.double().numpy()
    with np.errstate(invalid="ignore", over="ignore"):
        wanted = np.exp(-(score - score.min(1, keepdims=True)) / temperature)
    wanted[~np.isfinite(score)] = 0
    assert np.allclose(weight.numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize("unbiased", [False, True])
def test_fit_is_the_weighted_mean_and_std(unbiased: bool) -> None:
    new = fitted(OLD, ELITE, SCORE, 0.5, unbiased)
    w = np.exp(-(np.array([0.3, 0.5, 2.0]) - 0.3) / 0.5)
    plans = ELITE[0, :3].double().numpy()
    mean = np.average(plans, axis=0, weights=w)
    square = (w[:, None, None] * (plans - mean) ** 2).sum(0)
    below = w.sum() - (w**2).sum() / w.sum() if unbiased else w.sum()
    assert np.allclose(new.mean[0].numpy(), mean, atol=1e-6)
    assert np.allclose(new.std[0].numpy(), np.sqrt(square / below), atol=1e-6)
    equal = fitted(OLD, ELITE, torch.ones(3, 4), unbiased=unbiased)
    assert torch.allclose(equal.std, ELITE.std(1, correction=int(unbiased)), atol=1e-6)


def test_fit_keeps_the_old_where_no_score_is_finite() -> None:
    new = fitted(OLD, ELITE, SCORE, 0.5)
    assert torch.equal(new.mean[2], OLD.mean[2]) and torch.equal(new.std[2], OLD.std[2])
    one = torch.tensor([[1.0, torch.inf, torch.inf, torch.inf]]).expand(3, 4)
    new = fitted(OLD, ELITE, one)
    assert torch.equal(new.mean, ELITE[:, 0]) and torch.equal(new.std, OLD.std), "one elite has no spread to fit"


def round_of(score: Tensor) -> Round:
    rows = len(score)
    elite = torch.arange(score.shape[1]).float().expand(rows, -1)[..., None, None].repeat(1, 1, 3, 1)
    return Round(elite, score, elite, score, elite[:, 0], elite[:, 0])


def test_elites_are_drawn_by_their_weight() -> None:
    score = torch.tensor([[0.0, 0.5, 1.0, torch.inf]])
    drawn = round_of(score.expand(40_000, -1)).drawn(0.5, numbered(40_000))[:, 0, 0]
    share = torch.bincount(drawn.long(), minlength=4) / 40_000
    assert torch.allclose(share, torch.softmax(-score[0] / 0.5, 0), atol=0.01) and share[3] == 0
    assert torch.equal(round_of(torch.full((5, 4), torch.inf)).drawn(0.5, numbered(5)), torch.zeros(5, 3, 1))


def test_shifted_elites_go_on_where_the_plan_stands() -> None:
    plans = torch.arange(2 * 3 * 4.0).view(1, 2, 3, 4)
    one = Round(plans, torch.zeros(1, 2), plans, torch.zeros(1, 2), plans[:, 0], plans[:, 0])
    assert torch.equal(one.shifted(1, 2)[0, 0], plans[0, 0, [2, 2, 2]])
    assert torch.equal(one.shifted(2)[0, 1], plans[0, 1, [1, 2, 2]]) and one.shifted(2, 9).shape == (1, 2, 3, 4)


def test_smooth_noise_keeps_its_variance_and_has_the_stated_correlation() -> None:
    noise = smooth(numbered(4).normal("x", 20000, 6, 2), 0.9)
    assert torch.allclose(noise.square().mean((0, 1)), torch.ones(6, 2), atol=0.03)
    neighbors = (noise[:, :, 1:] * noise[:, :, :-1]).mean((0, 1))
    assert torch.allclose(neighbors, torch.full((5, 2), 0.9), atol=0.03)
    assert torch.allclose((noise[:, :, 3] * noise[:, :, 0]).mean((0, 1)), torch.tensor(0.9**3), atol=0.03)


@pytest.mark.parametrize("horizon", [1, 2, 5, 8])
@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.5])
def test_colored_noise_has_the_covariance_of_its_spectrum(horizon: int, exponent: float) -> None:
    white = numbered(1).normal("x", 60_000, 2, horizon // 2 + 1, 1)
    noise = colored(white, horizon, exponent)[0, :, :, 0].double()
    power = np.array([max(k, 1) ** -exponent for k in range(horizon // 2 + 1)])
    count = np.array([1 if k in (0, horizon / 2) else 2 for k in range(horizon // 2 + 1)])
    lags = [(power * count * np.cos(2 * np.pi * np.arange(len(power)) * t / horizon)).sum() for t in range(horizon)]
    wanted = np.array([[lags[(i - j) % horizon] for j in range(horizon)] for i in range(horizon)]) / lags[0]
    assert np.abs((noise.T @ noise / len(noise)).numpy() - wanted).max() < 0.03
    if exponent == 0:
        assert np.allclose(wanted, np.eye(horizon)), "exponent 0 is white"


def test_knots_are_met_and_held_or_interpolated_between() -> None:
    knots = torch.tensor([0.0, 1.0, -1.0]).view(1, 1, 3, 1)
    assert knotted(knots, 5, True)[0, 0, :, 0].tolist() == [0.0, 0.5, 1.0, 0.0, -1.0]
    assert knotted(knots, 5, False)[0, 0, :, 0].tolist() == [0.0, 0.0, 1.0, 1.0, -1.0]
    assert torch.equal(knotted(knots, 3, True), knots)
    assert knotted(knots[:, :, :1], 4, True).shape == (1, 1, 4, 1) and knotted(knots, 1, True).shape == (1, 1, 1, 1)
