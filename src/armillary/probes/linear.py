"""Multinomial logistic regression."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import ConfigError
from ..randomness import numbered
from .extract import Features
from .report import Report, check_classes, majority, scored

STRENGTHS = (10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4, 1e-5)  # strong to weak: each fit starts from the one before
VALIDATION = 0.1  # share of the train rows on which the strength is chosen


def linear(
    train: Features,
    test: Features,
    strengths: tuple[float, ...] = STRENGTHS,
    iterations: int = 100,
    seed: int = 0,
) -> Report:
    """Accuracy of a linear classifier of standardized features, fitted by L-BFGS.

    The loss is the mean cross-entropy + strength / 2 * |weight|²; the bias is free; scikit-learn's C is
    1 / (strength * n). The strength is chosen by accuracy on a tenth of the train rows, the stronger one of equals,
    from strong to weak until two decades bring no gain; then all train rows are fitted. The test rows are used once,
    at the end.

    Raises:
        ConfigError: no strengths, or a negative one.
        DataError: one class only, NaN, or no labels.
    """
    begun = time.perf_counter()
    if not strengths or min(strengths) < 0:
        raise ConfigError(f"strengths are {strengths}: give at least one, none negative")
    classes = check_classes(train, test)
    strengths = tuple(sorted(strengths, reverse=True))
    mean, std = train.x.mean(0), train.x.std(0, correction=0)
    scale = torch.where(std > 1e-6 * mean.abs().clamp_min(1e-6), std, torch.inf)  # a constant feature becomes 0
    x, asked = (train.x - mean) / scale, (test.x - mean) / scale
    held = held_out(len(x), seed)
    tried: dict[str, float] = {}
    chosen, best, start = strengths[0], -1.0, x.new_zeros(classes, x.shape[1] + 1)
    weight = start
    for strength in strengths:
        weight = fit(x[~held], train.y[~held], weight, strength, iterations)
        tried[str(strength)] = float((_answers(x[held], weight) == train.y[held]).float().mean())
        if tried[str(strength)] > best:
            chosen, best, start = strength, tried[str(strength)], weight
        elif strength <= chosen / 100:  # two decades without gain; the weakest strengths take the longest
            break
    weight = fit(x, train.y, start, chosen, iterations)
    right = _answers(asked, weight) == test.y
    score, interval = scored(right, test.group, seed)
    settings = {"strength": chosen, "validation": tried, "iterations": iterations, "seed": seed}
    return Report(
        "linear", score, interval, majority(train, test), settings, len(x), len(asked), time.perf_counter() - begun,
        right, test.index, test.group,
    )  # fmt: skip


def held_out(n: int, seed: int) -> Tensor:
    """[n] True for the tenth of the train rows (at least one) on which settings are chosen."""
    held = torch.zeros(n, dtype=torch.bool)
    held[numbered(1, seed).order("validation", n)[0, : max(1, round(VALIDATION * n))]] = True
    return held


def fit(
    x: Float[Tensor, "n D"], y: Int64[Tensor, " n"], start: Float[Tensor, "K E"], strength: float, iterations: int
) -> Float[Tensor, "K E"]:
    """The weight [K, D + 1], bias last, that minimizes cross-entropy + strength / 2 * |weight|²."""
    weight, free = start.clone(), torch.ones_like(start)
    free[:, -1] = 0  # the bias is not penalized
    hot = F.one_hot(y, len(start)).to(x.dtype)
    optimizer = torch.optim.LBFGS(
        [weight],
        max_iter=iterations,
        history_size=20,
        tolerance_grad=1e-5,
        tolerance_change=1e-8,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        logits = torch.addmm(weight[:, -1], x, weight[:, :-1].T)
        probability = logits.softmax(1)
        error = (probability - hot) / len(x)  # d loss / d logits, so that no graph is needed
        weight.grad = torch.cat([error.T @ x, error.sum(0)[:, None]], 1) + strength * free * weight
        return F.cross_entropy(logits, y) + strength / 2 * (free * weight).square().sum()

    optimizer.step(loss)
    return weight


def _answers(x: Float[Tensor, "n D"], weight: Float[Tensor, "K E"]) -> Int64[Tensor, " n"]:
    return torch.addmm(weight[:, -1], x, weight[:, :-1].T).argmax(1)
