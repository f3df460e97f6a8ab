"""Smooth random walks by which data are collected: a heading that drifts, and now and then is drawn anew."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..randomness import Random

Move = Callable[[Tensor, Tensor], tuple[Tensor, Bool[Tensor, " B"]]]  # the next state, and whether something stopped it
Aim = Callable[[Tensor, int], Float[Tensor, " B"]]  # of a state and a step: the angle at which to head


@dataclass(frozen=True)
class Habits:
    """Chances in each step. longest: 2-norm of the longest action."""

    longest: float
    turn: float  # of a new heading with a new length
    bump: float  # the same where something stopped the last action
    drift: float  # standard deviation of the heading's change in a step, in radians
    aimed: float  # share of the new headings that are aimed at something


def wander(
    random: Random, name: str, steps: int, state: Float[Tensor, "B S"], habits: Habits, move: Move, aim: Aim
) -> Float[Tensor, "B T 2"]:
    """Actions from `state` on; three of four new headings are at full length, the others uniform below it.

    name: of the world, by which its random streams are told from those of others.
    """
    chance = random.uniform(f"{name}/wander/turn", steps)
    angle = random.uniform(f"{name}/wander/angle", steps) * (2 * math.pi)
    aimed = random.uniform(f"{name}/wander/aimed", steps) < habits.aimed
    pace = (random.uniform(f"{name}/wander/pace", steps) * 4).clamp_max(1) * habits.longest
    swerve = random.normal(f"{name}/wander/swerve", steps) * habits.drift
    heading, length, stopped, actions = angle[:, 0], pace[:, 0], torch.zeros_like(aimed[:, 0]), []
    for t in range(steps):
        fresh = chance[:, t] < torch.where(stopped, habits.bump, habits.turn)
        drawn = torch.where(aimed[:, t], aim(state, t), angle[:, t])
        heading = torch.where(fresh, drawn, heading) + swerve[:, t]
        length = torch.where(fresh, pace[:, t], length)
        actions.append(torch.stack([heading.cos(), heading.sin()], 1) * length[:, None])
        state, stopped = move(state, actions[-1])
    return torch.stack(actions, 1)
