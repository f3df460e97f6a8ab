"""Rolling a world model out, and adapters between the actions that a planner searches and those that a model takes.

A planner searches H macro-steps. A macro-step is `frame_skip` raw actions, stacked as [frame_skip * A] with the first
action first; `held` searches one raw action per macro-step and repeats it. Adapters wrap an energy and compose, the
outermost first: `limited(normalized(held(energy, 3), mean, std), speed)` limits, then normalizes, then repeats.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Dynamics, Energy
from ..errors import ConfigError, ShapeError
from .fast import FastDynamics

State = TypeVar("State", bound=tuple[Tensor, ...])


def rollout(dynamics: Dynamics[State], state: State, actions: Float[Tensor, "B H A"]) -> Float[Tensor, "B H *L D"]:
    """The latent after each action, from `state` on the model's own predictions.

    A loop of `step`, or what the dynamics offer for it: `FastDynamics`.

    Raises:
        ShapeError: the state and the actions have unequal numbers of rows.
    """
    if len(state[0]) != len(actions):
        raise ShapeError(
            f"the state has {len(state[0])} rows, the actions have {len(actions)}; give one action sequence per state"
        )
    if isinstance(dynamics, FastDynamics):
        return dynamics.rollouts(state, actions[:, None])[:, 0]
    latents = []
    for action in actions.unbind(1):
        state = dynamics.step(state, action)
        latents.append(dynamics.latent(state))
    return torch.stack(latents, 1)


def held(energy: Energy, frame_skip: int) -> Energy:
    """The energy of raw actions, each held for `frame_skip` steps, from one of macro-actions [frame_skip * A].

    Raises:
        ConfigError: frame_skip below 1.
    """
    if frame_skip < 1:
        raise ConfigError(f"frame_skip is {frame_skip}; an action is held for 1 step or more")

    def repeated(actions: Float[Tensor, "B S H A"]) -> Float[Tensor, "B S"]:
        return energy(actions.repeat(1, 1, 1, frame_skip))

    return repeated


def normalized(energy: Energy, mean: Float[Tensor, " A"], std: Float[Tensor, " A"]) -> Energy:
    """The energy of actions in the environment's units, from one of normalized actions, (action - mean) / std.

    Raises:
        ConfigError: a standard deviation is not above 0.
    """
    if not bool((std > 0).all()):
        raise ConfigError(f"std is {std.tolist()}; every action needs a spread above 0: drop the constant ones")

    def scaled(actions: Float[Tensor, "B S H A"]) -> Float[Tensor, "B S"]:
        return energy((actions - mean) / std)

    return scaled


def limited(energy: Energy, norm: float) -> Energy:
    """The energy of actions whose Euclidean norm the environment limits, so that the model never sees a longer one."""

    def shortened(actions: Float[Tensor, "B S H A"]) -> Float[Tensor, "B S"]:
        return energy(actions * (norm / actions.norm(dim=-1, keepdim=True).clamp_min(norm)))

    return shortened
