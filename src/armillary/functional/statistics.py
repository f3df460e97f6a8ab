"""Intervals for what was measured: proportions, means, and differences on the same goals. All are [low, high]."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..errors import ConfigError, ShapeError
from ..randomness import numbered

Statistic = Callable[[Int[Tensor, " n"]], Float[Tensor, ""]]


def _quantile(level: float) -> float:
    if not 0 < level < 1:
        raise ConfigError(
            f"level is {level}; the share of intervals that hold the truth lies between 0 and 1, e.g. 0.95"
        )
    return NormalDist().inv_cdf(0.5 + level / 2)


def _clipped(middle: float, half: float, lowest: float, highest: float) -> list[float]:
    return [max(lowest, middle - half), min(highest, middle + half)]


def wilson(successes: int, trials: int, level: float = 0.95) -> list[float]:
    """Interval of a proportion, as fractions [low, high]; sensible at 0, at all, and for few trials.

    Raises:
        ConfigError: no trials, or successes outside 0..trials.
    Source: Wilson (1927), without continuity correction.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ConfigError(f"{successes} successes of {trials} trials; give at least 1 trial and 0 to trials successes")
    z, p = _quantile(level), successes / trials
    scale = 1 + z * z / trials
    half = z / scale * (p * (1 - p) / trials + z * z / (4 * trials * trials)) ** 0.5
    low, high = _clipped((p + z * z / (2 * trials)) / scale, half, 0.0, 1.0)
    return [0.0 if successes == 0 else low, 1.0 if successes == trials else high]  # exact ends, free of rounding


def paired_success(first: Bool[Tensor, " n"], second: Bool[Tensor, " n"], level: float = 0.95) -> list[float]:
    """Interval of success(first) - success(second) where row i of both is the same goal; fractions in [-1, 1].

    It keeps a width when the two never disagree, as an interval from n goals must.
    Raises:
        ShapeError: no rows, or unequal numbers of them.
    Source: Bonett and Price (2012), adjusted Wald interval for paired proportions.
    """
    _check_pairs(first, second)
    n = len(first) + 2
    won, lost = (int((first & ~second).sum()) + 1) / n, (int((second & ~first).sum()) + 1) / n
    half = _quantile(level) * ((won + lost - (won - lost) ** 2) / n) ** 0.5
    return _clipped(won - lost, half, -1.0, 1.0)


def bootstrap(
    statistic: Statistic, rows: int, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> list[float]:
    """Percentile interval of any statistic of `rows` exchangeable rows (episodes, not their correlated frames).

    statistic: maps row numbers [n], drawn with replacement, to a scalar, e.g. `lambda i: r2(predicted[i], truth[i])`.
    Raises:
        ConfigError: no rows or resamples.
    Source: Efron (1979).
    """
    if rows < 1 or resamples < 1:
        raise ConfigError(f"bootstrap over {rows} rows with {resamples} resamples; give at least 1 of each")
    _quantile(level)
    values = [statistic(numbered(1, seed, step).integers("bootstrap", rows, rows)[0]) for step in range(resamples)]
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    return torch.stack(values).double().cpu().quantile(ends).tolist()


def mean_interval(
    values: Float[Tensor, " n"], resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> list[float]:
    """Bootstrap interval of the mean of one number per row."""
    return bootstrap(lambda index: values[index.to(values.device)].mean(), len(values), resamples, level, seed)


def paired_mean(
    first: Float[Tensor, " n"], second: Float[Tensor, " n"], resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> list[float]:
    """Bootstrap interval of mean(first - second) where row i of both belongs to the same item.

    Raises:
        ShapeError: no rows, or unequal numbers of them.
    """
    _check_pairs(first, second)
    return mean_interval(first - second, resamples, level, seed)


def _check_pairs(first: Tensor, second: Tensor) -> None:
    if len(first) != len(second) or len(first) == 0:
        raise ShapeError(
            f"{len(first)} and {len(second)} results cannot be paired; give both for the same items, 1 or more"
        )


def kendall(first: Float[Tensor, " n"], second: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """Kendall's tau-b: agreement of two orders, 1 for the same, -1 for the reverse; NaN where one of them is constant.

    Raises:
        ShapeError: no values, or unequal numbers of them.
    Source: Kendall (1945), for ties.
    """
    _check_pairs(first, second)
    above = [(x[:, None] - x[None]).sign().double() for x in (first.double(), second.double())]
    agree = (above[0] * above[1]).sum()
    return agree / (above[0].square().sum() * above[1].square().sum()).sqrt()
