"""What every planner does with plans: start inside the bounds, project, evaluate, keep the better ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..contracts import Energy, Plan
from ..errors import ConfigError, ShapeError
from ..randomness import Random

Project = Callable[[Float[Tensor, "B S H A"]], Float[Tensor, "B S H A"]]


def first_mean(
    low: Float[Tensor, " A"],
    high: Float[Tensor, " A"],
    random: Random,
    horizon: int,
    start: Float[Tensor, "B H A"] | None,
) -> Float[Tensor, "B H A"]:
    """`start` inside the bounds, or the middle of the bounds for every problem.

    Raises:
        ConfigError: bounds that are not finite or not in order, a start that is not finite.
        ShapeError: a start of another shape than [problems, horizon, actions].
    """
    if not bool((low < high).all() & low.isfinite().all() & high.isfinite().all()):
        raise ConfigError(f"bounds are {low.tolist()} to {high.tolist()}; each must be finite and low below high")
    expected = (len(random.sample), horizon, len(low))
    if start is None:
        return ((low + high) / 2).expand(expected)
    if start.shape != expected:
        raise ShapeError(f"start of shape {tuple(start.shape)}; problems, horizon and actions make it {expected}")
    if not bool(start.isfinite().all()):
        raise ConfigError(
            "start holds NaN or infinite actions; give a finite plan, or None for the middle of the bounds"
        )
    return start.clamp(low, high)


def within(
    low: Float[Tensor, " A"],
    high: Float[Tensor, " A"],
    project: Project | None = None,
    max_norm: float | None = None,
) -> Project:
    """A projection: `project`, then actions of at most `max_norm`, then the bounds, which hold whatever came before."""

    def inside(plans: Float[Tensor, "B S H A"]) -> Float[Tensor, "B S H A"]:
        plans = plans if project is None else project(plans)
        return (plans if max_norm is None else shortened(plans, max_norm)).clamp(low, high)

    return inside


def shortened(plans: Float[Tensor, "B S H A"], max_norm: float) -> Float[Tensor, "B S H A"]:
    """Plans whose actions have a Euclidean norm of at most `max_norm`; longer ones keep their direction."""
    return plans * (max_norm / plans.norm(dim=-1, keepdim=True).clamp_min(max_norm))


def evaluate(energy: Energy, plans: Float[Tensor, "B S H A"]) -> Float[Tensor, "B S"]:
    """The energy of every candidate, with NaN and infinities as +inf.

    Raises:
        ShapeError: `energy` does not give one number per candidate.
    """
    value = energy(plans)
    if value.shape != plans.shape[:2]:
        raise ShapeError(
            f"the energy has shape {tuple(value.shape)} for candidates {tuple(plans.shape)}; "
            f"it must give one number per candidate, {tuple(plans.shape[:2])}"
        )
    return finite(value)


def finite(value: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Energies with NaN and infinities as +inf."""
    return torch.where(value.isfinite(), value, torch.inf)


def better(
    best: Plan, actions: Float[Tensor, "B H A"], energy: Float[Tensor, " B"], std: Float[Tensor, "B H A"]
) -> Plan:
    """`best`, replaced by `actions` for the problems where their energy is lower; `std` replaces the spread of all."""
    improved = energy < best.energy
    return Plan(
        torch.where(improved[:, None, None], actions, best.actions), torch.where(improved, energy, best.energy), std
    )


def best_of(
    best: Plan, plans: Float[Tensor, "B S H A"], energy: Float[Tensor, "B S"], std: Float[Tensor, "B H A"]
) -> Plan:
    """`best`, or for each problem the candidate of the lowest energy where that is lower."""
    value, index = energy.min(1)
    return better(best, take(plans, index[:, None])[:, 0], value, std)


def take(plans: Float[Tensor, "B S H A"], index: Int[Tensor, "B K"]) -> Float[Tensor, "B K H A"]:
    """The candidates at `index`, per problem."""
    return plans.gather(1, index[..., None, None].expand(-1, -1, *plans.shape[2:]))
