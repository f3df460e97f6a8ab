"""Variance, covariance and cross-correlation terms that keep embeddings spread out. Float32, over all ranks' batch."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
from ..parallel import all_mean, ranks


def covariance(z: Float[Tensor, "B D"]) -> Float[Tensor, "D D"]:
    """Unbiased covariance of the dimensions over the batch of all ranks.

    Raises:
        ShapeError: fewer than 2 rows.
    """
    rows = len(z) * ranks()
    if rows < 2:
        raise ShapeError(f"a covariance needs at least 2 rows, got shape {tuple(z.shape)}")
    with torch.autocast(z.device.type, enabled=False):
        centered = z.float() - all_mean(z.float().mean(0))
        return all_mean(centered.T @ centered / len(z)) * (rows / (rows - 1))


def variance_hinge(covariance: Float[Tensor, "D D"], target: float = 1.0, eps: float = 1e-4) -> Float[Tensor, ""]:
    """How far standard deviations fall short of `target`, mean over the dimensions: max(0, target - sqrt(var + eps)).

    Source: VICReg (arXiv 2105.04906), equation 1; facebookresearch/vicreg:main_vicreg.py.
    """
    return (target - (covariance.diagonal() + eps).sqrt()).relu().mean()


def off_diagonal(matrix: Float[Tensor, "D D"]) -> Float[Tensor, ""]:
    """Sum of the squares beside the diagonal.

    VICReg's covariance term (equation 3) is this over D, for each view, and the views are added.
    facebookresearch/eb_jepa divides by D (D - 1) instead, so its weight of 1 is D - 1 times weaker.
    """
    return matrix.square().sum() - matrix.diagonal().square().sum()


def variance_covariance(z: Float[Tensor, "B D"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """VICReg's two terms of one view: the variance hinge, and the squared covariances over D.

    Over two views the released VICReg averages the hinges and adds the covariance terms, weights 25 and 1 (so each
    hinge counts 12.5). facebookresearch/eb_jepa adds the hinges and divides covariances by D (D - 1).
    Raises:
        ShapeError: fewer than 2 rows.
    Source: VICReg (arXiv 2105.04906), equations 1, 3 and 4; facebookresearch/vicreg:main_vicreg.py.
    """
    spread = covariance(z)
    return variance_hinge(spread), off_diagonal(spread) / z.shape[1]


def cross_correlation(one: Float[Tensor, "B D"], two: Float[Tensor, "B D"], eps: float = 1e-5) -> Float[Tensor, "D D"]:
    """Correlation of each dimension of one view with each of the other, over the batch of all ranks.

    Source: Barlow Twins (arXiv 2103.03230), equation 2; the released batch norm (biased variance, eps 1e-5) included.
    """
    with torch.autocast(one.device.type, enabled=False):
        one, two = (_standardized(view.float(), eps) for view in (one, two))
        return all_mean(one.T @ two / len(one))


def barlow_twins(correlation: Float[Tensor, "D D"], weight: float = 0.0051) -> Float[Tensor, ""]:
    """Squared distance of the correlation from the identity; what is beside the diagonal counts `weight`.

    Source: Barlow Twins (arXiv 2103.03230), equation 1; facebookresearch/barlowtwins:main.py.
    """
    return (correlation.diagonal() - 1).square().sum() + weight * off_diagonal(correlation)


def _standardized(z: Float[Tensor, "B D"], eps: float) -> Float[Tensor, "B D"]:
    centered = z - all_mean(z.mean(0))
    return centered * torch.rsqrt(all_mean(centered.square().mean(0)) + eps)
