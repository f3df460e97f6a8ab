"""Ridge regression equals scikit-learn's on standardized features, whichever side is smaller."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from armillary.functional.ridge import ridge


@pytest.mark.parametrize("shape", [(60, 8), (20, 50)])
def test_every_strength_equals_scikit_learn(shape):
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=shape) * draw.uniform(0.1, 9, shape[1]) + 3, draw.normal(size=(shape[0], 3)) - 2
    asked = draw.normal(size=(11, shape[1]))
    mean, std = x.mean(0), x.std(0)
    for strength, line in zip((1.0, 1e-2, 1e-6), ridge(*map(torch.from_numpy, (x, y)), (1.0, 1e-2, 1e-6)), strict=True):
        wanted = Ridge(alpha=strength * len(x)).fit((x - mean) / std, y).predict((asked - mean) / std)
        np.testing.assert_allclose(line(torch.from_numpy(asked)).numpy(), wanted, rtol=1e-6, atol=1e-6)


def test_a_feature_that_does_not_vary_weighs_nothing():
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    x[:, 2] = 1e6
    (line,) = ridge(x, x[:, :1], (1e-6,))
    assert bool((line.weight[2] == 0).all()) and bool(line.weight.isfinite().all())
    assert torch.allclose(line(x + torch.tensor([0.0, 0, 5, 0])), line(x))
