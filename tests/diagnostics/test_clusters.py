"""Clusters, learnability and intrinsic dimension against known answers and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from armillary.diagnostics.clusters import clid, cluster_learnability, explained, intrinsic_dimension, k_means
from armillary.errors import ConfigError, ShapeError


def heaps(count=5, rows=200, spread=0.05, width=8, seed=0):
    draw = torch.Generator().manual_seed(seed)
    center = 3 * torch.randn(count, width, generator=draw, dtype=torch.float64)
    place = torch.arange(rows) % count
    return center[place] + spread * torch.randn(rows, width, generator=draw, dtype=torch.float64), place


def test_k_means_finds_heaps():
    x, place = heaps()
    label = k_means(x, 5)
    assert all(len(label[place == i].unique()) == 1 for i in range(5)) and len(label.unique()) == 5
    assert float(explained(x, label)) > 0.99


def test_k_means_is_as_good_as_scikit_learns():
    cluster = pytest.importorskip("sklearn.cluster")
    x = torch.randn(300, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ours = max(float(explained(x, k_means(x, 8, seed=s))) for s in range(5))
    theirs = cluster.KMeans(8, n_init=5, random_state=0).fit(x.numpy()).inertia_
    assert ours == pytest.approx(1 - theirs / float((x - x.mean(0)).square().sum()), abs=0.02)


def test_explained_is_the_share_between_groups():
    x, label = torch.randn(60, 4, dtype=torch.float64), torch.arange(60) % 7
    within = sum(((x[label == k] - x[label == k].mean(0)) ** 2).sum() for k in range(7))
    assert float(explained(x, label)) == pytest.approx(float(1 - within / ((x - x.mean(0)) ** 2).sum()))


def test_learnability_equals_a_loop_and_orders_heaps_above_noise():
    x, _ = heaps(spread=1.0)
    label = k_means(x, 10, 0)
    from armillary.randomness import numbered

    order = numbered(1, 0).order("learnability", len(x))[0]
    y, t = x[order].numpy(), label[order].numpy()
    right = [t[i] == t[np.argmin(((y[:i] - y[i]) ** 2).sum(1))] for i in range(1, len(y))]
    assert cluster_learnability(x) == pytest.approx(np.mean(right))
    noise = torch.randn(200, 64, generator=torch.Generator().manual_seed(1))
    assert cluster_learnability(heaps(10)[0]) > 0.9 > 0.6 > cluster_learnability(noise)


@pytest.mark.parametrize("dimension", [1, 2, 5])
def test_intrinsic_dimension_of_a_flat_sheet_in_many_dimensions(dimension):
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(1500, dimension, generator=draw) @ torch.linalg.qr(torch.randn(30, dimension, generator=draw))[0].T
    assert intrinsic_dimension(x) == pytest.approx(dimension, rel=0.12)
    assert intrinsic_dimension(100 * x) == pytest.approx(intrinsic_dimension(x), rel=1e-3)


def test_rows_that_coincide_do_not_break_the_dimension():
    x = torch.rand(300, 2, generator=torch.Generator().manual_seed(0))
    assert intrinsic_dimension(torch.cat([x, x])) == pytest.approx(intrinsic_dimension(x))
    assert intrinsic_dimension(torch.ones(10, 3)) == 0


def test_both_parts_of_clid_are_given():
    assert set(clid(heaps()[0])) == {"cluster_learnability", "intrinsic_dimension"}


def test_wrong_input_is_refused():
    with pytest.raises(ShapeError, match="at least 5"):
        k_means(torch.ones(3, 2), 5)
    with pytest.raises(ConfigError):
        k_means(torch.ones(3, 2), 0)
