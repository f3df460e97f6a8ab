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
    if not bool(variance.any()):
        return variance.new_zeros(())
    share = variance / variance.max()  # squares of huge or tiny variances leave float64
    return share.sum().square() / share.square().sum()


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
    return rankme_of(torch.linalg.svdvals(x.double()), eps)


def rankme_of(size: Float[Tensor, " K"], eps: float = 1e-7) -> Float[Tensor, ""]:
    """`rankme` of singular values, e.g. of `Moments.singular`."""
    if not bool(size.any()):
        return torch.ones((), dtype=torch.float64)
    p = size / size.sum() + eps
    return (-p * p.log()).sum().exp()


def alpha_req(variance: Float[Tensor, " K"], first: int = 11, last: int = 100) -> Float[Tensor, ""]:
    """The power by which a `spectrum` falls: minus the slope of log variance over log rank, by least squares.

    first, last: ranks that are fitted, 1 the largest; `first` becomes 1 where fewer than 3 lie beyond it. Directions
    below 1e-12 of the largest are rounding noise and left out. About 1 is said to be good; infinity for a spectrum
    with fewer than 2 directions, NaN for none.
    Source: alpha-ReQ (Agrawal et al., NeurIPS 2022); the range follows Stringer et al. (2019) (believed).
    """
    if not bool(variance.any()):
        return variance.new_full((), float("nan"))
    count = int((variance > 1e-12 * variance[0]).sum())
    if count < 2:
        return variance.new_full((), float("inf"))
    begin = first - 1 if min(count, last) - first >= 2 else 0
    log_rank = torch.arange(begin + 1, min(count, last) + 1, dtype=variance.dtype, device=variance.device).log()
    log_size = variance[begin : min(count, last)].log()
    away = log_rank - log_rank.mean()
    return -(away * log_size).sum() / away.square().sum()


def isotropy(variance: Float[Tensor, " K"], dimensions: int) -> Float[Tensor, ""]:
    """How evenly the dimensions are used, from 0 (one direction, or none) to 1 (all alike).

    Raises:
        ShapeError: a spectrum of more directions than dimensions.
    Source: IsoScore (arXiv 2108.07344), section 4. It is a function of the participation ratio P alone,
    (P - 1) / (D - 1), which we compute; the steps of the paper are followed in the tests.
    """
    if len(variance) > dimensions:
        raise ShapeError(f"a spectrum of {len(variance)} directions cannot belong to {dimensions} dimensions")
    if dimensions == 1:
        return (variance.sum() > 0).double()
    return ((participation_ratio(variance) - 1) / (dimensions - 1)).clamp_min(0)
