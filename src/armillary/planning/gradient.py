"""Gradient planners: descend the energy through the model, from several starts at once, inside the bounds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Energy, Plan
from ..errors import ConfigError, require
from ..randomness import Random
from .plans import Project, best_of, evaluate, first_mean, within
from .search import Fraction, spread


@dataclass(frozen=True)
class Gradient:
    """Plan by gradient descent on the energy, which must be differentiable in the actions.

    Steps are taken where every action's range has length 1, so that one rate suits all of them; a rate r of SGD is
    r * range^2 in the actions' own units. After each step plans are projected to the bounds.
    Source: DINO-WM (2411.04983), whose planner is SGD with rate 1 and noise 0.003 in normalized actions. The
    "AdamPlanner" of jepa-wms (2512.24497) never steps its optimizer, its rows are SGD; this one steps
    `torch.optim.Adam`.
    """

    horizon: int = 5
    """macro-steps of a plan"""
    optimizer: Literal["adam", "sgd"] = "adam"
    """which rule takes the steps"""
    steps: int = 100
    """gradient steps"""
    rate: float = 0.03
    """of a step; Adam moves about this fraction of the range per step"""
    momentum: float = 0.0
    """of SGD"""
    restarts: int = 4
    """plans that descend side by side for each problem; the first one from the start"""
    std: Fraction = 0.25
    """spread of the other restarts around the start, as a fraction of each action's range"""
    noise: float = 0.0
    """standard deviation of noise added after every step, as a fraction of each action's range"""

    def __post_init__(self) -> None:
        require(1, float("inf"), horizon=self.horizon, steps=self.steps, restarts=self.restarts)
        require(1e-9, float("inf"), rate=self.rate, std=self.std)
        require(0, float("inf"), noise=self.noise)
        require(0, 1, momentum=self.momentum)

    def __call__(
        self,
        energy: Energy,
        low: Float[Tensor, " A"],
        high: Float[Tensor, " A"],
        random: Random,
        start: Float[Tensor, "B H A"] | None = None,
        *,
        project: Project | None = None,
    ) -> Plan:
        """The lowest-energy plan that was seen on all descents; `std` is the spread of the restarts at the end.

        An energy that is not finite counts as infinite and its plan stays where it is, but for noise and momentum;
        where none is finite the start comes back with energy inf. The model's own parameters get no gradient.

        Args:
            energy: called steps + 1 times with [B, restarts, H, A]; gradients flow through it to the actions.
        Raises:
            ConfigError: as `CEM`, and energies that have no gradient with respect to the actions (computed under
                `no_grad`, say).
            ShapeError: as `CEM`.
        """
        span, inside = high - low, within(low, high, project)
        first = first_mean(low, high, random, self.horizon, start)
        others = random.normal("gradient/start", self.restarts - 1, *first.shape[1:]) * spread(self.std, span)
        plans = inside(torch.cat([first[:, None], first[:, None] + others], 1))
        place = ((plans - low) / span).requires_grad_()  # [B, R, H, A] in [0, 1]
        optimizer = self._optimizer(place)
        best = Plan(plans[:, 0], torch.full_like(plans[:, 0, 0, 0], torch.inf), torch.zeros_like(first))
        for i in range(self.steps):
            value, place.grad = descent(energy, plans, span)
            best = best_of(best, plans, value, best.std)
            optimizer.step()
            with torch.no_grad():
                if self.noise > 0:
                    place += self.noise * random.normal(f"gradient/{i}", *place.shape[1:])
                plans = inside(low + span * place)
                place.copy_((plans - low) / span)
        with torch.no_grad():
            return best_of(best, plans, evaluate(energy, plans), plans.std(1, correction=0))

    def _optimizer(self, place: Tensor) -> torch.optim.Optimizer:
        if self.optimizer == "adam":
            return torch.optim.Adam([place], lr=self.rate)
        return torch.optim.SGD([place], lr=self.rate, momentum=self.momentum)


def descent(
    energy: Energy, plans: Float[Tensor, "B R H A"], span: Float[Tensor, " A"]
) -> tuple[Float[Tensor, "B R"], Float[Tensor, "B R H A"]]:
    """Energies, and their gradients where every range has length 1; 0 where energy or gradient is not finite.

    Raises:
        ConfigError: energies differ between plans but no graph leads from them to the actions.
    """
    with torch.enable_grad():
        actions = plans.detach().requires_grad_()
        value = evaluate(energy, actions)
        slope = None
        if value.requires_grad:
            (slope,) = torch.autograd.grad(torch.where(value.isfinite(), value, 0.0).sum(), actions, allow_unused=True)
    if slope is None:
        if bool((value != value[:, :1]).any()):
            raise ConfigError(
                "the energy differs between plans but has no gradient with respect to the actions; compute it without "
                "no_grad and detach, or take a planner that samples, e.g. CEM"
            )
        slope = torch.zeros_like(actions)
    return value.detach(), torch.where(slope.isfinite(), slope * span, 0.0).detach()
