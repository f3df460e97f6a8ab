"""DINO-WM: the loss of patches and proprioception without gradient through targets; the objective of its planner."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from armillary.contracts import build
from armillary.methods.control import dino_wm
from armillary.planning.energies import goal_energy
from armillary.randomness import Random


@pytest.fixture
def made():
    torch.manual_seed(0)
    method, batch = dino_wm.tiny()
    return build(replace(method.config, proprio=3, goal_proprio=0.3)), batch, Random(0, 1, batch["index"])


def parts(method, batch):
    """Inputs and outputs of the predictor, and the targets: [B, T, N, D]."""
    z = method.latents(batch)
    a = method.embed_action(batch["action"])[:, :, None].expand(-1, -1, 4, -1)
    return z, torch.cat([z[:, :2], a[:, :2]], -1)


def test_loss_is_the_mean_over_patches_and_proprioception_in_float64(made):
    method, batch, random = made
    with torch.no_grad():
        z, seen = parts(method, batch)
        out = method.predictor(seen).double().numpy()
        found = float(method.loss(batch, random)["prediction"])
    target = z[:, 1:3].double().numpy()
    assert out.shape[-1] == 16 + 4 + 4 and target.shape[-1] == 16 + 4
    assert found == pytest.approx(np.mean((out[..., :20] - target) ** 2), rel=1e-5)


def test_targets_get_no_gradient(made):
    """The embedding of proprioception learns as an input alone."""
    method, batch, random = made
    method.loss(batch, random)["prediction"].backward()
    found = method.embed_proprio.weight.grad.clone()
    method.zero_grad()
    z, seen = parts(method, batch)
    (method.predictor(seen)[..., :20] - z[:, 1:3].detach()).square().mean().backward()
    torch.testing.assert_close(method.embed_proprio.weight.grad, found)
    method.zero_grad()
    z, seen = parts(method, batch)
    (method.predictor(seen)[..., :20] - z[:, 1:3]).square().mean().backward()
    assert not torch.allclose(method.embed_proprio.weight.grad, found, rtol=1e-2)


def test_frames_beyond_the_history_are_not_used(made):
    method, batch, random = made
    changed = {**batch, "image": batch["image"].clone()}
    changed["image"][:, 3] += 1.0
    assert torch.equal(method.loss(batch, random)["prediction"], method.loss(changed, random)["prediction"])


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_goal_energy_is_the_papers_objective(made, weight):
    """MSE of patches plus weight times MSE of embedded proprioception, up to one factor for all."""
    method, batch, _ = made
    method = build(replace(method.config, goal_proprio=weight)).eval().requires_grad_(False)
    state = method.start({k: v[:, :2] if k != "action" else v[:, :1] for k, v in batch.items() if k != "index"})
    goal = method.start({k: v[:, 3:] if k != "action" else v[:, :0] for k, v in batch.items() if k != "index"})
    plans = batch["action"][:, None, 1:]
    found = goal_energy(method, state, method.latent(goal))(plans)[:, 0]
    for action in plans[:, 0].unbind(1):
        state = method.step(state, action)
    gap = (state[0][:, -1] - goal[0][:, -1]).double().square()
    objective = gap[..., :16].mean((1, 2)) + weight * gap[..., 16:].mean((1, 2))
    torch.testing.assert_close(found.double() / (4 * 16), objective, rtol=1e-4, atol=1e-5)


def test_predicted_proprioception_is_fed_back(made):
    method, batch, _ = made
    state = method.start({k: v[:, :2] if k != "action" else v[:, :1] for k, v in batch.items() if k != "index"})
    following = method.step(state, batch["action"][:, 1])
    beside = following[0][:, -1, :, 16:]
    assert beside.std(1).max() > 0  # predicted patch by patch, not embedded once for all
