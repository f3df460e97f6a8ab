"""What is made of windows of recorded episodes: the last latents side by side."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from armillary.planning.windows import stacked
from armillary.randomness import numbered


@pytest.mark.parametrize("shape", [(3,), (2, 3)])
@pytest.mark.parametrize("history", [1, 2, 4, 7])
def test_each_frame_has_the_last_ones_beside_it_and_the_first_one_where_there_are_none(shape, history):
    latents = numbered(2).normal("latents", 5, *shape)
    wanted = np.stack([
        np.stack([np.concatenate([one[max(0, t - back)].reshape(-1) for back in range(history - 1, -1, -1)])
                  for t in range(5)])
        for one in latents.numpy()
    ])  # fmt: skip
    np.testing.assert_array_equal(stacked(latents, history).numpy(), wanted)
    assert torch.equal(stacked(latents, history)[:, :2], stacked(latents[:, :2], history))  # nothing later is seen
