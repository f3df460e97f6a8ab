"""Heads and predictors that know how sure they are: a Gaussian, quantiles, or several predictors that may disagree."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..errors import ShapeError, require
from ..functional.gaussian import Gaussian, split
from ..functional.likelihood import Levels, Quantiles, check_levels, even_levels


@dataclass(frozen=True)
class GaussianConfig:
    """Sizes of a `GaussianHead`."""

    width: int = 128
    """width of what the head receives"""
    out: int = 16
    """numbers that are predicted"""

    def __post_init__(self) -> None:
        require(1, math.inf, width=self.width, out=self.out)


@dataclass(frozen=True)
class QuantileConfig:
    """Sizes of a `QuantileHead`."""

    width: int = 128
    """width of what the head receives"""
    out: int = 16
    """numbers that are predicted"""
    levels: Levels = even_levels(39)
    """probabilities of the quantiles, ascending; the default holds the ends of the 5, 10, ... 95 % intervals"""

    def __post_init__(self) -> None:
        require(1, math.inf, width=self.width, out=self.out)
        check_levels(self.levels)


@dataclass(frozen=True)
class EnsembleConfig:
    """Sizes of an `Ensemble`."""

    members: int = 5
    """predictors, which share nothing"""
    width: int = 32
    """width of the input"""
    hidden: int = 128
    """width of the hidden layers"""
    depth: int = 2
    """hidden layers"""
    out: int = 16
    """numbers that each member puts out"""

    def __post_init__(self) -> None:
        names = ("members", "width", "hidden", "depth", "out")
        require(1, math.inf, **{name: getattr(self, name) for name in names})


class GaussianHead(nn.Module):
    """Mean and log-variance of each number by one linear map; the log-variance is bounded softly.

    Source: Nix and Weigend (1994); the bounds are those of `functional.gaussian`.
    """

    def __init__(self, config: GaussianConfig):
        super().__init__()
        self.map = nn.Linear(config.width, 2 * config.out)

    def forward(self, x: Float[Tensor, "*B W"]) -> Gaussian:
        """A distribution of [*B, out] independent numbers, in float32."""
        return split(self.map(x))


class QuantileHead(nn.Module):
    """Quantiles of each number that cannot cross: the lowest, and steps upward through a softplus, added up.

    It begins with the quantiles of a standard normal, so targets should be standardized.
    Source: incremental quantile functions, Park et al. (arXiv 2111.06581), section 3 (believed); the initialization is
    ours.
    """

    def __init__(self, config: QuantileConfig):
        super().__init__()
        self.levels, self.out = config.levels, config.out
        self.map = nn.Linear(config.width, config.out * len(config.levels))
        normal = [NormalDist().inv_cdf(level) for level in config.levels]
        steps = [math.log(math.expm1(after - before)) for before, after in pairwise(normal)]  # softplus undone
        with torch.no_grad():
            self.map.bias.copy_(torch.tensor([normal[0], *steps]).repeat(config.out))

    def forward(self, x: Float[Tensor, "*B W"]) -> Quantiles:
        """[*B, out, Q] quantiles in ascending order, in float32."""
        lowest, steps = self.map(x).float().unflatten(-1, (self.out, -1)).split((1, len(self.levels) - 1), -1)
        above = lowest + F.softplus(steps).cumsum(-1)
        return Quantiles(torch.cat([lowest, above], -1).cummax(-1).values, self.levels)  # rounding must not cross them


class Ensemble(nn.Module):
    """K independently initialized MLPs (linear, GELU, ..., linear) evaluated together by batched products.

    A gradient of one member's output reaches its own weights alone. Initial weights are those of `nn.Linear`.
    Source: deep ensembles (arXiv 1612.01474): another initialization and order of the data is all that differs.
    """

    def __init__(self, config: EnsembleConfig):
        super().__init__()
        self.members, self.width = config.members, config.width
        widths = [config.width, *[config.hidden] * config.depth, config.out]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in pairwise(widths):
            bound = before**-0.5
            self.weights.append(torch.empty(config.members, before, after).uniform_(-bound, bound))
            self.biases.append(torch.empty(config.members, 1, after).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "*K B W"]) -> Float[Tensor, "K B out"]:
        """What each member says of the same rows [B, W], or of rows of its own [K, B, W].

        Raises:
            ShapeError: another width, or rows for another number of members.
        """
        if x.shape[-1] != self.width or x.ndim not in (2, 3) or (x.ndim == 3 and len(x) != self.members):
            raise ShapeError(
                f"rows of shape {tuple(x.shape)}: {self.members} members take [B, {self.width}] or "
                f"[{self.members}, B, {self.width}]"
            )
        x = x.expand(self.members, -1, -1)
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, F.gelu(x) if i else x, weight)
        return x
