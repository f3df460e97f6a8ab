"""Losses of predictors that know how sure they are: a Gaussian of each number, or quantiles. Computed in float32.

A Gaussian has its log-variance bounded softly where it is made, see `functional.gaussian.bounded`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ConfigError, ShapeError, require
from .gaussian import Gaussian, log_density

Levels = tuple[float, ...]


@dataclass(frozen=True)
class Quantiles:
    """value: [*B, D, Q] quantiles of each of D numbers, ascending in Q; levels: their Q probabilities, in (0, 1)."""

    value: Float[Tensor, "*B D Q"]
    levels: Levels


def even_levels(count: int) -> Levels:
    """`count` levels in even steps: 1 / (count + 1), ..., count / (count + 1).

    Raises:
        ConfigError: no level.
    """
    require(1, float("inf"), count=count)
    return tuple((i + 1) / (count + 1) for i in range(count))


def check_levels(levels: Levels) -> None:
    """Check that levels lie between 0 and 1 and ascend.

    Raises:
        ConfigError: they do not, or there are none.
    """
    inside = bool(levels) and all(0 < level < 1 for level in levels)
    if not inside or any(after <= before for before, after in pairwise(levels)):
        raise ConfigError(f"levels are {levels}: give one or more, above 0 and below 1, in ascending order")


def gaussian_nll(p: Gaussian, target: Float[Tensor, "*B D"], beta: float = 0.0) -> Float[Tensor, ""]:
    """Mean negative log-likelihood in nats a number, each weighted by its variance^beta without gradient.

    beta: 0 is the likelihood, under which what is badly predicted is given up early, as its large variance shrinks the
    gradient of its mean; 1 gives the means the gradient of half the squared error; the paper recommends 0.5. Above 0
    the unit is no longer nats, and values at different variances cannot be compared.
    Raises:
        ConfigError: beta outside [0, 1]. ShapeError: the target has another shape.
    Source: beta-NLL (arXiv 2203.09168), section 4; martius-lab/beta-nll. Mean instead of sum over the dimensions, and
    the constant log(2 pi) / 2 is kept.
    """
    require(0, 1, beta=beta)
    _check(p.mean, target)
    nats = -log_density(p, target)
    return (nats if beta == 0 else nats * p.variance.detach().pow(beta)).mean()


def pinball(p: Quantiles, target: Float[Tensor, "*B D"]) -> Float[Tensor, ""]:
    """Mean pinball loss over numbers and levels t: t (y - q) where the target y lies above q, (1 - t) (q - y) below.

    In the target's unit, 0 at least; its expectation is least where each q is the t-quantile.
    Raises:
        ConfigError: levels outside (0, 1). ShapeError: shapes do not fit.
    Source: Koenker and Bassett (1978), "Regression quantiles".
    """
    check_levels(p.levels)
    _check(p.value[..., 0], target)
    if p.value.shape[-1] != len(p.levels):
        raise ShapeError(f"{p.value.shape[-1]} quantiles at {len(p.levels)} levels: one each is needed")
    value = p.value.float()
    gap = target.float()[..., None] - value
    level = torch.tensor(p.levels, device=gap.device)
    return torch.maximum(level * gap, (level - 1) * gap).mean()


def _check(predicted: Tensor, target: Tensor) -> None:
    if predicted.shape != target.shape:
        raise ShapeError(
            f"a prediction of {tuple(predicted.shape)} numbers cannot be scored by a target of {tuple(target.shape)}: "
            "give one target for each number"
        )
