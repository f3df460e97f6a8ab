from __future__ import annotations

import pytest
import torch
from torch import Tensor

from armillary.contracts import check_dynamics
from armillary.errors import ConfigError, ShapeError
from armillary.planning.energies import goal_energy
from armillary.planning.rollout import held, limited, normalized, rollout
from armillary.randomness import numbered


class Grid:
    """Dynamics whose latent is a grid of tokens: every token moves by its own mixture of the actions."""

    def __init__(self) -> None:
        self.mix = numbered(1).normal("mix", 4, 2, 3)[0]
        self.started = 0

    def start(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        self.started += 1
        return batch["image"][:, -1].float(), torch.zeros(len(batch["image"]))

    def step(self, state: tuple[Tensor, Tensor], action: Tensor) -> tuple[Tensor, Tensor]:
        z, t = state
        return 0.9 * z + torch.einsum("ba,lad->bld", action, self.mix), t + 1

    def latent(self, state: tuple[Tensor, Tensor]) -> Tensor:
        return state[0].tanh()


DYNAMICS = Grid()
BATCH = {"image": numbered(3).normal("image", 1, 4, 3)}
GOAL = numbered(3).normal("goal", 4, 3)
ACTIONS = numbered(3).normal("actions", 7, 5, 2)  # [B, S, H, A]


def test_the_dynamics_of_these_tests_keep_their_contract() -> None:
    check_dynamics(DYNAMICS, BATCH, ACTIONS[:, 0, 0])


def test_rollout_is_repeated_step() -> None:
    state = DYNAMICS.start(BATCH)
    latents = rollout(DYNAMICS, state, ACTIONS[:, 0])
    assert latents.shape == (3, 5, 4, 3)
    for t in range(5):
        state = DYNAMICS.step(state, ACTIONS[:, 0, t])
        assert torch.equal(latents[:, t], DYNAMICS.latent(state))


@pytest.mark.parametrize("weight", [0.0, 0.02, 1.0])
def test_goal_energy_is_the_weighted_distance_of_the_rollout(weight: float) -> None:
    state = DYNAMICS.start(BATCH)
    energy = goal_energy(DYNAMICS, state, GOAL, weight)(ACTIONS)
    weights = torch.tensor([weight] * 4 + [1.0])
    for b in range(3):
        for s in range(7):
            latents = rollout(DYNAMICS, tuple(x[b : b + 1] for x in state), ACTIONS[b, s][None])
            distance = (latents[0] - GOAL[b]).square().sum((1, 2))
            assert torch.allclose(energy[b, s], (weights * distance).sum(), rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 4, 20, 10_000])
def test_chunks_do_not_change_an_energy(rows: int) -> None:
    state = DYNAMICS.start(BATCH)
    whole = goal_energy(DYNAMICS, state, GOAL, 0.1)(ACTIONS)
    assert torch.allclose(goal_energy(DYNAMICS, state, GOAL, 0.1, rows)(ACTIONS), whole, rtol=1e-5)


def test_an_energy_never_runs_the_encoder() -> None:
    dynamics = Grid()
    energy = goal_energy(dynamics, dynamics.start(BATCH), GOAL)
    energy(ACTIONS), energy(ACTIONS)
    assert dynamics.started == 1


def total(weights: Tensor):
    return lambda actions: (actions * weights).sum((-1, -2))


def test_held_repeats_raw_actions_first_action_first() -> None:
    seen = []
    held(lambda a: seen.append(a) or a.sum((-1, -2)), 3)(ACTIONS)
    macro = seen[0].unflatten(-1, (3, 2))  # [B, S, H, frame_skip, A]
    assert all(torch.equal(macro[..., k, :], ACTIONS) for k in range(3))


def test_normalized_gives_the_model_its_units() -> None:
    mean, std = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 4.0])
    energy = total(torch.tensor([1.0, 10.0]))
    assert torch.allclose(normalized(energy, mean, std)(ACTIONS * std + mean), energy(ACTIONS), atol=1e-3)


def test_limited_shortens_long_actions_only() -> None:
    seen = []
    limited(lambda a: seen.append(a) or a.sum((-1, -2)), 1.0)(ACTIONS)
    before, after = ACTIONS.norm(dim=-1), seen[0].norm(dim=-1)
    assert torch.allclose(after, before.clamp_max(1), atol=1e-6)
    assert torch.allclose(seen[0] * before[..., None], ACTIONS * after[..., None], atol=1e-5)
    limited(lambda a: seen.append(a) or a.sum((-1, -2)), 1.0)(torch.zeros_like(ACTIONS))
    assert torch.equal(seen[1], torch.zeros_like(ACTIONS))


def test_adapters_compose_in_the_stated_order() -> None:
    seen = []
    mean, std = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 4.0])
    energy = limited(normalized(held(lambda a: seen.append(a) or a.sum((-1, -2)), 2), mean, std), 1.0)
    energy(ACTIONS)
    short = ACTIONS / ACTIONS.norm(dim=-1, keepdim=True).clamp_min(1)
    assert torch.allclose(seen[0], ((short - mean) / std).repeat(1, 1, 1, 2), atol=1e-6)


def test_wrong_input_is_named() -> None:
    state = DYNAMICS.start(BATCH)
    with pytest.raises(ShapeError, match="3 rows, the actions have 2"):
        rollout(DYNAMICS, state, ACTIONS[:2, 0])
    with pytest.raises(ShapeError, match="3 states but 2 goals"):
        goal_energy(DYNAMICS, state, GOAL[:2])
    with pytest.raises(ShapeError, match="plans for 2 problems, states for 3"):
        goal_energy(DYNAMICS, state, GOAL)(ACTIONS[:2])
    with pytest.raises(ConfigError, match="rows is 0"):
        goal_energy(DYNAMICS, state, GOAL, rows=0)
    with pytest.raises(ConfigError, match="frame_skip is 0"):
        held(total(torch.ones(2)), 0)
    with pytest.raises(ConfigError, match="above 0"):
        normalized(total(torch.ones(2)), torch.zeros(2), torch.tensor([1.0, 0.0]))
