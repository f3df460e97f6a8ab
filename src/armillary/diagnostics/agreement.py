"""What several views of each input say together: whether inputs are told apart, and views of one are not."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError
from .lidar import lidar
from .pairs import alignment


def recognition(x: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Share of views [n, q, D] whose nearest other view, by cosine around the common mean, is of the same input.

    From chance, (q - 1) / (n q - 1), to 1. Raises as `view_numbers`.
    """
    flat = _checked(x).double().flatten(0, 1)
    flat = flat - flat.mean(0)
    flat = flat / flat.norm(dim=1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    cosine = (flat @ flat.T).fill_diagonal_(-2)
    owner = torch.arange(x.shape[0], device=x.device).repeat_interleave(x.shape[1])
    return (owner[cosine.argmax(1)] == owner).double().mean()


def view_numbers(x: Float[Tensor, "*shape"]) -> dict[str, float]:
    """LiDAR, recognition, and alignment of the first two views, of q views each of n inputs [n, q, D].

    Asked for, as it takes q forward passes: a few hundred inputs with 8 views are enough to rank runs.
    Raises:
        ShapeError: fewer than 2 inputs or 2 views, or another number of axes.
    """
    _checked(x)
    return {
        "lidar": float(lidar(x)),
        "recognition": float(recognition(x)),
        "alignment": float(alignment(x[:, 0], x[:, 1])),
    }


def _checked(x: Tensor) -> Tensor:
    if x.ndim != 3 or x.shape[0] < 2 or x.shape[1] < 2:
        raise ShapeError(f"views of shape {tuple(x.shape)}: give [n, q, D], at least 2 views of at least 2 inputs")
    return x
