"""Ranks equal their formulas, computed in another way."""

from functools import reduce
from operator import add

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary.diagnostics.moments import Moments
from armillary.diagnostics.rank import (
    alpha_req,
    deviations,
    effective_rank,
    isotropy,
    participation_ratio,
    rankme,
    rankme_of,
    spectrum,
)
from armillary.errors import ShapeError

from .matrices import awkward


def embeddings(n=200, width=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, width, generator=generator) * torch.logspace(0, -3, width) + 0.5


@pytest.mark.parametrize(("n", "width"), [(200, 12), (10, 30)])
def test_spectrum_and_deviations_equal_numpy(n, width):
    x = embeddings(n, width)
    covariance = np.cov(x.double().numpy(), rowvar=False)
    values = np.sort(np.linalg.eigvalsh(covariance))[::-1][: min(n, width)]
    assert np.allclose(spectrum(x).numpy(), values, rtol=1e-9, atol=1e-12)
    assert np.allclose(deviations(x).numpy(), np.sqrt(np.diag(covariance)), rtol=1e-9)


def test_participation_ratio_equals_traces_of_the_covariance():
    x = embeddings()
    covariance = np.cov(x.double().numpy(), rowvar=False)
    expected = np.trace(covariance) ** 2 / (covariance**2).sum()
    assert float(participation_ratio(spectrum(x))) == pytest.approx(expected, rel=1e-9)


def test_rankme_equals_its_formula_in_numpy():
    x = embeddings()
    singular = np.linalg.svd(x.double().numpy(), compute_uv=False)
    p = singular / np.abs(singular).sum() + 1e-7
    assert float(rankme(x)) == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-12)


@given(count=st.integers(1, 30), scale=st.floats(1e-6, 1e6))
@settings(max_examples=30, deadline=None)
def test_equal_directions_are_counted_whatever_their_scale(count, scale):
    equal = torch.cat([torch.full((count,), scale), torch.zeros(5)]).double()
    assert float(participation_ratio(equal)) == pytest.approx(count)
    assert float(effective_rank(equal)) == pytest.approx(count)


def test_effective_rank_counts_weak_directions_more_than_the_participation_ratio():
    variance = torch.arange(1.0, 50.0).double() ** -2
    assert participation_ratio(variance) < effective_rank(variance) < effective_rank(variance.sqrt()) < 49


def test_ranks_do_not_change_under_rotation_or_scale():
    x = embeddings()
    rotation = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(1)))[0]
    turned = 37 * x @ rotation
    assert float(rankme(turned)) == pytest.approx(float(rankme(x)), rel=1e-5)
    assert float(participation_ratio(spectrum(turned))) == pytest.approx(
        float(participation_ratio(spectrum(x))), rel=1e-5
    )


def test_constant_embeddings_have_no_directions():
    for value in (0.0, 3.0):
        x = torch.full((20, 4), value)
        assert float(participation_ratio(spectrum(x))) == 0 and float(effective_rank(spectrum(x))) == 0
        assert float(rankme(x)) == pytest.approx(1, abs=1e-4)


def test_small_variances_are_seen_beside_large_means():
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * 0.01 + 100  # float32 holds 1e-5 there
    assert torch.allclose(deviations(x), torch.full((3,), 0.01).double(), rtol=0.15)


def test_one_row_has_no_spread():
    with pytest.raises(ShapeError, match="at least 2"):
        spectrum(torch.zeros(1, 3))


@pytest.mark.parametrize("power", [0.5, 1.0, 2.5])
def test_alpha_is_the_power_of_a_power_law(power):
    variance = torch.arange(1, 201, dtype=torch.float64) ** -power
    assert float(alpha_req(variance)) == pytest.approx(power)
    assert float(alpha_req(1e9 * variance)) == pytest.approx(power)
    assert float(alpha_req(variance[:5])) == pytest.approx(power), "a short spectrum is fitted whole"


@pytest.mark.parametrize("name", awkward())
def test_alpha_equals_least_squares_on_the_logarithms(name):
    variance = spectrum(awkward()[name])
    kept = variance[variance > 1e-12 * variance[0]].numpy()
    begin = 10 if min(len(kept), 100) - 11 >= 2 else 0
    if len(kept) < 2:
        assert float(alpha_req(variance)) == float("inf")
        return
    slope = np.polyfit(np.log(np.arange(begin + 1, len(kept) + 1)), np.log(kept[begin:]), 1)[0]
    assert float(alpha_req(variance)) == pytest.approx(-slope)


@pytest.mark.parametrize("name", awkward())
def test_isotropy_follows_the_steps_of_isoscore(name):
    x = awkward()[name]
    variance, n = spectrum(x), x.shape[1]
    if n == 1:
        assert float(isotropy(variance, 1)) == 1
        return
    full = np.zeros(n)
    full[: len(variance)] = variance / variance.max()
    normed = np.sqrt(n) * full / np.linalg.norm(full)
    defect = np.linalg.norm(normed - 1) / np.sqrt(2 * (n - np.sqrt(n)))
    share = (n - defect**2 * (n - np.sqrt(n))) ** 2 / n**2
    assert float(isotropy(variance, n)) == pytest.approx((n * share - 1) / (n - 1), abs=1e-9)


def test_constants_have_no_isotropy_and_no_power():
    nothing = spectrum(torch.ones(5, 3))
    assert float(isotropy(nothing, 3)) == 0 and torch.isnan(alpha_req(nothing))
    with pytest.raises(ShapeError):
        isotropy(torch.ones(4), 3)


def test_rankme_of_streamed_singular_values_is_rankme():
    x = embeddings(300, 20)
    streamed = reduce(add, [Moments.of(part) for part in x.split(64)])
    assert float(rankme_of(streamed.singular())) == pytest.approx(float(rankme(x)), rel=1e-6)
