"""How good a prediction is beside predictors that know less: the mean, copying, the place alone."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..errors import ShapeError
from ..types import Forecast
from .shares import group_share


def forecast_measures(forecast: Forecast) -> dict[str, float]:
    """The numbers that a forecast allows; those whose denominator is 0 are left out.

    r2: 1 - MSE / variance of the target, so against predicting the mean. target_std: root mean variance of its
    dimensions; target_spread: that (over n - 1) over the root mean square, 0 where all is 0. copy_ratio, seen_ratio:
    MSE over that of copying the last latent, of repeating the mean of the context (the identity). place_share: share of
    the targets' variance that their place explains; predicted_place: the same of the predictions; place_gain: 1 - MSE /
    MSE of the best predictor that knows the place alone (the mean of the other targets at that place): 0 or less is a
    predictor that ignores its context.
    Raises:
        ShapeError: shapes that differ, or fewer than 2 targets.
    """
    target = _checked(forecast)
    error = (forecast.predicted.double() - target).square().mean()
    variance = target.var(0, correction=0).mean()
    size, n = target.square().mean().sqrt(), len(target)
    spread = (variance * n / (n - 1)).sqrt() / size if size > 0 else size
    found = {"r2": 1 - error / variance, "target_std": variance.sqrt(), "target_spread": spread}
    for name, simple in (("copy_ratio", forecast.last), ("seen_ratio", forecast.seen)):
        if simple is not None:
            found[name] = error / (simple.double() - target).square().mean()
    if forecast.place is not None:
        found["place_share"] = group_share(target, forecast.place)
        found["predicted_place"] = group_share(forecast.predicted, forecast.place)
        found["place_gain"] = 1 - error / _place_error(target, forecast.place)
    return {name: float(value) for name, value in found.items() if bool(value.isfinite())}


def _checked(forecast: Forecast) -> Float[Tensor, "n D"]:
    target = forecast.target
    others = {name: getattr(forecast, name) for name in ("predicted", "last", "seen")}
    wrong = [f"{n} {tuple(x.shape)}" for n, x in others.items() if x is not None and x.shape != target.shape]
    if forecast.place is not None and len(forecast.place) != len(target):
        wrong.append(f"{len(forecast.place)} places")
    if wrong or target.ndim != 2 or len(target) < 2:
        raise ShapeError(
            f"target {tuple(target.shape)}, {', '.join(wrong)}: all are [n, D] with the same n, at least 2"
        )
    return target.double()


def _place_error(target: Float[Tensor, "n D"], place: Int[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean squared error of predicting each target by the mean of the others at its place, or of all if it is alone."""
    index = torch.unique(place, return_inverse=True)[1]
    groups = int(index.max()) + 1
    count = torch.zeros(groups, dtype=target.dtype, device=target.device)
    count = count.index_add_(0, index, torch.ones_like(target[:, 0]))[index, None]
    total = torch.zeros(groups, target.shape[1], dtype=target.dtype, device=target.device)
    total = total.index_add_(0, index, target)[index]
    others = torch.where(count > 1, (total - target) / (count - 1).clamp_min(1), target.mean(0))
    return (others - target).square().mean()
