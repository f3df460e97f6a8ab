"""Chunks as a policy: averages against a computation by hand, bounds, memory, and who is a policy at all."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from armillary.errors import ConfigError
from armillary.methods.control import act_jepa, lewm
from armillary.methods.image import ijepa
from armillary.planning.acting_policy import Acting, Chunks, Viewed, ensembled, is_policy
from armillary.planning.windows import observed
from armillary.randomness import numbered

LOW, HIGH = torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 2.0])


def context(episodes: int = 3) -> dict[str, torch.Tensor]:
    return {"index": torch.arange(episodes), "image": torch.zeros(episodes, 1, 3, 4, 4)}


def test_three_overlapping_chunks_by_hand():
    chunks = [torch.tensor([[[1.0], [2.0], [3.0]]]), torch.tensor([[[10.0], [20.0], [30.0]]]),
              torch.tensor([[[100.0], [200.0], [300.0]]])]  # fmt: skip
    w = [1.0, math.exp(-0.5), math.exp(-1.0)]  # the oldest weighs most
    expected = (w[0] * 3 + w[1] * 20 + w[2] * 100) / sum(w)
    assert ensembled(chunks, 0.5).item() == pytest.approx(expected, rel=1e-6)
    assert ensembled(chunks[2:], 0.5).item() == 100
    assert ensembled(chunks, 0.0).item() == pytest.approx(41)
    late = [torch.full((1, 3, 1), 1e9), *chunks]  # over: made three steps ago
    assert ensembled(late, 0.5).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("rate", [0.01, 0.7, -0.3, 40.0])
def test_a_run_of_averaged_chunks_in_float64(rate):
    """Each step's action from a table of all chunks, as the paper writes it."""
    made = numbered(12, 5).normal("chunks", 2, 4, 1, 2).clamp(-0.9, 0.9)  # [step, E, H, k, A]
    step = iter(range(12))
    policy, memory, found = Acting(lambda c: made[next(step)][c["index"]], LOW, HIGH, ensemble=rate, rows=2), None, []
    for t in range(12):
        action, memory = policy(context(2), t, memory)
        found.append(action[:, 0].double().numpy())
    table = made.double().numpy()
    for t in range(12):
        oldest = max(0, t - 3)
        weight = np.exp(-rate * np.arange(t - oldest + 1))
        expected = sum(w * table[oldest + i, :, t - oldest - i, 0] for i, w in enumerate(weight)) / weight.sum()
        np.testing.assert_allclose(found[t], expected, atol=1e-6)
    assert len(memory.made) == 4


def test_without_averages_the_newest_chunk_is_executed():
    chunk = torch.arange(24.0).view(1, 3, 4, 2).expand(2, -1, -1, -1) / 100  # [E, H, k, A]
    actions, memory = Acting(lambda c: chunk[c["index"]], LOW, HIGH, execute=2)(context(2), 0, None)
    assert torch.equal(actions, chunk[:, :2].reshape(2, 8, 2)) and memory == Chunks(())
    with pytest.raises(ConfigError, match=r"3 macro-steps, execute asks for 4"):
        Acting(lambda c: chunk[c["index"]], LOW, HIGH, execute=4)(context(2), 0, None)


@pytest.mark.parametrize("ensemble", [None, 0.01])
def test_actions_stay_in_the_bounds(ensemble):
    random, memory = numbered(3), None
    policy = Acting(lambda c: 50 * random.normal("far", 5, 2, 2)[c["index"]], LOW, HIGH, ensemble=ensemble)
    for t in range(4):
        actions, memory = policy(context(), t, memory)
        assert bool((actions >= LOW).all() & (actions <= HIGH).all()) and actions.shape == (3, 2, 2)


def test_episodes_seen_together_or_apart_are_given_the_same():
    table = numbered(7).normal("table", 3, 2, 2).clamp(-1, 1)
    found = [
        Acting(lambda c: table[c["index"]], LOW, HIGH, 2, rows=rows)(context(7), 0, None)[0] for rows in (1, 3, 64)
    ]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def test_a_policy_acts_and_is_no_world_model():
    torch.manual_seed(0)
    assert is_policy(act_jepa.tiny()[0])
    assert not is_policy(lewm.tiny()[0]) and not is_policy(ijepa.tiny()[0])


def test_latents_of_frames_are_read_with_images_without_and_with_both():
    method, batch = act_jepa.tiny()
    with torch.no_grad():
        z = method.eval().encode(batch).x
        assert torch.allclose(observed(Viewed(method), batch, rows=5), z, atol=1e-5)
        blind = act_jepa.ACTJEPA(act_jepa.Config(None, proprio=3, action=4, chunk=2, width=8, heads=2)).eval()
        seen = {k: v for k, v in batch.items() if k != "image"}
        assert torch.allclose(observed(Viewed(blind), seen), blind.encode(seen).x, atol=1e-5)
    with pytest.raises(ConfigError, match="no rollouts"):
        Viewed(method).step((z[:, 0],), batch["action"][:, 0])


def test_impossible_settings_are_named():
    for settings, why in (({"execute": 0}, "execute 0"), ({"rows": 0}, "rows 0"), ({"ensemble": math.nan}, "ensemble"),
                          ({"ensemble": math.inf}, "finite rate")):  # fmt: skip
        with pytest.raises(ConfigError, match=why):
            Acting(lambda c: torch.zeros(1, 1, 1, 2), LOW, HIGH, **settings)
