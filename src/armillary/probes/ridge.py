"""Ridge regression to physical quantities."""

from __future__ import annotations

import time

from ..errors import ConfigError, DataError
from ..functional.ridge import ridge as solved
from .extract import Features
from .linear import held_out
from .report import Report, check, scored

STRENGTHS = (1e2, 1e1, 1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def ridge(train: Features, test: Features, strengths: tuple[float, ...] = STRENGTHS, seed: int = 0) -> Report:
    """R² of a linear map from standardized features to each quantity of `y` [n, S], and its error in their units.

    The loss is the mean squared error + strength * |weight|². The strength is chosen by R² on a tenth of the train
    rows, the stronger one of equals; then all train rows are fitted. R² is 1 - MSE / variance on the test rows; its
    interval resamples test episodes (rows, where there are none) with that variance held fixed.

    Returns:
        details: r2 and rmse for each quantity.
    Raises:
        ConfigError: no strengths, or one that is not positive.
        DataError: NaN in features or targets, a quantity that does not vary, or fewer than 3 train or 2 test rows.
    """
    begun = time.perf_counter()
    if not strengths or min(strengths) <= 0:
        raise ConfigError(f"strengths are {strengths}: give at least one, all positive")
    _check_quantities(train, test)
    strengths = tuple(sorted(strengths, reverse=True))
    held = held_out(len(train.x), seed)
    x, y, asked, truth = (v.double() for v in (train.x, train.y, test.x, test.y))  # squares of small variances need it
    tried: dict[str, float] = {}
    if len(strengths) > 1:
        variance = y.var(0, correction=0)
        for strength, line in zip(strengths, solved(x[~held], y[~held], strengths), strict=True):
            tried[str(strength)] = float(1 - ((line(x[held]) - y[held]).square().mean(0) / variance).mean())
    chosen = max(strengths, key=lambda strength: tried.get(str(strength), 0.0))
    (line,) = solved(x, y, (chosen,))
    error, variance = (line(asked) - truth).square(), truth.var(0, correction=0)
    rows = 1 - (error / variance).mean(1)
    score, interval = scored(rows, test.group, seed)
    chance = float(1 - ((y.mean(0) - truth).square().mean(0) / variance).mean())
    details = {"r2": (1 - error.mean(0) / variance).tolist(), "rmse": error.mean(0).sqrt().tolist()}
    settings = {"strength": chosen, "validation": tried, "seed": seed}
    return Report(
        "ridge", score, interval, chance, settings, len(x), len(asked), time.perf_counter() - begun, rows, test.index,
        test.group, details, "R²",
    )  # fmt: skip


def _check_quantities(train: Features, test: Features) -> None:
    check(train, test)
    for name, features, least in (("train", train, 3), ("test", test, 2)):
        y = features.y
        if y.ndim != 2 or not y.is_floating_point():
            raise DataError(
                f"{name} targets of shape {tuple(y.shape)} and {y.dtype} are no quantities [n, S]: use `linear`"
            )
        if not bool(y.isfinite().all()):
            raise DataError(f"{name} targets hold NaN or infinity: remove these rows")
        if len(y) < least:
            raise DataError(f"{len(y)} {name} rows are too few for a regression: give at least {least}")
        still = [int(i) for i in (y.double().std(0) <= 1e-9 * y.abs().amax(0).clamp_min(1e-9)).nonzero()]
        if still:
            raise DataError(f"quantities {still} do not vary over the {name} rows, R² has no meaning: leave them out")
