"""Kernel discrepancies between embeddings and a standard normal: exact regularizers that need no random directions.

Maximum mean discrepancy (MMD) compares kernel means, the kernelized Stein discrepancy (KSD) needs only the score of the
target, s(x) = -x. Kernels of the squared distance r^2 with bandwidth h: Gaussian exp(-r^2 / (2 h^2)) and inverse
multiquadric (IMQ) (1 + r^2 / h^2)^(-1/2), whose tails are heavy.

Two estimates of each mean over pairs of rows of all ranks, N in number: the N (N - 1) pairs of different rows
(U-statistic, `unbiased`: expectation 0 at the target, sometimes negative), or all N^2 pairs (V-statistic: never
negative, too large by an order of 1 / N). For MMD that changes hardly any gradient, as k(x, x) = 1; for KSD it does.
float32, or float64 if given.

Source: KerJEPA (arXiv 2512.19605), which has no released code; formulas were derived anew and are tested against plain
loops, Monte Carlo and SIGReg. The paper's choice of bandwidth and of the two statistics could not be checked.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ConfigError, ShapeError
from ..parallel import all_gather, all_mean, rank, ranks

Kernel = Literal["gaussian", "imq"]
ANGLES = 256  # knots of the integral over the IMQ kernel's bandwidths; 64 in one dimension, where it is smoother
STEP, REACH = 0.25, 16.0  # of the integral over directions, on a logarithmic scale


def mmd(
    z: Float[Tensor, "B D"], kernel: Kernel = "gaussian", bandwidth: float | None = None, unbiased: bool = True
) -> Float[Tensor, ""]:
    """Squared maximum mean discrepancy of the rows to a standard normal: E k(x, x') - 2 E k(x, y) + E k(y, y').

    The normal's expectations are exact for the Gaussian kernel (the test of Baringhaus, Henze, Epps and Pulley) and
    one-dimensional integrals for IMQ, which is a Gaussian kernel averaged over bandwidths h / |g|, g normal.

    Args:
        bandwidth: h; None: sqrt(2 D), the distance of two samples of the target. A batch's own median distance would
            follow a collapse instead of seeing it.
    Raises:
        ShapeError: fewer than 2 rows. ConfigError: unknown kernel or a bandwidth that is not above 0.
    Source: KerJEPA (arXiv 2512.19605), theorem 8.
    """
    mine, everyone = _rows(z)
    return all_mean(_mmd(mine, everyone, kernel, _width(bandwidth, z.shape[1]), unbiased))


def sliced_mmd(
    z: Float[Tensor, "B D"],
    directions: Float[Tensor, "D S"],
    kernel: Kernel = "gaussian",
    bandwidth: float = 1.0,
    unbiased: bool = True,
) -> Float[Tensor, ""]:
    """Mean over unit directions of `mmd` of the projections; S N^2 kernel values.

    With the Gaussian kernel and bandwidth 1 this is SIGReg without its factor: the Epps-Pulley integral over all t is
    N sqrt(2 pi) times the V-statistic. Its quadrature is linear in N, so train with it or with `sliced_mmd_limit`. BCS
    (facebookresearch/eb_jepa) is the same integral over [-3, 3] without the factor N, with 10 knots, none at 0.
    Raises:
        ShapeError: fewer than 2 rows. ConfigError: unknown kernel or a bandwidth that is not above 0.
    Source: KerJEPA (arXiv 2512.19605), proposition 1.
    """
    mine, everyone = _projected(z, directions)
    return all_mean(_mmd(mine, everyone, kernel, _width(bandwidth, 1), unbiased))


def sliced_mmd_limit(z: Float[Tensor, "B D"], bandwidth: float = 1.0, unbiased: bool = True) -> Float[Tensor, ""]:
    """`sliced_mmd` with the Gaussian kernel in the limit of infinitely many directions: SIGReg without their noise.

    The kernel becomes Kummer's function 1F1(1/2; D/2; -r^2 / (2 h^2)), whose tails fall off like 1 / r.
    Raises:
        ShapeError: fewer than 2 rows. ConfigError: a bandwidth that is not above 0.
    Source: KerJEPA (arXiv 2512.19605), theorem 7.
    """
    mine, everyone = _rows(z)
    width, square = z.shape[1], _width(bandwidth, 1) ** 2
    pairs = _mean(_kummer(_squares(mine, everyone) / (2 * square), width), unbiased)
    cross = math.sqrt(square / (square + 1)) * _kummer(mine.square().sum(-1) / (2 * square + 2), width).mean()
    return all_mean(pairs - 2 * cross + math.sqrt(square / (square + 2)))


def ksd(
    z: Float[Tensor, "B D"], kernel: Kernel = "imq", bandwidth: float | None = None, unbiased: bool = True
) -> Float[Tensor, ""]:
    """Squared kernelized Stein discrepancy of the rows to a standard normal.

    Mean over pairs of f x.y + 2 f' (r^2 - D) - 4 f'' r^2, where k = f(r^2): the Stein kernel of the score -x. On its
    diagonal stands |x|^2 + D / h^2, so the V-statistic also pulls rows towards 0, with weight 1 / N: with 256 normal
    rows of 128 numbers it is smaller for rows half as long.

    Args:
        bandwidth: see `mmd`; one far below sqrt(D) sees hardly any pair.
    Raises:
        ShapeError: fewer than 2 rows. ConfigError: unknown kernel or a bandwidth that is not above 0.
    Source: KerJEPA (arXiv 2512.19605), section 3.3; IMQ with a normal target is its best variant (table 1).
    """
    mine, everyone = _rows(z)
    return all_mean(_ksd(mine, everyone, kernel, _width(bandwidth, z.shape[1]), unbiased))


def sliced_ksd(
    z: Float[Tensor, "B D"],
    directions: Float[Tensor, "D S"],
    kernel: Kernel = "gaussian",
    bandwidth: float = 1.0,
    unbiased: bool = True,
) -> Float[Tensor, ""]:
    """Mean over unit directions of `ksd` of the projections; S N^2 kernel values.

    Raises:
        ShapeError: fewer than 2 rows. ConfigError: unknown kernel or a bandwidth that is not above 0.
    """
    mine, everyone = _projected(z, directions)
    return all_mean(_ksd(mine, everyone, kernel, _width(bandwidth, 1), unbiased))


def _mmd(mine: Tensor, everyone: Tensor, kernel: Kernel, width: float, unbiased: bool) -> Tensor:
    """Of rows [*S, B, D] against [*S, N, D], averaged over S. E k(y, y') is E k(0, y) at bandwidth h / sqrt(2)."""
    pairs = _mean(_slopes(_squares(mine, everyone), kernel, width)[0], unbiased)
    norm, dimensions = mine.square().sum(-1), mine.shape[-1]
    cross = _normal_mean(norm, dimensions, kernel, width).mean()
    return pairs - 2 * cross + _normal_mean(norm.new_zeros(()), dimensions, kernel, width / math.sqrt(2))


def _ksd(mine: Tensor, everyone: Tensor, kernel: Kernel, width: float, unbiased: bool) -> Tensor:
    square = _squares(mine, everyone)
    value, first, second = _slopes(square, kernel, width)
    stein = value * _products(mine, everyone) + 2 * first * (square - mine.shape[-1]) - 4 * second * square
    return _mean(stein, unbiased)


def _slopes(square: Tensor, kernel: Kernel, width: float) -> tuple[Tensor, Tensor, Tensor]:
    """The kernel as a function of r^2, and its first two derivatives."""
    h2 = width**2
    if kernel == "gaussian":
        value = torch.exp(square / (-2 * h2))
        return value, value / (-2 * h2), value / (4 * h2**2)
    if kernel == "imq":
        inverse = 1 / (1 + square / h2)
        value = inverse.sqrt()
        return value, value * inverse / (-2 * h2), value * inverse.square() * (3 / (4 * h2**2))
    raise ConfigError(f"kernel is {kernel!r}; 'gaussian' and 'imq' are known")


def _normal_mean(norm: Tensor, dimensions: int, kernel: Kernel, width: float) -> Tensor:
    """E k(x, y) over standard normal y for |x|^2 = `norm`.

    Gaussian: (1 + 1 / h^2)^(-D/2) exp(-|x|^2 / (2 h^2 + 2)). IMQ: the mean of that over bandwidths h / |g|; with
    g = h tan(a) its integrand in a is even, smooth and flat at both ends, so that equal steps converge very fast.
    """
    h2 = width**2
    if kernel == "gaussian":
        return torch.exp(norm / (-2 * h2 - 2) - dimensions / 2 * math.log1p(1 / h2))
    knots = ANGLES if dimensions > 1 else ANGLES // 4
    step = math.pi / 2 / knots
    angle = (torch.arange(knots, dtype=torch.float64) + 0.5) * step
    weight = -h2 / 2 * angle.tan().square() + (dimensions - 2) * angle.cos().log() + math.log(2 * width * step)
    weight = (weight - math.log(2 * math.pi) / 2).to(norm)
    return torch.exp(weight - norm[..., None] / 2 * angle.sin().square().to(norm)).sum(-1)


def _kummer(a: Tensor, dimensions: int) -> Tensor:
    """1F1(1/2; D/2; -a) = E exp(-a u^2) for a coordinate u of a random unit vector.

    u^2 / (1 - u^2) = exp(2 x) has a density in x that is analytic and falls off exponentially on both sides.
    """
    if dimensions == 1:
        return torch.exp(-a)
    x = torch.arange(-REACH, REACH / (dimensions - 1) + STEP, STEP, dtype=torch.float64)
    ratio = torch.exp(2 * x)
    weight = torch.softmax(x - dimensions / 2 * torch.log1p(ratio), 0)
    total = torch.zeros_like(a)
    for share, square in zip(weight.tolist(), (ratio / (1 + ratio)).tolist(), strict=True):
        total = total + share * torch.exp(-a * square)
    return total


def _squares(mine: Tensor, everyone: Tensor) -> Tensor:
    """Squared distances [*S, B, N]."""
    norms = mine.square().sum(-1)[..., :, None] + everyone.square().sum(-1)[..., None, :]
    return (norms - 2 * _products(mine, everyone)).clamp_min(0)


def _products(one: Tensor, two: Tensor) -> Tensor:
    with torch.autocast(one.device.type, enabled=False):  # distances of bfloat16 products are too coarse
        return one @ two.mT


def _mean(pairs: Tensor, unbiased: bool) -> Tensor:
    """Over pairs [*S, B, N] of own rows with everyone's, with or without each row's pair with itself."""
    if not unbiased:
        return pairs.mean()
    rows, count = pairs.shape[-2:]
    itself = pairs[..., rank() * rows : (rank() + 1) * rows].diagonal(dim1=-2, dim2=-1)
    return (pairs.mean() - itself.mean() / count) * (count / (count - 1))


def _rows(z: Tensor) -> tuple[Tensor, Tensor]:
    """Own rows and those of all ranks, at full precision."""
    if z.ndim != 2 or len(z) * ranks() < 2:
        raise ShapeError(f"at least 2 rows [B, D] are needed, got shape {tuple(z.shape)}")
    mine = z if z.dtype == torch.float64 else z.float()
    return mine, all_gather(mine)


def _projected(z: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Own rows and everyone's along the directions: [S, B, 1] and [S, N, 1]."""
    mine, everyone = _rows(z)
    columns = directions.to(mine).T
    return _products(columns, mine)[..., None], _products(columns, everyone)[..., None]


def _width(bandwidth: float | None, dimensions: int) -> float:
    if bandwidth is None:
        return math.sqrt(2 * dimensions)
    if not 0 < bandwidth < math.inf:
        raise ConfigError(f"bandwidth is {bandwidth}; any number above 0 is allowed, or None for sqrt(2 D)")
    return bandwidth
