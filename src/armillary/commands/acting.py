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
from ..errors import ConfigError
from ..functional.statistics import paired_success
from ..planning.acting_policy import Acts, is_policy
from ..planning.cloning import Cloned
from ..planning.control import STACKED, Outcome, control
from ..planning.distilling import Imagined, Proposed, Scale
from ..planning.energies import Term, energy_of, last, scaled, summed, through, to_goal
from ..planning.fast import folded
from ..planning.hierarchy import AIM, TwoLevels
from ..planning.latency import fitting, timed
from ..planning.policies import Policy, Receding, Scripted
from ..planning.readout import Readout, flat
from ..planning.rollout import held, normalized
from ..planning.settings import Planning
from ..planning.terms import Measure, action_change, action_size, chosen
from ..planning.windows import observed
from ..randomness import numbered
from ..recipes.run import Json, Run
from ..types import Batch
from . import policies
from .worlds import Tell, as_dynamics, ceiling, of_world, silent, within

Clone = Callable[[Float[Tensor, "n F"], Float[Tensor, "n D"]], Float[Tensor, "n A"]]


@dataclass(frozen=True)
class Actor:
    """A trained model that acts. readout: of the state, by which goals are given as states; None: they are images.

    clone: of the data, the floor; None where none was fitted. step_seconds: that a world may take for a step, 0 without
    limit. fast: plan with the model's folded weights, where it offers them; the same up to rounding. distilled: a
    policy whose plan competes in each search; None where none does. ensemble: of a run that acts without a planner, the
    rate of the weights by which its chunks are averaged; None where they are not. value: the way to goals, learned from
    the episodes, that plans cost in place of `planning.distance`; None where none was fitted.
    """

    method: Method
    statistics: Statistics
    run: Run
    readout: Readout | None = None
    clone: Clone | None = None
    step_seconds: float = 0.0
    fast: bool = False
    distilled: Clone | None = None
    ensemble: float | None = None
    value: Measure | None = None

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


def measure(actor: Actor) -> Measure:
    """The distance to goals by which an actor plans.

    Raises:
        ConfigError: a learned one, where the method has none or goals are states.
    """
    distance = of_world(actor.run)[1].distance
    if actor.readout is not None and (actor.value or distance == "learned"):
        raise ConfigError("a learned distance is of latents: leave --goal-as state away, or plan with another distance")
    return actor.value or chosen(distance, actor.method)


def term(planning: Planning, near: Measure, goal: Tensor, readout: Readout | None = None) -> Term:
    """What a plan costs: the distance to the goal, of latents or of the states read from them, and its actions."""
    near_goal = to_goal(goal, near)
    terms = [last(near_goal if readout is None else through(readout, near_goal), planning.earlier_weight)]
    terms += [scaled(action_size, planning.action_cost)] if planning.action_cost else []
    terms += [scaled(action_change(), planning.change_cost)] if planning.change_cost else []
    return terms[0] if len(terms) == 1 else summed(*terms)


def policy(actor: Actor, world: World, tasks: Tasks) -> Receding:
    """A receding-horizon policy on the learned model; it sees images and its own past actions, never the state."""
    (data, planning), model = of_world(actor.run), as_dynamics(actor.method)
    model = folded(model) if actor.fast else model
    mean, std = (torch.tensor(getattr(actor.statistics, k)["action"]) for k in ("mean", "std"))
    goal = tasks.goal if actor.readout else goal_latents(actor.method, actor.statistics, tasks)
    near = measure(actor)

    def energy(context: Batch) -> Energy:
        with torch.no_grad():
            state = model.start(seen(actor, context))
        aim = context[AIM] if AIM in context else goal[context["index"]]
        latent = energy_of(model, state, term(planning, near, aim, actor.readout))
        return within(world, normalized(held(latent, data.frame_skip), mean, std))

    offered = None if actor.distilled is None else proposed(actor, world, tasks)
    return Receding(planning.planner, energy, world.low, world.high, planning.execute, data.frame_skip, planning.seed,
                    proposals=offered)  # fmt: skip


def leveled(actor: Actor, world: World, tasks: Tasks) -> Policy:
    """The policy that the run's planning asks for: `policy`, or two levels, of which that is the lower one, or its own.

    Raises:
        ConfigError: two levels for a method that has one, or with what only one level can do.
    """
    if isinstance(actor.method, Acts) and is_policy(actor.method):
        return policies.policy(actor.method, actor.statistics, actor.run, world, tasks, actor.ensemble)
    _, planning = of_world(actor.run)
    below, settings, levels = policy(actor, world, tasks), planning.hierarchy, getattr(actor.method, "high", None)
    if settings is None:
        return below
    if levels is None:
        raise ConfigError(f"{type(actor.method).__name__} has no high level to plan with: add --flat")
    if actor.readout is not None or actor.distilled is not None:
        raise ConfigError("sub-goals are latents, so goals are images then, and no policy's plan leads to them: "
                          "leave --goal-as state and --seeded away, or add --flat")  # fmt: skip
    high, goal = levels(settings.bound), goal_latents(actor.method, actor.statistics, tasks)
    below = replace(below, planner=settings.low)
    return TwoLevels(
        settings,
        below,
        high,
        lambda context: high.start(seen(actor, context)),
        goal,
        measure(actor),
    )


def seen(actor: Actor, context: Batch) -> Batch:
    """What the model gets of a context: never the truth."""
    return actor.statistics.prepare({k: context[k] for k in ("image", "action", "proprio") if k in context})


def cloned(actor: Actor, world: World, tasks: Tasks) -> Cloned | None:
    """The cloned policy toward the goals' images, None where none was fitted."""
    if actor.clone is None:
        return None
    data, _ = of_world(actor.run)
    mean, std = (torch.tensor(getattr(actor.statistics, k)["action"]) for k in ("mean", "std"))

    def raw(action: Tensor) -> Tensor:
        return action.unflatten(1, (data.frame_skip, len(mean))) * std + mean

    return Cloned(actor.clone, *sight(actor, tasks), raw, world.low, world.high)


def distilled(actor: Actor, world: World, tasks: Tasks, network: Clone) -> Cloned:
    """A distilled policy toward the goals' images."""
    return Cloned(network, *sight(actor, tasks), scale(actor, world).raw, world.low, world.high)


def sight(actor: Actor, tasks: Tasks) -> tuple[Callable[[Batch], Tensor], Tensor]:
    """What a policy without a search sees: latents of a context's last frames [E, F], and of the goals' images."""
    model = as_dynamics(actor.method)

    def read(context: Batch) -> Tensor:
        now = seen(actor, context)
        if actor.history == 1:  # the same with a third less overhead, which is much of a policy's time in one world
            return flat(model.latent(model.start(now)))
        return stacked(observed(model, now), actor.history)[:, -1]

    return read, flat(goal_latents(actor.method, actor.statistics, tasks))


def scale(actor: Actor, world: World) -> Scale:
    """How a distilled policy gives actions of the world."""
    longest = getattr(world, "longest", None)
    return Scale(world.low, world.high, of_world(actor.run)[0].frame_skip, float("inf") if longest is None else longest)


def proposed(actor: Actor, world: World, tasks: Tasks) -> Proposed:
    """The distilled policy's plan on the model's own predictions.

    Raises:
        ConfigError: the actor has no distilled policy.
    """
    if actor.distilled is None:
        raise ConfigError("no distilled policy was given; `armillary distill RUN` makes one")
    student = distilled(actor, world, tasks, actor.distilled)
    return Proposed(student, imagined(actor, student.read), of_world(actor.run)[1].planner.horizon)


def imagined(actor: Actor, read: Callable[[Batch], Tensor]) -> Imagined:
    """What a policy that reads contexts so would see on the model's own predictions."""
    model = as_dynamics(actor.method)

    def modeled(action: Tensor) -> Tensor:
        return actor.statistics.normalize("action", action.flatten(1))

    return Imagined(folded(model) if actor.fast else model, read, lambda context: seen(actor, context), modeled)


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
    if planning.hierarchy is not None:
        raise ConfigError("a time limit shrinks one search, and this run plans with two: add --flat, or shrink them")
    world = actor.open(1)
    tasks = world.tasks(world.kinds[0], 1, planning.seed)
    context = at_first(actor, world, tasks)
    who, random = policy(actor, world, tasks), numbered(1, planning.seed)
    offer = 0.0 if who.proposals is None else 1000 * timed(lambda: who.proposals(context, 0))  # type: ignore[misc]
    left = max(1e-6, milliseconds - offer)
    fit = fitting(planning.planner, who.energy(context), world.low, world.high, random, left / 1000)
    told: Json = {
        "milliseconds": milliseconds,
        "measured_milliseconds": 1000 * fit.seconds + offer,
        "whole_search_milliseconds": 1000 * fit.whole + offer,
        "fits": 1000 * fit.seconds <= left,
    }
    return replace(actor, run=replace(actor.run, planning=replace(planning, planner=fit.planner))), told


def at_first(actor: Actor, world: World, tasks: Tasks) -> Batch:
    """The context in which tasks begin: one frame, no action."""
    first = world.begin(tasks)
    none = torch.zeros(len(tasks), 0, of_world(actor.run)[0].frame_skip * len(world.low))
    return {**first, **{name: first[name][:, None] for name in STACKED if name in first}, "action": none}


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

    model = judged(leveled(actor, world, tasks), "planning", range(min(planning.films, len(tasks))))
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
        "distance": planning.distance if actor.value is None else "a value learned from the run's episodes",
        "earlier_weight": planning.earlier_weight,
        "action_cost": planning.action_cost,
        "change_cost": planning.change_cost,
        "goals": planning.goals,
        "seed": planning.seed,
        "fast": actor.fast,
    }
    if actor.step_seconds:
        told["step_seconds"] = actor.step_seconds
    if planning.hierarchy is not None:
        told["planner_of"] = "the true dynamics alone"
        told["hierarchy"] = asdict(planning.hierarchy) | {
            level: {"name": type(of).__name__, **asdict(of)}
            for level, of in (("high", planning.hierarchy.high), ("low", planning.hierarchy.low))
        }
    elif hasattr(actor.method, "high"):
        told["hierarchy"] = "none: the low level alone"
    if actor.distilled is not None:
        told["seeded"] = "the plan of the distilled policy, rolled out in the model, competes in every search"
    if is_policy(actor.method):
        told = policies.harness(told, actor.method, actor.run, actor.ensemble)
    return told | ({"time_limit": time} if time else {})
