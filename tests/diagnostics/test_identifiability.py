"""Measures of recovery equal other libraries and slow formulas, and know a rotation from a distortion."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from armillary.diagnostics.identifiability import (
    assignment,
    explained_degrees,
    linear_r2,
    mcc,
    recovery,
    rotation_gap,
    rotation_r2,
)
from armillary.errors import ConfigError, DataError, ShapeError
from armillary.randomness import numbered

from .matrices import awkward


def normal(n: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rotation(width: int, seed: int = 0) -> Tensor:
    return torch.linalg.qr(normal(width, width, seed))[0]


def blurred(n: int = 300, d: int = 3, width: int = 5) -> tuple[Tensor, Tensor]:
    """Latents, and estimates that hold part of them, curved, beside noise."""
    z = normal(n, d)
    return z, torch.tanh(z @ normal(d, width, 1)) + 0.3 * normal(n, width, 2)


def test_linear_r2_equals_cross_fitting_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    selection = pytest.importorskip("sklearn.model_selection")
    for n in (300, 301):
        z, h = (x.numpy() for x in blurred(n))
        folds = [(np.arange(n // 2), np.arange(n // 2, n)), (np.arange(n // 2, n), np.arange(n // 2))]
        guess = selection.cross_val_predict(linear_model.LinearRegression(), h, z, cv=folds)
        expected = 1 - ((z - guess) ** 2).sum(0) / ((z - z.mean(0)) ** 2).sum(0)
        assert np.allclose(linear_r2(torch.from_numpy(z), torch.from_numpy(h)).numpy(), expected, rtol=1e-9)


def test_rotation_r2_equals_the_best_of_many_rotations():
    z, h = blurred(200, 2, 2)
    z, h = z - z.mean(0), h - h.mean(0)
    best = 0.0
    for angle in np.linspace(0, 2 * math.pi, 2001):
        for mirror in (1.0, -1.0):
            c, s = math.cos(angle), math.sin(angle)
            turned = z @ torch.tensor([[c, -s], [mirror * s, mirror * c]], dtype=torch.float64)
            scale = (turned * h).sum() / turned.square().sum()
            best = max(best, float(1 - (h - scale * turned).square().sum() / h.square().sum()))
    assert float(rotation_r2(z, h)) == pytest.approx(best, abs=1e-5)


def test_rotation_r2_equals_scipys_procrustes():
    spatial = pytest.importorskip("scipy.spatial")
    z, h = blurred(100, 4, 4)
    assert float(rotation_r2(z, h)) == pytest.approx(1 - spatial.procrustes(z.numpy(), h.numpy())[2], rel=1e-9)


def test_rotation_gap_equals_its_formula_in_numpy():
    z, h = (x.numpy() for x in blurred())
    weight = np.linalg.pinv(z - z.mean(0)) @ (h - h.mean(0))
    s = np.sqrt(np.linalg.eigvalsh(weight @ weight.T))
    expected = 1 - s.sum() ** 2 / (3 * (s**2).sum())
    assert float(rotation_gap(torch.from_numpy(z), torch.from_numpy(h))) == pytest.approx(expected, rel=1e-9)


def test_explained_degrees_are_the_squared_canonical_correlations():
    z, h = blurred(60_000)
    joint = np.cov(np.concatenate([z.numpy(), h.numpy()], 1), rowvar=False)
    a, b, c = joint[:3, :3], joint[3:, 3:], joint[:3, 3:]
    expected = np.trace(np.linalg.solve(a, c) @ np.linalg.solve(b, c.T))
    assert float(explained_degrees(z, h)) == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (4, 6), (5, 5)])
def test_assignment_is_the_best_of_all(shape):
    for seed in range(10):
        cost = normal(*shape, seed).mul(3).round() if seed % 2 else normal(*shape, seed) * 1e6  # with ties and without
        rows = torch.arange(shape[0])
        best = min(float(cost[rows, list(p)].sum()) for p in permutations(range(shape[1]), shape[0]))
        found = assignment(cost)
        assert len(set(found.tolist())) == shape[0]
        assert float(cost[rows, found].sum()) == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("shape", [(40, 40), (30, 90), (1, 50)])
def test_assignment_equals_scipys(shape):
    optimize = pytest.importorskip("scipy.optimize")
    for seed in range(5):
        cost = normal(*shape, seed)
        rows, columns = optimize.linear_sum_assignment(cost.numpy())
        assert float(cost.gather(1, assignment(cost)[:, None]).sum()) == pytest.approx(
            cost.numpy()[rows, columns].sum()
        )


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
@pytest.mark.parametrize("width", [2, 3, 5])
def test_mcc_equals_scipy(kind, width):
    stats, optimize = pytest.importorskip("scipy.stats"), pytest.importorskip("scipy.optimize")
    z, h = blurred(150, 3, width)
    h[:, 0] = h[:, 0].mul(2).round()  # ties
    one = stats.spearmanr if kind == "spearman" else stats.pearsonr
    table = np.array([[abs(one(z[:, i], h[:, j])[0]) for j in range(width)] for i in range(3)])
    rows, columns = optimize.linear_sum_assignment(-table)
    assert float(mcc(z, h, kind)) == pytest.approx(table[rows, columns].sum() / 3, rel=1e-9)


@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3), shift=st.floats(-10, 10))
@settings(max_examples=20, deadline=None)
def test_a_rotation_is_recovery_up_to_rotation_but_not_up_to_order(seed, scale, shift):
    z = normal(400, 3, seed % 97)
    found = recovery(z, scale * z @ rotation(3, seed) + shift)
    assert min(found.r2) > 1 - 1e-9 and found.rotation_r2 > 1 - 1e-9
    assert found.rotation_gap == pytest.approx(0, abs=1e-9) and found.degrees == pytest.approx(3)


def test_order_and_sign_do_not_change_mcc_and_a_rotation_by_45_degrees_does():
    z = normal(5000, 2)
    assert float(mcc(z, -3 * z.flip(1) + 1)) == pytest.approx(1)
    turned = z @ torch.tensor([[1.0, -1.0], [1.0, 1.0]], dtype=z.dtype)
    assert float(mcc(z, turned)) == pytest.approx(math.sqrt(0.5), abs=0.02)
    assert float(mcc(z, z.exp(), "spearman")) == pytest.approx(1)
    assert float(mcc(z, z.exp())) < 0.9


def test_a_stretched_latent_is_linear_but_no_rotation():
    z = normal(50_000, 2)
    found = recovery(z, z * torch.tensor([1.0, 3.0], dtype=z.dtype))
    assert found.mean_r2 > 1 - 1e-9 and found.mcc > 1 - 1e-9
    assert found.rotation_gap == pytest.approx(1 - 16 / 20, abs=1e-9)
    assert found.rotation_r2 == pytest.approx(16 / 20, abs=0.01)


@pytest.mark.parametrize("measure", [linear_r2, explained_degrees])
def test_any_invertible_linear_map_of_the_estimates_changes_nothing(measure):
    z, h = blurred()
    torch.testing.assert_close(measure(z, h @ normal(5, 5, 9) + 7), measure(z, h))


def test_degrees_do_not_depend_on_the_basis_of_the_latents():
    z, h = blurred()
    torch.testing.assert_close(explained_degrees(z @ normal(3, 3, 8), h), explained_degrees(z, h))
    torch.testing.assert_close(explained_degrees(torch.cat([z, z[:, :1] * 2], 1), h), explained_degrees(z, h))


def test_noise_explains_nothing():
    found = recovery(normal(4000, 3), normal(4000, 4, 1))
    assert max(found.r2) < 0.01 and found.degrees < 0.02 and found.rotation_r2 < 0.01 and found.mcc < 0.1


def test_one_latent_of_three_is_one_degree_and_far_from_a_rotation():
    z = normal(3000, 3)
    found = recovery(z, z[:, :1])
    assert found.r2 == pytest.approx((1, 0, 0), abs=0.02) and found.degrees == pytest.approx(1, abs=0.02)
    assert found.mcc == pytest.approx(1 / 3) and math.isnan(found.rotation_r2)
    assert found.rotation_gap == pytest.approx(2 / 3, abs=0.01)
    constant = recovery(z, torch.full((3000, 3), 0.1))
    assert constant.mean_r2 == pytest.approx(0, abs=0.01) and constant.mcc == 0 and constant.degrees < 0.02
    assert math.isnan(constant.rotation_gap) and math.isnan(constant.rotation_r2)


@pytest.mark.parametrize("name", sorted(set(awkward()) - {"wide"}))
def test_awkward_estimates_give_finite_numbers_that_do_not_depend_on_scale(name):
    h = awkward()[name]
    z = normal(len(h), 1, 3) + h[:, :1] / h[:, :1].std()
    found = recovery(z, h)
    numbers = [*found.r2, found.mean_r2, found.rotation_r2, found.rotation_gap, found.mcc, found.degrees]
    assert np.isfinite(numbers).all() and 0 <= found.mcc <= 1 + 1e-12 and -1e-9 <= found.rotation_gap <= 1
    again = recovery(z * 8, h * 0.25)
    assert again.mean_r2 == pytest.approx(found.mean_r2, abs=1e-6) and again.mcc == pytest.approx(found.mcc)


def test_awkward_latents_are_measured_too():
    for name in ("huge", "tiny", "rank 1", "far away"):
        z = awkward()[name]
        assert min(linear_r2(z, z @ rotation(8))) > 1 - 1e-6, name
        assert float(explained_degrees(z, z @ rotation(8))) == pytest.approx(1 if name == "rank 1" else 8, abs=1e-5)


def test_float32_is_measured_as_its_float64_copy():
    z, h = (x.float() for x in blurred())
    assert recovery(z, h) == recovery(z.double(), h.double())


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: linear_r2(normal(50, 2), normal(49, 2)), ShapeError, "same n rows"),
        (lambda: linear_r2(normal(50, 2)[:, 0], normal(50, 2)), ShapeError, r"give \[n, d\]"),
        (lambda: linear_r2(normal(1, 2), normal(1, 2)), ShapeError, "at least 8 rows"),
        (lambda: linear_r2(awkward()["wide"], awkward()["wide"]), ShapeError, "at least 84 rows"),
        (lambda: linear_r2(normal(50, 2), normal(50, 2) / 0), DataError, "50 of 50 rows of the estimates"),
        (lambda: mcc(normal(50, 2) * math.nan, normal(50, 2)), DataError, "rows of the latents"),
        (lambda: mcc(torch.ones(50, 2), normal(50, 2)), DataError, r"latents \[0, 1\] are equal"),
        (lambda: mcc(normal(50, 2), normal(50, 2), "kendall"), ConfigError, "'pearson' or 'spearman'"),
        (lambda: rotation_r2(normal(50, 3), normal(50, 2)), ShapeError, "at least as many"),
        (lambda: rotation_gap(normal(4, 3), normal(4, 3)), ShapeError, "at least 5 rows"),
        (lambda: assignment(normal(3, 2)), ShapeError, "at least as many columns"),
        (lambda: assignment(normal(2, 2) / 0), DataError, "NaN or infinite"),
        (lambda: recovery(normal(50, 2), torch.zeros(50, 0)), ShapeError, "1 column"),
    ],
)
def test_wrong_input_is_refused_in_words(call, error, says):
    with pytest.raises(error, match=says):
        call()


def test_halves_that_stand_in_order_of_the_latent_are_judged_across_it():
    z = numbered(400).normal("z", 1).sort(0).values
    assert float(linear_r2(z, z.square())) < 0  # a parabola's branches fit opposite slopes
