"""How a world model is used and judged: the planner, what it minimises, and the harness around it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..errors import ConfigError, require
from .cem import CEM
from .gradient import Gradient
from .icem import ICEM
from .mppi import MPPI
from .shooting import PredictiveSampling, RandomShooting

# A file names no classes, so a planner is known by its fields; the one whose fields all others have comes first.
Search = RandomShooting | CEM | ICEM | MPPI | Gradient | PredictiveSampling


@dataclass(frozen=True)
class Hierarchy:
    """Planning in two levels, for methods that have two; see `planning.hierarchy`. Source: HWM (2604.03208)."""

    high: Search = CEM(std=0.25)
    """planner of macro-actions, whose horizon counts steps of the high level"""
    low: Search = CEM()
    """planner of actions to the sub-goal; its horizon should be the method's stride, one step of the high level"""
    earlier_weight: float = 0.1
    """weight, in the high level's energy, of the latents before the last one"""
    macro_cost: float = 0.0
    """weight, in the same, of the squared length of macro-actions in standard deviations of training"""
    bound: float = 2.0
    """largest macro-action, each number in standard deviations of training"""
    near: float = 0.25
    """plan to the goal itself where one step of the high level leads so near: a share of the squared distance that such
    a step goes in training; 0 never does"""

    def __post_init__(self) -> None:
        require(0, float("inf"), earlier_weight=self.earlier_weight, macro_cost=self.macro_cost, near=self.near)
        require(1e-6, float("inf"), bound=self.bound)


@dataclass(frozen=True)
class Planning:
    """Receding-horizon planning to goals that are given as images."""

    planner: Search = CEM()
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
    distance: Literal["squared", "l1", "l2", "cosine", "learned"] = "squared"
    """of a latent, or of the state that a probe reads from it, to the goal; learned: of methods that train one"""
    action_cost: float = 0.0
    """weight of the squared length of actions in the energy, in the units of the model"""
    change_cost: float = 0.0
    """weight of their squared change from step to step"""
    hierarchy: Hierarchy | None = None
    """planning in two levels, where the method has them; `planner` is then that of `plan --flat` and true dynamics"""

    def __post_init__(self) -> None:
        if min(self.execute, self.budget, self.goals) < 1 or self.films < 0 or self.earlier_weight < 0:
            raise ConfigError(
                f"execute {self.execute}, budget {self.budget}, goals {self.goals}, films {self.films}, earlier_weight "
                f"{self.earlier_weight}; the first three are 1 or more, the others 0 or more"
            )
        require(0, float("inf"), action_cost=self.action_cost, change_cost=self.change_cost)


def described(settings: Any) -> dict[str, object]:
    """Settings with the name of their class, as reports tell them."""
    return {"name": type(settings).__name__, **asdict(settings)}
