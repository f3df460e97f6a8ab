"""How a world model is used and judged: the planner, what it minimises, and the harness around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError, require
from .cem import CEM
from .gradient import Gradient
from .icem import ICEM
from .mppi import MPPI
from .shooting import PredictiveSampling, RandomShooting


# A file names no classes, so a planner is known by its fields; the one whose fields all others have comes first.
@dataclass(frozen=True)
class Planning:
    """Receding-horizon planning to goals that are given as images."""

    planner: RandomShooting | CEM | ICEM | MPPI | Gradient | PredictiveSampling = CEM()
    """the planner and its sizes; which one is the recipe's choice, its fields are flags"""
    earlier_weight: float = 0.02
    """weight of the latents before the last one in the energy; 0 is the last alone, 1 the sum over steps"""
    execute: int = 2
    """macro-steps of a plan that are executed before the next plan"""
    budget: int = 90
    """raw steps of an episode; success is reaching the goal after any of them"""
    goals: int = 100
    """tasks of each kind"""
    seed: int = 1_000_000
    """of the tasks; training never draws from it"""
    films: int = 6
    """episodes of each kind that are kept as pictures for the report"""
    distance: Literal["squared", "l1", "l2", "cosine"] = "squared"
    """of a latent, or of the state that a probe reads from it, to the goal"""
    action_cost: float = 0.0
    """weight of the squared length of actions in the energy, in the units of the model"""
    change_cost: float = 0.0
    """weight of their squared change from step to step"""

    def __post_init__(self) -> None:
        if min(self.execute, self.budget, self.goals) < 1 or self.films < 0 or self.earlier_weight < 0:
            raise ConfigError(
                f"execute {self.execute}, budget {self.budget}, goals {self.goals}, films {self.films}, earlier_weight "
                f"{self.earlier_weight}; the first three are 1 or more, the others 0 or more"
            )
        require(0, float("inf"), action_cost=self.action_cost, change_cost=self.change_cost)
