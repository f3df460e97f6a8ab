"""What acts: a planner that replans from each context, and a script."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Energy, Plan, Planner
from ..errors import ConfigError
from ..randomness import Random
from ..types import Batch
from .plans import Project


@runtime_checkable
class Policy(Protocol):
    """What to do next, given what was seen. Its memory is explicit: None at first, then what it returned last.

    A memory that has a number `evaluations` tells how many steps of a model were computed so far.
    """

    def __call__(self, context: Batch, step: int, memory: object) -> tuple[Float[Tensor, "E n A"], object]:
        """Raw actions for the next n steps and the new memory; `step` raw steps were taken before."""
        ...


@dataclass(frozen=True)
class Thought:
    """The last plan, and the steps of the model that were computed for all plans so far.

    One step of one candidate is one evaluation, so a plan of H steps of one candidate takes H.
    """

    plan: Plan
    evaluations: int


@dataclass(frozen=True)
class Receding:
    """A policy that plans from each context, executes the first macro-steps of the plan and starts the next one there.

    energy:      maps a context to the energy of plans in the environment's units; a context holds `image`
                 [E, T, C, h, w] uint8 with one frame per macro-step, `action` [E, T - 1, frame_skip * A] raw actions
                 between them, `state` [E, S] where the world tells it, and `index` [E], the number of the episode.
    low, high:   [A] bounds of a raw action.
    execute:     macro-steps that are executed before planning again.
    frame_skip:  raw steps for which each action of the plan is held.
    chunk:       problems planned at once; more does not change a plan, only memory and speed.
    proposals:   plans [B, P, H, A] that compete beside the planner's own, from a context and the raw steps taken.
    project:     maps plans to allowed ones.
    """

    planner: Planner
    energy: Callable[[Batch], Energy]
    low: Float[Tensor, " A"]
    high: Float[Tensor, " A"]
    execute: int = 2
    frame_skip: int = 1
    seed: int = 0
    chunk: int = 16
    proposals: Callable[[Batch, int], Float[Tensor, "B P H A"]] | None = None
    project: Project | None = None

    def __post_init__(self) -> None:
        if min(self.execute, self.frame_skip, self.chunk) < 1:
            raise ConfigError(
                f"execute {self.execute}, frame_skip {self.frame_skip}, chunk {self.chunk}; each must be 1 or more"
            )
        taken = inspect.signature(self.planner).parameters
        refused = [name for name in ("proposals", "project") if getattr(self, name) is not None and name not in taken]
        if refused:
            raise ConfigError(f"{type(self.planner).__name__} takes no {' and no '.join(refused)}; CEM takes both")

    def __call__(self, context: Batch, step: int, memory: object) -> tuple[Float[Tensor, "E n A"], Thought]:
        """Plan for all episodes, chunk by chunk; `memory` is None or the last `Thought`.

        Raises:
            ConfigError: the planner's horizon is shorter than what is to be executed.
        """
        thought = memory if isinstance(memory, Thought) else None
        start = None if thought is None else thought.plan.shifted(self.execute)
        plans, spent = [], 0 if thought is None else thought.evaluations
        for rows in torch.arange(len(context["index"])).split(self.chunk):
            part = {name: value[rows] for name, value in context.items()}
            energy, count = counted(self.energy(part))
            options: dict[str, object] = {} if self.project is None else {"project": self.project}
            if self.proposals is not None:
                options["proposals"] = self.proposals(part, step)
            first = None if start is None else start[rows]
            random = Random(self.seed, step, part["index"])
            plans.append(self.planner(energy, self.low, self.high, random, first, **options))  # type: ignore[call-arg]
            spent += count()
        plan = Plan(
            torch.cat([p.actions for p in plans]),
            torch.cat([p.energy for p in plans]),
            torch.cat([p.std for p in plans]),
        )
        if plan.actions.shape[1] < self.execute:
            raise ConfigError(
                f"a plan has {plan.actions.shape[1]} macro-steps, execute asks for {self.execute} of them"
            )
        return plan.actions[:, : self.execute].repeat_interleave(self.frame_skip, 1), Thought(plan, spent)


@dataclass(frozen=True)
class Scripted:
    """A policy that plays given raw actions, whatever it sees: the random floor, or a recorded episode."""

    actions: Float[Tensor, "E N A"]

    def __call__(self, context: Batch, step: int, memory: object) -> tuple[Float[Tensor, "E n A"], object]:
        """All actions from `step` on.

        Raises:
            ConfigError: the script is over.
        """
        if step >= self.actions.shape[1]:
            raise ConfigError(f"the script has {self.actions.shape[1]} actions, step {step} was asked; give it more")
        return self.actions[:, step:], None


def counted(energy: Energy) -> tuple[Energy, Callable[[], int]]:
    """The energy, and a function that tells how many steps of a model it has computed: candidates times steps."""
    spent = [0]

    def counting(actions: Float[Tensor, "B S H A"]) -> Float[Tensor, "B S"]:
        spent[0] += actions.shape[:3].numel()
        return energy(actions)

    return counting, lambda: spent[0]
