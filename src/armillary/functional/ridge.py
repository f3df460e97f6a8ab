"""Ridge regression of quantities on standardized features, in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Linear:
    """y = (x - mean) @ weight + bias, in float64."""

    mean: Float[Tensor, " D"]
    weight: Float[Tensor, "D S"]
    bias: Float[Tensor, " S"]

    def __call__(self, x: Float[Tensor, "m D"]) -> Float[Tensor, "m S"]:
        """The quantities at rows `x`."""
        return (x.double() - self.mean) @ self.weight + self.bias


def ridge(x: Float[Tensor, "n D"], y: Float[Tensor, "n S"], strengths: Sequence[float]) -> list[Linear]:
    """Minimizers of the mean squared error + strength * |weight|^2 of standardized features, one for each strength.

    All come from one eigendecomposition of the smaller Gram matrix. A feature that does not vary weighs 0.
    """
    x, y = x.double(), y.double()
    mean, std, middle = x.mean(0), x.std(0, correction=0), y.mean(0)
    scale = torch.where(std > 1e-6 * mean.abs().clamp_min(1e-6), std, torch.inf)
    x, y, n = (x - mean) / scale, y - middle, len(x)
    if x.shape[1] <= n:
        value, left = torch.linalg.eigh(x.T @ x / n)
        right = left.T @ (x.T @ y / n)
    else:
        value, vector = torch.linalg.eigh(x @ x.T / n)
        left, right = x.T @ vector / n, vector.T @ y
    value = value.clamp_min(0)[:, None]
    return [Linear(mean, left @ (right / (value + strength)) / scale[:, None], middle) for strength in strengths]
