"""Measures of ordering equal loops over pairs and permutations, and `judge` brings them together by episode."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise, permutations

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor

from armillary.diagnostics.calibration import crps, intervals
from armillary.diagnostics.risk import (
    LEVELS,
    Outcome,
    aurc,
    auroc,
    ause,
    disagreement,
    horizon_growth,
    judge,
    ranks,
    risk_coverage,
    spearman,
)
from armillary.errors import ConfigError, DataError, ShapeError
from armillary.functional.gaussian import Gaussian


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def awkward() -> dict[str, tuple[Tensor, Tensor]]:
    a, b = normal(40), normal(40, seed=1)
    return {
        "normal": (a, b),
        "ties": (a.round(), (a + b).round()),
        "huge": (a * 1e200, (a + b) * 1e-200),
        "whole numbers": ((3 * a).long().double(), (3 * b).long().double()),
        "infinite": (a, torch.where(b > 1, torch.inf, b)),
    }


def average_ranks(x):
    return np.array([(x < v).sum() + ((x == v).sum() + 1) / 2 for v in x])


@pytest.mark.parametrize("name", awkward())
def test_auroc_and_spearman_are_counts_over_pairs(name):
    a, b = awkward()[name]
    x, y = a.numpy(), b.numpy()
    pairs = (y[:, None] > x[None]).mean() + 0.5 * (y[:, None] == x[None]).mean()
    assert float(auroc(a, b)) == pytest.approx(pairs)
    assert ranks(a).tolist() == pytest.approx(average_ranks(x).tolist())
    assert float(spearman(a, b)) == pytest.approx(np.corrcoef(average_ranks(x), average_ranks(y))[0, 1])


def test_only_the_order_counts():
    a, b = normal(50), normal(50, seed=1)
    assert float(spearman(a.exp(), b**3)) == pytest.approx(float(spearman(a, b)))
    assert float(auroc(a.exp(), b.exp())) == pytest.approx(float(auroc(a, b)))
    assert float(auroc(a, b)) == pytest.approx(1 - float(auroc(b, a)))
    assert float(spearman(a, a)) == pytest.approx(1) and float(spearman(a, -a)) == pytest.approx(-1)
    assert float(auroc(torch.zeros(5), torch.ones(3))) == 1 and float(auroc(torch.ones(5), torch.ones(3))) == 0.5
    assert torch.isnan(spearman(a, torch.ones(50)))


def test_the_risk_coverage_curve_is_the_mean_over_all_orders_of_ties():
    error, uncertainty = torch.tensor([3.0, 1.0, 2.0, 7.0]), torch.tensor([1.0, 0.0, 1.0, 1.0])
    curves = []
    for order in permutations(range(4)):
        if all(uncertainty[i] <= uncertainty[j] for i, j in pairwise(order)):
            e = error.numpy()[list(order)]
            curves.append(np.cumsum(e) / np.arange(1, 5))
    assert len(curves) == 6
    assert risk_coverage(error, uncertainty).tolist() == pytest.approx(np.mean(curves, 0).tolist())


def test_areas_are_those_of_the_curve_and_bounded_by_chance_and_oracle():
    error, noise = normal(500).square(), normal(500, seed=1)
    e = error.numpy()[np.argsort(noise.numpy())]
    curve = np.cumsum(e) / np.arange(1, 501)
    best = np.cumsum(np.sort(e)) / np.arange(1, 501)
    assert float(aurc(error, noise)) == pytest.approx(curve.mean())
    assert float(ause(error, noise)) == pytest.approx((curve.mean() - best.mean()) / e.mean())
    assert float(ause(error, error.sqrt())) == pytest.approx(0, abs=1e-12)
    assert float(ause(7 * error, noise)) == pytest.approx(float(ause(error, noise)))
    assert float(aurc(error, torch.ones(500))) == pytest.approx(float(error.mean())), "no information: the mean error"
    assert aurc(error, -error) > error.mean() > aurc(error, error + 0.5 * noise) > aurc(error, error)


def test_disagreement_is_the_mean_variance():
    members = normal(5, 20, 3)
    assert np.allclose(disagreement(members).numpy(), members.numpy().var(0).mean(-1))
    assert float(disagreement(members[:1].repeat(4, 1, 1)).max()) == pytest.approx(0, abs=1e-30)
    assert torch.allclose(disagreement(members + 1e6), disagreement(members), rtol=1e-6)


def test_growth_is_the_slope_of_the_log_error():
    scatter = normal(30, 1).exp()
    error = scatter * torch.tensor([0.1 * 1.7**h for h in range(8)])
    assert float(horizon_growth(error)) == pytest.approx(np.log(1.7), rel=1e-6)
    assert float(horizon_growth(9 * error)) == pytest.approx(np.log(1.7), rel=1e-6)
    assert float(horizon_growth(error.square())) == pytest.approx(2 * np.log(1.7), rel=1e-6)
    noisy = normal(30, 6).square()
    wanted = np.polyfit(np.arange(1, 7), np.log(noisy.numpy().mean(0)), 1)[0]
    assert float(horizon_growth(noisy)) == pytest.approx(wanted)


@dataclass(frozen=True)
class Made:
    predicted: Gaussian
    target: Tensor
    episode: Tensor
    members: Tensor | None = None


def made(episodes: int, width: float = 1.0, first: int = 0, members: bool = False) -> Made:
    """Five rows an episode with noise of known scale, predicted `width` times as wide."""
    n = 5 * episodes
    std = normal(n, 2, seed=first).exp()
    p = Gaussian(torch.zeros(n, 2), 2 * (width * std).log().float())
    spread = std * normal(4, n, 2, seed=first + 2) if members else None
    return Made(
        p, std * normal(n, 2, seed=first + 1), torch.arange(first, first + episodes).repeat_interleave(5), spread
    )


def test_a_judgement_of_true_predictions_finds_them_calibrated():
    test = made(600, members=True)
    assert isinstance(test, Outcome)
    found = judge(test, made(400, first=1000), resamples=60)
    assert found.rows == 3000 and found.episodes == 600
    for level in LEVELS:
        assert found.coverage[level].value == pytest.approx(level, abs=0.025)
        assert found.raw_coverage[level].value == pytest.approx(level, abs=0.02)
        assert found.coverage[level].low < found.coverage[level].value < found.coverage[level].high
    assert found.ece.value < 0.02 and found.raw_ece.value < 0.015
    assert found.crps.value == pytest.approx(float(crps(test.predicted, test.target).mean()))
    low, high = intervals(test.predicted, (0.9,))
    assert found.sharpness[0.9].value == pytest.approx(float((high - low).mean()), rel=0.1)
    assert found.spearman.value > 0.4 and found.disagreement is not None and found.disagreement.value > 0.2
    assert found.aurc.value < 0.6 and 0 < found.ause.value < found.aurc.value


def test_too_narrow_predictions_are_seen_and_corrected():
    found = judge(made(600, 0.3), made(400, 0.3, first=1000), resamples=20)
    assert found.raw_coverage[0.9].high < 0.5 and found.raw_ece.low > 0.2
    assert found.coverage[0.9].value == pytest.approx(0.9, abs=0.02) and found.disagreement is None


def test_intervals_know_that_copies_of_a_row_are_one_observation():
    one, held = made(12), made(60, first=1000)  # 60 rows
    five = [x.repeat(5, 1) for x in (one.predicted.mean, one.predicted.log_variance, one.target)]
    honest, fooled = (
        judge(Made(Gaussian(*five[:2]), five[2], episode), held, resamples=100).crps
        for episode in (torch.arange(60).repeat(5), torch.arange(300))
    )
    assert honest.value == pytest.approx(fooled.value)
    assert honest.high - honest.low > 1.6 * (fooled.high - fooled.low), "sqrt(5) in the mean"


def test_an_episode_in_both_parts_is_refused():
    with pytest.raises(DataError, match="split by episode"):
        judge(made(20), made(20, first=10), resamples=5)
    lone = made(1)
    with pytest.raises(DataError, match="one episode"):
        judge(lone, made(20, first=10), resamples=5)
    with pytest.raises(ConfigError):
        judge(made(20), made(20, first=30), resamples=0)


def test_wrong_input_is_told_in_words(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    bad = torch.tensor([1.0, float("nan"), 2.0])
    for call in (lambda: auroc(bad, bad), lambda: spearman(bad, bad), lambda: aurc(bad, bad),
                 lambda: auroc(torch.ones(0), torch.ones(2)), lambda: horizon_growth(torch.zeros(2, 3)),
                 lambda: disagreement(bad.expand(2, 1, 3))):  # fmt: skip
        with pytest.raises(DataError):
            call()
    for call in (lambda: spearman(torch.ones(3), torch.ones(2)), lambda: aurc(torch.ones(1), torch.ones(1)),
                 lambda: disagreement(torch.ones(1, 3, 2)), lambda: horizon_growth(torch.ones(3, 1))):  # fmt: skip
        with pytest.raises(ShapeError):
            call()
