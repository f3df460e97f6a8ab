"""Heads give distributions, quantiles never cross, and members of an ensemble share nothing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from armillary.errors import ConfigError, ShapeError
from armillary.functional.gaussian import BOUND
from armillary.functional.likelihood import gaussian_nll, pinball
from armillary.nn.uncertain import (
    Ensemble,
    EnsembleConfig,
    GaussianConfig,
    GaussianHead,
    QuantileConfig,
    QuantileHead,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_gaussian_head_gives_bounded_variances_and_trains_both_halves():
    head = GaussianHead(GaussianConfig(8, 3))
    p = head(1e6 * normal(4, 5, 8))
    assert p.mean.shape == p.log_variance.shape == (4, 5, 3)
    assert bool(p.log_variance.abs().max() <= BOUND) and bool(p.std.isfinite().all())
    gaussian_nll(head(normal(16, 8)), normal(16, 3, seed=1)).backward()
    assert bool((head.map.weight.grad.abs().amax(1) > 0).all())


@settings(max_examples=20)
@given(st.floats(1e-3, 1e4), st.integers(0, 100))
def test_quantiles_never_cross_at_any_scale(scale, seed):
    torch.manual_seed(seed)
    head = QuantileHead(QuantileConfig(6, 2))
    with torch.no_grad():
        head.map.weight.mul_(scale)
    p = head(normal(9, 6, seed=seed))
    assert p.value.shape == (9, 2, 39) and bool((p.value.diff(dim=-1) >= 0).all())


def test_a_quantile_head_begins_with_a_standard_normal_and_every_quantile_is_trained():
    head = QuantileHead(QuantileConfig(6, 2, (0.1, 0.5, 0.9)))
    at_zero = head(torch.zeros(1, 6)).value[0]
    assert torch.allclose(at_zero, torch.tensor([-1.28155, 0.0, 1.28155]).expand(2, 3), atol=1e-4)
    pinball(head(normal(32, 6)), normal(32, 2, seed=1)).backward()
    assert bool((head.map.weight.grad.abs().amax(1) > 0).all())
    assert QuantileHead(QuantileConfig(6, 2, (0.5,)))(normal(3, 6)).value.shape == (3, 2, 1)


def test_an_ensemble_equals_its_members_one_by_one():
    ensemble = Ensemble(EnsembleConfig(members=3, width=4, hidden=7, depth=2, out=2))
    x = normal(5, 4)
    for k in range(3):
        h = x
        for i, (w, b) in enumerate(zip(ensemble.weights, ensemble.biases, strict=True)):
            h = F.linear(F.gelu(h) if i else h, w[k].T, b[k, 0])
        assert torch.allclose(ensemble(x)[k], h, atol=1e-6)
    own = torch.stack([x, 2 * x, 3 * x])
    assert torch.allclose(ensemble(own)[1], ensemble(2 * x)[1], atol=1e-6)


def test_members_differ_and_share_no_gradient():
    ensemble = Ensemble(EnsembleConfig(members=3, width=4, hidden=7, depth=1, out=2))
    out = ensemble(normal(5, 4))
    assert bool((out[0] - out[1]).abs().max() > 1e-3)
    out[1].square().sum().backward()
    for p in ensemble.parameters():
        assert bool((p.grad[[0, 2]] == 0).all()) and bool((p.grad[1] != 0).any())


def test_initial_weights_are_as_wide_as_those_of_a_linear_map():
    ensemble = Ensemble(EnsembleConfig(members=4, width=64, hidden=256, depth=1, out=256))
    for mine, (inputs, outputs) in zip(ensemble.weights, ((64, 256), (256, 256)), strict=True):
        theirs = torch.nn.Linear(inputs, outputs).weight
        assert float(mine.detach().std()) == pytest.approx(float(theirs.detach().std()), rel=0.05)
        assert float(mine.detach().abs().max()) <= inputs**-0.5


def test_wrong_sizes_are_told_in_words():
    ensemble = Ensemble(EnsembleConfig(members=3, width=4, out=2))
    for x in (normal(5, 3), normal(2, 5, 4)):
        with pytest.raises(ShapeError, match="3 members take"):
            ensemble(x)
    for config in (lambda: EnsembleConfig(members=0), lambda: GaussianConfig(0), lambda: QuantileConfig(out=0)):
        with pytest.raises(ConfigError):
            config()
    with pytest.raises(ConfigError, match="ascending"):
        QuantileConfig(levels=(0.5, 0.2))
