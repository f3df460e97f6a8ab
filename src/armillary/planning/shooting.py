"""Planners that only draw and keep the best: random shooting, and predictive sampling around the current plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Energy, Plan
from ..errors import ConfigError, require
from ..randomness import Random
from .noise import knotted
from .plans import Project, best_of, evaluate, first_mean, within
from .search import Fraction, spread


@dataclass(frozen=True)
class RandomShooting:
    """Plan by drawing candidates uniformly inside the bounds: the floor for cleverer planners at equal evaluations."""

    horizon: int = 5
    """macro-steps of a plan"""
    samples: int = 3000
    """candidates; the start is one more"""

    def __post_init__(self) -> None:
        if min(self.horizon, self.samples) < 1:
            raise ConfigError(f"horizon {self.horizon}, samples {self.samples}; both must be 1 or more")

    @torch.no_grad()
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
        """The lowest-energy plan among the start and the candidates; `std` is the spread of the candidates.

        An energy that is not finite counts as infinite; where none is finite the start comes back with energy inf.
        Raises:
            ConfigError, ShapeError: as `CEM`.
        """
        inside = within(low, high, project)
        start = inside(first_mean(low, high, random, self.horizon, start)[:, None])
        plans = low + (high - low) * random.uniform("shooting", self.samples, self.horizon, len(low))  # [B, S, H, A]
        plans = inside(plans)  # rounding may reach past the upper bound
        std = plans.std(1, correction=0)
        return best_of(Plan(start[:, 0], evaluate(energy, start)[:, 0], std), plans, evaluate(energy, plans), std)


@dataclass(frozen=True)
class PredictiveSampling:
    """Plan by keeping the best of noisy copies of the current plan. Source: Howell et al. (2212.00541).

    The paper makes one round per control step on a spline of few knots and warm-starts the next one; so does this
    with iterations = 1 and the last plan as the start. The noise lives on the knots, the start is taken as it is.
    """

    horizon: int = 5
    """macro-steps of a plan"""
    samples: int = 300
    """noisy copies in each round; the plan itself competes too"""
    iterations: int = 10
    """rounds; each starts from the best plan so far"""
    std: Fraction = 0.1
    """standard deviation of the noise at the knots, as a fraction of each action's range"""
    knots: int | None = None
    """points at which noise is drawn, evenly spaced from the first step to the last; None is every step"""
    between: Literal["linear", "hold"] = "linear"
    """how the noise goes from knot to knot"""

    def __post_init__(self) -> None:
        require(1, float("inf"), horizon=self.horizon, samples=self.samples, iterations=self.iterations)
        require(1, self.horizon, knots=self.horizon if self.knots is None else self.knots)
        require(1e-9, float("inf"), std=self.std)

    @torch.no_grad()
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
        """The lowest-energy plan among the start and all candidates; `std` is the spread of the last round.

        An energy that is not finite counts as infinite; where none is finite the start comes back with energy inf.
        Raises:
            ConfigError, ShapeError: as `CEM`.
        """
        inside = within(low, high, project)
        first = inside(first_mean(low, high, random, self.horizon, start)[:, None])
        scale, knots = spread(self.std, high - low), self.knots or self.horizon
        best = Plan(first[:, 0], evaluate(energy, first)[:, 0], torch.zeros_like(first[:, 0]))
        for i in range(self.iterations):
            white = random.normal(f"predictive/{i}", self.samples, knots, len(low))
            noise = scale * knotted(white, self.horizon, self.between == "linear")
            plans = inside(best.actions[:, None] + noise)
            best = best_of(best, plans, evaluate(energy, plans), plans.std(1, correction=0))
        return best
