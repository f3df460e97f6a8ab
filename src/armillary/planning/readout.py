"""A linear map from latents to the physical state: for goals as states, regions to avoid, errors in real units."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, ShapeError

WIDEST = 4096  # numbers of a latent up to which tokens stand side by side; of larger ones the mean over tokens is read


@dataclass(frozen=True)
class Readout:
    """state = (flat latent - mean) @ weight + bias."""

    mean: Float[Tensor, " F"]
    weight: Float[Tensor, "F S"]
    bias: Float[Tensor, " S"]

    def __call__(self, latent: Float[Tensor, "n *L D"]) -> Float[Tensor, "n S"]:
        """The states that latents stand for.

        Raises:
            ShapeError: latents of another width than it was fitted to.
        """
        x = flat(latent)
        if x.shape[1] != len(self.mean):
            raise ShapeError(f"latents {tuple(latent.shape[1:])} for a probe of {len(self.mean)} numbers; fit it anew")
        return (x - self.mean) @ self.weight + self.bias


def flat(latent: Float[Tensor, "n *L D"]) -> Float[Tensor, "n F"]:
    """Latents as vectors: tokens side by side, or their mean where that would be more than `WIDEST` numbers."""
    x = latent.float()
    return x.flatten(1) if x[0].numel() <= WIDEST else x.flatten(1, -2).mean(1)


def fitted(latent: Float[Tensor, "n *L D"], state: Float[Tensor, "m S"], strength: float = 1e-4) -> Readout:
    """Ridge regression of standardized features: mean squared error + strength * |weight|^2, in float64.

    Raises:
        DataError: fewer than 3 rows, or NaN. ShapeError: unequal numbers of rows.
    """
    x, y = flat(latent).double(), state.double()
    if len(x) != len(y):
        raise ShapeError(f"{len(x)} latents and {len(y)} states; give one state for each latent")
    if len(x) < 3 or not bool(x.isfinite().all() & y.isfinite().all()):
        raise DataError(f"a probe of states needs 3 rows or more, all finite; {len(x)} were given")
    mean, spread, middle = x.mean(0), x.std(0, correction=0), y.mean(0)
    scale = torch.where(spread > 1e-6 * mean.abs().clamp_min(1e-6), spread, torch.inf)  # a constant feature weighs 0
    x, y, n = (x - mean) / scale, y - middle, len(x)
    if x.shape[1] <= n:
        weight = torch.linalg.solve(x.T @ x / n + strength * torch.eye(x.shape[1], dtype=x.dtype), x.T @ y / n)
    else:
        weight = x.T @ torch.linalg.solve(x @ x.T / n + strength * torch.eye(n, dtype=x.dtype), y / n)
    return Readout(mean.float(), (weight / scale[:, None]).float(), middle.float())
