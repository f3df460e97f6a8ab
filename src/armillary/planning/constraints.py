"""What plans must not do: regions that cost, and projections of actions onto allowed ones.

Regions are terms of an energy, in the space of latents or, `through` a probe, of states:
`through(probe, forbidden(low, high))`. They bend plans away and forbid nothing for certain; a projection does, and goes
to planners as `project`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ..errors import ConfigError, ShapeError
from .energies import Moment, Term
from .plans import Project


def forbidden(low: Float[Tensor, " D"], high: Float[Tensor, " D"]) -> Term:
    """How deep a point is inside the box from `low` to `high`: distance to the nearest face, 0 outside.

    An infinite bound leaves a side open.
    Raises:
        ConfigError: low is not below high everywhere.
    """
    _check(low, high)

    def depth(moment: Moment) -> Tensor:
        at = _points(moment.latent, len(low))
        return torch.minimum(at - low, high - at).amin(1).clamp_min(0)

    return depth


def avoided(center: Float[Tensor, " D"], radius: float) -> Term:
    """How deep a point is inside a ball, 0 outside.

    Raises:
        ConfigError: the radius is not above 0.
    """
    if not radius > 0:
        raise ConfigError(f"radius is {radius}; a ball to avoid has one above 0")

    def depth(moment: Moment) -> Tensor:
        return (radius - (_points(moment.latent, len(center)) - center).norm(dim=1)).clamp_min(0)

    return depth


def confined(low: Float[Tensor, " D"], high: Float[Tensor, " D"]) -> Term:
    """How far a point is outside the box from `low` to `high`, summed over its coordinates; 0 inside.

    Raises:
        ConfigError: low is not below high everywhere.
    """
    _check(low, high)

    def outside(moment: Moment) -> Tensor:
        at = _points(moment.latent, len(low))
        return ((low - at).clamp_min(0) + (at - high).clamp_min(0)).sum(1)

    return outside


def fixed(values: dict[int, float]) -> Project:
    """Plans in which some numbers of every action have one value, e.g. a gripper that stays shut, {6: 1.0}."""

    def held(plans: Float[Tensor, "B S H A"]) -> Float[Tensor, "B S H A"]:
        plans = plans.clone()
        for place, value in values.items():
            plans[..., place] = value
        return plans

    return held


def steady(most: Sequence[float], previous: Float[Tensor, "B A"] | None = None) -> Project:
    """Plans whose actions change by at most `most`, one number each, from step to step, the earlier step being kept.

    previous: what was executed last; the first action is held to it, too.
    Raises:
        ConfigError: a number that is not above 0.
    """
    if min(most, default=0.0) <= 0:
        raise ConfigError(f"the largest changes are {tuple(most)}; give one above 0 for each number of an action")

    def bound(plans: Float[Tensor, "B S H A"]) -> Float[Tensor, "B S H A"]:
        if plans.shape[-1] != len(most):
            raise ShapeError(f"{len(most)} largest changes for actions of {plans.shape[-1]} numbers; give one each")
        limit = plans.new_tensor(most)
        now = plans[:, :, 0] if previous is None else previous[:, None].to(plans)
        kept = []
        for action in plans.unbind(2):
            now = torch.clamp(action, now - limit, now + limit)
            kept.append(now)
        return torch.stack(kept, 2)

    return bound


def chained(*projections: Project) -> Project:
    """One projection after another."""

    def all_of(plans: Float[Tensor, "B S H A"]) -> Float[Tensor, "B S H A"]:
        for project in projections:
            plans = project(plans)
        return plans

    return all_of


def _check(low: Tensor, high: Tensor) -> None:
    if low.shape != high.shape or not bool((low < high).all()):
        raise ConfigError(f"a region from {low.tolist()} to {high.tolist()}; give as many bounds, low below high")


def _points(latent: Tensor, width: int) -> Tensor:
    if latent.ndim != 2 or latent.shape[1] != width:
        raise ShapeError(
            f"a region of {width} coordinates for latents {tuple(latent.shape[1:])}; read points of that many out of "
            "them with `through`"
        )
    return latent
