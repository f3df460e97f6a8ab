"""Who acts in a run's world: one search, two levels of them, or a method's own chunks; and what is refused before."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..contracts import Energy, Method
from ..envs.tasks import Tasks, World
from ..errors import ConfigError
from ..planning.acting_policy import Acting, Acts, is_policy
from ..planning.energies import Term, energy_of, last, scaled, summed, through, to_goal
from ..planning.hierarchy import AIM, TwoLevels
from ..planning.policies import Policy, Receding
from ..planning.readout import Readout
from ..planning.rollout import held, normalized
from ..planning.settings import Hierarchy, Planning, described
from ..planning.terms import Measure, action_change, action_size, chosen
from ..recipes.run import Json, Run
from ..types import Batch
from .networks import Network, proposed
from .seeing import Actor
from .worlds import as_dynamics, of_world, within

log = logging.getLogger("armillary.commands")

OF_PLANNERS = ("--milliseconds", "--fast", "--seeded", "--flat", "--goal-as state", "--energy value")
OF_LATENTS = "a learned distance is of latents: leave --goal-as state away, or plan with another distance"


@dataclass(frozen=True)
class Choice:
    """How a trained model is to act; what goes together, `check` knows.

    readout: of the state, by which goals are given as states; None: they are images. value: the way to goals, learned
    from the episodes, that plans cost in place of `planning.distance`; None where none was fitted. fast: plan with the
    model's folded weights. distilled: a policy whose plan competes in each search; None where none does. ensemble: of a
    run that acts without a planner, the rate of the weights by which its chunks are averaged; None where they are not.
    """

    readout: Readout | None = None
    value: Measure | None = None
    fast: bool = False
    distilled: Network | None = None
    ensemble: float | None = None


def check(method: Method, run: Run, flags: Collection[str] = ()) -> None:
    """Refuse what cannot be done or would do nothing, before any work.

    flags: those that are set, as they are written; see `OF_PLANNERS`.
    Raises:
        ConfigError: method, world, planning and flags do not go together; it says what to do.
    """
    (_, planning), name = of_world(run), type(method).__name__
    if getattr(method.config, "proprio", 0):
        raise ConfigError(
            f"{name} sees proprioception, and goals in worlds are told by images or states, which have none: judge it "
            "on recorded episodes with `armillary plan RUN --offline`"
        )
    if is_policy(method):
        _refuse(flags, OF_PLANNERS, f"{name} acts without a planner")
        return
    as_dynamics(method)
    _refuse(flags, ("--ensemble",), f"{name} is planned with, and gives no chunks to be averaged")
    if not hasattr(method, "folded"):
        _refuse(flags, ("--fast",), f"{name} has no weights that could be folded")
    if planning.hierarchy is not None:
        _check_levels(method, planning.hierarchy, flags)
    if "--goal-as state" in flags:
        if "--energy value" in flags or planning.distance == "learned":
            raise ConfigError(OF_LATENTS)
        _refuse(flags, ("--seeded",), "a policy was distilled toward images of goals, not toward --goal-as state")
    if "--seeded" in flags and "proposals" not in inspect.signature(planning.planner).parameters:
        raise ConfigError(
            f"{type(planning.planner).__name__} takes no proposals: leave --seeded away, or plan with another planner, "
            "such as CEM"
        )
    if "--energy value" not in flags:
        chosen(planning.distance, method)


def _refuse(flags: Collection[str], which: Collection[str], why: str) -> None:
    given = [flag for flag in flags if flag in which]
    if given:
        raise ConfigError(f"{why}: leave {', '.join(given)} away")


def _check_levels(method: Method, levels: Hierarchy, flags: Collection[str]) -> None:
    """The same of planning in two levels; warns where a sub-goal is not where the low level's plans end."""
    if not hasattr(method, "high"):
        raise ConfigError(f"{type(method).__name__} has no high level to plan with: add --flat")
    one = [flag for flag in flags if flag in ("--milliseconds", "--seeded", "--goal-as state")]
    if one:
        raise ConfigError(
            f"{', '.join(one)} is of planning in one level, this run plans in two, the lower one to latents: add "
            "--flat, or leave it away"
        )
    stride = getattr(method.config, "stride", levels.low.horizon)
    if levels.low.horizon != stride:
        log.warning(
            "planning.hierarchy.low.horizon is %d, and sub-goals are method.stride = %d macro-steps away: the low "
            "level plans to another time than the one that they are of", levels.low.horizon, stride,
        )  # fmt: skip


def policy(actor: Actor, choice: Choice, world: World, tasks: Tasks) -> Policy:
    """What acts toward goals, as method and planning have it; it sees images and its own past actions alone."""
    if isinstance(actor.method, Acts) and is_policy(actor.method):
        return chunks(actor, actor.method, choice.ensemble, world, tasks)
    if actor.planning.hierarchy is None:
        return planned(actor, choice, world, tasks)
    return leveled(actor, choice, actor.planning.hierarchy, world, tasks)


def told(actor: Actor, choice: Choice) -> Json:
    """What the harness says of that policy."""
    if is_policy(actor.method):
        return _told_chunks(actor, choice.ensemble)
    return _told_planned(actor, choice) | _told_levels(actor)


def planned(actor: Actor, choice: Choice, world: World, tasks: Tasks) -> Receding:
    """One search on the learned model, again and again."""
    planning, model = actor.planning, actor.model(choice.fast)
    mean, std = actor.statistics.tensors("action")
    goal = actor.goals(tasks.image) if choice.readout is None else tasks.goal
    near = measure(actor, choice)

    def energy(context: Batch) -> Energy:
        with torch.no_grad():
            state = model.start(actor.seen(context))
        aim = context[AIM] if AIM in context else goal[context["index"]]
        latent = energy_of(model, state, term(planning, near, aim, choice.readout))
        return within(world, normalized(held(latent, actor.data.frame_skip), mean, std))

    offered = None if choice.distilled is None else proposed(actor, model, choice.distilled, world, tasks)
    return Receding(planning.planner, energy, world.low, world.high, planning.execute, actor.data.frame_skip,
                    planning.seed, proposals=offered)  # fmt: skip


def measure(actor: Actor, choice: Choice) -> Measure:
    """The distance to goals by which it plans."""
    return choice.value or chosen(actor.planning.distance, actor.method)


def term(planning: Planning, near: Measure, goal: Tensor, readout: Readout | None = None) -> Term:
    """What a plan costs: the distance to the goal, of latents or of the states read from them, and its actions."""
    near_goal = to_goal(goal, near)
    terms = [last(near_goal if readout is None else through(readout, near_goal), planning.earlier_weight)]
    terms += [scaled(action_size, planning.action_cost)] if planning.action_cost else []
    terms += [scaled(action_change(), planning.change_cost)] if planning.change_cost else []
    return terms[0] if len(terms) == 1 else summed(*terms)


def _told_planned(actor: Actor, choice: Choice) -> Json:
    planning = actor.planning
    lines: Json = {
        "planner": described(planning.planner),
        "execute": planning.execute,
        "distance": planning.distance if choice.value is None else "a value learned from the run's episodes",
        "earlier_weight": planning.earlier_weight,
        "action_cost": planning.action_cost,
        "change_cost": planning.change_cost,
        "fast": choice.fast and hasattr(actor.method, "folded"),
    }
    seeded = "the plan of the distilled policy, rolled out in the model, competes in every search"
    return lines | ({} if choice.distilled is None else {"seeded": seeded})


def leveled(actor: Actor, choice: Choice, levels: Hierarchy, world: World, tasks: Tasks) -> TwoLevels:
    """A search for macro-actions, and one below it for actions to where the first of them leads."""
    high = actor.method.high(levels.bound)  # type: ignore[operator]
    below = replace(planned(actor, choice, world, tasks), planner=levels.low)
    goal = actor.goals(tasks.image)
    return TwoLevels(levels, below, high, lambda context: high.start(actor.seen(context)), goal, measure(actor, choice))


def _told_levels(actor: Actor) -> Json:
    levels = actor.planning.hierarchy
    if levels is None:
        return {"hierarchy": "none: the low level alone"} if hasattr(actor.method, "high") else {}
    both = asdict(levels) | {"high": described(levels.high), "low": described(levels.low)}
    return {"planner_of": "the true dynamics alone", "hierarchy": both}


def chunks(actor: Actor, method: Acts, ensemble: float | None, world: World, tasks: Tasks) -> Acting:
    """The method's own chunks of actions toward the goals' images, in the environment's units."""
    mean, std = actor.statistics.tensors("action")
    goals = actor.statistics.prepare({"image": tasks.image})["image"][:, None]  # [E, 1, C, h, w]

    def act(context: Batch) -> Float[Tensor, "E H k A"]:
        seen = actor.seen({name: x for name, x in context.items() if name != "action"})
        chunk = method.act(seen, {"image": goals[context["index"]]})
        return chunk.unflatten(2, (actor.data.frame_skip, len(mean))) * std + mean

    return Acting(act, world.low, world.high, actor.planning.execute, ensemble)


def _told_chunks(actor: Actor, ensemble: float | None) -> Json:
    return {
        "execute": actor.planning.execute if ensemble is None else 1,
        "policy": type(actor.method).__name__,
        "chunks_averaged": "no" if ensemble is None else f"weights exp(-{ensemble:g} i), i = 0 the oldest",
        "planner_of_true_dynamics": described(actor.planning.planner),
    }
