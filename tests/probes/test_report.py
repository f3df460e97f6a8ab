"""Comparisons are made row by row, on the same rows only."""

import json
from dataclasses import replace

import pytest
import torch

from armillary.errors import DataError, ShapeError
from armillary.probes.knn import knn
from armillary.probes.linear import linear
from armillary.probes.report import paired, resampled, scored
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


def mean_of(values):
    return lambda weight, random: (weight @ values / weight.sum())[None]


def test_a_resampled_mean_has_the_interval_of_its_standard_error():
    values = numbered(400).normal("values", 1)[:, 0].double()
    low, high = resampled(mean_of(values), torch.arange(400))[0].tolist()
    assert high - low == pytest.approx(2 * 1.96 * float(values.std()) / 20, rel=0.1)
    assert low < float(values.mean()) < high


def test_groups_are_drawn_whole_and_strata_keep_their_size():
    group, stratum = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]), torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
    seen = []

    def of(weight, random):
        seen.append(weight)
        return weight.sum()[None]

    resampled(of, group, stratum)
    weights = torch.stack(seen)
    assert torch.equal(weights[:, ::2], weights[:, 1::2])  # both rows of a group count alike
    assert bool((weights[:, 6] == 1).all()) and bool((weights[:, :6].sum(1) == 6).all())
    assert weights[:, :6:2].mean(0).tolist() == pytest.approx([1, 1, 1], abs=0.1)
    seen.clear()
    resampled(of, group, torch.arange(8) % 2)  # groups of both strata: drawn from all
    assert torch.stack(seen)[:, 6].max() > 1


def test_figures_that_a_resample_lacks_are_left_out():
    ends = resampled(lambda w, random: torch.stack([torch.tensor(torch.nan), w[0] / w[0]]), torch.arange(6))
    assert bool(ends[0].isnan().all()) and ends[1].tolist() == [1.0, 1.0]


def test_scores_of_another_measure_cannot_be_paired():
    first = knn(clusters(100), clusters(50, seed=1))
    with pytest.raises(ShapeError, match="not measured alike"):
        paired(first, replace(first, measure="mAP"))
