"""Mean and covariance of any number of embeddings, chunk by chunk: exact, in float64, in memory that does not grow."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ShapeError


@dataclass(frozen=True)
class Moments:
    """What a covariance needs of the rows seen so far; `a + b` is what both saw together.

    count: rows. mean: [D]. scatter: [D, D] sum of outer products of the deviations from the mean. All float64.
    """

    count: int
    mean: Float[Tensor, " D"]
    scatter: Float[Tensor, "D D"]

    @staticmethod
    def of(x: Float[Tensor, "*shape"]) -> Moments:
        """The moments of some rows [n, D].

        Raises:
            ShapeError: no matrix, no rows, or a number that is not finite.
        """
        if x.ndim != 2 or 0 in x.shape:
            raise ShapeError(f"embeddings of shape {tuple(x.shape)}: give a matrix [n, D], one row per input")
        x = x.double()
        if not bool(x.isfinite().all()):
            bad = int((~x.isfinite().all(1)).sum())
            raise ShapeError(f"{bad} of {len(x)} embeddings hold NaN or infinity: leave them out, or find their cause")
        mean = x.mean(0)
        x = x - mean
        return Moments(len(x), mean, x.T @ x)

    def __add__(self, other: Moments) -> Moments:
        """Both together.

        Raises:
            ShapeError: they are of embeddings of different widths.
        Source: Chan, Golub and LeVeque (1979), the pairwise update.
        """
        if self.mean.shape != other.mean.shape:
            raise ShapeError(f"embeddings {len(other.mean)} wide cannot join embeddings {len(self.mean)} wide")
        count, apart = self.count + other.count, other.mean - self.mean
        scatter = self.scatter + other.scatter + torch.outer(apart, apart) * (self.count * other.count / count)
        return Moments(count, self.mean + apart * (other.count / count), scatter)

    def covariance(self) -> Float[Tensor, "D D"]:
        """The covariance, over n - 1.

        Raises:
            ShapeError: fewer than 2 rows, which have no spread.
        """
        if self.count < 2:
            raise ShapeError(f"the spread of {self.count} row was asked for: at least 2 are needed")
        return self.scatter / (self.count - 1)

    def spectrum(self) -> Float[Tensor, " K"]:
        """Eigenvalues of the covariance, largest first: the min(n, D) that can differ from 0."""
        variance = torch.linalg.eigvalsh(self.covariance()).flip(0).clamp_min(0)
        return variance[: min(self.count, len(variance))]

    def singular(self) -> Float[Tensor, " K"]:
        """Singular values of all rows as they are, not centered, largest first: the min(n, D) that can differ from 0.

        They are roots of eigenvalues, so that those below 1e-8 of the largest are rounding noise.
        """
        gram = self.scatter + self.count * torch.outer(self.mean, self.mean)
        return torch.linalg.eigvalsh(gram).flip(0).clamp_min(0).sqrt()[: min(self.count, len(gram))]
