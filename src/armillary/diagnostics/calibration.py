"""Whether predicted distributions hold what they promise: coverage, width, CRPS, conformal correction. In float64.

Predictions are a `Gaussian` or `Quantiles` of each of D numbers of n rows; intervals are central, so the one at level
0.9 lies between the quantiles at 0.05 and 0.95.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ConfigError, DataError, ShapeError, require
from ..functional.gaussian import Gaussian
from ..functional.likelihood import Levels, Quantiles, check_levels

Predicted = Gaussian | Quantiles


def quantile(p: Predicted, level: float) -> Float[Tensor, "*B D"]:
    """The value below which a number falls with probability `level`; between known levels by a straight line.

    Raises:
        ConfigError: a level outside (0, 1), or beyond the lowest or highest that is known.
    """
    check_levels((level,))
    if isinstance(p, Gaussian):
        return p.mean.double() + NormalDist().inv_cdf(level) * (p.log_variance.double() / 2).exp()
    levels, value = p.levels, p.value.double()
    if not levels[0] - 1e-9 <= level <= levels[-1] + 1e-9:
        raise ConfigError(
            f"a quantile at {level} was asked of levels {levels[0]} to {levels[-1]}: predict further ones"
        )
    after = min(next((i for i, known in enumerate(levels) if known >= level - 1e-9), 0), len(levels) - 1)
    before = max(after - 1, 0)
    if before == after or abs(levels[after] - level) < 1e-9:
        return value[..., after]
    return torch.lerp(
        value[..., before], value[..., after], (level - levels[before]) / (levels[after] - levels[before])
    )


def intervals(p: Predicted, levels: Levels) -> tuple[Float[Tensor, "L *B D"], Float[Tensor, "L *B D"]]:
    """Lower and upper ends of the central interval at each level."""
    check_levels(levels)
    ends = [[quantile(p, 0.5 + sign * level / 2) for level in levels] for sign in (-1, 1)]
    return torch.stack(ends[0]), torch.stack(ends[1])


def coverage(
    low: Float[Tensor, "L *n"], high: Float[Tensor, "L *n"], target: Float[Tensor, "*n"]
) -> Float[Tensor, " L"]:
    """Share of the targets that lie in their interval, ends included, for each of L kinds of intervals.

    Raises:
        ShapeError: shapes do not fit. DataError: no targets, or NaN.
    """
    return inside(low, high, target).double().flatten(1).mean(1)


def inside(low: Tensor, high: Tensor, target: Tensor) -> Tensor:
    """[L, *n] whether each target lies in each of its intervals; checks as `coverage`."""
    if low.shape != high.shape or low.shape[1:] != target.shape:
        raise ShapeError(
            f"ends {tuple(low.shape)} and {tuple(high.shape)} of intervals do not fit targets {tuple(target.shape)}: "
            "give [L, *n], [L, *n] and [*n]"
        )
    _check(target, "targets")
    if bool(low.isnan().any() | high.isnan().any()):
        raise DataError("an end of an interval is NaN: the predictor diverged")
    return (low.double() <= target.double()) & (target.double() <= high.double())


def calibration_error(levels: Levels, covered: Float[Tensor, " L"]) -> Float[Tensor, ""]:
    """Expected calibration error: mean over levels of |share covered - level|; from 0 to 1.

    Raises:
        ConfigError: levels outside (0, 1). ShapeError: not one share for each level.
    Source: Kuleshov et al. (arXiv 1807.00263), with the absolute value instead of the square.
    """
    check_levels(levels)
    if covered.shape != (len(levels),):
        raise ShapeError(f"{tuple(covered.shape)} shares for {len(levels)} levels: give one for each")
    return (covered.double() - covered.new_tensor(levels, dtype=torch.float64)).abs().mean()


def sharpness(low: Float[Tensor, "L *n"], high: Float[Tensor, "L *n"]) -> Float[Tensor, " L"]:
    """Mean width of the intervals in the target's unit, for each of L kinds; infinite where one is."""
    if low.shape != high.shape or low.ndim < 2:
        raise ShapeError(f"ends {tuple(low.shape)} and {tuple(high.shape)} of intervals: give two of one shape [L, *n]")
    return (high.double() - low.double()).flatten(1).mean(1)


def crps(p: Predicted, target: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """Continuous ranked probability score of each number, see `crps_gaussian` and `crps_quantiles`."""
    if isinstance(p, Gaussian):
        return crps_gaussian(p.mean, (p.log_variance.double() / 2).exp(), target)
    return crps_quantiles(p, target)


def crps_gaussian(
    mean: Float[Tensor, "*n"], std: Float[Tensor, "*n"], target: Float[Tensor, "*n"]
) -> Float[Tensor, "*n"]:
    """CRPS of a normal distribution, in the target's unit, 0 at least; the absolute error where std is 0.

    Raises:
        ShapeError: shapes differ. DataError: no targets, NaN, or a negative std.
    Source: Gneiting and Raftery (2007), equation 21.
    """
    _check_alike(mean, target)
    if bool((std < 0).any()) or std.shape != mean.shape:
        raise DataError(
            f"deviations of shape {tuple(std.shape)}, lowest {float(std.min())}: give one >= 0 for each mean"
        )
    away, std = target.double() - mean.double(), std.double()
    z = away / std.clamp_min(torch.finfo(std.dtype).tiny)
    density = (-z.square() / 2).exp() / math.sqrt(2 * math.pi)
    return away * torch.erf(z / math.sqrt(2)) + std * (2 * density - 1 / math.sqrt(math.pi))


def crps_ensemble(
    members: Float[Tensor, "K *n"], target: Float[Tensor, "*n"], fair: bool = True
) -> Float[Tensor, "*n"]:
    """CRPS of K members as draws: E|x - y| - E|x - x'| / 2, for each number; by sorting, so K log K.

    fair: pairs of different members only, unbiased in K and sometimes negative; otherwise all pairs, never negative.
    Raises:
        ShapeError: shapes do not fit, or fewer than 2 members where it shall be fair. DataError: no targets, or NaN.
    Source: Gneiting and Raftery (2007), equation 20; fair: Ferro (2014).
    """
    count = len(members)
    _check_alike(members[0], target)
    if count < 1 + fair:
        raise ShapeError(f"{count} members: give at least {1 + fair}")
    away = (members.double() - target.double()).sort(0).values
    _check(away, "members")
    rank = torch.arange(1, count + 1, dtype=away.dtype, device=away.device)
    pairs = torch.einsum("k,k...->...", 2 * rank - count - 1, away)  # sum over i < j of x_j - x_i
    return away.abs().mean(0) - pairs / (count * (count - fair))


def crps_quantiles(p: Quantiles, target: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """CRPS from quantiles: twice the integral of the pinball loss over levels, each known one standing for its cell.

    Cells end midway between levels, at 0 and at 1, so that even levels (i - 1/2) / Q count equally and are the CRPS of
    Q members (all pairs). Too small for few levels: what lies between them is not seen.
    Source: Gneiting and Ranjan (2011), equation 10 (believed).
    """
    check_levels(p.levels)
    _check_alike(p.value[..., 0], target)
    _check(p.value, "quantiles")
    level = torch.tensor(p.levels, dtype=torch.float64, device=p.value.device)
    ends = torch.cat([level.new_zeros(1), (level[1:] + level[:-1]) / 2, level.new_ones(1)])
    gap = target.double()[..., None] - p.value.double()
    return 2 * (torch.maximum(level * gap, (level - 1) * gap) * ends.diff()).sum(-1)


def conformal_quantile(scores: Float[Tensor, "n *D"], level: float) -> Float[Tensor, "*D"]:
    """The ceil((n + 1) level)-th smallest of n held-back scores: a new one lies below with probability >= `level`.

    Infinity where fewer than level / (1 - level) scores are there to promise it. Scores and the new one have to be
    exchangeable; ties only make it safer.
    Raises:
        ConfigError: a level outside (0, 1). DataError: no scores, or NaN.
    Source: split conformal prediction, Lei et al. (arXiv 1604.04173), section 2.
    """
    check_levels((level,))
    _check(scores, "scores", finite=False)
    place = math.ceil((len(scores) + 1) * level - 1e-9)
    if place > len(scores):
        return torch.full_like(scores[0], torch.inf, dtype=torch.float64)
    return scores.double().kthvalue(place, 0).values


def conformal(
    held: Predicted, target: Float[Tensor, "n D"], new: Predicted, levels: Levels
) -> tuple[Float[Tensor, "L m D"], Float[Tensor, "L m D"]]:
    """Intervals of new rows, stretched about their median as the targets of n held-back rows ask, for each dimension.

    score: distance of a held-back target from the median over that of the interval's end on its side. For a Gaussian
    that is split conformal prediction with normalized residuals; for quantiles a multiplicative form of conformalized
    quantile regression (arXiv 1905.03222), after Kivaranovic et al. (1905.10634). Rows of one episode are not
    exchangeable with those of others, so with several rows of an episode coverage is about, not at least, the level.
    """
    center, middle = quantile(held, 0.5), quantile(new, 0.5)
    _check_alike(center, target)
    away, ends, tiny = target.double() - center, [], torch.finfo(torch.float64).tiny
    for level, low, high, below, above in zip(levels, *intervals(held, levels), *intervals(new, levels), strict=True):
        reach = torch.where(away < 0, center - low, high - center).clamp_min(tiny)
        stretch = conformal_quantile(away.abs() / reach, level)
        ends.append(
            (middle - stretch * (middle - below).clamp_min(tiny), middle + stretch * (above - middle).clamp_min(tiny))
        )
    return torch.stack([low for low, _ in ends]), torch.stack([high for _, high in ends])


def pit_gaussian(p: Gaussian, target: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """Probability integral transform: the predicted probability of less than what came; uniform if it is right."""
    _check_alike(p.mean, target)
    std = (p.log_variance.double() / 2).exp()
    return torch.special.ndtr((target.double() - p.mean.double()) / std)


def pit_ensemble(members: Float[Tensor, "K *n"], target: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """(rank of the target among the members + 1/2) / (K + 1), ties in the middle: K + 1 bins are the rank histogram."""
    _check_alike(members[0], target)
    below, equal = (members < target).sum(0), (members == target).sum(0)
    return (below.double() + equal.double() / 2 + 0.5) / (len(members) + 1)


def pit_histogram(pit: Float[Tensor, "*n"], bins: int = 10) -> Float[Tensor, " bins"]:
    """Shares of the values in equal bins of [0, 1]: flat if calibrated, a U if too sure, a hill if too unsure.

    Raises:
        ConfigError: no bin. DataError: no values, NaN, or values outside [0, 1].
    Source: Dawid (1984); Gneiting, Balabdaoui and Raftery (2007).
    """
    require(1, math.inf, bins=bins)
    _check(pit, "values")
    if float(pit.min()) < 0 or float(pit.max()) > 1:
        raise DataError(f"values lie in {float(pit.min())} to {float(pit.max())}: probabilities lie in 0 to 1")
    place = (pit.double().flatten() * bins).long().clamp_max(bins - 1)
    return torch.bincount(place, minlength=bins).double() / pit.numel()


def _check(x: Tensor, name: str, finite: bool = True) -> None:
    if not x.numel():
        raise DataError(f"there are no {name}: give at least one")
    wrong = int((~x.isfinite()).sum() if finite else x.isnan().sum())
    if wrong:
        raise DataError(f"{wrong} of {x.numel()} {name} are NaN{' or infinite' if finite else ''}: remove their rows")


def _check_alike(predicted: Tensor, target: Tensor) -> None:
    if predicted.shape != target.shape:
        raise ShapeError(
            f"predictions {tuple(predicted.shape)} do not fit targets {tuple(target.shape)}: give equal shapes"
        )
    _check(predicted, "predictions")
    _check(target, "targets")
