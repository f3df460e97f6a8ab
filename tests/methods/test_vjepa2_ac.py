"""V-JEPA 2-AC: normalized latents, a rollout that carries its gradient, states that planning may move."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from armillary.contracts import build
from armillary.errors import ConfigError
from armillary.methods.control import vjepa2_ac
from armillary.randomness import Random


@pytest.fixture
def made():
    torch.manual_seed(0)
    method, batch = vjepa2_ac.tiny()
    return build(replace(method.config, proprio=2)), batch, Random(0, 1, batch["index"])


def test_latents_and_predictions_are_normalized(made):
    method, batch, _ = made
    z = method.latents(batch["image"])
    forced, free = method.unrolled(z, batch["action"], batch["proprio"])
    for x in (z, forced, free):
        torch.testing.assert_close(x.mean(-1), torch.zeros(x.shape[:-1]), atol=1e-4, rtol=0)
        torch.testing.assert_close(x.var(-1, correction=0), torch.ones(x.shape[:-1]), atol=1e-3, rtol=0)


def test_a_rollout_sees_one_true_frame_and_the_true_states(made):
    method, batch, _ = made
    method = build(replace(method.config, rollout=3))
    with torch.no_grad():
        z, state = method.latents(batch["image"]), batch["proprio"]
        free = method.unrolled(z, batch["action"], state)[1]
        later = torch.cat([z[:, :1], torch.randn(z[:, 1:].shape)], 1)
        assert torch.equal(method.unrolled(later, batch["action"], state)[1], free)
        state = state.clone()
        state[:, 1] += 1
        moved = (method.unrolled(z, batch["action"], state)[1] - free).abs().amax((0, 2, 3))
    assert free.shape[1] == 3 and moved[0] == 0 and bool((moved[1:] > 1e-4).all())


def test_gradient_flows_through_the_predictions_that_are_fed_back(made):
    method, batch, random = made
    weight = method.predictor.out.weight

    def gradient(loss):
        return torch.autograd.grad(loss, weight)[0]

    z, action, state = method.latents(batch["image"]), batch["action"], batch["proprio"]
    first = method.predict(z[:, :1], action[:, :1], state[:, :1])
    truth, found = z[:, 1:3], gradient(method.loss(batch, random)["rollout"])

    def loss(fed):
        second = method.predict(torch.cat([z[:, :1], fed], 1), action[:, :2], state[:, :2])[:, -1:]
        return (torch.cat([first, second], 1) - truth).abs().mean()

    whole = gradient(loss(first))
    first = method.predict(z[:, :1], action[:, :1], state[:, :1])
    cut = gradient(loss(first.detach()))
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-7)
    assert not torch.allclose(found, cut, rtol=1e-2, atol=1e-5)


def test_planning_keeps_the_state_or_adds_the_action_to_it(made):
    method, batch, _ = made
    start = {k: v[:, :2] if k != "action" else v[:, :1] for k, v in batch.items() if k != "index"}
    action = batch["action"][:, 1]  # two raw steps of two numbers
    kept = method.step(method.start(start), action)[2]
    assert torch.equal(kept[:, -1], batch["proprio"][:, 1])
    moved = build(replace(method.config, proprio_moves=0.5))
    found = moved.step(moved.start(start), action)[2][:, -1]
    torch.testing.assert_close(found, batch["proprio"][:, 1] + 0.5 * (action[:, :2] + action[:, 2:]))


def test_a_state_that_actions_cannot_move_is_refused(made):
    with pytest.raises(ConfigError, match="no multiple"):
        replace(made[0].config, proprio=3, proprio_moves=1.0)
    with pytest.raises(ConfigError, match="rollout is 0"):
        replace(made[0].config, rollout=0)
