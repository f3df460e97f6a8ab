"""What clinical readers ask of a classifier: areas under ROC curves, sensitivity, calibration."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import ConfigError, DataError
from .extract import Features
from .linear import STRENGTHS, classified
from .report import Report, Statistic, resampled

FIGURES = ("auroc", "balanced_accuracy", "sensitivity", "calibration_error")


def clinical(
    train: Features,
    test: Features,
    specificity: float = 0.9,
    bins: int = 15,
    strengths: tuple[float, ...] = STRENGTHS,
    iterations: int = 100,
    seed: int = 0,
) -> Report:
    """Area under the ROC curve of the linear probe's probabilities, and further clinical figures with intervals.

    AUROC: the share of pairs of a row of a class and a row of none that its probability orders rightly, ties half;
    averaged over the classes of the test rows, each against the rest. Balanced accuracy: mean recall of these classes.
    Sensitivity: of class 1 where there are two, else averaged over classes against the rest; at the highest point of
    the test rows' ROC curve that has the given specificity or more, so it tells of the ranking and not of a threshold
    that was fixed before. Calibration error: mean |accuracy - confidence| over equal bins of the highest probability,
    weighted by their rows. Intervals resample rows (their groups) within each class; whole groups of several classes
    are drawn from all.

    Returns:
        details: each figure, and NAME_interval.
    Raises:
        ConfigError: specificity not between 0 and 1, no bins, or settings that `linear` refuses.
        DataError: one class only, in either part; NaN, or no labels.
    Source: calibration error: Guo et al. (arXiv 1706.04599), section 2.
    """
    begun = time.perf_counter()
    if not 0 < specificity < 1 or bins < 1:
        raise ConfigError(f"specificity is {specificity}, bins {bins}: give one between 0 and 1, and at least one bin")
    answer, settings = classified(train, test, strengths, iterations, seed)
    if len(test.y.unique()) < 2:
        raise DataError(f"all {len(test.y)} test rows are of class {int(test.y[0])}: a ROC curve needs at least 2")
    probability = F.pad(answer.double().softmax(1), (0, max(0, int(test.y.max()) + 1 - answer.shape[1])))
    of = figures(probability, test.y, specificity, bins)
    values = of(torch.ones(len(test.y), dtype=torch.float64))
    statistic = Statistic(lambda weight, random: of(weight), test.y)
    ends = resampled(statistic.of, test.group, test.y, seed).tolist()
    details = dict(zip(FIGURES, values.tolist(), strict=True))
    details |= {f"{name}_interval": pair for name, pair in zip(FIGURES, ends, strict=True)}
    settings |= {"specificity": specificity, "bins": bins}
    return Report(
        "clinical", float(values[0]), (ends[0][0], ends[0][1]), 0.5, settings, len(train.x), len(test.x),
        time.perf_counter() - begun, answer.argmax(1) == test.y, test.index, test.group, details, "AUROC", statistic,
    )  # fmt: skip


def figures(
    probability: Float[Tensor, "n K"], y: Int64[Tensor, " n"], specificity: float, bins: int
) -> Callable[[Float[Tensor, " n"]], Float[Tensor, " M"]]:
    """A function of how often each row counts that returns the four `FIGURES`."""
    classes = probability.shape[1]
    curve = roc(probability, y, specificity)
    own = F.one_hot(y, classes).double()
    confidence, answer = probability.max(1)
    right = (answer == y).double()
    place = (confidence * bins).long().clamp_max(bins - 1)

    def of(weight: Float[Tensor, " n"]) -> Float[Tensor, " M"]:
        area, sensitivity = curve(weight)
        rows = weight @ own
        recall = ((weight * right) @ own / rows)[rows > 0].mean()
        gap = weight.new_zeros(bins).index_add_(0, place, weight * (right - confidence)).abs().sum() / weight.sum()
        sensitivity = sensitivity[1] if classes == 2 else sensitivity.nanmean()
        return torch.stack([area.nanmean(), recall, sensitivity, gap])

    return of


def roc(
    score: Float[Tensor, "n K"], y: Int64[Tensor, " n"], specificity: float
) -> Callable[[Float[Tensor, " n"]], tuple[Float[Tensor, " K"], Float[Tensor, " K"]]]:
    """A function of how often each row counts: area under the ROC curve of each class against the rest, and the highest
    sensitivity at `specificity` or more; NaN for a class that has no rows, or all.

    Rows are sorted once, so that a bootstrap need not.
    """
    ranked, order = score.T.contiguous().sort(1)
    below = torch.searchsorted(ranked, ranked)  # rows with a lower score
    upto = torch.searchsorted(ranked, ranked, right=True)  # and those with an equal one
    own = y[order] == torch.arange(len(order))[:, None]

    def of(weight: Float[Tensor, " n"]) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
        counts = weight[order]
        positive, negative = (F.pad((counts * part).cumsum(1), (1, 0)) for part in (own, ~own))  # [K, n + 1]
        positives, negatives = positive[:, -1:], negative[:, -1:]
        beaten = (negative.gather(1, below) + negative.gather(1, upto)) / 2
        area = (counts * own * beaten).sum(1) / (positives * negatives)[:, 0]
        kept = (
            negative.gather(1, upto) / negatives >= specificity - 1e-12
        )  # called negative: all with this score or less
        missed = torch.where(kept, positive.gather(1, upto) / positives, 1.0).amin(1)
        defined = (positives * negatives)[:, 0] > 0
        return torch.where(defined, area, torch.nan), torch.where(defined, 1 - missed, torch.nan)

    return of
