"""Planning in a run's world, judged: the model beside random actions, cloning and the same planner on true dynamics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Energy, Method
from ..data.statistics import Statistics
from ..envs.apart import FAULTS, Apart
from ..envs.gym import Gym
from ..envs.tasks import Tasks, World
from ..functional.statistics import paired_success
from ..planning.cloning import Cloned
from ..planning.control import Outcome, control
from ..planning.energies import Term, energy_of, last, scaled, summed, through, to_goal
from ..planning.fast import folded
from ..planning.latency import fitting
from ..planning.policies import Receding, Scripted
from ..planning.readout import Readout, flat
from ..planning.rollout import held, normalized
from ..planning.settings import Planning
from ..planning.terms import action_change, action_size, named
from ..planning.windows import observed
from ..randomness import numbered
from ..recipes.run import Json, Run
from ..types import Batch
from .worlds import Tell, as_dynamics, ceiling, of_world, silent, within

Clone = Callable[[Float[Tensor, "n F"], Float[Tensor, "n D"]], Float[Tensor, "n A"]]


@dataclass(frozen=True)
class Actor:
    """A trained model that acts. readout: of the state, by which goals are given as states; None: they are images.

    clone: of the data, the floor; None where none was fitted. step_seconds: that a world may take for a step, 0 without
    limit. fast: plan with the model's folded weights, where it offers them; the same up to rounding.
    """

    method: Method
    statistics: Statistics
    run: Run
    readout: Readout | None = None
    clone: Clone | None = None
    step_seconds: float = 0.0
    fast: bool = False

    @property
    def history(self) -> int:
        """Frames that the model sees."""
        return int(getattr(self.method.config, "history", 1))

    def open(self, count: int) -> World:
        """The run's worlds, each apart where they are not ours, or where a step has a time limit."""
        rules = self.run.world
        if not isinstance(rules, Gym) and self.step_seconds <= 0:
            return rules.open(count)
        return Apart([lambda: cast(World, rules.open(1))] * count, self.step_seconds or None, faults())


def faults() -> tuple[type[BaseException], ...]:
    """What an environment of others may throw."""
    import gymnasium

    return (*FAULTS, gymnasium.error.Error)


def goal_latents(method: Method, statistics: Statistics, tasks: Tasks) -> Tensor:
    """The latents of the goals' images, as the dynamics make them of a single frame."""
    model = as_dynamics(method)
    with torch.no_grad():
        image = statistics.prepare({"image": tasks.image})["image"]
        none = image.new_zeros(len(image), 0, int(getattr(method.config, "action", 1)))
        return observed(model, {"image": image[:, None], "action": none}, rows=256)[:, 0]


def term(planning: Planning, goal: Tensor, readout: Readout | None = None) -> Term:
    """What a plan costs: the distance to the goal, of latents or of the states read from them, and its actions."""
    near = to_goal(goal, named(planning.distance))
    terms = [last(near if readout is None else through(readout, near), planning.earlier_weight)]
    terms += [scaled(action_size, planning.action_cost)] if planning.action_cost else []
    terms += [scaled(action_change(), planning.change_cost)] if planning.change_cost else []
    return terms[0] if len(terms) == 1 else summed(*terms)


def policy(actor: Actor, world: World, tasks: Tasks) -> Receding:
    """A receding-horizon policy on the learned model; it sees images and its own past actions, never the state."""
    (data, planning), model = of_world(actor.run), as_dynamics(actor.method)
    model = folded(model) if actor.fast else model
    mean, std = (torch.tensor(getattr(actor.statistics, k)["action"]) for k in ("mean", "std"))
    goal = tasks.goal if actor.readout else goal_latents(actor.method, actor.statistics, tasks)

    def energy(context: Batch) -> Energy:
        with torch.no_grad():
            state = model.start(seen(actor, context))
        latent = energy_of(model, state, term(planning, goal[context["index"]], actor.readout))
        return within(world, normalized(held(latent, data.frame_skip), mean, std))

    return Receding(planning.planner, energy, world.low, world.high, planning.execute, data.frame_skip, planning.seed)


def seen(actor: Actor, context: Batch) -> Batch:
    """What the model gets of a context: never the truth."""
    return actor.statistics.prepare({k: context[k] for k in ("image", "action", "proprio") if k in context})


def cloned(actor: Actor, world: World, tasks: Tasks) -> Cloned | None:
    """The cloned policy toward the goals' images, None where none was fitted."""
    if actor.clone is None:
        return None
    (data, _), model = of_world(actor.run), as_dynamics(actor.method)
    mean, std = (torch.tensor(getattr(actor.statistics, k)["action"]) for k in ("mean", "std"))

    def read(context: Batch) -> Tensor:
        return stacked(observed(model, seen(actor, context)), actor.history)[:, -1]

    def raw(action: Tensor) -> Tensor:
        return action.unflatten(1, (data.frame_skip, len(mean))) * std + mean

    goal = flat(goal_latents(actor.method, actor.statistics, tasks))
    return Cloned(actor.clone, read, goal, raw, world.low, world.high)


def stacked(latents: Float[Tensor, "E T *L D"], history: int) -> Float[Tensor, "E T F"]:
    """For each frame the latents of the last `history` ones side by side, the first one repeated at the beginning."""
    x = flat(latents.flatten(0, 1)).unflatten(0, latents.shape[:2])
    padded = torch.cat([x[:, :1].expand(-1, history - 1, -1), x], 1)
    return torch.cat([padded[:, t : t + x.shape[1]] for t in range(history)], 2)


def within_time(actor: Actor, milliseconds: float) -> tuple[Actor, Json]:
    """The actor with a search whose plan for one world fits into the time here, and what it took.

    The sizes found are flags: given again, they repeat the numbers on any machine.
    """
    _, planning = of_world(actor.run)
    world = actor.open(1)
    tasks = world.tasks(world.kinds[0], 1, planning.seed)
    first = world.begin(tasks)
    context = {**first, "image": first["image"][:, None], "action": torch.zeros(1, 0, _width(actor, world))}
    energy = policy(actor, world, tasks).energy(context)
    random = numbered(1, planning.seed)
    fit = fitting(planning.planner, energy, world.low, world.high, random, milliseconds / 1000)
    told: Json = {
        "milliseconds": milliseconds,
        "measured_milliseconds": 1000 * fit.seconds,
        "whole_search_milliseconds": 1000 * fit.whole,
        "fits": fit.seconds <= milliseconds / 1000,
    }
    return replace(actor, run=replace(actor.run, planning=replace(planning, planner=fit.planner))), told


def _width(actor: Actor, world: World) -> int:
    return of_world(actor.run)[0].frame_skip * len(world.low)


def plan_part(
    actor: Actor, world: World, kind: str, tasks: Tasks, tell: Tell = silent
) -> tuple[Json, dict[str, np.ndarray]]:
    """What report.json says of planning to tasks, and the films: the model, random actions, cloning, true dynamics.

    difference: success of the model minus that of the true dynamics on the same tasks, with a paired interval;
    cloned_difference: minus that of the clone.
    """
    data, planning = of_world(actor.run)

    def judged(who: object, label: str, film: range = range(0)) -> Outcome:
        tell(f"{kind.replace('_', ' ')}: {label}", 0, 0)
        return control(
            world, world.begin(tasks), who, lambda state: world.reached(state, tasks.goal), planning.budget,  # type: ignore[arg-type]
            data.frame_skip, actor.history, film,
        )  # fmt: skip

    model = judged(policy(actor, world, tasks), "planning", range(min(planning.films, len(tasks))))
    world.begin(tasks)
    wandering = judged(Scripted(world.wander(numbered(len(tasks), planning.seed), planning.budget)), "random")
    part: Json = {**model.row(), **beside("random", wandering)}
    clone, best = cloned(actor, world, tasks), ceiling(actor.run, world, tasks)
    for name, who in (("cloned", clone), ("true_dynamics", best)):
        if who is not None:
            other = judged(who, name.replace("_", " "))
            part |= beside(name, other)
            difference = "difference" if name == "true_dynamics" else f"{name}_difference"
            part[difference] = float(model.reached.double().mean() - other.reached.double().mean())
            part[f"{difference}_interval"] = paired_success(model.reached, other.reached)
    return part, model.film(tasks.image, tasks.goal)


def beside(name: str, outcome: Outcome) -> Json:
    """A floor's or ceiling's success, at any step and at the end, with intervals, and its time for an action."""
    row = outcome.row()
    kept = {"": "success", "_interval": "interval", "_at_end": "at_end", "_at_end_interval": "at_end_interval",
            "_seconds_per_action": "seconds_per_action"}  # fmt: skip
    return {f"{name}{suffix}": row[key] for suffix, key in kept.items()}


def harness(actor: Actor, goals: str, time: Json) -> Json:
    """What every planning number depends on, to be printed beside it."""
    data, planning = of_world(actor.run)
    given = "given as a state, through a linear probe of the latent" if actor.readout else "given as an image"
    told: Json = {
        "world": {"name": type(actor.run.world).__name__, **asdict(actor.run.world)},
        "goals_from": goals,
        "goal": given,
        "success": f"at any of {planning.budget} steps; at_end: after the last",
        "frame_skip": data.frame_skip,
        "planner": {"name": type(planning.planner).__name__, **asdict(planning.planner)},
        "execute": planning.execute,
        "distance": planning.distance,
        "earlier_weight": planning.earlier_weight,
        "action_cost": planning.action_cost,
        "change_cost": planning.change_cost,
        "goals": planning.goals,
        "seed": planning.seed,
        "fast": actor.fast,
    }
    if actor.step_seconds:
        told["step_seconds"] = actor.step_seconds
    return told | ({"time_limit": time} if time else {})
