"""Energies of plans under a world model: a term looks at each step of a rollout, an energy sums it over the steps.

A term is a plain function of a `Moment`. Terms are made in `terms` (goals, rewards, costs of actions, disagreement) and
`constraints`, and put together here:

  summed(last(to_goal(goal), earlier=0.02), scaled(action_change(), 0.1), through(probe, forbidden(low, high)))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..contracts import Dynamics, Energy
from ..errors import ConfigError, ShapeError
from .fast import FastDynamics

State = TypeVar("State", bound=tuple[Tensor, ...])
Read = Callable[[Float[Tensor, "n *L D"]], Float[Tensor, "n *K E"]]


@dataclass(frozen=True)
class Moment:
    """Step `t` of `steps` (the first is 1) in the rollouts of n candidates, after its action.

    look: makes `latent`, which no term that does not ask for it pays for. state: of the dynamics, empty where they are
    `FastDynamics`. action, before: of
    this step and of the one before it, in the units of the model; there is none before the first. problem: which of the
    B problems each candidate belongs to.
    """

    look: Callable[[], Tensor]
    state: tuple[Tensor, ...]
    action: Float[Tensor, "n A"]
    before: Float[Tensor, "n A"] | None
    problem: Int64[Tensor, " n"]
    t: int
    steps: int

    @cached_property
    def latent(self) -> Float[Tensor, "n *L D"]:
        """What the dynamics predict: vectors [n, D] or tokens [n, N, D]."""
        return self.look()


Term = Callable[[Moment], Tensor | float]  # [n], or a number for all


def energy_of(dynamics: Dynamics[Any], state: tuple[Tensor, ...], term: Term, rows: int = 2048) -> Energy:
    """The energy of plans: `term` at each step of a rollout from `state`, summed over the steps.

    Args:
        state: of B problems; all candidates of a problem share it, the encoder ran once.
        rows: how many candidates are stepped at once; it bounds memory and keeps activations in the cache.
    Raises:
        ConfigError: rows below 1.
        ShapeError: plans of another number of problems.
    """
    if rows < 1:
        raise ConfigError(f"rows is {rows}; candidates are stepped 1 or more at once")

    if isinstance(dynamics, FastDynamics):
        return _fast(dynamics, state, term, rows)

    def evaluate(actions: Tensor, problem: Tensor) -> Tensor:
        now: tuple[Tensor, ...] = tuple(x[problem] for x in state)
        energy, before, steps = torch.zeros(len(actions), device=actions.device), None, actions.shape[1]
        for t, action in enumerate(actions.unbind(1), start=1):
            now = dynamics.step(now, action)
            look = lambda now=now: dynamics.latent(now)  # noqa: E731 (bound to this step)
            energy = energy + term(Moment(look, now, action, before, problem, t, steps))
            before = action
        return energy

    def energy(actions: Float[Tensor, "B S H A"]) -> Float[Tensor, "B S"]:
        _check(actions, state)
        flat = actions.flatten(0, 1)
        problem = torch.arange(len(actions), device=actions.device).repeat_interleave(actions.shape[1])
        parts = zip(flat.split(rows), problem.split(rows), strict=True)
        return torch.cat([evaluate(*part) for part in parts]).view(actions.shape[:2])

    return energy


def _fast(dynamics: FastDynamics[Any], state: tuple[Tensor, ...], term: Term, rows: int) -> Energy:
    """The same from the dynamics' own rollouts, which tell latents and no states."""

    def evaluate(actions: Tensor, problem: Tensor) -> Tensor:
        latents = dynamics.rollouts(tuple(x[problem] for x in state), actions).flatten(0, 1)  # [b * S, H, *L, D]
        own, plans, steps = problem.repeat_interleave(actions.shape[1]), actions.flatten(0, 1), actions.shape[2]
        energy = torch.zeros(len(plans), device=actions.device)
        for t in range(steps):
            look = lambda t=t: latents[:, t]  # noqa: E731 (bound to this step)
            energy = energy + term(Moment(look, (), plans[:, t], plans[:, t - 1] if t else None, own, t + 1, steps))
        return energy.view(actions.shape[:2])

    def energy(actions: Float[Tensor, "B S H A"]) -> Float[Tensor, "B S"]:
        _check(actions, state)
        problems = torch.arange(len(actions), device=actions.device)
        few = max(1, rows // actions.shape[1])  # problems at once
        return torch.cat([
            torch.cat([evaluate(part, problem) for part in some.split(rows, 1)], 1)
            for some, problem in zip(actions.split(few), problems.split(few), strict=True)
        ])  # fmt: skip

    return energy


def _check(actions: Tensor, state: tuple[Tensor, ...]) -> None:
    if len(actions) != len(state[0]):
        raise ShapeError(
            f"plans for {len(actions)} problems, states for {len(state[0])}; give candidates for every problem"
        )


def goal_energy(
    dynamics: Dynamics[State],
    state: State,
    goal: Float[Tensor, "B *L D"],
    earlier_weight: float = 0.0,
    rows: int = 2048,
) -> Energy:
    """Squared distance to the goal's latent, of the last latent and, with a weight, of each one before it.

    Args:
        goal: latents of the goals, of one problem each.
        earlier_weight: of every step before the last. 0 is the last step only (LeWM, DINO-WM), 1 the sum over steps
            (EB-JEPA, 2602.03604); a small one breaks ties between plans that arrive, for the one that arrives early.
    Raises:
        ConfigError: rows below 1 or a weight below 0.
        ShapeError: the goals are not one per problem.
    """
    if len(state[0]) != len(goal):
        raise ShapeError(f"{len(state[0])} states but {len(goal)} goals; give one goal for each problem")
    return energy_of(dynamics, state, last(to_goal(goal), earlier_weight), rows)


def to_goal(goal: Float[Tensor, "B *L D"], measure: Callable[[Tensor, Tensor], Tensor] | None = None) -> Term:
    """How far a latent is from its problem's goal, by one of `terms.MEASURES`; None is the squared distance.

    Raises:
        ShapeError: when called, on latents of another shape than the goals'.
    """

    def distance(moment: Moment) -> Tensor:
        if moment.latent.shape[1:] != goal.shape[1:]:
            raise ShapeError(
                f"goals {tuple(goal.shape[1:])} for latents {tuple(moment.latent.shape[1:])}; make both alike"
            )
        return (measure or squared)(moment.latent, goal[moment.problem])

    return distance


def squared(latent: Float[Tensor, "n *L D"], goal: Float[Tensor, "n *L D"]) -> Float[Tensor, " n"]:
    """Squared Euclidean distance, summed over features and tokens; released models that take the mean divide it."""
    return (latent - goal).float().square().flatten(1).sum(1)


def summed(*terms: Term) -> Term:
    """The sum of terms."""
    return lambda moment: sum((term(moment) for term in terms), start=0.0)


def scaled(term: Term, weight: float) -> Term:
    """A term with a weight.

    Raises:
        ConfigError: a weight below 0, which would turn a cost into a reward.
    """
    if weight < 0:
        raise ConfigError(f"weight is {weight}; an energy takes weights of 0 or more")
    return lambda moment: weight * term(moment)


def last(term: Term, earlier: float = 0.0) -> Term:
    """A term at the last step, and with the weight `earlier` at each one before it; at 0 it is not computed there.

    Raises:
        ConfigError: a weight below 0.
    """
    if earlier < 0:
        raise ConfigError(f"earlier_weight is {earlier}; an energy takes weights of 0 or more")

    def at(moment: Moment) -> Tensor | float:
        if moment.t == moment.steps:
            return term(moment)
        return earlier * term(moment) if earlier > 0 else 0.0

    return at


def weighted(term: Term, weights: Sequence[float]) -> Term:
    """A term with one weight for each step of the plan; at 0 it is not computed.

    Raises:
        ConfigError: a weight below 0. ShapeError: when called on plans of another length.
    """
    if min(weights, default=-1.0) < 0:
        raise ConfigError(f"weights are {tuple(weights)}; give 0 or more for each step")

    def at(moment: Moment) -> Tensor | float:
        if moment.steps != len(weights):
            raise ShapeError(f"{len(weights)} weights for plans of {moment.steps} steps; give one for each step")
        weight = weights[moment.t - 1]
        return weight * term(moment) if weight > 0 else 0.0

    return at


def through(read: Read, term: Term) -> Term:
    """A term of what `read` makes of the latent: a probed state, a part of the features, a projection."""
    return lambda moment: term(replace(moment, look=lambda: read(moment.latent)))
