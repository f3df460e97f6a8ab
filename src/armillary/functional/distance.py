"""Distances between predictions and targets. Each returns the mean over everything."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def smooth_l1(predicted: Float[Tensor, "*B D"], target: Float[Tensor, "*B D"], beta: float = 1.0) -> Float[Tensor, ""]:
    """Huber's distance divided by beta: quadratic below `beta`, linear above."""
    return F.smooth_l1_loss(predicted.float(), target.float(), beta=beta)


def squared(predicted: Float[Tensor, "*B D"], target: Float[Tensor, "*B D"]) -> Float[Tensor, ""]:
    """Mean squared error."""
    return F.mse_loss(predicted.float(), target.float())


def layer_normalized(x: Float[Tensor, "*B D"], eps: float = 1e-5) -> Float[Tensor, "*B D"]:
    """Each embedding with mean 0 and variance 1 over its features: the form of I-JEPA's targets.

    Source: facebookresearch/ijepa:src/train.py (a layer norm without parameters, eps 1e-5).
    """
    return F.layer_norm(x.float(), x.shape[-1:], eps=eps)
