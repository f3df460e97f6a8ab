"""How much of known latents an encoder has recovered, and up to what: linear maps, rotations, or order and sign.

Latents z [n, d] and estimates h [n, D] are of the same n rows; it is checked, and refused in words. All is computed in
float64. Linear fits are judged on rows that they have not seen: the first half of the rows by the fit of the second,
and the other way round, so rows of one trajectory should stand together, and rows in no order by value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import ConfigError, DataError, ShapeError
from .risk import ranks


@dataclass(frozen=True)
class Recovery:
    """What `recovery` found.

    r2: `linear_r2` of each latent; mean_r2: their mean. rotation_r2, rotation_gap, mcc, degrees: see the functions;
    rotation_r2 is NaN where there are fewer estimates than latents.
    """

    r2: tuple[float, ...]
    mean_r2: float
    rotation_r2: float
    rotation_gap: float
    mcc: float
    degrees: float


def recovery(latents: Float[Tensor, "*n d"], estimates: Float[Tensor, "*m D"]) -> Recovery:
    """All measures of this file at once.

    Raises:
        ShapeError, DataError: as the measures.
    """
    r2 = linear_r2(latents, estimates)
    return Recovery(
        tuple(r2.tolist()),
        float(r2.mean()),
        float(rotation_r2(latents, estimates)) if estimates.shape[1] >= latents.shape[1] else float("nan"),
        float(rotation_gap(latents, estimates)),
        float(mcc(latents, estimates)),
        float(explained_degrees(latents, estimates)),
    )


def linear_r2(latents: Float[Tensor, "*n d"], estimates: Float[Tensor, "*m D"]) -> Float[Tensor, " d"]:
    """R² of each latent, predicted from the estimates by least squares with intercept, cross-fitted on two halves.

    1 where the latent is a linear function of the estimates, about 0 where they say nothing; negative where the fit is
    worse than the mean. Take the mean for one number.
    Raises:
        ShapeError: no matrices of equally many rows, or fewer than 2 (D + 2) rows. DataError: NaN, infinity, or a
            latent that does not vary.
    """
    z, h = _checked(latents, estimates)
    return 1 - _unseen_errors(z, h) / z.square().sum(0)


def explained_degrees(latents: Float[Tensor, "*n d"], estimates: Float[Tensor, "*m D"]) -> Float[Tensor, ""]:
    """How many of the d directions of latent space the estimates explain: the sum of R² over whitened latents.

    The same for every invertible linear map of the latents. From 0 to d; a latent that copies others counts nothing.
    Raises:
        ShapeError, DataError: as `linear_r2`.
    """
    z, h = _checked(latents, estimates)
    left, size, _ = torch.linalg.svd(z, full_matrices=False)
    white = left[:, size > 1e-10 * size[0]]  # columns of length 1
    return (white.shape[1] - _unseen_errors(white, h).sum()).clamp_min(0)


def rotation_r2(latents: Float[Tensor, "*n d"], estimates: Float[Tensor, "*m D"]) -> Float[Tensor, ""]:
    """Share of the estimates' variance that a rotation of the latents gives, with a shift and one scale: h = s U z + b.

    1 if and only if the estimates are the latents up to rotation (or reflection), shift and scale; 1 minus the
    residual of the orthogonal Procrustes problem over the variance, (sum of the singular values of Z^T H)² over
    |Z|² |H|². NaN where the estimates do not vary.
    Raises:
        ShapeError: fewer estimates than latents, else as `rotation_gap`. DataError: as `linear_r2`.
    Source: Schoenemann (1966); recovery up to rotation is theorem 4.1 of arXiv 2605.26379.
    """
    z, h = _checked(latents, estimates, latents.shape[-1] + 2)
    if h.shape[1] < z.shape[1]:
        raise ShapeError(f"{h.shape[1]} estimates hold no rotation of {z.shape[1]} latents: give at least as many")
    return torch.linalg.svdvals(z.T @ h).sum().square() / (z.square().sum() * h.square().sum())


def rotation_gap(latents: Float[Tensor, "*n d"], estimates: Float[Tensor, "*m D"]) -> Float[Tensor, ""]:
    """How far the best linear map from latents to estimates is from a scaled rotation: 1 - (sum s)² / (d sum s²).

    s: its d singular values. 0 for a scaled rotation, 1 - 1 / d where one direction is left; whether the estimates are
    linear in the latents at all is `linear_r2`'s question. NaN where the estimates do not vary.
    Raises:
        ShapeError: no matrices of equally many rows, or fewer than d + 2 rows. DataError: as `linear_r2`.
    """
    z, h = _checked(latents, estimates, latents.shape[-1] + 2)
    size = torch.linalg.svdvals(_least_squares(z, h))
    return 1 - size.sum().square() / (z.shape[1] * size.square().sum())


def mcc(latents: Float[Tensor, "*n d"], estimates: Float[Tensor, "*m D"], kind: str = "pearson") -> Float[Tensor, ""]:
    """Mean correlation coefficient: |correlation| of each latent with an estimate of its own, best assigned; the mean.

    1 where the estimates are the latents up to order, sign, shift and scale (spearman: up to a monotone function of
    each); chance is not 0 but about sqrt(2 / (pi n)), and more with more estimates. An estimate that does not vary
    correlates 0 with all, and so does what a latent without an estimate of its own gets.
    Raises:
        ConfigError: another kind. ShapeError: no matrices of equally many rows, or fewer than 3. DataError: as
            `linear_r2`.
    Source: Hyvarinen and Morioka (arXiv 1605.06336), section 6 (believed).
    """
    if kind not in ("pearson", "spearman"):
        raise ConfigError(f"kind is {kind!r}: give 'pearson' or 'spearman'")
    z, h = _checked(latents, estimates, 3)
    if kind == "spearman":
        z, h = (torch.stack([ranks(column) for column in x.unbind(1)], 1) for x in (z, h))
        z, h = z - z.mean(0), h - h.mean(0)
    tiny = torch.finfo(z.dtype).tiny
    alike = ((z / z.norm(dim=0).clamp_min(tiny)).T @ (h / h.norm(dim=0).clamp_min(tiny))).abs()
    wide = alike if alike.shape[0] <= alike.shape[1] else alike.T
    return wide.gather(1, assignment(-wide)[:, None]).sum() / z.shape[1]


def assignment(cost: Float[Tensor, "n m"]) -> Int64[Tensor, " n"]:
    """A column for each row, all different, such that the sum of their costs is least; exact, in O(n² m).

    Raises:
        ShapeError: more rows than columns. DataError: NaN or infinity.
    Source: shortest augmenting paths, Jonker and Volgenant (1987); prices keep all reduced costs at 0 or above.
    """
    if cost.ndim != 2 or cost.shape[0] > cost.shape[1]:
        raise ShapeError(f"costs of shape {tuple(cost.shape)}: give [n, m] with at least as many columns as rows")
    if not bool(cost.isfinite().all()):
        raise DataError("some costs are NaN or infinite: give finite ones")
    price = cost.detach().double().cpu().numpy()
    row_price, column_price = np.zeros(price.shape[0]), np.zeros(price.shape[1])
    owner = np.full(price.shape[1], -1)  # the row that has a column
    for start in range(price.shape[0]):
        length, came_from = np.full(len(owner), np.inf), np.full(len(owner), -1)
        settled = np.zeros(len(owner), dtype=bool)
        row, column, far = start, -1, 0.0
        while row >= 0:  # Dijkstra, from `start` to the nearest column that nobody has
            through = far + price[row] - row_price[row] - column_price
            shorter = ~settled & (through < length)
            length[shorter], came_from[shorter] = through[shorter], column
            column = int(np.where(settled, np.inf, length).argmin())
            far, settled[column], row = length[column], True, owner[column]
        taken = settled & (owner >= 0)
        row_price[start] += far
        row_price[owner[taken]] += far - length[taken]
        column_price[taken] -= far - length[taken]
        while column >= 0:  # hand each column of the path to the row before it
            before = came_from[column]
            owner[column] = owner[before] if before >= 0 else start
            column = before
    taken = np.flatnonzero(owner >= 0)
    return torch.from_numpy(taken[owner[taken].argsort()])


def _checked(latents: Tensor, estimates: Tensor, rows: int = 0) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n D"]]:
    """Both centered, in float64 on the CPU, and divided by their largest entry, which no measure depends on."""
    shapes = f"{tuple(latents.shape)} and {tuple(estimates.shape)}"
    if latents.ndim != 2 or estimates.ndim != 2 or len(latents) != len(estimates) or 0 in latents.shape[1:]:
        raise ShapeError(f"latents and estimates of shapes {shapes}: give [n, d] and [n, D] of the same n rows")
    needed = rows or 2 * (estimates.shape[1] + 2)
    if len(latents) < needed or estimates.shape[1] < 1:
        raise ShapeError(f"latents and estimates of shapes {shapes}: at least {needed} rows and 1 column are needed")
    both = []
    for name, x in (("latents", latents), ("estimates", estimates)):
        wrong = int((~x.isfinite().all(1)).sum())
        if wrong:
            raise DataError(f"{wrong} of {len(x)} rows of the {name} hold NaN or infinity: remove them")
        x = x.detach().double().cpu()
        x = x - x[0]  # first: the mean of equal numbers is not always that number
        x = x - x.mean(0)
        both.append(x / x.abs().max().clamp_min(torch.finfo(x.dtype).tiny))
    still = (both[0] == 0).all(0).nonzero().flatten().tolist()
    if still:
        raise DataError(f"latents {still} are equal in all rows: nothing of them can be recovered; leave them out")
    return both[0], both[1]


def _least_squares(x: Float[Tensor, "n a"], y: Float[Tensor, "n b"]) -> Float[Tensor, "a b"]:
    """The smallest of the best linear maps; directions below 1e-10 of the largest are rounding noise and left out."""
    return torch.linalg.lstsq(x, y, rcond=1e-10, driver="gelsd").solution


def _unseen_errors(z: Float[Tensor, "n d"], h: Float[Tensor, "n D"]) -> Float[Tensor, " d"]:
    """Sum of squared errors of each latent, each half of the rows predicted by the fit of the other."""
    half = len(z) // 2
    total = torch.zeros_like(z[0])
    for fit, rest in ((slice(None, half), slice(half, None)), (slice(half, None), slice(None, half))):
        mean_z, mean_h = z[fit].mean(0), h[fit].mean(0)
        weight = _least_squares(h[fit] - mean_h, z[fit] - mean_z)
        total += (z[rest] - mean_z - (h[rest] - mean_h) @ weight).square().sum(0)
    return total
