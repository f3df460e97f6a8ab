"""Streaming moments equal those of all rows at once."""

from __future__ import annotations

from functools import reduce
from operator import add

import numpy as np
import pytest
import torch

from armillary.diagnostics.moments import Moments
from armillary.errors import ShapeError

from .matrices import awkward


@pytest.mark.parametrize("name", awkward())
@pytest.mark.parametrize("chunk", [1, 7, 60])
def test_chunks_together_give_the_covariance_of_all_rows(name, chunk):
    x = awkward()[name]
    found = reduce(add, [Moments.of(part) for part in x.split(chunk)])
    wanted = np.atleast_2d(np.cov(x.numpy().T))
    assert found.count == len(x)
    assert np.allclose(found.mean, x.numpy().mean(0), rtol=1e-12)
    assert np.allclose(found.covariance(), wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())
    spectrum = np.linalg.svd(x.numpy() - x.numpy().mean(0), compute_uv=False) ** 2 / (len(x) - 1)
    assert np.allclose(found.spectrum(), spectrum, atol=1e-9 * spectrum.max())
    size = np.linalg.svd(x.numpy(), compute_uv=False)
    assert np.allclose(found.singular(), size, atol=1e-6 * size.max())


def test_memory_does_not_grow_with_rows():
    few, many = Moments.of(torch.randn(10, 5)), Moments.of(torch.randn(10_000, 5))
    assert few.scatter.shape == many.scatter.shape == (5, 5)


def test_float32_rows_are_summed_in_float64():
    x = torch.randn(1000, 3) * 1e-3 + 1000  # float32 has 7 digits: the variance would drown in the mean
    found = Moments.of(x).covariance()
    assert np.allclose(found, np.cov(x.double().numpy().T), rtol=1e-9)


def test_what_has_no_moments_is_refused():
    for bad in (torch.zeros(3), torch.zeros(0, 4), torch.zeros(2, 3, 4), torch.tensor([[1.0], [float("nan")]])):
        with pytest.raises(ShapeError):
            Moments.of(bad)
    with pytest.raises(ShapeError, match="at least 2"):
        Moments.of(torch.ones(1, 3)).covariance()
    with pytest.raises(ShapeError, match="cannot join"):
        Moments.of(torch.ones(2, 3)) + Moments.of(torch.ones(2, 4))
