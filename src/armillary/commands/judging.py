"""What came of acting in a run's world: beside random actions, cloning and the same planner on true dynamics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..envs.tasks import Tasks, World
from ..functional.statistics import paired_success
from ..planning.control import Outcome, control
from ..planning.latency import fitting, timed
from ..planning.policies import Policy, Scripted
from ..planning.settings import described
from ..randomness import numbered
from ..recipes.run import Json
from . import acting
from .acting import Choice
from .networks import Network, cloned
from .seeing import Actor
from .worlds import Tell, ceiling, silent


def judged(actor: Actor, world: World, tasks: Tasks, who: Policy, film: Sequence[int] = ()) -> Outcome:
    """What a policy does from where tasks begin, for the run's budget."""
    return control(
        world, world.begin(tasks), who, lambda state: world.reached(state, tasks.goal), actor.planning.budget,
        actor.data.frame_skip, actor.history, film,
    )  # fmt: skip


def plan_part(
    actor: Actor, choice: Choice, clone: Network | None, world: World, kind: str, tasks: Tasks, tell: Tell = silent
) -> tuple[Json, dict[str, np.ndarray]]:
    """What report.json says of acting toward tasks, and the films: the model, random actions, cloning, true dynamics.

    clone: of the data, the floor; None leaves it out. difference: success of the model minus that of the true dynamics
    on the same tasks, with a paired interval; cloned_difference: minus that of the clone.
    """
    planning, name = actor.planning, kind.replace("_", " ")
    tell(f"{name}: planning", 0, 0)
    films = range(min(planning.films, len(tasks)))
    model = judged(actor, world, tasks, acting.policy(actor, choice, world, tasks), films)
    tell(f"{name}: random", 0, 0)
    world.begin(tasks)
    wandering = Scripted(world.wander(numbered(len(tasks), planning.seed), planning.budget))
    part: Json = {**model.row(), **beside("random", judged(actor, world, tasks, wandering))}
    others = {
        "cloned": None if clone is None else cloned(actor, clone, world, tasks),
        "true_dynamics": ceiling(actor.run, world, tasks),
    }
    for who, other in others.items():
        if other is not None:
            tell(f"{name}: {who.replace('_', ' ')}", 0, 0)
            came = judged(actor, world, tasks, other)
            difference = "difference" if who == "true_dynamics" else f"{who}_difference"
            part |= beside(who, came) | gap(difference, model, came)
    return part, model.film(tasks.image, tasks.goal)


def beside(name: str, outcome: Outcome) -> Json:
    """A floor's or ceiling's success, at any step and at the end, with intervals, and its time for an action."""
    row = outcome.row()
    kept = {"": "success", "_interval": "interval", "_at_end": "at_end", "_at_end_interval": "at_end_interval",
            "_seconds_per_action": "seconds_per_action"}  # fmt: skip
    return {f"{name}{suffix}": row[key] for suffix, key in kept.items()}


def gap(name: str, ours: Outcome, theirs: Outcome) -> Json:
    """Success minus that of another policy on the same tasks, with a paired interval."""
    difference = ours.reached.double().mean() - theirs.reached.double().mean()
    return {name: float(difference), f"{name}_interval": paired_success(ours.reached, theirs.reached)}


def within_time(actor: Actor, choice: Choice, milliseconds: float) -> tuple[Actor, Json]:
    """The actor with a search whose plan for one world fits into the time here, and what it took; of one level.

    The sizes found are flags: given again, they repeat the numbers on any machine.
    """
    planning, world = actor.planning, actor.open(1)
    tasks = world.tasks(world.kinds[0], 1, planning.seed)
    context = actor.first(world, tasks)
    who, random = acting.planned(actor, choice, world, tasks), numbered(1, planning.seed)
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


def harness(actor: Actor, choice: Choice, goals: str) -> Json:
    """What every number depends on, to be printed beside it."""
    planning = actor.planning
    given = "given as an image" if choice.readout is None else "given as a state, through a linear probe of the latent"
    told: Json = {
        "world": described(actor.run.world),
        "goals_from": goals,
        "goal": given,
        "success": f"at any of {planning.budget} steps; at_end: after the last",
        "frame_skip": actor.data.frame_skip,
        "goals": planning.goals,
        "seed": planning.seed,
    }
    return told | ({"step_seconds": actor.step_seconds} if actor.step_seconds else {}) | acting.told(actor, choice)
