"""Receding-horizon control in many worlds at once, and what came of it.

Nothing stops early: an episode that has reached its goal goes on to be planned for, so that success at any step and
success at the end come from the same run. The environment is known by its contract only, and one that throws or returns
a state that is not finite has failed: it stays as it was last seen, and the others go on. What a policy sees as history
is what was executed, never what was planned.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ..contracts import Environment
from ..errors import ConfigError, ShapeError
from ..functional.statistics import wilson
from ..types import Batch
from .policies import Policy, Receding, Scripted

__all__ = ["Outcome", "Policy", "Receding", "Scripted", "control"]
Reached = Callable[[Float[Tensor, "E S"]], Bool[Tensor, " E"]]
FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, MemoryError, NameError, OSError, RuntimeError,
          TypeError, ValueError)  # fmt: skip
STACKED = ("image", "proprio")  # of an observation: what a context holds of several steps


@dataclass(frozen=True)
class Outcome:
    """What happened in E episodes of `budget` raw steps.

    at_start, reached, at_end: whether the goal was met before the first step, after any step, after the last one; never
            in an episode that failed.
    first:  raw steps until the goal was met first, -1 where it never was.
    states: the truth before the first and after every step.
    frames: of the filmed episodes, aligned with `states`.
    filmed: numbers of those episodes.
    seconds, plans: wall time spent in the policy, and how many plans (episodes x replanning times) it made in it.
    evaluations: steps of a model that were computed for them, a step of a candidate counting once.
    failures: why an episode failed, by its number.
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
    evaluations: int = 0
    failures: dict[int, str] = field(default_factory=dict)

    def row(self) -> dict[str, object]:
        """The figures of a report: fractions, and Wilson intervals as [low, high].

        steps_to_success: median over the goals that were met, and the middle half of them. seconds_per_action and
        evaluations_per_action: of the policy alone, over all raw actions of all episodes, which are planned together.
        """
        goals, actions = len(self.reached), self.states.shape[0] * (self.states.shape[1] - 1)
        reached, at_end = int(self.reached.sum()), int(self.at_end.sum())
        steps = self.first[self.reached].double()
        row: dict[str, object] = {
            "success": reached / goals,
            "interval": wilson(reached, goals),
            "at_end": at_end / goals,
            "at_end_interval": wilson(at_end, goals),
            "at_start": int(self.at_start.sum()) / goals,
            "goals": goals,
            "seconds_per_plan": self.seconds / max(1, self.plans),
            "seconds_per_action": self.seconds / actions,
            "evaluations_per_action": self.evaluations / actions,
            "failed": len(self.failures),
        }
        if len(steps):
            row["steps_to_success"] = float(steps.median())
            row["steps_to_success_half"] = steps.quantile(torch.tensor([0.25, 0.75], dtype=torch.float64)).tolist()
        if self.failures:
            row["failures"] = sorted(set(self.failures.values()))[:5]
        return row

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
        ConfigError: a budget, frame skip or history below 1, an episode to film that is not there, no `state`, or
            actions of the policy that are not finite.
        ShapeError: the policy gives actions of another shape, or no whole macro-steps.
    """
    _check(env, first, budget, frame_skip, history, film)
    worlds = _Worlds(env, first)
    done, memory, plans, seconds = 0, None, 0, 0.0
    seen, macros = [_stacked(worlds.now)], []
    states, frames = [worlds.now["state"]], [_picture(first, film)]
    while done < budget:
        context = _context(seen, macros, worlds.now, frame_skip * len(env.low))
        begun = time.perf_counter()
        actions, memory = policy(context, done, memory)
        seconds, plans = seconds + time.perf_counter() - begun, plans + env.count
        _check_actions(actions, env, frame_skip, budget - done)
        for macro in actions[:, : budget - done].split(frame_skip, 1):
            for action in macro.unbind(1):
                now = worlds.step(action)
                states.append(now["state"])
                frames.append(_picture(now, film))
            seen, macros = [*seen, _stacked(worlds.now)][-history:], [*macros, macro.flatten(1)][-history:]
            done += macro.shape[1]
    met = torch.stack([reached(state) for state in states], 1)  # [E, 1 + budget]
    met[list(worlds.failures)] = False
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
        evaluations=int(getattr(memory, "evaluations", 0)),
        failures=worlds.failures,
    )


class _Worlds:
    """The worlds of an environment; one that fails stays as it was last seen."""

    def __init__(self, env: Environment, first: Batch) -> None:
        self.env, self.failures = env, dict[int, str]()
        bad = ~first["state"].isfinite().all(1)
        self._note(bad)
        self.now = {**first, "state": first["state"].where(~bad[:, None], 0.0)}

    def step(self, action: Float[Tensor, "E A"]) -> Batch:
        """What is seen after one action."""
        if len(self.failures) == self.env.count:
            return self.now
        try:
            seen = self.env.step(action)[0]
        except FAULTS as error:  # one tensor of worlds has failed as a whole; `envs.apart` keeps them apart
            for i in set(range(self.env.count)) - self.failures.keys():
                self.failures[i] = f"{type(error).__name__}: {error}"
            return self.now
        self._note(~seen["state"].isfinite().all(1))
        if self.failures:
            still = torch.zeros(self.env.count, dtype=torch.bool)
            still[list(self.failures)] = True
            seen = {name: value.clone() for name, value in seen.items()}
            for name, value in seen.items():
                value[still] = self.now[name][still]
        self.now = seen
        return seen

    def _note(self, bad: Bool[Tensor, " E"]) -> None:
        told = getattr(self.env, "failures", {})
        for i in bad.nonzero().flatten().tolist():
            self.failures.setdefault(i, told.get(i, "its state is NaN or infinite"))


def _stacked(observation: Batch) -> Batch:
    return {name: observation[name] for name in STACKED if name in observation}


def _context(seen: list[Batch], macros: list[Tensor], now: Batch, width: int) -> Batch:
    """The last frames, one per macro-step, and the macro-actions between them; the rest as it is now."""
    between = macros[len(macros) - len(seen) + 1 :]
    image = seen[0]["image"]
    action = torch.stack(between, 1) if between else image.new_zeros(len(image), 0, width, dtype=torch.float32)
    return {**now, **{name: torch.stack([part[name] for part in seen], 1) for name in seen[0]}, "action": action}


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
    if not bool(actions.isfinite().all()):
        rows = (~actions.isfinite().flatten(1).all(1)).nonzero().flatten().tolist()
        raise ConfigError(f"the policy gave NaN or infinite actions for episodes {rows}; mend the policy")
