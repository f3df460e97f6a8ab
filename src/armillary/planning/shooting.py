"""Random shooting: draw plans, keep the best. The floor that a cleverer planner must beat at equal evaluations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Energy, Plan
from ..errors import ConfigError
from ..randomness import Random
from .cem import better, evaluate, first_mean


@dataclass(frozen=True)
class RandomShooting:
    """Plan by drawing candidates uniformly inside the bounds, every action for itself."""

    horizon: int = 5  # macro-steps of a plan
    samples: int = 3000  # candidates; the start is one more

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
    ) -> Plan:
        """The lowest-energy plan among the start and the candidates; `std` is the spread of the candidates.

        An energy that is not finite counts as infinite; where none is finite the start comes back with energy inf.
        Raises:
            ConfigError, ShapeError: as `CEM`.
        """
        start = first_mean(low, high, random, self.horizon, start)
        plans = low + (high - low) * random.uniform("shooting", self.samples, self.horizon, len(low))  # [B, S, H, A]
        plans = plans.clamp(low, high)  # rounding may reach past the upper bound
        std = plans.std(1, correction=0)
        value, index = evaluate(energy, plans).min(1)
        drawn = plans[torch.arange(len(plans), device=plans.device), index]
        return better(Plan(start, evaluate(energy, start[:, None])[:, 0], std), drawn, value, std)
