"""Violation of expectation: is a model more surprised by what cannot happen than by its possible twin? In float64.

Errors are [n, T], of n clips at T steps; row i of the impossible clips is the twin of row i of the possible ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import ConfigError, DataError, ShapeError
from ..functional.gaussian import Gaussian
from ..functional.statistics import bootstrap, wilson
from .calibration import conformal_quantile
from .risk import auroc

How = Literal["mean", "max"]
Ends = tuple[float, float]


@dataclass(frozen=True)
class Expectation:
    """What errors of paired clips say, with 95 % intervals.

    accuracy: share of pairs in which the impossible clip surprises more, equal ones counting half; chance is 0.5.
    auroc: of all impossible against all possible clips, whatever their twin; chance is 0.5.
    """

    pairs: int
    accuracy: float
    accuracy_interval: Ends
    auroc: float
    auroc_interval: Ends


def surprise(error: Float[Tensor, "n T"], how: How = "mean") -> Float[Tensor, " n"]:
    """One number a clip: the mean of its errors, which suits twins, or the largest, which suits single clips.

    Raises:
        ConfigError: another way. ShapeError: no steps. DataError: no clips, NaN or infinity.
    Source: Garrido et al. (arXiv 2502.11831), methods: mean for pairs, maximum for single videos.
    """
    if how not in ("mean", "max"):
        raise ConfigError(f"how is {how!r}: give 'mean' or 'max'")
    _check(error)
    return error.double().mean(1) if how == "mean" else error.double().amax(1)


def standardized(expected: Gaussian, came: Float[Tensor, "*B D"]) -> Float[Tensor, "*B"]:
    """Mean squared deviation of D numbers in units of what was expected of each: 1 where the expectation is right.

    Where a model is often wrong a large error surprises less. Raises DataError as `surprise`.
    """
    wrong = (came.double() - expected.mean.double()).square() / expected.variance.double()
    if not bool(wrong.isfinite().all()):
        raise DataError("some deviations are NaN or infinite: the model diverged there")
    return wrong.mean(-1)


def violation_of_expectation(
    possible: Float[Tensor, "n T"],
    impossible: Float[Tensor, "n T"],
    how: How = "mean",
    absolute: How = "max",
    resamples: int = 1000,
    seed: int = 0,
) -> Expectation:
    """Judge the errors of paired clips, pairwise by `how` and over all clips by `absolute`; see `surprise`.

    The interval of the accuracy is Wilson's, with tied pairs against it at its lower end and for it at its upper; that
    of the AUROC resamples pairs.
    Raises:
        ShapeError: the two differ in shape. DataError, ConfigError: as `surprise`.
    Source: pairwise accuracy of IntPhys (arXiv 1803.07616), section 3; GRASP (2311.09048).
    """
    if possible.shape != impossible.shape:
        raise ShapeError(
            f"errors {tuple(possible.shape)} and {tuple(impossible.shape)} are not of twins: give one of each a row"
        )
    usual, odd, n = surprise(possible, how), surprise(impossible, how), len(possible)
    won, tied = int((odd > usual).sum()), int((odd == usual).sum())
    low, high = wilson(won, n)[0], wilson(won + tied, n)[1]
    usual, odd = surprise(possible, absolute), surprise(impossible, absolute)
    ends = bootstrap(lambda rows: auroc(usual[rows], odd[rows]), n, resamples, seed=seed)
    return Expectation(n, (won + tied / 2) / n, (low, high), float(auroc(usual, odd)), (ends[0], ends[1]))


def band(possible: Float[Tensor, "n T"], level: float = 0.99) -> Float[Tensor, " T"]:
    """Upper limit of the errors of possible clips at each step: a new one exceeds it with probability <= 1 - level.

    Infinity where there are too few clips for that: below 99 at 0.99. Use other clips than those that are judged.
    Raises:
        DataError, ShapeError: as `surprise`. ConfigError: a level outside (0, 1).
    """
    _check(possible)
    return conformal_quantile(possible, level)


def first_exceeding(error: Float[Tensor, "n T"], limit: Float[Tensor, " T"]) -> Int64[Tensor, " n"]:
    """The first step, from 0, at which each clip's error exceeds the limit (see `band`); -1 where it never does.

    Raises:
        ShapeError: another number of steps. DataError: as `surprise`.
    """
    _check(error)
    if len(limit) != error.shape[1]:
        raise ShapeError(f"a limit for {len(limit)} steps, errors of {error.shape[1]}: give one for each step")
    above = error.double() > limit.double()
    return torch.where(above.any(1), above.int().argmax(1), -1)


def _check(error: Tensor) -> None:
    if error.ndim != 2 or error.shape[1] < 1:
        raise ShapeError(f"errors of shape {tuple(error.shape)}: give [n, T], of n clips at T steps")
    if not len(error):
        raise DataError("there are no clips: give at least one")
    wrong = int((~error.isfinite().all(1)).sum())
    if wrong:
        raise DataError(f"the errors of {wrong} of {len(error)} clips are NaN or infinite: the model diverged there")
