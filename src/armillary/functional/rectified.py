"""Sparse targets for embeddings: sliced Wasserstein distance to samples of a rectified generalized Gaussian.

X = mu + sigma W with the density of W proportional to exp(-|w|^p / p): Laplace for p = 1, normal for p = 2. The target
is max(X, 0): the maximum-entropy distribution of given expected l_p norm with a mass at 0 that grows as mu falls.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ConfigError, ShapeError
from ..parallel import all_gather
from ..randomness import Random

TRIES = 8  # candidates of a gamma variable; each is accepted with probability 0.95 or more


def rdmreg(
    z: Float[Tensor, "B D"], samples: Float[Tensor, "B D"], directions: Float[Tensor, "D S"]
) -> Float[Tensor, ""]:
    """Mean over unit directions of the squared 2-Wasserstein distance between projected embeddings and samples.

    In one dimension that is the mean squared gap after sorting both, over the rows of all ranks.

    Args:
        samples: of the target, as many as embeddings and drawn anew each step for each view, see
            `rectified_samples`; without gradient.
        directions: unit columns, see `regularize.unit_directions`. The release draws 8,192 of them.
    Raises:
        ShapeError: the shapes do not fit.
    Source: Rectified LpJEPA (arXiv 2602.01456), which averages it over both views;
        YilunKuang/rectified-lp-jepa:solo/losses/rectified_lpjepa.py.
    """
    if z.shape != samples.shape or z.ndim != 2 or directions.shape[0] != z.shape[1]:
        raise ShapeError(
            f"embeddings and samples have one shape [B, D] and directions [D, S]; got {tuple(z.shape)}, "
            f"{tuple(samples.shape)} and {tuple(directions.shape)}"
        )
    with torch.autocast(z.device.type, enabled=False):
        columns = directions.to(z.device).float().T
        found = (columns @ all_gather(z.float()).T).sort(1).values
        wanted = (columns @ all_gather(samples.detach().float()).T).sort(1).values
        return (found - wanted).square().mean()


def rectified_samples(
    random: Random, width: int, p: float = 1.0, mu: float = 0.0, sigma: float | None = None, stream: str = "target"
) -> Float[Tensor, "B D"]:
    """One sample [D] of max(X, 0) for each row of the batch; `sigma` None: `unit_sigma(p)`, the release's choice.

    Raises:
        ConfigError: p or sigma is not above 0.
    """
    sigma = unit_sigma(p) if sigma is None else sigma
    if sigma <= 0:
        raise ConfigError(f"sigma is {sigma}; any number above 0 is allowed")
    return (mu + sigma * generalized_gaussian(random, width, p, stream)).relu()


def generalized_gaussian(random: Random, width: int, p: float, stream: str = "target") -> Float[Tensor, "B D"]:
    """W [B, D], independent, with density proportional to exp(-|w|^p / p): a random sign times (p G)^(1/p), G gamma.

    Raises:
        ConfigError: p is not above 0.
    """
    _positive(p)
    if p == 2:
        return random.normal(stream, width)
    sign = random.uniform(f"{stream}/sign", width).sub(0.5).sign()
    if p == 1:
        return -sign * torch.log1p(-random.uniform(stream, width))
    return sign * (p * _gamma(random, width, 1 / p, stream)).pow(1 / p)


def _gamma(random: Random, width: int, shape: float, stream: str) -> Float[Tensor, "B D"]:
    """Gamma variables of that shape and scale 1, as a function of counters: the first accepted of `TRIES` candidates.

    Source: Marsaglia and Tsang, "A simple method for generating gamma variables", 2000; with their step to shapes
        below 1. That none is accepted happens once in 10^10.
    """
    d = shape + 1 - 1 / 3
    normal = random.normal(f"{stream}/normal", TRIES, width)
    cube = (1 + normal / math.sqrt(9 * d)).clamp_min(1e-6) ** 3
    bound = normal.square() / 2 + d * (1 - cube + cube.log())
    accepted = torch.log1p(-random.uniform(f"{stream}/accept", TRIES, width)) < bound
    first = accepted.int().argmax(1, keepdim=True)
    power = torch.log1p(-random.uniform(f"{stream}/power", width)) / shape
    return d * cube.gather(1, first).squeeze(1) * power.exp()


def unit_sigma(p: float) -> float:
    """The sigma for which X has variance 1 before it is rectified: 1 / sqrt(2) for Laplace, 1 for normal.

    Raises:
        ConfigError: p is not above 0.
    """
    _positive(p)
    return math.exp((math.lgamma(1 / p) - math.lgamma(3 / p)) / 2 - math.log(p) / p)


def rectified_moments(p: float, mu: float, sigma: float) -> tuple[float, float]:
    """Mean and variance of max(X, 0).

    From E[W^k; W > -mu / sigma], incomplete gamma functions of |mu / sigma|^p / p.
    Raises:
        ConfigError: p is not above 0.
    """
    _positive(p)
    edge = torch.tensor(abs(mu / sigma) ** p / p, dtype=torch.float64)
    shapes = torch.tensor([1 / p, 2 / p, 3 / p], dtype=torch.float64)
    below = torch.special.gammainc(shapes, edge).tolist()
    scale = [p ** (k / p) * math.exp(math.lgamma((k + 1) / p) - math.lgamma(1 / p)) for k in range(3)]  # E |W|^k
    side = math.copysign(1, mu)
    mass, second = ((1 + side * below[k]) * scale[k] / 2 for k in (0, 2))
    first = (1 - below[1]) * scale[1] / 2
    mean = mu * mass + sigma * first
    return mean, mu * mu * mass + 2 * mu * sigma * first + sigma * sigma * second - mean * mean


@lru_cache
def rectified_sigma(p: float, mu: float) -> float:
    """The sigma for which max(X, 0) has variance 1, by bisection: its variance grows with sigma.

    Raises:
        ConfigError: p is not above 0.
    """
    low, high = 1e-8, 1.0
    while rectified_moments(p, mu, high)[1] < 1:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if rectified_moments(p, mu, middle)[1] < 1 else (low, middle)
    return (low + high) / 2


def _positive(p: float) -> None:
    if p <= 0:
        raise ConfigError(f"p is {p}; any number above 0 is allowed, 1 for Laplace, 2 for normal")
