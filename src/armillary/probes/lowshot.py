"""Few labels: logistic regression on random draws of the labeled rows."""

from __future__ import annotations

import time

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..errors import ConfigError, DataError
from ..randomness import Random, numbered
from .extract import Features
from .linear import fit, logits, ordered, standardized
from .report import Report, Statistic, check_classes, majority, resampled

STRENGTHS = (1.0, 0.1, 1e-2, 1e-3)
FIXED = 0.1  # where a class has a single labeled row, which leaves nothing to validate on
FOLDS = 5


def low_shot(
    train: Features,
    test: Features,
    shots: float,
    draws: int = 5,
    strengths: tuple[float, ...] = STRENGTHS,
    iterations: int = 100,
    seed: int = 0,
) -> Report:
    """Accuracy of a linear classifier that sees few labels, averaged over several random draws of the labeled rows.

    The classifier is that of `linear`; features are standardized by all train rows, whose labels that does not need.
    Its strength is chosen for each draw by cross-validation inside the labeled rows (5 folds, fewer where a class has
    fewer rows, the stronger one of equals), and is 0.1 where a class has a single row. The same seed labels the same
    rows for every encoder. The interval resamples draws and test rows (their groups) together; a few draws understate
    how much draws differ, 5 of them by a tenth.

    Args:
        shots: below 1 the share of the train rows that is labeled, rounded in each class, at least one row of each;
            else the number of rows of each class.
    Returns:
        details: accuracy of each draw, labeled rows of each class on average.
    Raises:
        ConfigError: shots are not positive, or above 1 and no whole number; no draws or strengths.
        DataError: a class has fewer rows than shots; one class only, NaN, or no labels.
    """
    begun = time.perf_counter()
    strengths = ordered(strengths)
    if shots <= 0 or (shots >= 1 and shots != int(shots)) or draws < 1:
        raise ConfigError(
            f"shots are {shots}, draws {draws}: give a share between 0 and 1 or a whole number of rows of each class, "
            "and at least one draw"
        )
    classes = check_classes(train, test)
    sizes = _sizes(train.y, shots, classes)
    x, asked = standardized(train.x, test.x)
    right, chosen = [], []
    for draw in range(draws):
        rows = labeled(train.y, sizes, numbered(1, seed, draw))
        few, span = _spanned(x[rows])
        strength, start = _chosen(few, train.y[rows], strengths, iterations, classes)
        weight = fit(few, train.y[rows], start, strength, iterations)
        right.append(logits(asked @ span, weight).argmax(1) == test.y)
        chosen.append(strength)
    answers = torch.stack(right)
    of = _statistic(answers)
    interval = resampled(of, test.group, seed=seed)[0].tolist()
    settings = {"shots": shots, "draws": draws, "strength": chosen, "tried": list(strengths), "seed": seed}
    return Report(
        "low_shot", float(answers.double().mean()), (interval[0], interval[1]), majority(train, test), settings,
        int(sizes.sum()), len(test.x), time.perf_counter() - begun, answers.float().mean(0), test.index, test.group,
        {"draws": answers.double().mean(1).tolist()}, statistic=Statistic(of),
    )  # fmt: skip


def labeled(y: Int64[Tensor, " n"], sizes: Int64[Tensor, " K"], random: Random) -> Int64[Tensor, " m"]:
    """Rows drawn at random, `sizes` of each class."""
    order = random.order("labeled", len(y))[0]
    return torch.cat([order[y[order] == k][:size] for k, size in enumerate(sizes.tolist())])


def _sizes(y: Int64[Tensor, " n"], shots: float, classes: int) -> Int64[Tensor, " K"]:
    """Labeled rows of each class; classes that no train row has are left out."""
    counts = y.bincount(minlength=classes)
    if shots < 1:
        return (counts * shots).round().long().clamp_min(1).minimum(counts)
    few = (counts < shots) & (counts > 0)
    if few.any():
        worst = ", ".join(f"{int(counts[k])} of class {int(k)}" for k in few.nonzero()[:4, 0])
        raise DataError(f"{shots:.0f} rows of each class are needed, there are {worst}: lower shots or give more rows")
    return (counts > 0) * int(shots)


def _spanned(x: Float[Tensor, "n D"]) -> tuple[Float[Tensor, "n E"], Float[Tensor, "D E"]]:
    """Rows in coordinates of the space that they span, and that space: a penalized weight never leaves it."""
    if x.shape[1] <= len(x):
        return x, torch.eye(x.shape[1])
    span, coordinates = torch.linalg.qr(x.T)
    return coordinates.T.contiguous(), span


def _chosen(
    x: Float[Tensor, "n D"], y: Int64[Tensor, " n"], strengths: tuple[float, ...], iterations: int, classes: int
) -> tuple[float, Float[Tensor, "K E"]]:
    """The strength that answers most labeled rows when they are left out, and a weight to start from."""
    start, counts = x.new_zeros(classes, x.shape[1] + 1), y.bincount()
    folds = min(FOLDS, int(counts[counts > 0].min()))
    if folds < 2 or len(strengths) == 1:
        return (strengths[0] if len(strengths) == 1 else FIXED), start
    fold = torch.cat([torch.arange(int(count)) % folds for count in counts])  # rows come class by class
    right = dict.fromkeys(strengths, 0)
    for k in range(folds):
        weight, out = start, fold == k
        for strength in strengths:
            weight = fit(x[~out], y[~out], weight, strength, iterations)
            right[strength] += int((logits(x[out], weight).argmax(1) == y[out]).sum())
    return max(strengths, key=lambda strength: right[strength]), start


def _statistic(right: Bool[Tensor, "R n"]):
    """The mean accuracy over resampled draws and rows."""
    answers, draws = right.double(), len(right)

    def of(weight: Float[Tensor, " n"], random: Random) -> Float[Tensor, " M"]:
        picked = random.integers("draws", draws, draws)[0].bincount(minlength=draws).double()
        return ((picked @ answers @ weight) / (draws * weight.sum()))[None]

    return of
