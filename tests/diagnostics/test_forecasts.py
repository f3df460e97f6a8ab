"""What a forecast is worth beside simpler ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from armillary.diagnostics.forecasts import forecast_measures
from armillary.errors import ShapeError
from armillary.types import Forecast


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_every_number_equals_its_definition():
    target, predicted, last, seen = (normal(60, 4, seed=s) for s in range(4))
    place = torch.arange(60) % 6
    found = forecast_measures(Forecast(predicted, target, last, seen, place))
    t, p = target.numpy(), predicted.numpy()
    error = ((p - t) ** 2).mean()
    assert found["r2"] == pytest.approx(1 - error / t.var(0).mean())
    assert found["target_std"] == pytest.approx(np.sqrt(t.var(0).mean()))
    assert found["copy_ratio"] == pytest.approx(error / ((last.numpy() - t) ** 2).mean())
    assert found["seen_ratio"] == pytest.approx(error / ((seen.numpy() - t) ** 2).mean())
    others = np.stack([t[[j for j in range(60) if j != i and j % 6 == i % 6]].mean(0) for i in range(60)])
    assert found["place_gain"] == pytest.approx(1 - error / ((others - t) ** 2).mean())


def test_a_predictor_that_knows_the_place_alone_is_recognized():
    place = torch.arange(400) % 8
    target = normal(8, 6)[place] + 0.2 * normal(400, 6, seed=1)
    blind = forecast_measures(Forecast(normal(8, 6)[place], target, place=place))
    seeing = forecast_measures(Forecast(target + 0.05 * normal(400, 6, seed=2), target, place=place))
    assert blind["predicted_place"] == pytest.approx(1) and abs(blind["place_gain"]) < 0.05 and blind["r2"] > 0.9
    assert seeing["predicted_place"] < 0.98 and seeing["place_gain"] > 0.9
    assert blind["place_share"] == seeing["place_share"]


def test_what_has_no_meaning_is_left_out():
    found = forecast_measures(Forecast(normal(10, 3), torch.ones(10, 3), torch.ones(10, 3)))
    assert "r2" not in found and "copy_ratio" not in found and "place_share" not in found


def test_shapes_must_agree():
    class Loose(Forecast):  # as a method makes it, where types are not checked
        def __init__(self, **parts):
            vars(self).update(dict.fromkeys(("last", "seen", "place")) | parts)

    for bad in (
        {"predicted": normal(5, 3), "target": normal(6, 3)},
        {"predicted": normal(5, 3), "target": normal(5, 3), "place": torch.arange(4)},
        {"predicted": normal(1, 3), "target": normal(1, 3)},
        {"predicted": normal(5, 3), "target": normal(5, 3), "last": normal(5, 2)},
    ):
        with pytest.raises(ShapeError):
            forecast_measures(Loose(**bad))


def test_parts_of_a_forecast_are_joined_and_what_one_lacks_is_left_out():
    whole = Forecast(normal(6, 2), normal(6, 2, seed=1), normal(6, 2, seed=2), None, torch.arange(6))
    halves = [
        Forecast(*(None if x is None else x[part] for x in vars(whole).values())) for part in (slice(2), slice(2, 6))
    ]
    joined = Forecast.joined(halves)
    assert torch.equal(joined.place, whole.place) and torch.equal(joined.target, whole.target.float())
    assert joined.seen is None and Forecast.joined([whole, Forecast(whole.predicted, whole.target)]).last is None
