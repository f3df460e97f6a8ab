"""Receding-horizon control: plan, execute, shift, replan, in many worlds at once, and what came of it.

Nothing stops early: an episode that has reached its goal goes on to be planned for, so that success at any step and
success at the end come from the same run. The environment is known by its contract only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ..contracts import Energy, Environment, Plan, Planner
from ..errors import ConfigError, ShapeError
from ..functional.statistics import wilson
from ..randomness import Random
from ..types import Batch

Reached = Callable[[Float[Tensor, "E S"]], Bool[Tensor, " E"]]


@runtime_checkable
class Policy(Protocol):
    """What to do next, given what was seen. Its memory is explicit: None at first, then what it returned last."""

    def __call__(self, context: Batch, step: int, memory: Plan | None) -> tuple[Float[Tensor, "E n A"], Plan | None]:
        """Raw actions for the next n steps and the new memory; `step` raw steps were taken before."""
        ...


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
    """

    planner: Planner
    energy: Callable[[Batch], Energy]
    low: Float[Tensor, " A"]
    high: Float[Tensor, " A"]
    execute: int = 2
    frame_skip: int = 1
    seed: int = 0
    chunk: int = 16

    def __post_init__(self) -> None:
        if min(self.execute, self.frame_skip, self.chunk) < 1:
            raise ConfigError(
                f"execute {self.execute}, frame_skip {self.frame_skip}, chunk {self.chunk}; each must be 1 or more"
            )

    def __call__(self, context: Batch, step: int, memory: Plan | None) -> tuple[Float[Tensor, "E n A"], Plan | None]:
        """Plan for all episodes, chunk by chunk.

        Raises:
            ConfigError: the planner's horizon is shorter than what is to be executed.
        """
        start = None if memory is None else memory.shifted(self.execute)
        plans = []
        for rows in torch.arange(len(context["index"])).split(self.chunk):
            part = {name: value[rows] for name, value in context.items()}
            random = Random(self.seed, step, part["index"])
            first = None if start is None else start[rows]
            plans.append(self.planner(self.energy(part), self.low, self.high, random, first))
        plan = Plan(
            torch.cat([p.actions for p in plans]),
            torch.cat([p.energy for p in plans]),
            torch.cat([p.std for p in plans]),
        )
        if plan.actions.shape[1] < self.execute:
            raise ConfigError(
                f"a plan has {plan.actions.shape[1]} macro-steps, execute asks for {self.execute} of them"
            )
        return plan.actions[:, : self.execute].repeat_interleave(self.frame_skip, 1), plan


@dataclass(frozen=True)
class Scripted:
    """A policy that plays given raw actions, whatever it sees: the random floor, or a recorded episode."""

    actions: Float[Tensor, "E N A"]

    def __call__(self, context: Batch, step: int, memory: Plan | None) -> tuple[Float[Tensor, "E n A"], Plan | None]:
        """All actions from `step` on.

        Raises:
            ConfigError: the script is over.
        """
        if step >= self.actions.shape[1]:
            raise ConfigError(f"the script has {self.actions.shape[1]} actions, step {step} was asked; give it more")
        return self.actions[:, step:], None


@dataclass(frozen=True)
class Outcome:
    """What happened in E episodes of `budget` raw steps.

    at_start, reached, at_end: whether the goal was met before the first step, after any step, after the last one.
    first:  raw steps until the goal was met first, -1 where it never was.
    states: the truth before the first and after every step.
    frames: of the filmed episodes, aligned with `states`.
    filmed: numbers of those episodes.
    seconds, plans: wall time spent in the policy, and how many plans (episodes x replanning times) it made in it.
    """

    at_start: Bool[Tensor, " E"]
    reached: Bool[Tensor, " E"]
    at_end: Bool[Tensor, " E"]
    first: Int[Tensor, " E"]
    states: Float[Tensor, "E N S"]
    frames: UInt8[Tensor, "F N h w C"]
    filmed: tuple[int, ...]
    seconds: float
    plans: int

    def row(self) -> dict[str, float | int | list[float]]:
        """The figures of a report: fractions, and Wilson intervals as [low, high]."""
        goals = len(self.reached)
        reached, at_end = int(self.reached.sum()), int(self.at_end.sum())
        return {
            "success": reached / goals,
            "interval": wilson(reached, goals),
            "at_end": at_end / goals,
            "at_end_interval": wilson(at_end, goals),
            "at_start": int(self.at_start.sum()) / goals,
            "goals": goals,
            "seconds_per_plan": self.seconds / self.plans,
        }

    def film(self, image: UInt8[Tensor, "E C h w"], goals: Float[Tensor, "E S"]) -> dict[str, np.ndarray]:
        """The arrays of `episodes.npz` for the filmed episodes, given the goals' images and states.

        frames [F, N, h, w, C], goal [F, h, w, C], positions [F, N, 2], goals [F, 2], success [F]; a position is the
        first two numbers of a state.
        """
        index = torch.tensor(self.filmed, dtype=torch.int64)
        arrays = {
            "frames": self.frames,
            "goal": image[index].movedim(1, -1),
            "positions": self.states[index, :, :2],
            "goals": goals[index, :2],
            "success": self.reached[index],
            "first": self.first[index],
        }
        return {name: value.cpu().numpy() for name, value in arrays.items()}


@torch.no_grad()
def control(
    env: Environment,
    first: Batch,
    policy: Policy,
    reached: Reached,
    budget: int,
    frame_skip: int = 1,
    history: int = 1,
    film: Sequence[int] = (),
) -> Outcome:
    """Run a policy in every world of `env` for `budget` raw steps, from the observation `first`.

    Args:
        first: what the environment's reset returned, with `image` and `state`.
        reached: which states meet their goals, e.g. `lambda state: world.reached(state, tasks.goal)`.
        frame_skip: raw steps between the frames of a context, one macro-step.
        history: frames of a context; fewer at the beginning.
        film: numbers of the episodes whose frames are kept.
    Raises:
        ConfigError: a budget, frame skip or history below 1, an episode to film that is not there, or no `state`.
        ShapeError: the policy gives actions of another shape, or no whole macro-steps.
    """
    _check(env, first, budget, frame_skip, history, film)
    now, done, memory, plans, seconds = first, 0, None, 0, 0.0
    images, macros = [first["image"]], []
    states, frames = [first["state"]], [_picture(first, film)]
    while done < budget:
        context = _context(images, macros, now, frame_skip * len(env.low))
        begun = time.perf_counter()
        actions, memory = policy(context, done, memory)
        seconds, plans = seconds + time.perf_counter() - begun, plans + env.count
        _check_actions(actions, env, frame_skip, budget - done)
        for macro in actions[:, : budget - done].split(frame_skip, 1):
            for action in macro.unbind(1):
                now = env.step(action)[0]
                states.append(now["state"])
                frames.append(_picture(now, film))
            images, macros = [*images, now["image"]][-history:], [*macros, macro.flatten(1)][-history:]
            done += macro.shape[1]
    met = torch.stack([reached(state) for state in states], 1)  # [E, 1 + budget]
    after = met[:, 1:]
    return Outcome(
        at_start=met[:, 0],
        reached=after.any(1),
        at_end=after[:, -1],
        first=torch.where(after.any(1), after.int().argmax(1) + 1, -1),
        states=torch.stack(states, 1),
        frames=torch.stack(frames, 1),
        filmed=tuple(film),
        seconds=seconds,
        plans=plans,
    )


def _context(images: list[Tensor], macros: list[Tensor], now: Batch, width: int) -> Batch:
    """The last frames, one per macro-step, and the macro-actions between them; the rest as it is now."""
    between = macros[len(macros) - len(images) + 1 :]
    action = torch.stack(between, 1) if between else images[0].new_zeros(len(images[0]), 0, width, dtype=torch.float32)
    return {**now, "image": torch.stack(images, 1), "action": action}


def _picture(observation: Batch, film: Sequence[int]) -> UInt8[Tensor, "F h w C"]:
    return observation["image"][list(film)].movedim(1, -1)


def _check(env: Environment, first: Batch, budget: int, frame_skip: int, history: int, film: Sequence[int]) -> None:
    if min(budget, frame_skip, history) < 1:
        raise ConfigError(f"budget {budget}, frame_skip {frame_skip}, history {history}; each must be 1 or more")
    if "state" not in first or len(first["state"]) != env.count:
        raise ConfigError(
            f"success is judged on `state`, one row for each of {env.count} worlds, and the first observation has "
            f"{sorted(first)}; use an environment that tells its state and the observation that it began with"
        )
    strangers = [i for i in film if not 0 <= i < env.count]
    if strangers:
        raise ConfigError(f"episodes {strangers} cannot be filmed; there are 0 to {env.count - 1}")


def _check_actions(actions: Tensor, env: Environment, frame_skip: int, left: int) -> None:
    steps = actions.shape[1] if actions.ndim == 3 else 0
    whole = steps >= left or (steps > 0 and steps % frame_skip == 0)
    if actions.ndim != 3 or not whole or (len(actions), actions.shape[2]) != (env.count, len(env.low)):
        raise ShapeError(
            f"the policy gave actions {tuple(actions.shape)}; allowed is ({env.count}, n, {len(env.low)}), n a multiple"
            f" of the frame skip {frame_skip} or at least the {left} steps that are left"
        )
