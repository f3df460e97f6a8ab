"""Energies of plans under a world model: how far the latents of a rollout are from the goal's latent."""

from __future__ import annotations

from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Dynamics, Energy
from ..errors import ConfigError, ShapeError

State = TypeVar("State", bound=tuple[Tensor, ...])


def goal_energy(
    dynamics: Dynamics[State],
    state: State,
    goal: Float[Tensor, "B *L D"],
    earlier_weight: float = 0.0,
    rows: int = 2048,
) -> Energy:
    """Squared distance to the goal's latent, of the last latent and, with a weight, of each one before it.

    Args:
        state: of B problems; all candidates of a problem share it, the encoder ran once.
        goal: latents of the goals, of one problem each.
        earlier_weight: of every step before the last. 0 is the last step only (LeWM, DINO-WM), 1 the sum over steps
            (EB-JEPA, 2602.03604); a small one breaks ties between plans that arrive, for the one that arrives early.
        rows: how many candidates are stepped at once; it bounds memory and keeps activations in the cache.
    Raises:
        ConfigError: rows below 1 or a weight below 0.
        ShapeError: the goals are not one per problem.
    """
    if rows < 1 or earlier_weight < 0:
        raise ConfigError(f"rows is {rows}, earlier_weight {earlier_weight}; allowed are rows >= 1 and a weight >= 0")
    if len(state[0]) != len(goal):
        raise ShapeError(f"{len(state[0])} states but {len(goal)} goals; give one goal for each problem")

    def distance(latents: Tensor, problem: Tensor) -> Tensor:
        return (latents - goal[problem]).float().square().flatten(1).sum(1)

    def evaluate(actions: Tensor, problem: Tensor) -> Tensor:
        now: State = tuple(x[problem] for x in state)  # type: ignore[assignment]
        energy = torch.zeros(len(actions), device=actions.device)
        for t, action in enumerate(actions.unbind(1), start=1):
            now = dynamics.step(now, action)
            if t == actions.shape[1]:
                energy = energy + distance(dynamics.latent(now), problem)
            elif earlier_weight > 0:
                energy = energy + earlier_weight * distance(dynamics.latent(now), problem)
        return energy

    def energy(actions: Float[Tensor, "B S H A"]) -> Float[Tensor, "B S"]:
        if len(actions) != len(goal):
            raise ShapeError(
                f"plans for {len(actions)} problems, goals for {len(goal)}; give candidates for every goal"
            )
        flat = actions.flatten(0, 1)
        problem = torch.arange(len(goal), device=actions.device).repeat_interleave(actions.shape[1])
        parts = zip(flat.split(rows), problem.split(rows), strict=True)
        return torch.cat([evaluate(*part) for part in parts]).view(actions.shape[:2])

    return energy
