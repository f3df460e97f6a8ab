"""Multinomial logistic regression."""

from __future__ import annotations

import time
from collections.abc import Callable

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
    answer, settings = classified(train, test, strengths, iterations, seed)
    right = answer.argmax(1) == test.y
    score, interval = scored(right, test.group, seed)
    return Report(
        "linear", score, interval, majority(train, test), settings, len(train.x), len(right),
        time.perf_counter() - begun, right, test.index, test.group,
    )  # fmt: skip


def classified(
    train: Features, test: Features, strengths: tuple[float, ...], iterations: int, seed: int
) -> tuple[Float[Tensor, "n K"], dict[str, object]]:
    """The logits of the test rows under the classifier of `linear`, and the settings that were tried and chosen."""
    strengths = ordered(strengths)
    classes = check_classes(train, test)
    x, asked = standardized(train.x, test.x)
    held = held_out(len(x), seed)
    chosen, start, tried = search(
        strengths,
        x.new_zeros(classes, x.shape[1] + 1),
        lambda weight, strength: fit(x[~held], train.y[~held], weight, strength, iterations),
        lambda weight: float((logits(x[held], weight).argmax(1) == train.y[held]).float().mean()),
    )
    weight = fit(x, train.y, start, chosen, iterations)
    return logits(asked, weight), {"strength": chosen, "validation": tried, "iterations": iterations, "seed": seed}


def search(
    strengths: tuple[float, ...],
    start: Float[Tensor, "K E"],
    fitted: Callable[[Tensor, float], Tensor],
    judged: Callable[[Tensor], float],
) -> tuple[float, Float[Tensor, "K E"], dict[str, float]]:
    """The best strength, the stronger one of equals, its weight, and how each that was tried was judged.

    From strong to weak, each fit from the weight of the one before, until two decades bring no gain.
    """
    tried: dict[str, float] = {}
    chosen, best, weight = strengths[0], start, start
    for strength in strengths:
        weight = fitted(weight, strength)
        tried[str(strength)] = judged(weight)
        if len(tried) == 1 or tried[str(strength)] > tried[str(chosen)]:
            chosen, best = strength, weight
        elif strength <= chosen / 100:  # the weakest strengths take the longest
            break
    return chosen, best, tried


def ordered(strengths: tuple[float, ...]) -> tuple[float, ...]:
    """From strong to weak: each fit starts from the one before.

    Raises:
        ConfigError: there are none, or one is negative.
    """
    if not strengths or min(strengths) < 0:
        raise ConfigError(f"strengths are {strengths}: give at least one, none negative")
    return tuple(sorted(strengths, reverse=True))


def standardized(
    train: Float[Tensor, "n D"], test: Float[Tensor, "m D"]
) -> tuple[Float[Tensor, "n D"], Float[Tensor, "m D"]]:
    """Both with the mean and standard deviation of the train rows taken out; a constant feature becomes 0."""
    mean, std = train.mean(0), train.std(0, correction=0)
    scale = torch.where(std > 1e-6 * mean.abs().clamp_min(1e-6), std, torch.inf)
    return (train - mean) / scale, (test - mean) / scale


def held_out(n: int, seed: int) -> Tensor:
    """[n] True for the tenth of the train rows (at least one) on which settings are chosen."""
    held = torch.zeros(n, dtype=torch.bool)
    held[numbered(1, seed).order("validation", n)[0, : max(1, round(VALIDATION * n))]] = True
    return held


def fit(
    x: Float[Tensor, "n D"],
    y: Int64[Tensor, " n"] | Float[Tensor, "n K"],
    start: Float[Tensor, "K E"],
    strength: float,
    iterations: int,
) -> Float[Tensor, "K E"]:
    """The weight [K, D + 1], bias last, that minimizes mean cross-entropy + strength / 2 * |weight|².

    y: classes, or for each row how much of each class it holds; a row weighs as much as it holds altogether.
    """
    weight, free = start.clone(), torch.ones_like(start)
    free[:, -1] = 0  # the bias is not penalized
    hot = F.one_hot(y, len(start)).to(x.dtype) if y.ndim == 1 else y
    weighs, total = hot.sum(1, keepdim=True), float(hot.sum())
    optimizer = torch.optim.LBFGS(
        [weight],
        max_iter=iterations,
        history_size=20,
        tolerance_grad=1e-5,
        tolerance_change=1e-8,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        answer = logits(x, weight)
        error = (answer.softmax(1) * weighs - hot) / total  # d loss / d logits, so that no graph is needed
        weight.grad = torch.cat([error.T @ x, error.sum(0)[:, None]], 1) + strength * free * weight
        return F.cross_entropy(answer, y, reduction="sum") / total + strength / 2 * (free * weight).square().sum()

    optimizer.step(loss)
    return weight


def logits(x: Float[Tensor, "n D"], weight: Float[Tensor, "K E"]) -> Float[Tensor, "n K"]:
    """What a weight of `fit` says of each row."""
    return torch.addmm(weight[:, -1], x, weight[:, :-1].T)
