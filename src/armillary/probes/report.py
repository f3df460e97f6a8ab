"""What a probe found, how sure that is, and what a comparison of two probes says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..errors import DataError, ShapeError
from ..functional.statistics import bootstrap, paired_success, wilson
from .extract import Features

log = logging.getLogger("armillary.probes")

FEW = 5  # groups below which an interval is called too narrow
Rows = Bool[Tensor, " n"] | Float[Tensor, " n"]


@dataclass(frozen=True)
class Report:
    """The result of one probe.

    score: accuracy, or R² averaged over quantities. interval: 95 %. chance: the score of an answer that ignores the
    input. rows: [n] what each test row adds: right or wrong, or its share of R²; their mean is the score. index, group:
    [n] see `Features`. settings: all that was chosen or tried. train, test: rows. details: further figures.
    """

    probe: str
    score: float
    interval: tuple[float, float]
    chance: float
    settings: Mapping[str, object]
    train: int
    test: int
    seconds: float
    rows: Rows
    index: Int64[Tensor, " n"]
    group: Int64[Tensor, " n"]
    details: Mapping[str, list[float]] = field(default_factory=dict)

    def row(self) -> dict[str, object]:
        """All but the single rows, for JSON."""
        return {
            "probe": self.probe,
            "score": self.score,
            "interval": list(self.interval),
            "chance": self.chance,
            "train": self.train,
            "test": self.test,
            "seconds": self.seconds,
            "settings": dict(self.settings),
            **self.details,
        }


def scored(rows: Rows, group: Int64[Tensor, " n"], seed: int = 0) -> tuple[float, tuple[float, float]]:
    """The mean of rows, its 95 % interval: Wilson's for right or wrong answers, else a bootstrap of groups."""
    values = rows.double()
    if rows.dtype == torch.bool and len(group.unique()) == len(group):
        low, high = wilson(int(rows.sum()), len(rows))
    else:
        low, high = _resampled(values, group, seed)
    return float(values.mean()), (low, high)


def paired(first: Report, second: Report, seed: int = 0) -> tuple[float, float]:
    """95 % interval of score(first) - score(second) on the same test rows, which is far narrower than both scores'.

    Raises:
        ShapeError: the reports are of different test rows or of different kinds.
    """
    a, b = first.rows, second.rows
    if not torch.equal(first.index, second.index) or a.dtype != b.dtype:
        raise ShapeError(
            f"{first.probe} and {second.probe} were not measured alike on the same test rows: extract the features of "
            "both from the same data set with the same count"
        )
    if a.dtype == torch.bool and len(first.group.unique()) == len(a):
        low, high = paired_success(a, b)
    else:
        low, high = _resampled(a.double() - b.double(), first.group, seed)
    return low, high


def _resampled(values: Float[Tensor, " n"], group: Int64[Tensor, " n"], seed: int) -> list[float]:
    """Bootstrap interval of the mean of values, whole groups drawn: the frames of an episode are not independent.

    Raises:
        DataError: one group only, which says nothing of how groups differ.
    """
    places, counts = group.unique(return_inverse=True, return_counts=True)[1:]
    if len(counts) < 2:
        raise DataError(
            "all test rows are of one episode, which gives no interval: collect more episodes, or raise data.test_share"
        )
    if len(counts) < FEW:
        log.warning("intervals come from %d test episodes only and are too narrow: collect more", len(counts))
    totals = values.new_zeros(len(counts)).index_add_(0, places, values)
    return bootstrap(lambda drawn: totals[drawn].sum() / counts[drawn].sum(), len(counts), seed=seed)


def check(train: Features, test: Features) -> None:
    """Check that features can be probed.

    Raises:
        ShapeError: tokens that were not pooled, or different widths.
        DataError: no rows, or NaN or infinity in the features.
    """
    for name, features in (("train", train), ("test", test)):
        if features.x.ndim != 2:
            raise ShapeError(
                f"{name} features have shape {tuple(features.x.shape)}: this probe needs [n, D], pool them"
            )
        if not len(features.x):
            raise DataError(f"there are no {name} rows: give at least one")
        wrong = (~features.x.isfinite().all(1)).nonzero().flatten()
        if len(wrong):
            raise DataError(
                f"{len(wrong)} of {len(features.x)} {name} features are NaN or infinite, the first is row "
                f"{int(wrong[0])}: the encoder diverged, or its input holds NaN"
            )
    if train.x.shape[1] != test.x.shape[1]:
        raise ShapeError(
            f"train features have width {train.x.shape[1]}, test features {test.x.shape[1]}: use one encoder"
        )


def check_classes(train: Features, test: Features) -> int:
    """Check that features can be classified; the number of classes of the train rows, counted from 0.

    Raises:
        ShapeError, DataError: as `check`; or the targets are no classes; or there is only one.
    """
    check(train, test)
    for features in (train, test):
        if features.y.ndim != 1 or features.y.is_floating_point():
            raise DataError(
                f"targets of shape {tuple(features.y.shape)} and {features.y.dtype} are no classes: use `ridge`"
            )
        if int(features.y.min()) < 0:
            raise DataError(f"a class is {int(features.y.min())}: unlabelled rows cannot be probed, remove them")
    if len(train.y.unique()) < 2:
        raise DataError(
            f"all {len(train.y)} train rows are of class {int(train.y[0])}: a probe needs at least 2 classes"
        )
    return int(train.y.max()) + 1


def majority(train: Features, test: Features) -> float:
    """Accuracy of always answering the most frequent class of the train rows."""
    return float((test.y == train.y.mode().values).float().mean())
