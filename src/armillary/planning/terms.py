"""Terms of energies: distances to goals, rewards and values, proprioception, costs of actions, disagreement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import ConfigError
from .energies import Moment, Read, Term, squared, through, to_goal
from .ensemble import Ensemble

Measure = Callable[[Float[Tensor, "n *L D"], Float[Tensor, "n *L D"]], Float[Tensor, " n"]]


def absolute(latent: Float[Tensor, "n *L D"], goal: Float[Tensor, "n *L D"]) -> Float[Tensor, " n"]:
    """L1 distance, summed over features and tokens, as in V-JEPA 2-AC (2506.09985) up to a factor."""
    return (latent - goal).float().abs().flatten(1).sum(1)


def euclidean(latent: Float[Tensor, "n *L D"], goal: Float[Tensor, "n *L D"]) -> Float[Tensor, " n"]:
    """L2 distance of the whole latent; its gradient is 0 at the goal itself."""
    total = squared(latent, goal)
    return torch.where(total > 0, total, 1.0).sqrt() * (total > 0)


def cosine(latent: Float[Tensor, "n *L D"], goal: Float[Tensor, "n *L D"]) -> Float[Tensor, " n"]:
    """1 - cosine of the angle, 0 to 2, the mean over tokens; a vector of zeros is at 1 from all."""
    alike = torch.nn.functional.cosine_similarity(latent.float(), goal.float(), dim=-1, eps=1e-12)
    return (1 - alike).flatten(1).mean(1) if alike.ndim > 1 else 1 - alike


MEASURES: dict[str, Measure] = {"squared": squared, "l1": absolute, "l2": euclidean, "cosine": cosine}


def features(first: int, end: int) -> Read:
    """The features from `first` to before `end` of a latent, for models that keep a part for proprioception."""
    return lambda latent: latent[..., first:end]


def proprioception(read: Read, goal: Float[Tensor, "B *K E"], measure: Measure = squared) -> Term:
    """Distance of the proprioceptive part of a latent, which `read` takes out of it, to that of the goal."""
    return through(read, to_goal(goal, measure))


def valued(value: Callable[[Float[Tensor, "n *L D"]], Float[Tensor, " n"]]) -> Term:
    """The negative of a learned value or reward of a latent: the higher it is, the lower the energy."""
    return lambda moment: -value(moment.latent)


def classified(logits: Callable[[Float[Tensor, "n *L D"]], Float[Tensor, "n K"]], label: Int64[Tensor, " B"]) -> Term:
    """The negative logarithm of the probability that a classifier gives to the class wanted in each problem."""

    def unlikely(moment: Moment) -> Tensor:
        return torch.nn.functional.cross_entropy(logits(moment.latent).float(), label[moment.problem], reduction="none")

    return unlikely


def action_size(moment: Moment) -> Float[Tensor, " n"]:
    """Squared length of the action, in the units of the model."""
    return moment.action.square().sum(1)


def action_change(previous: Float[Tensor, "B A"] | None = None) -> Term:
    """Squared change from action to action, in the units of the model; from `previous`, the one executed last, to the
    first one where it is given."""

    def change(moment: Moment) -> Tensor | float:
        before = moment.before
        if before is None:
            if previous is None:
                return 0.0
            before = previous[moment.problem]
        return (moment.action - before).square().sum(1)

    return change


def disagreement(ensemble: Ensemble) -> Term:
    """Variance of the latents over the members of an ensemble of dynamics, summed over features and tokens.

    The dynamics of the energy must be that ensemble. Source: Pathak et al. (1906.04161), there sought, here avoided.
    """

    def spread(moment: Moment) -> Tensor:
        return ensemble.latents(moment.state).float().var(0, correction=0).flatten(1).sum(1)

    return spread


def named(measure: str) -> Measure:
    """The distance of that name.

    Raises:
        ConfigError: there is none.
    """
    if measure not in MEASURES:
        raise ConfigError(f"there is no distance {measure!r}; known: {', '.join(MEASURES)}, and learned")
    return MEASURES[measure]


@runtime_checkable
class Shaped(Protocol):
    """A world model whose latents were shaped by a distance of its own, such as the steps that are left to a goal."""

    def goal_distance(self, z: Float[Tensor, "n *L D"], goal: Float[Tensor, "n *L D"]) -> Float[Tensor, " n"]:
        """How far latents are from those of their goals, >= 0."""
        ...


def chosen(distance: str, model: object) -> Measure:
    """The distance of that name; "learned" is the one that the model was trained to have.

    Raises:
        ConfigError: there is none of that name, or the model has none of its own.
    """
    if distance != "learned":
        return named(distance)
    if not isinstance(model, Shaped):
        raise ConfigError(
            f"{type(model).__name__} learned no distance to goals: set planning.distance to one of "
            f"{', '.join(MEASURES)}, or train a method that does, such as value_guided"
        )
    return model.goal_distance
