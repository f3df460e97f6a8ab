"""Rankings are those of plain loops; a random order scores what the formula says."""

from __future__ import annotations

import math

import pytest
import torch

from armillary.errors import ConfigError, DataError
from armillary.probes import retrieval as module
from armillary.probes.report import paired
from armillary.probes.retrieval import random_order, retrieval

from .conftest import clusters, features


def slow(x, y, asked, wanted, skip=None):
    """Average precision and rank of the first right item of one query, by a loop over the sorted gallery."""
    cosine = [float(torch.dot(a, asked) / (a.norm() * asked.norm())) for a in x.double()]
    order = sorted((i for i in range(len(x)) if i != skip), key=lambda i: (-cosine[i], i))
    right, total, first = 0, 0.0, None
    for rank, i in enumerate(order, start=1):
        if int(y[i]) == int(wanted):
            right += 1
            total += right / rank
            first = first or rank
    return (total / right, first) if right else (None, None)


@pytest.mark.parametrize("chunk", [7, 256])
def test_equals_loops_over_gallery_and_queries(chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", chunk)
    gallery, query = clusters(90, apart=0.4), clusters(40, apart=0.4, seed=1)
    report = retrieval(gallery, query, at=(1, 3, 10))
    found = [slow(gallery.x, gallery.y, q, k) for q, k in zip(query.x.double(), query.y, strict=True)]
    assert report.rows.tolist() == pytest.approx([precision for precision, _ in found], abs=1e-5)
    assert report.score == pytest.approx(sum(p for p, _ in found) / 40, abs=1e-6)
    for k in (1, 3, 10):
        assert report.details["recall"][str(k)] == pytest.approx(sum(rank <= k for _, rank in found) / 40)
        low, high = report.details["recall_interval"][str(k)]
        assert low <= report.details["recall"][str(k)] <= high
    assert (report.train, report.test, report.measure) == (90, 40, "mAP")


def test_leave_one_out_never_finds_the_query_itself():
    rows = clusters(60, apart=0.4)
    report = retrieval(rows, at=(1, 5))
    found = [slow(rows.x, rows.y, rows.x[i].double(), rows.y[i], skip=i) for i in range(60)]
    assert report.rows.tolist() == pytest.approx([precision for precision, _ in found], abs=1e-5)
    assert report.details["recall"]["1"] == pytest.approx(sum(rank == 1 for _, rank in found) / 60)
    assert retrieval(rows, rows).details["recall"]["1"] == 1.0  # as a gallery of its own, each finds itself


def test_known_rankings():
    x = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]])
    gallery, query = features(x, torch.tensor([0, 1, 0, 1])), features(x[:1], torch.tensor([0]))
    report = retrieval(gallery, features(torch.cat([x[:1]] * 2), torch.tensor([0, 1])), at=(1, 2))
    assert report.rows.tolist() == pytest.approx([(1 + 2 / 3) / 2, (1 / 2 + 2 / 4) / 2])
    assert report.details["recall"] == {"1": 0.5, "2": 1.0}
    assert query.x.shape == (1, 2)


def test_a_random_order_scores_its_expectation():
    y = torch.arange(30) % 3
    wanted = float(random_order(torch.tensor([10]), 30))
    scores = []
    for seed in range(60):
        x = torch.randn(31, 64, generator=torch.Generator().manual_seed(seed))
        scores.append(slow(x[:30], y, x[30].double(), 0)[0])
    error = torch.tensor(scores).std() / math.sqrt(60)
    assert abs(sum(scores) / 60 - wanted) < 4 * error
    assert float(random_order(torch.tensor([5]), 5)) == 1.0
    assert float(random_order(torch.tensor([1]), 2)) == 0.75  # first or second: (1 + 1/2) / 2


def test_queries_without_a_right_item_are_left_out_and_counted():
    gallery, query = clusters(50), clusters(20, seed=1)
    lost = features(query.x, torch.where(torch.arange(20) < 4, 9, query.y))
    report = retrieval(gallery, lost)
    assert report.details["left_out"] == 4 and report.test == 16 and report.index.tolist() == list(range(4, 20))
    with pytest.raises(DataError, match="no query has an item of its class"):
        retrieval(gallery, features(query.x, torch.full((20,), 9)))


def test_better_features_are_better_by_a_paired_interval():
    gallery, query = clusters(200), clusters(100, seed=1)
    noise = torch.Generator().manual_seed(2)
    blurred = [features(p.x + p.x.std(0) * torch.randn(p.x.shape, generator=noise), p.y) for p in (gallery, query)]
    good, bad = retrieval(gallery, query), retrieval(*blurred)
    low, high = paired(good, bad)
    assert low < good.score - bad.score < high and good.interval[0] < good.score < good.interval[1]


def test_wrong_input_is_explained():
    with pytest.raises(DataError, match="9 items are fewer than k = 10"):
        retrieval(clusters(10))
    with pytest.raises(ConfigError, match="recall is asked at"):
        retrieval(clusters(30), at=(0,))
    with pytest.raises(DataError, match="at least 2 classes"):
        retrieval(features(torch.randn(30, 3), torch.zeros(30, dtype=torch.int64)))
    with pytest.raises(DataError, match="train features are NaN"):
        retrieval(features(torch.full((30, 3), torch.nan), torch.arange(30) % 2))
