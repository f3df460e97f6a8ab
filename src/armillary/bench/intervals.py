"""Intervals of means over seeds and test rows, of differences that pair both, and of ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import ConfigError, ShapeError
from ..functional.statistics import paired_success, wilson
from ..randomness import numbered

Right = Bool[Tensor, "S n"]  # answers of S seeds to n test rows
LEVEL = 0.95
RESAMPLES = 1000


def over_seeds(right: Right) -> tuple[float, float]:
    """Interval of the mean accuracy: Student's over seeds, for these rows; Wilson's over rows for a single seed.

    Also Wilson's where all seeds answer equally many rows rightly, which does not show that seeds make no difference.
    """
    seeds, n = right.shape
    scores = right.double().mean(1)
    if seeds == 1 or bool((scores == scores[0]).all()):
        low, high = wilson(int(right[0].sum()), n)
        return low, high
    half = student(0.5 + LEVEL / 2, seeds - 1) * float(scores.std()) / math.sqrt(seeds)
    return max(0.0, float(scores.mean()) - half), min(1.0, float(scores.mean()) + half)


def difference(first: Right, second: Bool[Tensor, "R m"]) -> tuple[float, float, float]:
    """Mean of first - second, and its interval, where seed s and row i of both belong together.

    Two things could have come out otherwise, the seeds and the test rows. Their variances are added: that of the seeds'
    mean differences over the number of seeds, and that of the rows' differences, averaged over seeds, over the number
    of rows; Student's quantile has the degrees of freedom of that sum (Welch and Satterthwaite). What is noise of both
    is counted twice, so that the interval is wide rather than narrow: it holds the truth in 94 to 99 % of simulated
    comparisons of 2 to 5 seeds (`benchmarks/coverage.py`). A single seed leaves the rows alone (Bonett and
    Price), and says nothing of other seeds.
    Raises:
        ShapeError: other seeds or rows.
    """
    if first.shape != second.shape:
        raise ShapeError(f"answers of shapes {tuple(first.shape)} and {tuple(second.shape)} cannot be paired")
    seeds, n = first.shape
    gap = first.double() - second.double()
    mean = float(gap.mean())
    if seeds == 1:
        low, high = paired_success(first[0], second[0])
        return mean, low, high
    parts = [(float(gap.mean(1).var()) / seeds, seeds - 1), (float(gap.mean(0).var()) / n, n - 1)]
    variance = sum(part for part, _ in parts)
    if variance == 0:  # they never disagree, which few rows do not prove
        low, high = paired_success(first[0], second[0])
        return mean, low, high
    freedom = variance**2 / sum(part**2 / free for part, free in parts)
    half = student(0.5 + LEVEL / 2, freedom) * math.sqrt(variance)
    return mean, max(-1.0, mean - half), min(1.0, mean + half)


def ranks(answers: Sequence[Bool[Tensor, "_ _"]], resamples: int = RESAMPLES) -> list[tuple[float, int, int]]:
    """Rank of each contender (1 is best, equals share the mean of theirs) with a bootstrap interval.

    Test rows are drawn anew, the same for everyone, and of each contender its seeds; with 2 seeds, of which a draw has
    3, the interval says nothing, and pages leave it out.
    Raises:
        ShapeError: contenders answered different numbers of rows.
    """
    n = {right.shape[1] for right in answers}
    if len(n) != 1:
        raise ShapeError(f"contenders answered {sorted(n)} test rows: ranks need the same ones")
    rows = numbered(resamples).integers("ranks/rows", n.copy().pop(), n.pop())
    count = torch.zeros(resamples, rows.shape[1], dtype=torch.float32)
    count.scatter_add_(1, rows, torch.ones_like(count))
    scores = []
    for place, right in enumerate(answers):
        of_seeds = count @ right.float().T / rows.shape[1]  # [resamples, S]
        drawn = numbered(resamples, place).integers("ranks/seeds", len(right), len(right))
        scores.append(of_seeds.gather(1, drawn).mean(1))
    spread = _ranked(torch.stack(scores, 1))
    middle = _ranked(torch.stack([right.float().mean() for right in answers])[None])[0]
    ends = torch.tensor([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    found = []
    for place in range(len(answers)):
        low, high = spread[:, place].quantile(ends).tolist()
        found.append((float(middle[place]), math.floor(low), math.ceil(high)))
    return found


def _ranked(scores: Float[Tensor, "B C"]) -> Float[Tensor, "B C"]:
    better = (scores[:, None, :] > scores[:, :, None]).sum(2)
    equal = (scores[:, None, :] == scores[:, :, None]).sum(2)
    return better + (equal + 1) / 2


def student(share: float, freedom: float) -> float:
    """The value below which `share` of Student's distribution lies.

    freedom: degrees of freedom, above 0, also broken ones. By bisection of its distribution function, which is
    integrated numerically over the angle atan(t / sqrt(freedom)).
    Raises:
        ConfigError: share or degrees of freedom are impossible.
    """
    if not 0.5 <= share < 1 or freedom <= 0:
        raise ConfigError(f"share {share}, freedom {freedom}: a share from 0.5 to below 1, and freedom above 0")
    norm = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    nodes = torch.linspace(0, 1, 2001, dtype=torch.float64)
    weights = torch.full_like(nodes, 2.0)
    weights[1::2], weights[0], weights[-1] = 4.0, 1.0, 1.0  # Simpson's rule

    def above_half(angle: float) -> float:
        return norm * float(((nodes * angle).cos() ** (freedom - 1) * weights).sum()) * angle / 6000

    low, high = 0.0, math.pi / 2 * (1 - 1e-9)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if above_half(middle) < share - 0.5 else (low, middle)
    return math.tan(low) * math.sqrt(freedom)
