"""The cross-entropy method for discrete actions: refit a probability per step and choice to the best plans."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..contracts import Energy, Plan
from ..errors import ConfigError, require
from ..randomness import Random
from .plans import best_of, evaluate, first_mean, take
from .search import Gaussian, fitted


@dataclass(frozen=True)
class CategoricalCEM:
    """Plan one of C choices per step with the cross-entropy method. Source: Rubinstein (1999), discrete form.

    Plans are one-hot, [B, S, H, C] with one 1 per step, and so is what the energy receives; `indexed` adapts an energy
    that takes the numbers of the choices. As a `Planner` its bounds are those of one-hot actions, 0 and 1.
    """

    horizon: int = 5
    """steps of a plan"""
    samples: int = 300
    """candidates in each iteration"""
    elites: int = 30
    """candidates that the probabilities are fitted to"""
    iterations: int = 10
    """rounds of drawing and refitting"""
    floor: float = 0.01
    """least probability of a choice, as a fraction of 1 / choices; 0 lets the search collapse"""
    momentum: float = 0.0
    """share of the old probabilities in the new ones"""

    def __post_init__(self) -> None:
        require(1, float("inf"), horizon=self.horizon, iterations=self.iterations)
        require(1, self.samples, elites=self.elites)
        require(0, 1, floor=self.floor, momentum=self.momentum)

    @torch.no_grad()
    def __call__(
        self,
        energy: Energy,
        low: Float[Tensor, " C"],
        high: Float[Tensor, " C"],
        random: Random,
        start: Float[Tensor, "B H C"] | None = None,
    ) -> Plan:
        """The lowest-energy plan that was seen: among the start's most probable one, all candidates and the last one.

        An energy that is not finite counts as infinite; where none is finite the start's plan comes back, energy inf.

        Args:
            energy: maps one-hot candidates [B, S, H, C] to [B, S]; called iterations + 2 times.
            low, high: 0 and 1 for each of the C choices (wider is allowed): how many there are is all they tell.
            random: one sample per problem; iteration i draws from the stream `categorical/i`.
            start: first probabilities up to a factor, e.g. the last plan's, shifted; default is that all are equal.
                A one-hot start with floor 0 is never left.
        Returns:
            One-hot actions; `std` is sqrt(p (1 - p)) of the last probabilities p.
        Raises:
            ConfigError: bounds that leave out 0 or 1; a start that is not finite, is negative or has a step without
                probability.
            ShapeError: a start or energy of another shape.
        """
        if not bool(((low <= 0) & (high >= 1)).all()):
            raise ConfigError(f"bounds are {low.tolist()} to {high.tolist()}; one-hot actions need 0 and 1 inside them")
        first = first_mean(low, high, random, self.horizon, start)  # checks bounds and shape
        p = self._floored(torch.ones_like(first) if start is None else weights(start))
        plan = most_probable(p)
        best = Plan(plan, evaluate(energy, plan[:, None])[:, 0], deviation(p))
        for i in range(self.iterations):
            plans = drawn(p, random.uniform(f"categorical/{i}", self.samples, self.horizon))
            value = evaluate(energy, plans)
            score, index = value.topk(self.elites, dim=1, largest=False)
            new = fitted(Gaussian(p, p), take(plans, index), score).mean
            p = self._floored(self.momentum * p + (1 - self.momentum) * new)
            best = best_of(best, plans, value, deviation(p))
        plan = most_probable(p)[:, None]
        return best_of(best, plan, evaluate(energy, plan), deviation(p))

    def _floored(self, p: Float[Tensor, "B H C"]) -> Float[Tensor, "B H C"]:
        p = p / p.sum(-1, keepdim=True)
        return (1 - self.floor) * p + self.floor / p.shape[-1]


def indexed(energy: Callable[[Int[Tensor, "B S H"]], Float[Tensor, "B S"]]) -> Energy:
    """The energy of one-hot plans, from one of the numbers of their choices."""

    def numbered(plans: Float[Tensor, "B S H C"]) -> Float[Tensor, "B S"]:
        return energy(plans.argmax(-1))

    return numbered


def weights(start: Float[Tensor, "B H C"]) -> Float[Tensor, "B H C"]:
    """`start` as it is.

    Raises:
        ConfigError: it is negative somewhere, or 0 for all choices of a step.
    """
    if not bool((start >= 0).all() & (start.sum(-1) > 0).all()):
        raise ConfigError("start holds negative probabilities or a step without any; give weights of 0 or more")
    return start


def drawn(p: Float[Tensor, "B H C"], uniform: Float[Tensor, "B S H"]) -> Float[Tensor, "B S H C"]:
    """One-hot plans with probabilities `p`, by inverting their cumulative sum at `uniform` numbers."""
    choice = (uniform[..., None] >= p.cumsum(-1)[:, None]).sum(-1).clamp_max(p.shape[-1] - 1)
    return torch.nn.functional.one_hot(choice, p.shape[-1]).to(p.dtype)


def most_probable(p: Float[Tensor, "B H C"]) -> Float[Tensor, "B H C"]:
    """The one-hot plan of the most probable choice at every step; the first of equal ones."""
    return torch.nn.functional.one_hot(p.argmax(-1), p.shape[-1]).to(p.dtype)


def deviation(p: Float[Tensor, "B H C"]) -> Float[Tensor, "B H C"]:
    """Standard deviation of one-hot actions with probabilities `p`."""
    return (p * (1 - p)).clamp_min(0).sqrt()
