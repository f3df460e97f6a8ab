"""What needs pairs of embeddings: n² distances, so it is measured on a fixed subsample, in float64."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import ShapeError
from ..randomness import numbered

SAMPLE = 1000  # rows that pairs are made of, unless told otherwise
NEIGHBOR = 5  # the neighbor whose distance says how crowded a place is


def subsample(rows: int, count: int = SAMPLE, seed: int = 0) -> Int64[Tensor, " n"]:
    """Which of `rows` rows measures of pairs look at: all of them, or `count` drawn by `seed`, in ascending order."""
    if rows <= count:
        return torch.arange(rows)
    return numbered(1, seed).order("diagnostics/subsample", rows)[0, :count].sort().values


def on_sphere(x: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
    """Rows divided by their length, in float64; rows of zeros stay."""
    x = x.double()
    x = x / x.abs().amax(1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)  # huge rows must not overflow
    return x / x.norm(dim=1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)


def distances(x: Float[Tensor, "*shape"]) -> Float[Tensor, "n n"]:
    """Euclidean distances [n, n] of all pairs of rows [n, D], exact also for rows that nearly coincide.

    Raises:
        ShapeError: fewer than 2 rows.
    """
    if x.ndim != 2 or len(x) < 2:
        raise ShapeError(f"pairs were asked for of shape {tuple(x.shape)}: give a matrix [n, D] of at least 2 rows")
    x = x.double()
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")


def uniformity(x: Float[Tensor, "n D"], t: float = 2.0) -> Float[Tensor, ""]:
    """log of the mean of exp(-t |u - v|²) over the pairs of different rows, on the unit sphere; 0 where all are equal.

    Lower is more uniform; -2 t is the limit for n, D to infinity. [n, D] with n >= 2.
    Source: Wang and Isola (arXiv 2005.10242), equation 5.
    """
    square = distances(on_sphere(x)).square()
    n = len(square)
    off = ~torch.eye(n, dtype=torch.bool, device=square.device)
    return (-t * square[off]).exp().mean().log()


def alignment(x: Float[Tensor, "n D"], y: Float[Tensor, "m E"], alpha: float = 2.0) -> Float[Tensor, ""]:
    """Mean of |u - v|^alpha over positive pairs (row i of both), on the unit sphere; 0 where views agree.

    Raises:
        ShapeError: the two differ in shape.
    Source: Wang and Isola (arXiv 2005.10242), equation 4.
    """
    if x.shape != y.shape:
        raise ShapeError(f"positive pairs need equal shapes [n, D], got {tuple(x.shape)} and {tuple(y.shape)}")
    return (on_sphere(x) - on_sphere(y)).norm(dim=1).pow(alpha).mean()


def crowding(x: Float[Tensor, "*shape"], neighbor: int = NEIGHBOR) -> Float[Tensor, ""]:
    """Median distance to the fifth nearest row over the median distance of pairs: near 0 where rows fall into heaps.

    From about 0.9 for a normal distribution of many dimensions over 0.1 for one of two to 0 for few points repeated.
    NaN where all rows are equal, or nearly all: there are no heaps but one.
    """
    away = distances(x)
    n, k = len(away), min(neighbor, len(away) - 1)
    near = away.kthvalue(k + 1, dim=1).values.median()  # the row itself comes first
    typical = away[~torch.eye(n, dtype=torch.bool, device=away.device)].median()
    return torch.where(typical > 0, near / typical, float("nan"))


def clumping(x: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """`crowding` over that of as many normal rows with the same covariance: 1 for a cloud, near 0 for heaps.

    Unlike crowding it does not fall where embeddings only lose dimensions. The neighbor is the fifth, and below 80 rows
    the n/16-th, so that heaps of a few rows are seen. NaN as `crowding`.
    """
    neighbor = max(1, min(NEIGHBOR, len(x) // 16))
    centered = x.double() - x.double().mean(0)
    mixed = numbered(len(x)).normal("diagnostics/clumping", len(x)).to(centered) / (len(x) - 1) ** 0.5
    return crowding(x, neighbor) / crowding(mixed @ centered, neighbor)
