"""Gaussians with independent dimensions: predictions that know how sure they are. Computed in float32.

Values are in nats and of each dimension; those of a whole vector are their sums over the last axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
from ..randomness import Random

BOUND = 10.0  # of log-variances: standard deviations lie between exp(-5) and exp(5)


@dataclass(frozen=True)
class Gaussian:
    """mean, log_variance: [*B, D] of a normal distribution of each number, all of them independent."""

    mean: Float[Tensor, "*B D"]
    log_variance: Float[Tensor, "*B D"]

    @property
    def std(self) -> Float[Tensor, "*B D"]:
        """Standard deviations, above 0."""
        return (self.log_variance.float() / 2).exp()

    @property
    def variance(self) -> Float[Tensor, "*B D"]:
        """Variances, above 0."""
        return self.log_variance.float().exp()


def bounded(log_variance: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """A free number as a log-variance within `BOUND` of 0: almost itself near 0, with a gradient everywhere.

    Source: YongchaoHuang/VJEPA:exp9_vit_stl10 clamps at the same bounds; beyond them a clamp's gradient is 0.
    """
    return BOUND * (log_variance.float() / BOUND).tanh()


def unbounded(log_variance: float) -> float:
    """The free number that `bounded` makes `log_variance` of, which is within `BOUND` of 0."""
    return BOUND * math.atanh(log_variance / BOUND)


def split(x: Float[Tensor, "*B D2"]) -> Gaussian:
    """A network's output of 2 D numbers as a Gaussian of D: means first, then log-variances, `bounded`.

    Raises:
        ShapeError: the last axis is odd.
    """
    if x.shape[-1] % 2:
        raise ShapeError(f"means and log-variances are halves of the last axis, which is odd: {tuple(x.shape)}")
    mean, log_variance = x.float().chunk(2, -1)
    return Gaussian(mean, bounded(log_variance))


def standard(like: Float[Tensor, "*B D"]) -> Gaussian:
    """Means of 0 and variances of 1, in the shape of `like`."""
    zeros = torch.zeros_like(like, dtype=torch.float32)
    return Gaussian(zeros, zeros)


def log_density(p: Gaussian, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*C D"]:
    """log p(x) of each dimension; leading axes broadcast.

    Raises:
        ShapeError: the widths differ.
    """
    _check(x, p.mean)
    return -_surprise((x.float() - p.mean.float()).square(), p)


def cross_entropy(q: Gaussian, p: Gaussian) -> Float[Tensor, "*C D"]:
    """The expectation of -log p(x) over x of q, in closed form: log_density(p, x) averaged over draws of q.

    Raises:
        ShapeError: the widths differ.
    """
    _check(q.mean, p.mean)
    return _surprise(q.variance + (q.mean.float() - p.mean.float()).square(), p)


def kl(q: Gaussian, p: Gaussian) -> Float[Tensor, "*C D"]:
    """Kullback-Leibler divergence of p from q, KL(q || p) >= 0, and 0 where they are equal; leading axes broadcast.

    Raises:
        ShapeError: the widths differ.
    Source: Auto-Encoding Variational Bayes (arXiv 1312.6114), appendix B, for a standard normal p.
    """
    _check(q.mean, p.mean)
    log_ratio = q.log_variance.float() - p.log_variance.float()
    shift = (q.mean.float() - p.mean.float()).square() / p.variance
    return 0.5 * (torch.expm1(log_ratio) - log_ratio + shift)  # expm1(r) - r >= 0, and exact near 0


def sample(q: Gaussian, random: Random, stream: str) -> Float[Tensor, "B *N D"]:
    """One draw of each row, mean + std * noise, through which gradients reach both; the first axis is the batch.

    Source: Auto-Encoding Variational Bayes (arXiv 1312.6114), section 2.4.
    """
    return q.mean.float() + q.std * random.normal(stream, *q.mean.shape[1:])


def product(one: Gaussian, other: Gaussian) -> Gaussian:
    """The normalized product of two densities: precisions add, and means are weighted by them. Commutative.

    As an expert's variance grows without bound, the product becomes the other expert.
    Raises:
        ShapeError: the widths differ.
    Source: BJEPA (arXiv 2601.14354), section 8.1, the "hard fusion" of what is likely with what is wanted.
    """
    _check(one.mean, other.mean)
    log_precision = torch.logaddexp(-one.log_variance.float(), -other.log_variance.float())
    share = (-one.log_variance.float() - log_precision).exp()  # of the precision that is the first expert's
    mean = other.mean.float() + share * (one.mean.float() - other.mean.float())
    return Gaussian(mean, -log_precision)


def _surprise(square: Tensor, p: Gaussian) -> Tensor:
    """-log p at a squared distance from the mean."""
    return 0.5 * (math.log(2 * math.pi) + p.log_variance.float() + square / p.variance)


def _check(one: Tensor, other: Tensor) -> None:
    if one.shape[-1] != other.shape[-1]:
        raise ShapeError(f"Gaussians of one width are needed, got {tuple(one.shape)} and {tuple(other.shape)}")
