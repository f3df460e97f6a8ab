"""Whether an uncertainty knows where the errors are: rank correlation, AUROC, risk over coverage, growth. In float64.

`judge` brings these together with `calibration` in one report of held-back episodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import DataError, ShapeError, require
from ..functional.gaussian import Gaussian
from ..functional.likelihood import Quantiles
from ..randomness import numbered
from .calibration import calibration_error, conformal, crps, inside, intervals, quantile

LEVELS = (0.5, 0.8, 0.9, 0.95)  # whose intervals are reported
EVERY = tuple(round(0.05 * i, 2) for i in range(1, 20))  # over which the calibration error is a mean


def ranks(x: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Ranks from 1, equal values sharing the mean of theirs."""
    _check(x)
    order, count = torch.unique(x, return_inverse=True, return_counts=True)[1:]
    last = count.double().cumsum(0)
    return (last - (count.double() - 1) / 2)[order]


def auroc(usual: Float[Tensor, " n"], unusual: Float[Tensor, " m"]) -> Float[Tensor, ""]:
    """Probability that a score of the unusual exceeds one of the usual, equal ones counting half: 0.5 is chance.

    Raises:
        DataError: one of them is empty or holds NaN.
    Source: Mann and Whitney (1947); Hanley and McNeil (1982).
    """
    _check(usual)
    _check(unusual)
    n, m = len(usual), len(unusual)
    rank = ranks(torch.cat([usual.double(), unusual.double()]))
    return (rank[n:].sum() - m * (m + 1) / 2) / (n * m)


def spearman(a: Float[Tensor, " n"], b: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Rank correlation, from -1 to 1, with the mean rank for equal values; NaN where one does not vary.

    Raises:
        ShapeError: unequal lengths, or fewer than 2 rows. DataError: NaN.
    Source: Spearman (1904).
    """
    _check_pair(a, b)
    x, y = ranks(a), ranks(b)
    x, y = x - x.mean(), y - y.mean()
    size = (x.square().sum() * y.square().sum()).sqrt()
    return torch.where(size > 0, (x * y).sum() / size, float("nan"))


def risk_coverage(error: Float[Tensor, " n"], uncertainty: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Mean error of the k rows that are least uncertain, for k = 1..n; the last is the mean error of all.

    Rows of equal uncertainty come in any order: the curve is its mean over those orders.
    Raises:
        ShapeError: unequal lengths, or fewer than 2 rows. DataError: NaN.
    Source: Geifman and El-Yaniv (arXiv 1705.08500); read from the right, it is a sparsification curve (1802.07095).
    """
    _check_pair(error, uncertainty)
    place, count = torch.unique(uncertainty, return_inverse=True, return_counts=True)[1:]
    total = torch.zeros(len(count), dtype=torch.float64, device=error.device).index_add_(0, place, error.double())
    expected = (total / count).repeat_interleave(count)  # in ascending uncertainty
    return expected.cumsum(0) / torch.arange(1, len(error) + 1, dtype=torch.float64, device=error.device)


def aurc(error: Float[Tensor, " n"], uncertainty: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Area under `risk_coverage`: the mean error if a random share of the most uncertain rows is refused.

    The mean error itself where the uncertainty says nothing; lower is better; in the error's unit.
    Source: Geifman, Uziel and El-Yaniv (arXiv 1805.08206).
    """
    return risk_coverage(error, uncertainty).mean()


def ause(error: Float[Tensor, " n"], uncertainty: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Area between `risk_coverage` and that of the oracle, which refuses by the true error, over the mean error.

    0 for the order of the oracle; NaN where there is no error.
    Source: Ilg et al. (arXiv 1802.07095), with the curves over the error of all rows, as there.
    """
    return (aurc(error, uncertainty) - aurc(error, error)) / error.double().mean()


def disagreement(members: Float[Tensor, "K *n D"]) -> Float[Tensor, "*n"]:
    """Mean over D of the variance over K members (divided by K): what the members do not agree on, for each row.

    Raises:
        ShapeError: fewer than 2 members. DataError: NaN.
    Source: deep ensembles (arXiv 1612.01474), the variance of their means; Plan2Explore (2005.05960).
    """
    if len(members) < 2:
        raise ShapeError(f"{len(members)} member cannot disagree: give at least 2")
    _check(members)
    return members.double().var(0, correction=0).mean(-1)


def horizon_growth(error: Float[Tensor, "n H"]) -> Float[Tensor, ""]:
    """By how much the logarithm of the mean error grows a step, by least squares over horizons 1..H.

    0: errors do not add up; log 2: they double each step. Whether the error is squared changes it by 2.
    Raises:
        ShapeError: fewer than 2 horizons. DataError: NaN, or a horizon at which the error is not positive.
    """
    if error.shape[1] < 2:
        raise ShapeError(f"errors of shape {tuple(error.shape)}: growth needs [n, H] with at least 2 horizons")
    _check(error)
    mean = error.double().mean(0)
    if float(mean.min()) <= 0:
        raise DataError(f"the mean error at horizon {int(mean.argmin()) + 1} is {float(mean.min())}: its log is needed")
    step = torch.arange(len(mean), dtype=mean.dtype, device=mean.device)
    step = step - step.mean()
    return (step * mean.log()).sum() / step.square().sum()


@runtime_checkable
class Outcome(Protocol):
    """What was predicted of n rows, and what came.

    members: [K, n, D] what each member of an ensemble expected, None where there is one predictor only.
    """

    @property
    def predicted(self) -> Gaussian | Quantiles:
        """Distributions of [n, D] numbers."""
        ...

    @property
    def target(self) -> Float[Tensor, "n D"]:
        """What came."""
        ...

    @property
    def episode(self) -> Int64[Tensor, " n"]:
        """The episode of each row: intervals resample whole ones."""
        ...

    @property
    def members(self) -> Float[Tensor, "K n D"] | None:
        """See the class."""
        ...


@dataclass(frozen=True)
class Estimate:
    """A figure, with its 95 % interval over episodes."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Judgement:
    """How far an uncertainty can be trusted, on rows that nothing was fitted to.

    coverage: share of the numbers inside their conformal interval, by level. ece: mean distance of coverage and level
    over levels 0.05, 0.1, ..., 0.95; near 0 its interval lies too high, as resampling adds distance. raw_coverage,
    raw_ece: the same of intervals as predicted, without correction. sharpness: mean width of the conformal intervals,
    by level. crps: of the predicted distributions, in the target's unit. spearman: of the predicted spread (mean
    squared width of the middle half) with the squared error. aurc: area under the risk-coverage curve of both over the
    mean error, 1 where the spread says nothing; ause: what of it lies above the oracle's. disagreement: Spearman of an
    ensemble's disagreement with the squared error; None without one.
    """

    rows: int
    episodes: int
    coverage: dict[float, Estimate]
    raw_coverage: dict[float, Estimate]
    ece: Estimate
    raw_ece: Estimate
    sharpness: dict[float, Estimate]
    crps: Estimate
    spearman: Estimate
    aurc: Estimate
    ause: Estimate
    disagreement: Estimate | None


def judge(test: Outcome, calibration: Outcome, resamples: int = 200, seed: int = 0) -> Judgement:
    """Correct the intervals of `test` by `calibration` (see `conformal`) and measure them; both are held-back episodes.

    Raises:
        ConfigError: no resamples. DataError: fewer than 2 test episodes, an episode in both, no rows, or NaN.
        ShapeError: shapes that do not fit.
    """
    require(1, float("inf"), resamples=resamples)
    shared = set(test.episode.tolist()) & set(calibration.episode.tolist())
    if shared:
        raise DataError(f"{len(shared)} episodes are in both parts, e.g. {min(shared)}: split by episode, not by row")
    table, error, spread = _table(test, calibration)
    apart = None if test.members is None else disagreement(test.members)
    count = len(EVERY)

    def figures(rows: Int64[Tensor, " m"]) -> Float[Tensor, " F"]:
        mean = table[rows].mean(0)
        wrong, unsure = error[rows], spread[rows]
        errors = [calibration_error(EVERY, part) for part in mean[: 2 * count].split(count)]
        told = [spearman(unsure, wrong), aurc(wrong, unsure) / wrong.mean(), ause(wrong, unsure)]
        return torch.cat([mean, torch.stack(errors + told + ([] if apart is None else [spearman(apart[rows], wrong)]))])

    found = iter(_resampled(figures, test.episode, resamples, seed))
    covered, raw, width = (dict(zip(levels, found, strict=False)) for levels in (EVERY, EVERY, LEVELS))
    score, ece, raw_ece, correlation, area, above = islice(found, 6)
    return Judgement(
        len(table), len(test.episode.unique()), {level: covered[level] for level in LEVELS},
        {level: raw[level] for level in LEVELS}, ece, raw_ece, width, score, correlation, area, above,
        next(found, None),
    )  # fmt: skip


def _table(
    test: Outcome, calibration: Outcome
) -> tuple[Float[Tensor, "n P"], Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Means over the dimensions of each row: inside at each level, corrected and raw, widths, CRPS; error; spread."""
    covered, raw, widths = [], [], []
    for level in EVERY:  # one at a time: all of them together are many numbers
        low, high = conformal(calibration.predicted, calibration.target, test.predicted, (level,))
        covered.append(inside(low, high, test.target)[0].double().mean(-1))
        raw.append(inside(*intervals(test.predicted, (level,)), test.target)[0].double().mean(-1))
        if level in LEVELS:
            widths.append((high - low)[0].mean(-1))
    error = (quantile(test.predicted, 0.5) - test.target.double()).square().mean(-1)
    spread = (quantile(test.predicted, 0.75) - quantile(test.predicted, 0.25)).square().mean(-1)
    return torch.stack([*covered, *raw, *widths, crps(test.predicted, test.target).mean(-1)], 1), error, spread


def _resampled(
    figures: Callable[[Int64[Tensor, " m"]], Float[Tensor, " F"]],
    episode: Int64[Tensor, " n"],
    resamples: int,
    seed: int,
) -> list[Estimate]:
    """Figures of all rows, with percentile intervals of a bootstrap of whole episodes."""
    order, count = episode.argsort(stable=True), episode.unique(return_counts=True)[1]
    if len(count) < 2:
        raise DataError("all test rows are of one episode, which gives no interval: hold back 2 or more")
    start, drawn = count.cumsum(0) - count, []
    for step in range(resamples):
        chosen = numbered(1, seed, step).integers("judge", len(count), len(count))[0].to(episode.device)
        first, many = start[chosen], count[chosen]
        within = torch.arange(int(many.sum()), device=episode.device) - (many.cumsum(0) - many).repeat_interleave(many)
        drawn.append(figures(order[first.repeat_interleave(many) + within]))
    ends = torch.stack(drawn).nanquantile(
        torch.tensor([0.025, 0.975], dtype=torch.float64, device=episode.device), dim=0
    )
    whole = figures(torch.arange(len(episode), device=episode.device))
    return [Estimate(*map(float, row)) for row in zip(whole, *ends, strict=True)]


def _check(x: Tensor) -> None:
    if not x.numel():
        raise DataError("there are no values: give at least one")
    wrong = int(x.isnan().sum())
    if wrong:
        raise DataError(f"{wrong} of {x.numel()} values are NaN, which have no order: remove their rows")


def _check_pair(a: Tensor, b: Tensor) -> None:
    if len(a) != len(b) or len(a) < 2:
        raise ShapeError(f"{len(a)} and {len(b)} values: give two of the same length, at least 2")
    _check(a)
    _check(b)
