"""Views of an input recognize each other where the representation holds what they share."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from armillary.diagnostics.agreement import recognition, view_numbers
from armillary.errors import ShapeError


def views(noise, n=50, q=4, width=8, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, 1, width, generator=draw) + noise * torch.randn(n, q, width, generator=draw)


@pytest.mark.parametrize("noise", [0.1, 1.0, 5.0])
def test_recognition_equals_a_loop(noise):
    x = views(noise).double().numpy()
    flat = x.reshape(-1, 8) - x.mean((0, 1))
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    right = [
        max((float(flat[i] @ flat[j]), j // 4 == i // 4) for j in range(200) if j != i)[1] for i in range(len(flat))
    ]
    assert float(recognition(torch.from_numpy(x))) == pytest.approx(np.mean(right))


def test_recognition_falls_from_one_to_chance():
    found = [float(recognition(views(noise))) for noise in (0.01, 0.5, 100.0)]
    assert found[0] == 1 > found[1] > found[2] and found[2] < 0.1
    assert float(recognition(7 * views(0.5) + 3)) == pytest.approx(found[1])


def test_numbers_have_names_and_wrong_shapes_are_refused():
    assert set(view_numbers(views(1.0))) == {"lidar", "recognition", "alignment"}
    for shape in ((5, 4), (1, 3, 4), (5, 1, 4)):
        with pytest.raises(ShapeError, match="at least 2 views"):
            recognition(torch.zeros(shape))
