"""LiDAR: how many directions tell inputs apart once the differences between views of one input are divided out."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError


def lidar(x: Float[Tensor, "*shape"], delta: float = 1e-4, eps: float = 1e-7) -> Float[Tensor, ""]:
    """exp of the entropy of the eigenvalues of Sw^-1/2 Sb Sw^-1/2, of q views each of n inputs; from 1 to min(n, D).

    Sb: covariance of the inputs' means; Sw: mean covariance of the views of an input, plus delta on the diagonal. Which
    views: augmentations, or, for a JEPA, what it gives for several masks. The paper takes n = 1,000 and q = 50 (10 for
    I-JEPA, believed), and both embeddings of the size that training gives them: `delta` has a unit.
    1 where all inputs have the same mean.
    Raises:
        ShapeError: fewer than 2 inputs or 2 views, or another number of axes.
    Source: LiDAR (arXiv 2312.04000), equations 1 to 4, and 2210.02885 for the entropy with eps.
    """
    if x.ndim != 3 or x.shape[0] < 2 or x.shape[1] < 2:
        raise ShapeError(f"views of shape {tuple(x.shape)}: give [n, q, D], at least 2 views of at least 2 inputs")
    x = x.double()
    means = x.mean(1)
    between, within = means - means.mean(0), (x - means[:, None]).flatten(0, 1)
    scatter = within.T @ within / len(within)
    value, vector = torch.linalg.eigh(scatter + delta * torch.eye(x.shape[2], dtype=x.dtype, device=x.device))
    whitened = between @ vector / value.clamp_min(delta).sqrt()
    size = torch.linalg.svdvals(whitened).square()  # as the eigenvalues, which the turn by `vector` does not change
    if not bool(size.any()):
        return torch.ones((), dtype=x.dtype)
    p = size / size.sum() + eps
    return (-p * p.log()).sum().exp()
