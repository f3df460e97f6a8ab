"""Fast rollouts give the latents of repeated steps, whatever the history, the horizon and the number of candidates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from armillary.contracts import Dynamics, build
from armillary.methods.control import lewm, pldm
from armillary.nn.encoder import ConvNet
from armillary.planning.cem import CEM
from armillary.planning.fast import FastDynamics, folded
from armillary.planning.rollout import rollout
from armillary.randomness import numbered

IMAGES = ConvNet(image=16, widths=(8, 8))
WIDTH, ACTION = 16, 4


def lively(method: Any) -> Any:
    """The method with every parameter and running average moved, so that a wrong fold shows; in evaluation."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            scale = 6 * parameter.shape[-1] ** -0.5 if "modulation.weight" in name else 0.1
            parameter.add_(scale * torch.randn(parameter.shape, generator=draw))
        for name, buffer in method.named_buffers():
            if "running" in name:
                buffer.copy_(0.5 + torch.rand(buffer.shape, generator=draw))
    return method.eval()


def made(history: int = 3) -> lewm.LeWM:
    return lively(build(lewm.Config(
        IMAGES, width=WIDTH, action=ACTION, history=history, depth=3, heads=2, head_width=8, hidden=32,
    )))  # fmt: skip


def stepped(dynamics: Dynamics[Any], state: tuple[Tensor, ...], actions: Tensor) -> Tensor:
    """Rollouts of each candidate alone by repeated steps."""

    def latents(now: tuple[Tensor, ...], plans: Tensor) -> Iterator[Tensor]:
        for action in plans.unbind(1):
            now = dynamics.step(now, action)
            yield dynamics.latent(now)

    rows = [latents(state, actions[:, s]) for s in range(actions.shape[1])]
    return torch.stack([torch.stack(list(row), 1) for row in rows], 1)


def problem(seen: int, problems: int, samples: int, horizon: int) -> tuple[tuple[Tensor, ...], Tensor]:
    random = numbered(problems)
    z, past = random.normal("z", seen, WIDTH), random.normal("past", seen - 1, ACTION)
    return (z, past), random.normal("actions", samples, horizon, ACTION)


def close(found: Tensor, wanted: Tensor, tolerance: float = 2e-6) -> None:
    assert found.shape == wanted.shape
    scale = (wanted - wanted.mean((0, 1), keepdim=True)).abs().max() if wanted.shape[1] > 1 else wanted.abs().max()
    assert float((found - wanted).abs().max()) <= tolerance * float(scale.clamp_min(1))


@torch.no_grad()
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_folded_lewm_equals_repeated_steps(data: st.DataObject) -> None:
    history = data.draw(st.integers(1, 4))
    seen, horizon = data.draw(st.integers(1, history)), data.draw(st.integers(1, 7))
    problems, samples, rows = (data.draw(st.integers(1, n)) for n in (3, 5, 12))
    method = made(history)
    state, actions = problem(seen, problems, samples, horizon)
    close(method.folded(rows=rows).rollouts(state, actions), stepped(method, state, actions))


@torch.no_grad()
def test_rollout_takes_the_fast_way_where_there_is_one() -> None:
    """And gives one sequence per state: what it gave by steps."""
    method = made()
    fast = folded(method)
    state, actions = problem(3, 4, 1, 5)
    assert isinstance(fast, FastDynamics)
    assert torch.equal(rollout(fast, state, actions[:, 0]), fast.rollouts(state, actions)[:, 0])
    close(rollout(fast, state, actions[:, 0])[:, None], stepped(method, state, actions))


def test_dynamics_without_a_fast_way_are_left_as_they_are() -> None:
    method = made()
    assert not isinstance(method, FastDynamics) and not isinstance(object(), FastDynamics)
    plain = pldm.tiny()[0]
    assert folded(plain) is plain and folded(method).__class__ is lewm.Folded


def test_gradients_of_actions_are_those_of_repeated_steps() -> None:
    """What a planner that descends them needs."""
    method = made()
    state, actions = problem(3, 2, 3, 5)
    found = []
    for roll in (folded(method).rollouts, lambda s, a: stepped(method, s, a)):  # type: ignore[attr-defined]
        leaf = actions.clone().requires_grad_()
        roll(state, leaf).square().sum().backward()
        assert leaf.grad is not None
        found.append(leaf.grad)
    assert found[1].abs().amax((0, 1, 3)).min() > 1e-3
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-5 * float(found[1].abs().max()))


@torch.no_grad()
def test_a_planner_finds_the_same_actions() -> None:
    method, low = made(), -torch.ones(ACTION)
    state, _ = problem(3, 2, 1, 1)
    goal = numbered(2).normal("goal", WIDTH)

    def plan(latents: Any) -> Tensor:
        planner = CEM(horizon=5, samples=32, elites=6, iterations=5)
        return planner(
            lambda actions: (latents(actions)[:, :, -1] - goal[:, None]).square().sum(-1), low, -low, numbered(2)
        ).actions

    found, wanted = plan(lambda a: folded(method).rollouts(state, a)), plan(lambda a: stepped(method, state, a))  # type: ignore[attr-defined]
    assert float((found - wanted).abs().max()) <= 1e-5
    assert float(wanted.abs().max()) > 0.1
