"""Where the variance of tokens lies: between data, within one datum, or in the place alone."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..errors import ShapeError


def within_share(x: Float[Tensor, "*shape"], valid: Bool[Tensor, "B N"] | None = None) -> Float[Tensor, ""]:
    """Share of the tokens' variance that lies within data: of patches in an image, of steps in a trajectory.

    0 where all tokens of a datum are equal (token-uniform collapse; a static code, if tokens are steps), 1 where data
    have equal means. NaN where there is no variance, or one token a datum.
    Raises:
        ShapeError: no [B, N, D] of at least 2 data.
    """
    if x.ndim != 3 or len(x) < 2:
        raise ShapeError(f"tokens of shape {tuple(x.shape)}: give [B, N, D] of at least 2 data")
    if x.shape[1] < 2:
        return x.new_full((), float("nan"), dtype=torch.float64)
    x = x.double()
    weight = torch.ones_like(x[..., :1]) if valid is None else valid.to(x.dtype)[..., None]
    own = (x * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp_min(1)
    mean = (x * weight).sum((0, 1)) / weight.sum()
    within, total = (weight * (x - own).square()).sum(), (weight * (x - mean).square()).sum()
    return torch.where(total > 0, within / total, float("nan"))


def group_share(x: Float[Tensor, "n D"], group: Int64[Tensor, " n"]) -> Float[Tensor, ""]:
    """Share of the variance of rows that their group (the place they stand for) explains, corrected for chance.

    1 - (within / (n - groups)) / (total / (n - 1)), so that groups drawn at random give about 0; can be negative. NaN
    where there is no variance, or every group has one row.
    Source: Ezekiel's adjusted R² (1930).
    """
    x = x.double()
    index = torch.unique(group, return_inverse=True)[1]
    groups = int(index.max()) + 1
    if len(x) <= groups:
        return x.new_full((), float("nan"))
    count = torch.zeros(groups, dtype=x.dtype, device=x.device).index_add_(0, index, torch.ones_like(x[:, 0]))
    mean = torch.zeros(groups, x.shape[1], dtype=x.dtype, device=x.device).index_add_(0, index, x) / count[:, None]
    within, total = (x - mean[index]).square().sum(), (x - x.mean(0)).square().sum()
    return torch.where(total > 0, 1 - (within / (len(x) - groups)) / (total / (len(x) - 1)), float("nan"))


def place_share(x: Float[Tensor, "B N D"]) -> Float[Tensor, ""]:
    """`group_share` of the tokens of a grid by their place: 1 where a token says where it is and nothing else."""
    if x.ndim != 3:
        raise ShapeError(f"tokens of shape {tuple(x.shape)}: give [B, N, D]")
    return group_share(x.flatten(0, 1), torch.arange(x.shape[1], device=x.device).repeat(len(x)))
