"""Whether predictions follow the transformation that they are told."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError


def reciprocal_rank(predicted: Float[Tensor, "B S D"], target: Float[Tensor, "B T D"]) -> Float[Tensor, " B"]:
    """Mean reciprocal rank of the right target among the S transformed copies of the same image, by distance.

    For prediction i the targets of that image are sorted by distance; 1 / rank of target i, mean over i. 1 is perfectly
    equivariant. A target at equal distance counts half before, so that a model that gives all copies one embedding gets
    2 / (S + 1); random guessing gets the mean of 1 / 1 .. 1 / S (0.024 for 256).
    Raises:
        ShapeError: the two differ in shape.
    Source: IWM (arXiv 2403.00504), section 4, with S = 256; how ties count is ours.
    """
    if predicted.shape != target.shape:
        given = f"{tuple(predicted.shape)} and {tuple(target.shape)}"
        raise ShapeError(f"there is one target per prediction, both [B, S, D]; got {given}")
    away = torch.cdist(predicted.double(), target.double(), compute_mode="donot_use_mm_for_euclid_dist")
    own = away.diagonal(dim1=1, dim2=2)[..., None]
    before = (away < own).sum(2) + ((away == own).sum(2) - 1) / 2
    return (1 / (1 + before)).mean(1).float()
