"""A linear map from latents to the physical state: for goals as states, regions to avoid, errors in real units."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ..errors import DataError, ShapeError
from ..functional.ridge import ridge

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
    (line,) = ridge(x, y, (strength,))
    return Readout(line.mean.float(), line.weight.float(), line.bias.float())
