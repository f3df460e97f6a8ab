"""Fast-LeWM: prefixes are causal, one pass is repeated steps, gradients reach both sides, plans outlast the horizon."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from armillary.contracts import build, check_dynamics, check_method
from armillary.errors import ConfigError, ShapeError
from armillary.methods.control import fast_lewm
from armillary.nn.encoder import ViT
from armillary.planning.cem import CEM
from armillary.planning.energies import goal_energy
from armillary.planning.fast import FastDynamics, folded
from armillary.planning.rollout import rollout
from armillary.randomness import Random, numbered

WIDTH, ACTION, HORIZON = 16, 4, 3


def lively(method):
    """The method in evaluation with every weight moved: as drawn, modulations are 0 and actions do nothing."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))
        for name, buffer in method.named_buffers():
            if "running" in name:
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=draw))
    return method.eval()


def made() -> tuple[fast_lewm.FastLeWM, dict[str, Tensor]]:
    method, batch = fast_lewm.tiny()
    return lively(build(method.config)), batch


def drawn(problems: int, samples: int, length: int, since: int = 0) -> tuple[tuple[Tensor, Tensor], Tensor]:
    random = numbered(problems)
    state = random.normal("z", WIDTH), random.normal("since", since, ACTION)
    return state, random.normal("actions", samples, length, ACTION)


def stepped(method: fast_lewm.FastLeWM, state: tuple[Tensor, Tensor], actions: Tensor) -> Tensor:
    latents = []
    for action in actions.unbind(1):
        state = method.step(state, action)
        latents.append(method.latent(state))
    return torch.stack(latents, 1)


@torch.no_grad()
@pytest.mark.parametrize("changed", range(1, HORIZON + 1))
def test_an_action_moves_no_prediction_before_it_and_every_one_after(changed):
    method, _ = made()
    (z, _), actions = drawn(5, 1, HORIZON)
    other = actions[:, 0].clone()
    other[:, changed - 1] += 1.0
    moved = (method.predict(z, other) - method.predict(z, actions[:, 0])).abs().amax((0, 2))
    assert bool((moved[: changed - 1] <= 1e-6).all()) and bool((moved[changed - 1 :] > 1e-3).all()), moved


@torch.no_grad()
def test_a_prefix_knows_the_order_of_its_actions():
    """Nor is it their sum: exchanging two moves what comes after both."""
    method, _ = made()
    (z, _), actions = drawn(5, 1, HORIZON)
    other = actions[:, 0][:, [1, 0, 2]]
    assert float((method.predict(z, other) - method.predict(z, actions[:, 0]))[:, 1:].abs().max()) > 1e-2


@torch.no_grad()
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_one_pass_equals_repeated_steps(data):
    """From any state, on both sides of the horizon; in float64, as feeding back amplifies the rounding of float32."""
    method = made()[0].double()
    problems, samples = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    state, actions = drawn(problems, samples, data.draw(st.integers(1, 8)), data.draw(st.integers(0, HORIZON)))
    state, actions = (state[0].double(), state[1].double()), actions.double()
    wanted = torch.stack([stepped(method, state, actions[:, s]) for s in range(samples)], 1)
    torch.testing.assert_close(method.rollouts(state, actions), wanted, rtol=0, atol=1e-10)


@torch.no_grad()
def test_one_pass_equals_repeated_steps_to_the_rounding_of_float32():
    method, _ = made()
    state, actions = drawn(64, 1, HORIZON)
    gap = method.rollouts(state, actions)[:, 0] - stepped(method, state, actions[:, 0])
    assert float(gap.abs().max()) <= 1e-5 and float(gap.square().mean().sqrt()) <= 1e-6


@torch.no_grad()
def test_a_plan_longer_than_the_horizon_goes_on_from_its_own_prediction():
    method, _ = made()
    (z, none), actions = drawn(4, 1, 2 * HORIZON)
    found = method.rollouts((z, none), actions)[:, 0]
    first = method.predict(z, actions[:, 0, :HORIZON])
    second = method.predict(first[:, -1], actions[:, 0, HORIZON:])
    torch.testing.assert_close(found, torch.cat([first, second], 1))


@torch.no_grad()
def test_the_latent_of_a_start_is_the_encoded_last_frame():
    method, batch = made()
    state = method.start({"image": batch["image"][:, :2], "action": batch["action"][:, :1]})
    torch.testing.assert_close(method.latent(state), method.encode(batch).x[:, 1])
    check_dynamics(method, {"image": batch["image"][:, :2], "action": batch["action"][:, :1]}, batch["action"][:, 1])


@torch.no_grad()
def test_planning_takes_the_one_pass():
    """Rollouts and energies ask for it and never step; with the same plans found as by steps."""
    method, _ = made()
    assert isinstance(method, FastDynamics) and folded(method) is method
    (z, none), actions = drawn(3, 1, 5)
    assert torch.equal(rollout(method, (z, none), actions[:, 0]), method.rollouts((z, none), actions)[:, 0])

    class Steps:
        start, step, latent = method.start, method.step, method.latent

    goal, low = numbered(3).normal("goal", WIDTH), -torch.ones(ACTION)
    planner = CEM(horizon=5, samples=16, elites=4, iterations=3)
    found, wanted = (
        planner(goal_energy(dynamics, (z, none), goal, 0.1), low, -low, numbered(3)).actions
        for dynamics in (method, Steps())
    )
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    method.step = None  # type: ignore[method-assign, assignment]
    planner(goal_energy(method, (z, none), goal), low, -low, numbered(3))


def test_gradients_of_actions_are_those_of_repeated_steps():
    method, _ = made()
    state, actions = drawn(2, 1, 5)
    found = []
    for roll in (method.rollouts, lambda s, a: stepped(method, s, a[:, 0])[:, None]):
        leaf = actions.clone().requires_grad_()
        roll(state, leaf).square().sum().backward()
        found.append(leaf.grad)
    assert found[1].abs().amax((0, 1, 3)).min() > 1e-3
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-5 * float(found[1].abs().max()))


def test_gradient_reaches_the_targets_and_is_that_of_the_squared_error():
    """As the release has it: its targets are not detached."""
    method, batch = made()
    z = method.latents(batch["image"]).detach().requires_grad_()
    predicted, target = method.unrolled(z, batch["action"])
    (predicted - target).square().mean().backward()
    expected = 2 * (target - predicted).detach() / target.numel()
    assert z.grad is not None and torch.allclose(z.grad[:, 1:], expected, atol=1e-7)
    assert z.grad[:, 0].abs().max() > 1e-4, "the anchor gets the gradient of every prediction"


def linear(x, layer):
    weight = layer.weight.detach().double().numpy()
    return x @ weight.T + (0 if layer.bias is None else layer.bias.detach().double().numpy())


def normed(x, norm=None, eps=1e-6):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + (eps if norm is None else norm.eps))
    return x if norm is None else x * norm.weight.detach().double().numpy() + norm.bias.detach().double().numpy()


def gelu(x):
    return torch.nn.functional.gelu(torch.from_numpy(x)).numpy()


def silu(x):
    return x / (1 + np.exp(-x))


def reference(method: fast_lewm.FastLeWM, z: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """One prefix after the other, from its own actions alone."""
    enc, pred, out = method.prefixes, method.predictor, method.project_prediction
    half = WIDTH // 2
    angle = np.arange(len(actions) + 1)[:, None] / 10_000 ** (np.arange(half) / half)
    place, found = np.concatenate([np.sin(angle), np.cos(angle)], 1), []
    for k in range(1, len(actions) + 1):
        state = linear(gelu(linear(z, enc.embed_state[0])), enc.embed_state[2])
        taken = linear(linear(actions[:k], enc.embed_action[0]), enc.embed_action[1])
        x = np.vstack([state, linear(silu(taken), enc.embed_action[3])]) + place[: k + 1]
        for block in enc.blocks:
            q, key, value = np.split(linear(normed(x, block.norm1), block.attn.qkv), 3, -1)
            rows = []
            for t in range(k + 1):  # each token looks at itself and those before it
                heads = []
                for h in np.split(np.arange(WIDTH), block.attn.heads):
                    share = np.exp(q[t, h] @ key[: t + 1, h].T / np.sqrt(len(h)))
                    heads.append(share @ value[: t + 1, h] / share.sum())
                rows.append(np.concatenate(heads))
            x = x + linear(np.stack(rows), block.attn.proj)
            x = x + linear(gelu(linear(normed(x, block.norm2), block.mlp.fc1)), block.mlp.fc2)
        c = normed(x[-1], enc.norm)
        joined = normed(np.concatenate([z, c, z * c]), pred.join_norm)
        y = z + linear(gelu(linear(joined, pred.join[0])), pred.join[2])
        for block in pred.blocks:
            shift1, scale1, gate1, shift2, scale2, gate2 = np.split(linear(silu(c), block.modulation), 6)
            inner = normed(normed(y) * (1 + scale1) + shift1, block.value_norm)
            y = y + gate1 * linear(linear(inner, block.value), block.out)
            inner = normed(normed(y) * (1 + scale2) + shift2, block.mlp_norm)
            y = y + gate2 * linear(gelu(linear(inner, block.fc1)), block.fc2)
        y, batch = linear(normed(y, pred.norm), out[0]), out[1]
        y = (y - batch.running_mean.double().numpy()) / np.sqrt(batch.running_var.double().numpy() + batch.eps)
        y = y * batch.weight.detach().double().numpy() + batch.bias.detach().double().numpy()
        found.append(linear(gelu(y), out[3]))
    return np.stack(found)


def test_predictions_are_those_of_the_equations_in_float64():
    method, _ = made()
    method = lively(build(replace(method.config, depth=2, prefix_depth=2)))
    (z, _), actions = drawn(3, 1, HORIZON)
    with torch.no_grad():
        found = method.predict(z, actions[:, 0]).double().numpy()
    wanted = [
        reference(method, one.double().numpy(), a.double().numpy()) for one, a in zip(z, actions[:, 0], strict=True)
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())


def test_the_published_model_has_the_published_number_of_parameters():
    """17.9 million, where LeWM has 18.0: the release's sizes and no other part."""
    count = sum(parameter.numel() for parameter in build(fast_lewm.Config()).parameters())
    assert round(count / 1e6, 1) == 17.9


@torch.no_grad()
def test_disagreement_is_between_one_stage_and_two():
    method, _ = made()
    state, actions = drawn(2, 3, HORIZON)
    found = method.disagreement(state, actions, first=2)
    for b in range(2):
        for s in range(3):
            z, plan = state[0][b : b + 1], actions[b : b + 1, s]
            midway = method.predict(z, plan[:, :2])[:, -1]
            staged = method.predict(midway, plan[:, 2:])[:, -1]
            wanted = float((method.predict(z, plan)[:, -1] - staged).double().square().sum())
            assert float(found[b, s]) == pytest.approx(wanted, rel=1e-4) and wanted > 1e-3
    long = drawn(2, 3, 2 * HORIZON)[1]  # where one stage goes on from its own prediction at the same place, both agree
    assert float(method.disagreement(state, long, first=HORIZON).max()) <= 1e-8
    with pytest.raises(ShapeError, match="3 actions, 3 of them first"):
        method.disagreement(state, actions, first=3)


def test_a_vision_transformer_keeps_the_contracts():
    method, batch = fast_lewm.tiny()
    vit = ViT(image=16, patch=8, width=16, depth=1, heads=2, class_token=True)
    other = build(replace(method.config, encoder=vit, dropout=0.1, prefix_depth=2))
    check_method(build(replace(method.config, encoder=vit, prefix_depth=2)), batch)
    check_dynamics(other.eval(), batch, batch["action"][:, 0])


def test_what_does_not_fit_is_named():
    method, batch = made()
    random = Random(0, 1, batch["index"])
    with pytest.raises(ShapeError, match=r"action has 5 numbers.*frame_skip"):
        method.step(drawn(2, 1, 1)[0], torch.zeros(2, 5))
    with pytest.raises(ShapeError, match="action has 5 numbers"):
        method.rollouts(drawn(2, 1, 1)[0], torch.zeros(2, 3, 1, 5))
    with pytest.raises(ShapeError, match="3 frames and 3 actions are too short for prefixes of 3"):
        method.loss({**batch, "image": batch["image"][:, :3]}, random)
    with pytest.raises(ShapeError, match="4 actions, prefixes of 3"):
        method.predict(torch.zeros(1, WIDTH), torch.zeros(1, 4, ACTION))
    with pytest.raises(ConfigError, match="width is 15"):
        replace(method.config, width=15)
    with pytest.raises(ConfigError, match="horizon is 0"):
        replace(method.config, horizon=0)
    with pytest.raises(ConfigError, match="straighten_weight is -1"):
        replace(method.config, straighten_weight=-1)
