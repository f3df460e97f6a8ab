"""Comparisons are made row by row, on the same rows only."""

import json

import pytest
import torch

from armillary.errors import DataError, ShapeError
from armillary.probes.knn import knn
from armillary.probes.linear import linear
from armillary.probes.report import paired, scored
from armillary.probes.ridge import ridge
from armillary.randomness import numbered

from .conftest import clusters, features


def worse(part, noise, seed):
    generator = torch.Generator().manual_seed(seed)
    return features(part.x + noise * part.x.std(0) * torch.randn(part.x.shape, generator=generator), part.y)


def test_paired_intervals_are_narrower_than_the_difference_of_intervals():
    train, test = clusters(800, apart=0.7), clusters(400, apart=0.7, seed=1)
    good, bad = linear(train, test), linear(worse(train, 0.5, 2), worse(test, 0.5, 3))
    low, high = paired(good, bad)
    assert 0 < low < good.score - bad.score < high
    assert high - low < (good.interval[1] - good.interval[0]) + (bad.interval[1] - bad.interval[0])
    assert paired(bad, good) == pytest.approx((-high, -low))


def test_regressions_are_paired_too():
    state = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    x = torch.cat([state, state.square()], 1)
    train, test = features(x[:300], state[:300]), features(x[300:], state[300:])
    good, bad = ridge(train, test), ridge(worse(train, 0.3, 1), worse(test, 0.3, 2))
    low, high = paired(good, bad)
    assert 0 < low < good.score - bad.score < high


def test_other_rows_or_other_kinds_cannot_be_paired():
    first = knn(clusters(100), clusters(50, seed=1))
    with pytest.raises(ShapeError, match="same test rows"):
        paired(first, knn(clusters(100), clusters(49, seed=1)))
    state = torch.randn(50, 2)
    regression = ridge(features(torch.randn(50, 3), state), features(torch.randn(50, 3), state))
    with pytest.raises(ShapeError, match="knn and ridge"):
        paired(first, regression)


def test_a_report_becomes_json_with_all_settings():
    row = linear(clusters(100), clusters(50, seed=1)).row()
    told = json.loads(json.dumps(row))
    assert told["settings"]["validation"] and told["train"] == 100 and told["test"] == 50
    assert told["interval"][0] <= told["score"] <= told["interval"][1] and "rows" not in told


def test_one_episode_gives_no_interval_and_few_are_called_so(caplog: pytest.LogCaptureFixture):
    rows = numbered(40).uniform("rows", 1)[:, 0]
    with pytest.raises(DataError, match="one episode"):
        scored(rows, torch.zeros(40, dtype=torch.int64))
    scored(rows, torch.arange(40) % 3)
    assert "3 test episodes only" in caplog.text
