"""Planning in two levels of one space of latents: macro-actions to the goal, then actions to the first latent there.

The high level minimizes its energy over macro-actions, as any planner does. The latent that its first macro-action is
predicted to lead to is the sub-goal, and the low level plans to it as it would to a goal. Both plan again from each
context. Where one step of the high level would lead to the goal, as a search over that step alone tells, the low level
plans to the goal itself: the way there may be shorter than the step, and the high level's errors would blur it.
Source: HWM (2604.03208); kevinghst/HWM_PLDM:pldm/planning/planners/two_lvl_planner.py, which plans flat in the last 15
steps of an episode instead (pldm/planning/mpc.py, `_perform_h_mpc`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..contracts import Dynamics, Plan, Planner
from ..errors import ShapeError
from ..randomness import Random
from ..types import Batch
from .energies import Term, energy_of, last, scaled, squared, summed, to_goal
from .policies import Receding, Thought, counted
from .settings import Hierarchy
from .terms import Measure, action_size

Kind = TypeVar("Kind")
State = tuple[Tensor, ...]
AIM = "aim"  # in a context: the latents that the low level is to reach
SALT = {"ahead": 1, "near": 2}  # of random numbers


@runtime_checkable
class HighLevel(Dynamics[Kind], Protocol[Kind]):
    """Dynamics of macro-actions in the latents of a lower level."""

    @property
    def low(self) -> Float[Tensor, " M"]:
        """Least numbers of a macro-action."""
        ...

    @property
    def high(self) -> Float[Tensor, " M"]:
        """Largest numbers of a macro-action."""
        ...

    @property
    def stride(self) -> int:
        """Steps of the lower level in one of this."""
        ...

    @property
    def reach(self) -> Float[Tensor, ""]:
        """The mean squared distance of latents one step apart."""
        ...


@dataclass(frozen=True)
class Thoughts:
    """What was thought last. high: macro-actions; low: the plan to `aim`, which is the goal itself where it is `near`.

    evaluations: of both levels together, `high_evaluations` those of the high one; a step of either counts once.
    """

    step: int
    high: Plan
    high_evaluations: int
    aim: Float[Tensor, "E *L D"]
    near: Bool[Tensor, " E"]
    low: Thought

    @property
    def evaluations(self) -> int:
        """Steps of a model that were computed so far."""
        return self.high_evaluations + self.low.evaluations


@dataclass(frozen=True)
class TwoLevels:
    """A policy that plans macro-actions to the goal and actions to the first latent on that way.

    below: the low level, whose energy takes what it is to reach from the context's `aim`; its chunk, seed and frame
           skip are those of both.
    high:  dynamics of the high level. start: their state in a context.
    goal:  [E, *L, D] latents of the goals, by the number of the episode.
    """

    settings: Hierarchy
    below: Receding
    high: HighLevel[Any]
    start: Callable[[Batch], State]
    goal: Float[Tensor, "E *L D"]
    measure: Measure = squared

    def __call__(self, context: Batch, step: int, memory: object) -> tuple[Float[Tensor, "E n A"], Thoughts]:
        """Plan for all episodes, chunk by chunk; `memory` is None or the last `Thoughts`.

        Raises:
            ShapeError: the high level's latents are not of the goals' shape.
            ConfigError: as `Receding`.
        """
        before = memory if isinstance(memory, Thoughts) else None
        begun = None if before is None else before.high.shifted(self._passed(before.step, step))
        parts, spent = [], 0 if before is None else before.high_evaluations
        for rows in torch.arange(len(context["index"])).split(self.below.chunk):
            part = {name: value[rows] for name, value in context.items()}
            with torch.no_grad():
                state = self.start(part)
            plan, first, count = self._ahead(part, step, state, None if begun is None else begun[rows])
            near, more = self._near(part, step, state)
            parts.append((plan.actions, plan.energy, plan.std, first, near))
            spent += count + more
        *plan, first, near = map(torch.cat, zip(*parts, strict=True))
        goal = self.goal[context["index"]]
        aim = torch.where(near.view(-1, *[1] * (goal.ndim - 1)), goal, first)
        actions, low = self.below({**context, AIM: aim}, step, None if before is None else before.low)
        return actions, Thoughts(step, Plan(*plan), spent, aim, near, low)

    def _ahead(
        self, context: Batch, step: int, state: State, begun: Float[Tensor, "B H M"] | None
    ) -> tuple[Plan, Float[Tensor, "B *L D"], int]:
        """The macro-actions of some episodes to their goals, and the latents after the first of them."""
        goal, found = self.goal[context["index"]], self.high.latent(state)
        if found.shape != goal.shape:
            raise ShapeError(
                f"latents {tuple(found.shape)} of the high level for goals {tuple(goal.shape)}; both are of one space, "
                "so give the goals as latents of the same model"
            )
        term = last(to_goal(goal, self.measure), self.settings.earlier_weight)
        if self.settings.macro_cost:
            term = summed(term, scaled(action_size, self.settings.macro_cost))
        return self._searched(self.settings.high, term, state, self._random(context, step, "ahead"), begun)

    def _near(self, context: Batch, step: int, state: State) -> tuple[Bool[Tensor, " B"], int]:
        """Whether one step of the high level alone would lead to the goal: a search over it. With near 0 none does."""
        goal = self.goal[context["index"]]
        if self.settings.near == 0:
            return torch.zeros(len(goal), dtype=torch.bool, device=goal.device), 0
        knots = {"knots": 1} if getattr(self.settings.high, "knots", None) else {}
        planner = replace(self.settings.high, horizon=1, **knots)
        random = self._random(context, step, "near")
        _, there, count = self._searched(planner, to_goal(goal, self.measure), state, random, None)
        return squared(there, goal) <= self.settings.near * self.high.reach, count

    def _searched(
        self, planner: Planner, term: Term, state: State, random: Random, begun: Float[Tensor, "B H M"] | None
    ) -> tuple[Plan, Float[Tensor, "B *L D"], int]:
        """The best macro-actions, the latents after the first of them, and the steps of the model that it took."""
        energy, count = counted(energy_of(self.high, state, term))
        plan = planner(energy, self.high.low, self.high.high, random, begun)
        with torch.no_grad():
            first = self.high.latent(self.high.step(state, plan.actions[:, 0]))
        return plan, first, count() + len(first)

    def _random(self, context: Batch, step: int, search: str) -> Random:
        """Other numbers for each search, and for the low level's."""
        return Random(self.below.seed, step, context["index"]).child(SALT[search])

    def _passed(self, before: int, now: int) -> int:
        """Whole steps of the high level that were passed between two raw steps of the episode."""
        raw = self.high.stride * self.below.frame_skip
        return now // raw - before // raw
