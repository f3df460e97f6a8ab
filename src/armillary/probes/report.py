"""What a probe found, how sure that is, and what a comparison of two probes says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..errors import DataError, ShapeError
from ..functional.statistics import bootstrap, paired_success, wilson
from ..randomness import Random, numbered
from .extract import Features

log = logging.getLogger("armillary.probes")

FEW = 5  # groups below which an interval is called too narrow
RESAMPLES = 1000
Rows = Bool[Tensor, " n"] | Float[Tensor, " n"]


@dataclass(frozen=True)
class Statistic:
    """A score that is no mean over rows, such as a mean IoU or an area under a curve, as bootstraps need it.

    of: maps how often each test row counts, [n], and the random numbers of this resample to figures [M], of which the
    first is the score. stratum: [n] rows are drawn within theirs; None: from all.
    """

    of: Callable[[Float[Tensor, " n"], Random], Float[Tensor, " M"]]
    stratum: Int64[Tensor, " n"] | None = None


@dataclass(frozen=True)
class Report:
    """The result of one probe.

    score: what `measure` says. interval: 95 %. chance: the score of an answer that ignores the input. rows: [n] what
    each test row adds: right or wrong, its share of R², its own score; unless there is a `statistic`, which then gives
    the score, their mean is the score. index, group: [n] see `Features`. settings: all that was chosen or tried. train,
    test: rows. details: further figures.
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
    details: Mapping[str, object] = field(default_factory=dict)
    measure: str = "accuracy"
    statistic: Statistic | None = None

    def row(self) -> dict[str, object]:
        """All but the single rows, for JSON."""
        return {
            "probe": self.probe,
            "measure": self.measure,
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
    kinds = {(report.measure, report.statistic is None) for report in (first, second)}
    if not torch.equal(first.index, second.index) or a.dtype != b.dtype or len(kinds) > 1:
        raise ShapeError(
            f"{first.probe} and {second.probe} were not measured alike on the same test rows: extract the features of "
            "both from the same data set with the same count"
        )
    if first.statistic is not None and second.statistic is not None:
        one, other, stratum = first.statistic.of, second.statistic.of, first.statistic.stratum
        ends = resampled(lambda w, random: one(w, random)[:1] - other(w, random)[:1], first.group, stratum, seed)
        low, high = ends[0].tolist()
    elif a.dtype == torch.bool and len(first.group.unique()) == len(a):
        low, high = paired_success(a, b)
    else:
        low, high = _resampled(a.double() - b.double(), first.group, seed)
    return low, high


def resampled(
    of: Callable[[Float[Tensor, " n"], Random], Float[Tensor, " M"]],
    group: Int64[Tensor, " n"],
    stratum: Int64[Tensor, " n"] | None = None,
    seed: int = 0,
) -> Float[Tensor, "M 2"]:
    """95 % percentile intervals of figures by a bootstrap of whole groups, see `Statistic`.

    Groups are drawn within their stratum, so that each keeps its number of groups; from all groups where a group holds
    rows of several strata. Resamples in which a figure is undefined (NaN) are left out of its interval.

    Raises:
        DataError: one group only, which says nothing of how groups differ.
    """
    places, counts = _groups(group)
    kind = torch.zeros_like(counts)
    if stratum is not None:
        kind[places] = stratum
        if not torch.equal(kind[places], stratum):
            kind.zero_()
    order = kind.argsort(stable=True)
    _, run, size = kind[order].unique_consecutive(return_inverse=True, return_counts=True)
    start, size = (size.cumsum(0) - size)[run], size[run]
    figures = []
    for step in range(RESAMPLES):
        random = numbered(1, seed, step)
        drawn = order[start + (random.uniform("bootstrap", len(counts))[0].double() * size).long()]
        figures.append(of(torch.bincount(drawn, minlength=len(counts)).double()[places], random).double())
    return torch.stack(figures).nanquantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0).T


def _groups(group: Int64[Tensor, " n"]) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " G"]]:
    """The group of each row, counted from 0, and the rows of each group."""
    places, counts = group.unique(return_inverse=True, return_counts=True)[1:]
    if len(counts) < 2:
        raise DataError(
            "all test rows are of one episode, which gives no interval: collect more episodes, or raise data.test_share"
        )
    if len(counts) < FEW:
        log.warning("intervals come from %d test episodes only and are too narrow: collect more", len(counts))
    return places, counts


def _resampled(values: Float[Tensor, " n"], group: Int64[Tensor, " n"], seed: int) -> list[float]:
    """Bootstrap interval of the mean of values, whole groups drawn: the frames of an episode are not independent."""
    places, counts = _groups(group)
    totals = values.new_zeros(len(counts)).index_add_(0, places, values)
    return bootstrap(lambda drawn: totals[drawn].sum() / counts[drawn].sum(), len(counts), seed=seed)


def check(train: Features, test: Features, tokens: bool = False) -> None:
    """Check that features can be probed: vectors [n, D], or with `tokens` sets of them [n, N, D].

    Raises:
        ShapeError: tokens that were not pooled, or were where they are needed; different widths or numbers of tokens.
        DataError: no rows, or NaN or infinity in the features.
    """
    need = "[n, N, D], extract them with pool=False" if tokens else "[n, D], pool them"
    for name, features in (("train", train), ("test", test)):
        if features.x.ndim != 2 + tokens:
            raise ShapeError(f"{name} features have shape {tuple(features.x.shape)}: this probe needs {need}")
        if not len(features.x):
            raise DataError(f"there are no {name} rows: give at least one")
        wrong = (~features.x.isfinite().flatten(1).all(1)).nonzero().flatten()
        if len(wrong):
            raise DataError(
                f"{len(wrong)} of {len(features.x)} {name} features are NaN or infinite, the first is row "
                f"{int(wrong[0])}: the encoder diverged, or its input holds NaN"
            )
    if train.x.shape[-1] != test.x.shape[-1]:
        raise ShapeError(
            f"train features have width {train.x.shape[-1]}, test features {test.x.shape[-1]}: use one encoder"
        )
    if train.x.shape[1:] != test.x.shape[1:]:
        raise ShapeError(f"train rows have {train.x.shape[1]} tokens, test rows {test.x.shape[1]}: use one image size")


def check_classes(train: Features, test: Features, tokens: bool = False) -> int:
    """Check that features can be classified; the number of classes of the train rows, counted from 0.

    Raises:
        ShapeError, DataError: as `check`; or the targets are no classes; or there is only one.
    """
    check(train, test, tokens)
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
