"""How many directions a set of embeddings uses. Computed in float64: collapse shows in the smallest numbers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError


def centered(x: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
    """`x` without its mean, in float64.

    Raises:
        ShapeError: fewer than 2 rows, which have no spread.
    """
    if len(x) < 2:
        raise ShapeError(f"the spread of {len(x)} rows was asked for: at least 2 are needed")
    x = x.double()
    return x - x.mean(0)


def spectrum(x: Float[Tensor, "n D"]) -> Float[Tensor, " K"]:
    """Eigenvalues of the covariance (over n - 1), largest first: the min(n, D) that can differ from 0."""
    x = centered(x)
    gram = x @ x.T if len(x) < x.shape[1] else x.T @ x
    return torch.linalg.eigvalsh(gram / (len(x) - 1)).flip(0).clamp_min(0)


def deviations(x: Float[Tensor, "n D"]) -> Float[Tensor, " D"]:
    """Standard deviation of each dimension (over n - 1)."""
    return (centered(x).square().sum(0) / (len(x) - 1)).sqrt()


def participation_ratio(variance: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """(sum v)² / sum v² of a `spectrum`: how many equal directions would be as concentrated; 0 without spread.

    Equals trace(C)² / |C|² of the covariance C. From 1 to K.
    """
    total = variance.sum()
    return torch.where(
        total > 0, total.square() / variance.square().sum().clamp_min(torch.finfo(variance.dtype).tiny), 0.0
    )


def effective_rank(size: Float[Tensor, " K"]) -> Float[Tensor, ""]:
    """exp(entropy of the shares size / sum size): the number of directions, small ones counted more; 0 without any.

    Source: Roy and Vetterli (2007), for singular values; of a `spectrum` give the square root.
    """
    total = size.sum()
    share = size / total.clamp_min(torch.finfo(size.dtype).tiny)
    return torch.where(total > 0, torch.special.entr(share).sum().exp(), 0.0)


def rankme(x: Float[Tensor, "n D"], eps: float = 1e-7) -> Float[Tensor, ""]:
    """exp(-sum p log p) with p = s / sum s + eps over the min(n, D) singular values s of `x` as it is, not centered.

    The paper uses n >= 25,600; with fewer rows it is lower. 1 where all embeddings are equal or 0.
    Source: RankMe (arXiv 2210.02885), equation 1.
    """
    size = torch.linalg.svdvals(x.double())
    if not bool(size.any()):
        return torch.ones((), dtype=torch.float64)
    p = size / size.sum() + eps
    return (-p * p.log()).sum().exp()
